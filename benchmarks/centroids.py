"""Finding a row's best centroids where there are very many: all of them, those of some coarse groups, or FAISS's HNSW.

    python benchmarks/centroids.py               # writes benchmarks/results/centroids.md; needs `make engines` once

The centroids are synthetic: every one of SciFact's 8,192 is taken 1, 8 or 32 times, each time moved by as much noise
as its tokens lie away from it, and sorted by coarse groups that are clustered as in a build. The queries are SciFact's.
One thread; medians of queries; recall of each row's 32 best centroids.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from embedded import DATASETS, Data
from mdtable import markdown

import pyterrier_lir as lir
from pyterrier_lir import kernels
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.kmeans import COARSE_ITERATIONS, Centroids, kmeans
from pyterrier_lir.index.scoring import CodedQuery

RESULTS = Path(__file__).parent / "results"
COPIES = (1, 8, 32)
P = 32  # cells of each row
GROUPS = (8, 16, 32, 64, 128)
EF_SEARCH = (32, 64, 128)
NOISE = 0.62  # length of the noise: tokens have a cosine of .85 with their centroid


def centroids_of(vectors: np.ndarray) -> Centroids:
    """The vectors sorted by coarse group."""
    rng = np.random.default_rng(0)
    count = round(np.sqrt(len(vectors)))
    coarse = kmeans(vectors[rng.permutation(len(vectors))[: 50 * count]], count, COARSE_ITERATIONS, rng, num_threads=2)
    groups, _ = kernels.nearest(vectors, coarse, num_threads=2)
    order = np.argsort(groups, kind="stable")
    offsets = np.searchsorted(groups[order], np.arange(count + 1)).astype(np.int64)
    return Centroids(np.ascontiguousarray(vectors[order]), coarse, offsets)


def synthetic(vectors: np.ndarray, copies: int) -> Centroids:
    """Every vector so many times, moved by noise."""
    if copies == 1:
        return centroids_of(vectors)
    rng = np.random.default_rng(copies)
    dim = vectors.shape[1]
    moved = np.repeat(vectors, copies, axis=0)
    moved += NOISE / np.sqrt(dim) * rng.standard_normal(moved.shape, dtype=np.float32)
    return centroids_of(moved / np.linalg.norm(moved, axis=1, keepdims=True))


Select = Callable[[CodedQuery], np.ndarray]


def measure(select: Select, queries: list[np.ndarray], codec: Codec, exact: list[np.ndarray]) -> tuple[float, float]:
    """Milliseconds and recall."""
    times, recalls = [], []
    for query, wanted in zip(queries, exact, strict=True):
        coded = CodedQuery(query, None, codec, 1)
        clock = time.perf_counter()
        found = select(coded)
        times.append(1000 * (time.perf_counter() - clock))
        recalls += [len(set(a) & set(b)) / P for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]
    return float(np.median(times)), float(np.mean(recalls))


def hnsw(vectors: np.ndarray) -> tuple[Callable[[int], Select], float]:
    """Selection by a graph over the centroids, for a given efSearch, and the seconds to build it."""
    import faiss

    faiss.omp_set_num_threads(2)
    clock = time.perf_counter()
    graph = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 100
    graph.add(vectors)
    seconds = time.perf_counter() - clock
    faiss.omp_set_num_threads(1)

    def with_ef(ef: int) -> Select:
        def select(coded: CodedQuery) -> np.ndarray:
            graph.hnsw.efSearch = ef
            return graph.search(coded.weighted, P)[1]

        return select

    return with_ef, seconds


def main() -> None:
    data = Data(DATASETS[0])
    index = lir.LirIndex(data.folder / "4-bits")
    real, step, lo = index.store.codec.centroids.vectors, index.store.codec.step, index.store.codec.lo
    queries = data.frame["query_embs"].tolist()[:60]
    rows = []
    for copies in COPIES:
        codec = Codec(synthetic(np.array(real), copies), 4, step, lo, None)
        codec.centroid_bytes, codec.coarse_bytes  # noqa: B018  made once, not for the first query
        exact = [CodedQuery(query, None, codec, 1).best_cells(P)[0] for query in queries]
        k, groups = len(codec.centroids.vectors), len(codec.centroids.coarse)
        print(f"K = {k:,}", flush=True)
        ways: dict[str, Select] = {"all centroids": lambda coded: coded.best_cells(P)[0]}
        for count in GROUPS:
            ways[f"{count} of {groups} groups"] = lambda coded, count=count: coded.best_cells(P, count)[0]
        if copies == max(COPIES):
            with_ef, seconds = hnsw(codec.centroids.vectors)
            ways |= {f"HNSW, M=32, ef={ef} (built in {seconds:.0f} s)": with_ef(ef) for ef in EF_SEARCH}
        for name, select in ways.items():
            ms, recall = measure(select, queries, codec, exact)
            rows.append([f"{k:,}", name, f"{ms:.2f}", f"{recall:.3f}"])
            print(*rows[-1], sep="  ", flush=True)
    length = np.mean([len(query) for query in queries])
    text = [
        "# The best centroids of a row, of very many", "", *__doc__.strip().splitlines()[4:], "",
        f"Queries of {length:.0f} rows on average; kernel build `{kernels.active()}`.", "",
        *markdown(["K", "way", "ms per query", "recall of the best 32"], rows), "",
    ]  # fmt: skip
    (RESULTS / "centroids.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
