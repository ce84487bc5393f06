"""Builds of `engines.py`: every engine in a process of its own, with what a build takes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedded import CACHE, Data
from engines_systems import INDEXES, IndexSpec

import pyterrier_lir as lir

WORKER = Path(__file__).parent / "peers" / "worker.py"
PEERS_PYTHON = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
OLD_FOLDER = "LIR_OLD"  # names the checkout of an earlier commit, with compiled kernels
BUILD_THREADS = 1
SINGLE_THREADS, BATCH_THREADS = 1, 2
# what our index could compute from the rest: documents of a centroid, centroids of a document, centroids in 8 bits
DERIVED = (
    "cell_docs.i64", "cell_docs.i32", "doc_codes.u16", "doc_codes.u32", "doc_codes.i64", "centroids.i8", "scales.f32",
)  # fmt: skip


class Process:
    """A worker, see ``benchmarks/peers/worker.py``; `ask` sends a request and waits for its answer."""

    def __init__(self, spec: IndexSpec, path: Path, data: Path, threads: int) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))
        python = sys.executable if spec.ours or spec.older else str(PEERS_PYTHON)
        command = [python, str(WORKER), spec.engine, str(path), str(data), str(threads)]
        if spec.older:
            limits["PYTHONPATH"] = os.environ[OLD_FOLDER]
        self._log = (CACHE / "worker.log").open("a")
        self._process = subprocess.Popen(
            command, env=os.environ | limits | {"CUDA_VISIBLE_DEVICES": ""}, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker stopped while it was asked to {do}; see {self._log.name}")
        return json.loads(answer)

    def memory(self) -> float:
        """Megabytes of anonymous memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def peak_memory(process: Process) -> Iterator[list[float]]:
    """Collects what the process has more than at the start, every 20 ms; the largest is the peak."""
    start, grown, done = process.memory(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            grown.append(process.memory() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield grown
    finally:
        done.set()
        watcher.join()


def build(data: Data, name: str) -> dict[str, Any]:
    """Builds an index in a fresh process; peers only if the cache has none. Returns the figures of the build."""
    spec, path = INDEXES[name], data.folder / name.replace(" ", "-")
    kept = path.with_name(path.name + ".json")
    if not spec.ours and kept.exists():
        return json.loads(kept.read_text())
    print(f"{data.dataset.name}: building {name}", file=sys.stderr, flush=True)
    shutil.rmtree(path, ignore_errors=True)
    load = os.getloadavg()[0]
    with Process(spec, path, data.folder, BUILD_THREADS) as process:
        process.ask("load")
        with peak_memory(process) as grown:
            figures = process.ask("build", options=spec.options)
    size = size_mb(path)
    bare = size - (sum(lir.LirIndex(path).info()["bytes"].get(name, 0) for name in DERIVED) / 1e6 if spec.ours else 0)
    figures |= {"peak_mb": max(grown), "index_mb": size, "bare_mb": bare, "load": load}
    if not spec.ours:
        with Process(spec, path, data.folder, BATCH_THREADS) as process:
            process.ask("open")
            figures |= {"exhaustive": process.ask("exhaustive", k=10)["docids"]}
    kept.write_text(json.dumps(figures))
    return figures


def size_mb(path: Path) -> float:
    """Megabytes of all files in a folder; none where there is no folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
