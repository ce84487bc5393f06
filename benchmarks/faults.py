"""Whether an index survives: killed writers, readers beside a writer.

    python benchmarks/faults.py

writes benchmarks/results/faults.md. A process that builds, adds, updates, deletes, compacts or derives is killed
(SIGKILL) at a random moment of the time that this takes. The index must then open, verify, hold exactly the documents
from before or from after the change, and come to the same end when the work is done again. Then readers open and search
an index again and again while it is changed: each state that they see must be one that was committed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from engines import markdown

import pyterrier_lir as lir

RESULTS = Path(__file__).parent / "results"
DIM = 32
FORK = multiprocessing.get_context("fork")


def documents(prefix: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((40, DIM))
    for i in range(count):
        embs = topics[rng.integers(0, 40, 20)] + 0.5 * rng.standard_normal((20, DIM))
        yield {"docno": f"{prefix}{i}", "doc_embs": (embs / np.linalg.norm(embs, axis=1, keepdims=True)).astype("f4")}


QUERIES = pd.DataFrame({"qid": ["1", "2"], "query_embs": [d["doc_embs"][:8] for d in documents("", 2, 7)]})
WORK: dict[str, Callable[[lir.LirIndex], Any]] = {
    "build": lambda index: index.indexer(mode="overwrite", verbose=False, segment_mb=0.1).index(documents("b", 400, 2)),
    "add": lambda index: index.add(documents("a", 300, 3), verbose=False, segment_mb=0.1),
    "update": lambda index: index.update(documents("d", 300, 4), verbose=False, segment_mb=0.1),
    "delete": lambda index: index.delete([f"d{i}" for i in range(5, 200)]),
    "compact": lambda index: index.compact(),
    "derive: cells for WARP": lambda index: index.warp(num_results=10)(QUERIES),
    "derive: MUVERA": lambda index: index.muvera(num_results=10)(QUERIES),
    "derive: corpus graph": lambda index: index.corpus_graph(k=4).edges,
}


def content(path: Path) -> list[tuple[str, bytes]]:
    index = lir.LirIndex(path)
    index.verify()
    return [(record["docno"], record["doc_embs"].tobytes()) for record in index.get_corpus_iter()]


def ranking(path: Path) -> pd.DataFrame:
    return lir.LirIndex(path).exhaustive(num_results=50)(QUERIES)[["qid", "docno", "score"]]


def done(path: Path, name: str) -> None:
    WORK[name](lir.LirIndex(path))


def killed(path: Path, name: str, seconds: float) -> bool:
    """Does the work in a process of its own; whether it was killed before it ended."""
    process = FORK.Process(target=done, args=(path, name))
    process.start()
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def kills(start: Path, folder: Path, name: str, count: int, rng: np.random.Generator) -> list[str]:
    """Kills the work at so many moments, and looks at what is left."""
    after = folder / "after"
    shutil.copytree(start, after)
    clock = time.perf_counter()
    killed(after, name, 60)
    duration = time.perf_counter() - clock
    old, new, expected = content(start), content(after), ranking(after)
    seen: Counter[str] = Counter()
    while seen["killed"] < count:
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(start, copy)
        if not killed(copy, name, float(rng.uniform(0, duration))):
            continue
        seen["killed"] += 1
        found = content(copy)
        if found not in (old, new):
            continue  # neither: not survived
        seen["before" if found == old else "after"] += 1
        if found == old:
            if (copy / "build").exists():
                lir.LirIndex(copy).abandon()
            done(copy, name)
        if content(copy) == new and ranking(copy).equals(expected):
            seen["survived"] += 1
    return [name, f"{1000 * duration:.0f}", str(seen["killed"]), str(seen["survived"]),
            "" if old == new else str(seen["before"]), "" if old == new else str(seen["after"])]  # fmt: skip


def reads(path: Path, committed: set[frozenset[str]], stop: Any, result: Any) -> None:
    seen: Counter[str] = Counter()
    while not stop.is_set():
        try:
            index = lir.LirIndex(path)
            docnos = frozenset(index.docnos)
            found = set(index.warp(num_results=1000, num_threads=1)(QUERIES)["docno"])
            seen["good" if docnos in committed and found <= docnos else "bad"] += 1
        except Exception as error:
            seen[f"bad: {error!r}"] += 1
    result.put(seen)


def readers(start: Path, folder: Path, count: int, seconds: float) -> list[str]:
    """Changes an index for some time while others read it."""
    path = folder / "read"
    shutil.copytree(start, path)
    index = lir.LirIndex(path)
    first = frozenset(index.docnos)
    new = frozenset(d["docno"] for d in documents("n", 20, 5))
    committed = {first, first | new, first | new - {"n0"}}
    stop, result = FORK.Event(), FORK.Queue()
    processes = [FORK.Process(target=reads, args=(path, committed, stop, result)) for _ in range(count)]
    for process in processes:
        process.start()
    end, changes = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        index.add(documents("n", 20, 5), verbose=False)
        index.delete(["n0"])
        index.compact()
        index.delete(sorted(new - {"n0"}))
        changes += 4
    stop.set()
    seen: Counter[str] = sum((result.get() for _ in processes), Counter())
    for process in processes:
        process.join()
    return [f"{count} readers", str(changes), f"{seen.total():,}", f"{seen['good']:,}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="moments for each kind of work")
    parser.add_argument("--seconds", type=float, default=20, help="how long readers read")
    args = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as root:
        start = Path(root) / "start"
        index = lir.LirIndex(start).indexer(verbose=False).index(documents("d", 400, 1))
        index.add(documents("e", 50, 6), verbose=False)
        index.delete(["d1", "d2"])
        for i, name in enumerate(WORK):
            rows.append(kills(start, Path(root) / str(i), name, args.kills, rng))
            print(*rows[-1], sep="  ", flush=True)
        read = readers(start, Path(root), 20, args.seconds)
    total = [sum(int(row[i]) for row in rows) for i in (2, 3)]
    text = ["# Faults", "", *(__doc__ or "").strip().splitlines()[4:], "",
            f"{total[1]} of {total[0]} kills survived.", "",
            *markdown(["killed", "ms of the work", "kills", "survived", "before the change", "after it"], rows), "",
            *markdown(["", "changes meanwhile", "openings, each with a search", "of a committed state"], [read]),
            ""]  # fmt: skip
    (RESULTS / "faults.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
