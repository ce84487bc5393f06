"""Other stores beside ours on the same embeddings, each as a transformer: seconds to fill, milliseconds, overlap, nDCG.

    python benchmarks/stores.py                  # writes benchmarks/results/stores.md; needs `make engines` once, and
                                                 # pip install qdrant-client lancedb duckdb

2,000 documents of SciFact with 128 dimensions, the first 20 queries, one by one, after one that does not count, from a
frame with the encoded query to a frame with the ranking. Overlap: share of the exact ten best that is found. What is
not installed is left out. So is Milvus Lite: over these 480,000 tokens it had not answered one query after four
minutes, which it spent on giving back vectors.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from cached import BY_NAME, RESULTS, header, markdown, timed
from embedded import Data
from pyterrier.measures import nDCG

import pyterrier_lir as lir
from pyterrier_lir import peers
from pyterrier_lir.index.files import folder_size
from pyterrier_lir.peers.peer import Peer

QUERIES, K = 20, 100
SYSTEMS: dict[str, Callable[[lir.LirIndex, Path], Any]] = {
    "exhaustive, fp16": lambda index, _: index.exhaustive(num_results=K, num_threads=1),
    "PLAID": lambda index, _: index.plaid(num_results=K, num_threads=1),
    "WARP": lambda index, _: index.warp(num_results=K, num_threads=1),
    "DuckDB": lambda index, folder: peers.DuckDB(index, num_results=K, num_threads=1, folder=folder),
    "Qdrant, local mode": lambda index, folder: peers.Qdrant(index, num_results=K, folder=folder),
    "LanceDB, scan": lambda index, folder: peers.LanceDB(index, num_results=K, folder=folder),
    "LanceDB, 256 cells, 20 probed": lambda index, folder: peers.LanceDB(
        index, num_results=K, partitions=256, nprobes=20, folder=folder
    ),
}


def records(data: Data) -> Any:
    for i, docno in enumerate(data.docnos):
        rows = slice(data.offsets[i], data.offsets[i + 1])
        yield {"docno": docno, "doc_embs": data.docs[rows].astype(np.float32)}


def row(
    name: str, system: Any, folder: Path, queries: pd.DataFrame, exact: pd.DataFrame, qrels: pd.DataFrame
) -> list[str]:
    """Seconds to fill, megabytes, milliseconds, overlap, nDCG."""
    clock = time.perf_counter()
    system(queries[:1])
    filled = time.perf_counter() - clock
    found, ms = timed(system, queries)
    best = {qid: set(rows["docno"][:10]) for qid, rows in found.groupby("qid")}
    overlap = np.mean([len(best[qid] & set(rows["docno"][:10])) / 10 for qid, rows in exact.groupby("qid")])
    table = pt.Experiment([found[["qid", "docno", "score"]]], queries[["qid", "query"]], qrels, [nDCG @ 10])
    theirs = isinstance(system, Peer)
    size = folder_size(folder) if theirs else folder_size(system.index_._directory)
    return [name, f"{filled:.1f}" if theirs else "", f"{size / 1e6:.0f}", f"{ms:.1f}", f"{overlap:.3f}",
            f"{table['nDCG@10'].iloc[0]:.3f}"]  # fmt: skip


def main() -> None:
    load, data = os.getloadavg()[0], Data(BY_NAME["scifact-2k"], QUERIES)
    folder, rows = Path(tempfile.mkdtemp(prefix="lir-stores-")), []
    try:
        kept = lir.LirIndex(folder / "kept.lir").indexer(keep_embs=True, verbose=False).index(records(data))
        small = lir.LirIndex(folder / "small.lir").indexer(verbose=False).index(records(data))
        exact = kept.exhaustive(num_results=10)(data.frame)
        for number, (name, make) in enumerate(SYSTEMS.items()):
            try:
                system = make(small if name in ("PLAID", "WARP") else kept, folder / f"store-{number}")
            except ImportError as error:
                print(f"left out: {error}")
                continue
            rows.append(row(name, system, folder / f"store-{number}", data.frame, exact, data.dataset.qrels))
            print(*rows[-1], sep="  ", flush=True)
    finally:
        shutil.rmtree(folder)
    notes = [
        f"Load at the start, from other work: {load:.1f}. Stores of others take as many threads as they like, but for "
        "DuckDB. MB: of the whole index or store; the first has fp16 vectors beside its codes."
    ]
    columns = ["system", "filled in s", "MB", "ms per query", "overlap@10", "nDCG@10"]
    text = [
        *header("Other stores", notes, QUERIES),
        *markdown(columns, rows),
        "",
        "Written by `benchmarks/stores.py`.",
        "",
    ]
    (RESULTS / "stores.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
