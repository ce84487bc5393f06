"""Building with four processes that are killed, and searching four shards that are killed: bytes, rankings, seconds.

    python benchmarks/distributed.py             # writes benchmarks/results/distributed.md; needs pip install ray

The documents are synthetic: 5,000 of 40 to 120 words of a vocabulary of 20,000, encoded by the toy encoder with 128
dimensions. *Building*: with one process, with four workers on a Ray cluster of this machine, and with four of which one
is killed every few seconds; the three indexes must have the same bytes. *Searching*: the index, four shards in threads
of this process and four shards in Ray actors answer the same queries one by one; rankings must be equal to the last
digit. Then a shard's process is killed again and again while queries run: every answer must be the whole ranking, or
say that a shard is missing and be the ranking of the others, or be an error. Anything else ends this program.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from cached import RESULTS, markdown

import pyterrier_lir as lir
from pyterrier_lir.distributed import Shards, encode_and_build
from pyterrier_lir.encode.base import Encoded
from pyterrier_lir.experiment import environment

DOCUMENTS, WORKERS, PART, KILL_EVERY, QUERIES, ATTACKED = 5000, 4, 100, 6.0, 100, 20.0
METHODS: dict[str, Callable[[Any], Any]] = {
    "exhaustive": lambda index: index.exhaustive(num_results=100, num_threads=1),
    "PLAID": lambda index: index.plaid(num_results=100, num_threads=1),
    "WARP": lambda index: index.warp(num_results=100, num_threads=1),
}


class Traced(lir.ToyEncoder):
    """The toy encoder; each process that encodes leaves its number in a folder."""

    def __init__(self, *, folder: str = "", dim: int = 128, batch_size: int = 100) -> None:
        super().__init__(dim=dim, batch_size=batch_size)
        self.folder = folder

    def encode_docs(self, texts: Sequence[str]) -> list[Encoded]:
        (Path(self.folder) / str(os.getpid())).touch()
        return super().encode_docs(texts)


def documents() -> Iterator[dict[str, str]]:
    rng = np.random.default_rng(0)
    for number in range(DOCUMENTS):
        words = rng.zipf(1.3, int(rng.integers(40, 121))) % 20_000
        yield {"docno": f"d{number}", "text": " ".join(f"w{word}" for word in words)}


def queries() -> pd.DataFrame:
    texts = [
        " ".join(document["text"].split()[5:25:3]) for document, _ in zip(documents(), range(QUERIES), strict=False)
    ]
    return lir.ToyEncoder(dim=128)(pd.DataFrame({"qid": [str(i) for i in range(QUERIES)], "query": texts}))


def digest(path: Path) -> str:
    """One hash of all files."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".writer.lock")
    parts = (str(file.relative_to(path)).encode() + hashlib.sha256(file.read_bytes()).digest() for file in files)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def is_worker(pid: int) -> bool:
    """Whether a process is still the one that left its number."""
    file = Path(f"/proc/{pid}/cmdline")
    return file.exists() and b"PartWorker" in file.read_bytes()


def killing(pids: Callable[[], list[int]], every: float, stop: threading.Event, killed: list[int]) -> threading.Thread:
    """A thread that kills one of our own processes every few seconds."""

    def work() -> None:
        while not stop.wait(every):
            alive = [pid for pid in pids() if is_worker(pid)]
            if alive:
                killed.append(random.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def build_rows(folder: Path) -> list[list[str]]:
    """Seconds and bytes of the three builds."""
    rows, hashes = [], []
    for name in ("one process", f"{WORKERS} workers", f"{WORKERS} workers, killed"):
        traces, path = folder / f"pids {name}", folder / name
        traces.mkdir()
        encoder, killed, stop = Traced(folder=str(traces)), list[int](), threading.Event()
        clock = time.perf_counter()
        if name == "one process":
            (encoder >> lir.LirIndex(path).indexer(num_threads=1, verbose=False)).index(documents())
        else:
            thread = None
            if name.endswith("killed"):
                found = lambda traces=traces: [int(file.name) for file in traces.iterdir()]  # noqa: E731
                thread = killing(found, KILL_EVERY, stop, killed)
            encode_and_build(documents(), encoder, path, num_workers=WORKERS, part_size=PART, verbose=False)
            stop.set()
            if thread is not None:
                thread.join()
        seconds = time.perf_counter() - clock
        hashes.append(digest(path))
        assert hashes[-1] == hashes[0], f"{name}: other bytes than one process"
        rows.append([name, f"{seconds:.1f}", str(len(killed)), hashes[-1][:12]])
    return rows


def timed(system: Any, frame: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Results and median milliseconds of single queries."""
    system(frame[:2])
    times, found = [], []
    for i in range(len(frame)):
        clock = time.perf_counter()
        found.append(system(frame[i : i + 1]))
        times.append(1000 * (time.perf_counter() - clock))
    return pd.concat(found, ignore_index=True), statistics.median(times)


def search_rows(index: lir.LirIndex, split: Shards, actors: Shards, frame: pd.DataFrame) -> list[list[str]]:
    """Milliseconds of each method on the index and on its shards."""
    rows = []
    for name, method in METHODS.items():
        expected, whole = timed(method(index), frame)
        times = []
        for shards in (split, actors):
            found, ms = timed(method(shards), frame)
            pd.testing.assert_frame_equal(found, expected)
            times.append(ms)
        rows.append([name, f"{whole:.1f}", *(f"{ms:.1f}" for ms in times)])
    return rows


def attacked_rows(index: lir.LirIndex, paths: Sequence[Path], frame: pd.DataFrame) -> list[list[str]]:
    """What queries got while shards were killed, with and without partial results."""
    expected = METHODS["PLAID"](index)(frame)
    home = {docno: n for n, path in enumerate(paths) for docno in lir.LirIndex(path).docnos}
    whole = index.exhaustive(num_results=len(index))(frame)
    rows = []
    for partial in (False, True):
        with Shards(paths, ray=True, partial=partial, timeout=10) as shards:
            system = METHODS["PLAID" if not partial else "exhaustive"](shards)
            system(frame[:1])
            stop, killed = threading.Event(), list[int]()
            actors = shards._opened[0].actors  # type: ignore[index,union-attr]
            thread = threading.Thread(target=attack, args=(actors, stop, killed))
            thread.start()
            counts = ask(system, frame, expected, whole, home, partial)
            stop.set()
            thread.join()
            name = "partial=True, exhaustive" if partial else "partial=False, PLAID"
            told = [len(killed), *(counts[what] for what in ("whole", "error", "partial", "wrong"))]
            rows.append([name, *map(str, told)])
            assert not counts["wrong"]
    return rows


def attack(actors: list[Any], stop: threading.Event, killed: list[int]) -> None:
    while not stop.wait(3):
        ray.kill(random.choice(actors), no_restart=False)
        killed.append(1)


def ask(
    system: Any, frame: pd.DataFrame, expected: pd.DataFrame, whole: pd.DataFrame, home: dict[str, int], partial: bool
) -> Counter[str]:
    """Queries for some seconds, each answer looked at."""
    counts: Counter[str] = Counter()
    until = time.monotonic() + ATTACKED
    while time.monotonic() < until:
        i = random.randrange(len(frame))
        qid = frame["qid"].iloc[i]
        try:
            found = system(frame[i : i + 1])
        except RuntimeError:
            counts["error"] += 1
            continue
        if not partial:
            same = found["docno"].tolist() == expected.loc[expected["qid"] == qid, "docno"].tolist()
            counts["whole" if same else "wrong"] += 1
            continue
        everything, missing = whole[whole["qid"] == qid], int(found["shards_missing"].iloc[0])
        right = found["docno"].tolist() in without(everything, home, missing, len(found))
        counts["wrong" if not right else "partial" if missing else "whole"] += 1
    return counts


def without(ranking: pd.DataFrame, home: dict[str, int], missing: int, k: int) -> list[list[str]]:
    """The k best of each choice of shards that lacks so many."""
    homes = ranking["docno"].map(home)
    chosen = combinations(range(WORKERS), WORKERS - missing)
    return [ranking.loc[homes.isin(shards), "docno"].tolist()[:k] for shards in chosen]


def main() -> None:
    random.seed(0)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    folder, load = Path(tempfile.mkdtemp(prefix="lir-distributed-")), os.getloadavg()[0]
    try:
        builds = build_rows(folder)
        index, frame = lir.LirIndex(folder / "one process"), queries()
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        with Shards.split(index, folder / "shards", WORKERS) as split, Shards(split.paths, ray=True) as actors:
            searches = search_rows(index, split, actors, frame)
        attacked = attacked_rows(index, split.paths, frame)
        tokens = index.info()["tokens"]
    finally:
        ray.shutdown()
        shutil.rmtree(folder)
    here = environment.describe()
    build = ["build", "seconds, with starting the cluster", "processes killed", "sha256 of all files"]
    text = "\n".join([
        "# Many processes", "",
        f"{here['processor']['model']}, {here['processor']['cores']} cores for {WORKERS} workers; load at the start, "
        f"from other work: {load:.1f}; ray {ray.__version__}. {DOCUMENTS:,} documents, {tokens:,} tokens of 128 "
        "dimensions. "
        "Four workers on so few cores show that it works, not how much faster it gets.", "",
        *markdown(build, builds), "",
        f"Milliseconds per query, median of {QUERIES}, one thread for each shard; all rankings equal.", "",
        *markdown(["method", "one index", f"{WORKERS} shards, threads", f"{WORKERS} shards, actors"], searches), "",
        f"Queries while a shard is killed every 3 s, for {ATTACKED:.0f} s.", "",
        *markdown(["shards", "killed", "whole and right", "errors", "marked partial and right", "wrong"], attacked), "",
        "Written by `benchmarks/distributed.py`.", "",
    ])  # fmt: skip
    (RESULTS / "distributed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
