"""WARP and PLAID on collections of 0.1, 1 and 10 million tokens: milliseconds and megabytes for each query.

    python benchmarks/growth.py                  # writes benchmarks/results/growth.md; needs `make engines` once

The collections are synthetic: documents of SciFact are taken again and again, each time with all of their tokens moved
by noise of .4 of their length and scaled back, so that clusters keep the shape that real ones have. The field's rule
chooses the centroids; defaults choose everything else. MB are the bytes of the index that a query reads, counted and
not measured: centroids, inverted lists, distinct centroids of candidates, scored tokens. One thread, median of 60
queries.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from embedded import CACHE, DATASETS, Data
from engines_builds import size_mb
from mdtable import markdown

import pyterrier_lir as lir
from pyterrier_lir import kernels

RESULTS = Path(__file__).parent / "results"
TOKENS = (100_000, 1_000_000, 10_000_000)
NOISE, QUERIES, K = 0.4, 60, 10


def documents(data: Data, tokens: int) -> Iterator[dict[str, Any]]:
    """Documents with so many tokens in all."""
    number, left, rng = 0, tokens, np.random.default_rng(0)
    dim = data.docs.shape[1]
    while left > 0:
        for doc in rng.permutation(len(data.docnos)):
            embs = data.docs[data.offsets[doc] : data.offsets[doc + 1]].astype(np.float32)
            embs = embs + NOISE / np.sqrt(dim) * rng.standard_normal(embs.shape, dtype=np.float32)
            yield {"docno": str(number), "doc_embs": embs / np.linalg.norm(embs, axis=1, keepdims=True)}
            number, left = number + 1, left - len(embs)
            if left <= 0:
                return


def built(data: Data, tokens: int) -> tuple[lir.LirIndex, float]:
    """The index, and the seconds to build it."""
    path = CACHE / "growth" / str(tokens)
    shutil.rmtree(path, ignore_errors=True)
    clock = time.perf_counter()
    index = lir.LirIndex(path).indexer(verbose=False).index(documents(data, tokens))
    return index, time.perf_counter() - clock


def searched(system: pt.Transformer, queries: pd.DataFrame) -> tuple[float, pd.DataFrame]:
    """Milliseconds, and a row of statistics for each query."""
    times, first = [], []
    for i in range(len(queries)):
        clock = time.perf_counter()
        found = system(queries[i : i + 1])
        times.append(1000 * (time.perf_counter() - clock))
        first.append(found[:1])
    return float(np.median(times)), pd.concat(first)


def megabytes(index: lir.LirIndex, name: str, stats: pd.DataFrame) -> float:
    """What a query reads of the index, on average."""
    info = index.info()
    dim, tokens = info["dim"], info["tokens"]
    sizes = info["bytes"]
    read = info["centroids"] * (dim + 4)
    token = dim * info["nbits"] / 8
    if name == "WARP":
        return (read + stats["warp_tokens"].mean() * (token + 4)) / 1e6
    code = sizes.get("codes.u16", sizes.get("codes.i32", 0)) / tokens
    distinct = sizes.get("doc_codes.u16", sizes.get("doc_codes.i32", 0)) / info["documents"]
    read += stats["plaid_candidates"].mean() * (distinct + 4)
    return (read + stats["plaid_scored"].mean() * tokens / info["documents"] * (token + code + 1)) / 1e6


def rows(data: Data, tokens: int) -> Iterator[list[str]]:
    """A row for each method."""
    index, seconds = built(data, tokens)
    queries = data.frame[:QUERIES]
    one: dict[str, Any] = {"num_results": K, "num_threads": 1, "stats": True}
    exact = index.exhaustive(num_results=K)(queries).groupby("qid")["docno"].agg(set)
    for name, system in {"WARP": index.warp(**one), "PLAID": index.plaid(**one)}.items():
        clock = time.perf_counter()
        system(queries[:1])  # makes what WARP derives from the index
        first = time.perf_counter() - clock
        ms, stats = searched(system, queries)
        found = system(queries).groupby("qid")["docno"].agg(set)
        overlap = np.mean([len(found[qid] & best) / len(best) for qid, best in exact.items()])
        stages = {column: f"{stats[column].mean():.2f}" for column in stats if column.endswith("_ms")}
        yield [
            f"{index.info()['tokens']:,}", f"{len(index):,}", f"{index.info()['centroids']:,}", name, f"{ms:.2f}",
            ", ".join(f"{column.split('_')[1]} {value}" for column, value in stages.items()),
            f"{megabytes(index, name, stats):.2f}", f"{overlap:.3f}", f"{seconds:.0f}", f"{first:.1f}",
            f"{size_mb(index._directory) - (size_mb(index._directory / 'derived') if name == 'PLAID' else 0):.0f}",
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    args = parser.parse_args()
    data, table = Data(DATASETS[0]), []
    for tokens in args.tokens:
        for row in rows(data, tokens):
            table.append(row)
            print(*row, sep="  ", flush=True)
    header = ["tokens", "documents", "centroids", "method", "ms", "stages, ms", "MB per query",
              "overlap with its exhaustive", "build s (all cores)", "first query s", "index MB"]  # fmt: skip
    text = ["# Growth", "", *(__doc__ or "").strip().splitlines()[4:], "",
            f"Kernel build `{kernels.active()}`.", "", *markdown(header, table), ""]  # fmt: skip
    (RESULTS / "growth.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
