"""An engine in a process of its own: builds its index from embeddings, then answers queries one line at a time.

Started by ``benchmarks/engines.py`` with the Python that has the engine, as ``worker.py ENGINE INDEX DATA THREADS``.
Every line of the standard input is a JSON request, answered by one line of JSON; see the methods of `Worker`. A new
engine is a class with the methods of `FastPlaid`, named in `ENGINES`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Rankings = list[list[int]]


class Embeddings:
    """What ``embedded.py`` stored: float16 rows, and where the rows of each document or query begin."""

    def __init__(self, folder: Path, side: str) -> None:
        self.rows = np.load(folder / f"{side}.npy", mmap_mode="r")
        self.offsets = np.load(folder / f"{side}_offsets.npy")

    def arrays(self) -> list[np.ndarray]:
        """One float32 matrix for each document or query."""
        bounds = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        return [np.array(self.rows[start:end], dtype=np.float32) for start, end in bounds]


def best(queries: list[Any], rows: np.ndarray, offsets: np.ndarray, k: int) -> Rankings:
    """The documents with the best MaxSim; none is without rows."""
    scores = (np.maximum.reduceat(rows @ query.numpy().T, offsets[:-1]).sum(1) for query in queries)
    return [np.argsort(-found, kind="stable")[:k].tolist() for found in scores]


class Engine:
    """What is the same for most: queries are searched as they are, and results are rankings."""

    def prepare(self, queries: list[Any]) -> Any:
        """What a search is given; this takes no time that is measured."""
        return queries

    def listed(self, found: Any) -> Rankings:
        """The rankings that a search has found; neither does this."""
        return found


class FastPlaid(Engine):
    """fast-plaid, see https://github.com/lightonai/fast-plaid.

    Of several queries each has a thread, and torch has one; with more, their barriers wait on a busy machine.
    """

    def __init__(self, path: Path, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported; what is set later holds for one thread
        import torch
        from fast_plaid.search import FastPlaid as Index

        torch.set_num_threads(1)
        self.tensor = torch.from_numpy
        self.threads = threads
        self.index = Index(str(path), device="cpu")

    def build(self, docs: list[Any], options: dict[str, Any]) -> None:
        self.index.create(docs, **options)

    def open(self) -> None:
        """The first search loads what is missing."""

    def search(self, queries: list[Any], k: int, settings: dict[str, Any]) -> Rankings:
        found = self.index.search(queries, top_k=k, show_progress=False, n_processes=self.threads, **settings)
        return [[docid for docid, _ in hits] for hits in found]

    def exhaustive(self, queries: list[Any], k: int, num_docs: int) -> Rankings:
        """MaxSim with the vectors that the index decompresses."""
        docs = [vectors.float().numpy() for vectors in self.index.get_embeddings(list(range(num_docs)))]
        return best(queries, np.concatenate(docs), np.cumsum([0, *map(len, docs)]), k)


class XtrWarp(Engine):
    """xtr-warp-rs, see https://github.com/lightonai/xtr-warp."""

    def __init__(self, path: Path, threads: int) -> None:
        import torch
        from xtr_warp.search import XTRWarp

        torch.set_num_threads(threads)
        self.tensor = torch.from_numpy
        self.threads = threads
        self.path = path
        self.index = XTRWarp(str(path), "cpu")

    def build(self, docs: list[Any], options: dict[str, Any]) -> None:
        self.index.create(docs, device="cpu", show_progress=False, **options)

    def open(self) -> None:
        self.index.load("cpu")

    def search(self, queries: list[Any], k: int, settings: dict[str, Any]) -> Rankings:
        found = self.index.search(queries, top_k=k, num_threads=self.threads, show_progress=False, **settings)
        return [[docid for docid, _ in hits] for hits in found]

    def exhaustive(self, queries: list[Any], k: int, num_docs: int) -> Rankings:
        """MaxSim with the vectors that the index stores: centroid and residual, not normalised.

        A search with nprobe = centroids gives the same ranking (.998 of the best ten) in 100 times the time.
        """
        parts = range(len(list(self.path.glob("*.residuals.npy"))))
        codes, residuals = (
            np.concatenate([np.load(self.path / f"{part}.{name}.npy") for part in parts])
            for name in ("codes", "residuals")
        )
        lengths = np.concatenate([np.load(self.path / f"doclens.{part}.npy") for part in parts])
        backwards = np.array([int(f"{level:04b}"[::-1], 2) for level in range(16)])  # the lowest bit comes first
        levels = np.load(self.path / "bucket_weights.npy").astype(np.float32)[backwards]
        rows = np.load(self.path / "centroids.npy").astype(np.float32)[codes]
        rows[:, 0::2] += levels[residuals >> 4]
        rows[:, 1::2] += levels[residuals & 15]
        return best(queries, rows, np.cumsum([0, *lengths]), k)


class PyTerrierLir(Engine):
    """Ours, which is built here; an earlier commit of it is also searched here, from frame to frame."""

    def __init__(self, path: Path, threads: int) -> None:
        import pandas as pd

        import pyterrier_lir as lir

        self.frame = pd.DataFrame
        self.tensor = np.asarray
        self.threads = threads
        self.index = lir.LirIndex(path)
        self.made: dict[tuple[str, int], Any] = {}

    def build(self, docs: list[Any], options: dict[str, Any]) -> None:
        records = ({"docno": str(docid), "doc_embs": vectors} for docid, vectors in enumerate(docs))
        self.index.indexer(num_threads=self.threads, mode="overwrite", verbose=False, **options).index(records)

    def open(self) -> None:
        """The first search loads what is missing."""

    def prepare(self, queries: list[np.ndarray]) -> Any:
        """A frame, as it comes from an encoder."""
        qids = [str(i) for i in range(len(queries))]
        return self.frame({"qid": qids, "query": qids, "query_embs": queries})

    def search(self, queries: Any, k: int, settings: dict[str, Any]) -> Any:
        method = settings["method"]
        if (method, k) not in self.made:
            self.made[method, k] = getattr(self.index, method)(num_results=k, num_threads=self.threads)
        return self.made[method, k](queries)

    def listed(self, found: Any) -> Rankings:
        return [part.astype(int).tolist() for _, part in found.groupby("qid", sort=False)["docno"]]

    def exhaustive(self, queries: list[np.ndarray], k: int, num_docs: int) -> Rankings:
        return self.listed(self.search(self.prepare(queries), k, {"method": "exhaustive"}))


ENGINES: dict[str, Any] = {
    "fast-plaid": FastPlaid,
    "xtr-warp-rs": XtrWarp,
    "pyterrier_lir": PyTerrierLir,
    "pyterrier_lir, old": PyTerrierLir,
}


class Worker:
    """The requests; ``do`` names the method, the rest are its arguments."""

    def __init__(self, engine: str, path: Path, data: Path, threads: int) -> None:
        self.engine = ENGINES[engine](path, threads)
        self.data = data
        self.docs: list[Any] = []
        self.queries = [self.engine.tensor(array) for array in Embeddings(data, "queries").arrays()]

    def load(self) -> dict[str, Any]:
        """Gets the documents' embeddings into memory."""
        self.docs = [self.engine.tensor(array) for array in Embeddings(self.data, "docs").arrays()]
        return {"documents": len(self.docs)}

    def build(self, options: dict[str, Any]) -> dict[str, Any]:
        """Builds the index from the embeddings in memory."""
        clock, cpu = time.perf_counter(), time.process_time()
        self.engine.build(self.docs, options)
        return {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}

    def open(self) -> dict[str, Any]:
        """Opens the index for searching."""
        self.engine.open()
        return {}

    def search(self, queries: list[int], k: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Searches for queries one by one; ``ms`` and ``cpu_ms`` are what each call took."""
        times, cpu_times, rankings = [], [], []
        for query in queries:
            asked = self.engine.prepare([self.queries[query]])
            clock, cpu = time.perf_counter(), time.process_time()
            found = self.engine.search(asked, k, settings)
            times.append(1000 * (time.perf_counter() - clock))
            cpu_times.append(1000 * (time.process_time() - cpu))
            rankings += self.engine.listed(found)
        return {"ms": times, "cpu_ms": cpu_times, "docids": rankings}

    def batch(self, queries: list[int], k: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Searches for all queries in one call."""
        chosen = self.engine.prepare([self.queries[query] for query in queries])
        clock = time.perf_counter()
        self.engine.search(chosen, k, settings)
        return {"ms": 1000 * (time.perf_counter() - clock)}

    def exhaustive(self, k: int) -> dict[str, Any]:
        """The ranking of all documents by the vectors that the index stores."""
        return {"docids": self.engine.exhaustive(self.queries, k, len(np.load(self.data / "docs_offsets.npy")) - 1)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the answers
    engine, path, data, threads = sys.argv[1:]
    worker = Worker(engine, Path(path), Path(data), int(threads))
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(getattr(worker, request.pop("do"))(**request)) + "\n")


if __name__ == "__main__":
    main()
