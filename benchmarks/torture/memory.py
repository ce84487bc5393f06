"""a collection of ten times the bound is indexed, searched and compacted.

    OMP_NUM_THREADS=1 python benchmarks/torture/memory.py --bound 16 --write

``memory_mb`` is the bound, in megabytes; documents of 100 token vectors of 128 dimensions come as a stream, until they
take ten times as much in half precision. A tenth comes behind, by `add`. Each step runs in a process of its own, whose
anonymous memory (what is neither a file nor shared) is read every 20 ms. What it holds at its beginning, Python and
what it has imported, is subtracted. Files are read by memory map; the system keeps of them what it has room for, and
they are not counted. The bound is that of blocks of tokens: file buffers, centroids and their training come on top.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rounds
from rounds import FORK

import pyterrier_lir as lir

DIM, LENGTH = 128, 100


def stream(prefix: str, count: int) -> Iterator[dict[str, Any]]:
    """Documents near 2,000 topics; nothing of them is kept."""
    topics = np.random.default_rng(0).standard_normal((2_000, DIM), dtype=np.float32)
    for i in range(count):
        rng = np.random.default_rng(i)
        rows = topics[rng.integers(0, len(topics), LENGTH)] + 0.7 * rng.standard_normal((LENGTH, DIM), dtype=np.float32)
        yield {"docno": f"{prefix}{i}", "doc_embs": rows / np.linalg.norm(rows, axis=1, keepdims=True)}


def anonymous_mb(pid: int) -> float:
    """The anonymous memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def peak(work: Callable[[], Any]) -> tuple[float, float]:
    """Megabytes that some work takes at most, above those with which it begins, and its seconds."""
    process = FORK.Process(target=work)
    clock = time.perf_counter()
    process.start()
    assert process.pid is not None
    first = most = anonymous_mb(process.pid)
    while process.is_alive():
        time.sleep(0.02)
        try:
            most = max(most, anonymous_mb(process.pid))
        except FileNotFoundError:
            break
    process.join()
    assert process.exitcode == 0, process.exitcode
    return most - first, time.perf_counter() - clock


def main() -> None:
    args = rounds.arguments(__doc__, 10, bound=4)
    count = int(args.rounds * args.bound * 1e6 / (2 * DIM * LENGTH))
    limits: dict[str, Any] = {"memory_mb": args.bound, "segment_mb": args.bound / 4, "num_threads": 1, "verbose": False}
    rows = next(stream("q", 1))["doc_embs"][:32]
    topics = pd.DataFrame({"qid": ["1"], "query_embs": [rows]})
    with tempfile.TemporaryDirectory(prefix="lir-memory-") as name:
        index = lir.LirIndex(Path(name) / "warm").indexer(**limits).index(stream("w", 20))  # imports what is needed
        index.plaid(num_threads=1)(topics)
        path = Path(name) / "i"
        works: dict[str, Callable[[], Any]] = {
            "build": lambda: lir.LirIndex(path).indexer(**limits).index(stream("d", count)),
            "add a tenth": lambda: lir.LirIndex(path).add(stream("new", count // 10), **limits),
            "search by PLAID": lambda: lir.LirIndex(path).plaid(num_results=100, num_threads=1)(topics),
            "derive and search by WARP": lambda: lir.LirIndex(path).warp(num_results=100, num_threads=1)(topics),
            "search exhaustively": lambda: lir.LirIndex(path).exhaustive(num_results=100, num_threads=1)(topics),
            "compact": lambda: lir.LirIndex(path).compact(memory_mb=args.bound),
            "verify": lambda: lir.LirIndex(path).verify(),
        }
        table = []
        for work, run in works.items():
            megabytes, seconds = peak(run)
            table.append([work, f"{args.bound}", f"{args.rounds * args.bound}", f"{megabytes:.1f}", f"{seconds:.1f}"])
            print(*table[-1], flush=True)
        assert len(lir.LirIndex(path)) == count + count // 10
    header = ["work", "bound, MB", "collection, MB", "most memory, MB", "s"]
    rounds.write("memory", __doc__, header, table, args)


if __name__ == "__main__":
    main()
