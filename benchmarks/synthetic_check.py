"""Whether synthetic collections behave as real ones: the same figures of both, at sizes that real ones have.

    python benchmarks/synthetic_check.py         # writes benchmarks/results/synthetic.md; encodes a million tokens once

The model of ``benchmarks/synthetic.py`` is fitted to 480,000 tokens of SciFact; a million are as much a forecast as
ten are. Real collections hold what is relevant to the first 100 queries, then other documents in collection order.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from embedded import CACHE, DATASETS, Data, Dataset
from growth_reach import K, best_cells_ranks, overlap
from mdtable import markdown
from synthetic import Collection, Model

import pyterrier_lir as lir

RESULTS = Path(__file__).parent / "results"
FOLDER = CACHE.parent / "growth" / "check"
REAL = Dataset("scifact-4k", "irds:beir/scifact/test", ("title", "text"), 4200)
TOKENS = (100_000, 1_000_000)
QUERIES, SAMPLE = 100, 50_000
Documents = list[np.ndarray]


def real(data: Data, tokens: int) -> tuple[Documents, pd.DataFrame]:
    """Documents with so many tokens, and the queries."""
    queries = data.frame[:QUERIES]
    qrels = data.dataset.qrels
    wanted = set(qrels[qrels["qid"].isin(queries["qid"]) & (qrels["label"] > 0)]["docno"])
    order = sorted(range(len(data.docnos)), key=lambda i: data.docnos[i] not in wanted)
    documents: Documents = []
    for i in order:
        documents.append(data.docs[data.offsets[i] : data.offsets[i + 1]].astype(np.float32))
        tokens -= len(documents[-1])
        if tokens <= 0:
            break
    return documents, queries


def figures(documents: Documents, queries: pd.DataFrame, name: str) -> dict[str, str]:
    """What is compared, as text."""
    path = FOLDER / name
    shutil.rmtree(path, ignore_errors=True)
    records = ({"docno": str(i), "doc_embs": embs} for i, embs in enumerate(documents))
    index = lir.LirIndex(path).indexer(verbose=False).index(records)
    exact = index.exhaustive(num_results=1000)(queries)
    best = [exact[exact["qid"] == qid]["docno"].tolist()[:K] for qid in queries["qid"]]
    ranks = best_cells_ranks(index, queries, best)
    return {
        **spread(documents), **clusters(index, documents), **scores(exact, queries),
        "best tokens in 32 cells": f"{np.mean(ranks < 32):.3f}", "in 128 cells": f"{np.mean(ranks < 128):.3f}",
        "WARP, 32 cells": f"{overlap(index.warp(nprobe=32, num_results=K), queries, best):.3f}",
        "WARP, 128 cells": f"{overlap(index.warp(nprobe=128, num_results=K), queries, best):.3f}",
        "PLAID": f"{overlap(index.plaid(num_results=K), queries, best):.3f}",
    }  # fmt: skip


def spread(documents: Documents) -> dict[str, str]:
    """Of a sample of tokens: the length of their mean, and what the first principal axes explain."""
    tokens = np.concatenate(documents)
    sample = tokens[np.random.default_rng(0).choice(len(tokens), min(SAMPLE, len(tokens)), replace=False)]
    values = np.linalg.eigvalsh(np.cov(sample.T))[::-1]
    explained = np.cumsum(values) / values.sum()
    return {
        "tokens": f"{len(tokens):,}", "length of the mean": f"{np.linalg.norm(tokens.mean(axis=0)):.3f}",
        **{f"variance of {n} axes": f"{explained[n - 1]:.3f}" for n in (4, 16, 64)},
    }  # fmt: skip


def clusters(index: lir.LirIndex, documents: Documents) -> dict[str, str]:
    """How far tokens lie from their centroids, and what their residuals share within documents and passages."""
    store = index.store
    (segment,) = store.segments
    tokens = np.concatenate(documents)
    centroids = store.codec.centroids.vectors[segment.codes]
    residuals = tokens - centroids
    total = (residuals**2).sum(axis=1).mean()
    lengths = np.diff(segment.offsets)
    sums = np.add.reduceat(residuals, segment.offsets[:-1])
    squares = np.add.reduceat((residuals**2).sum(axis=1), segment.offsets[:-1])
    pairs = ((sums**2).sum(axis=1) - squares) / np.maximum(lengths * (lengths - 1), 1)
    distinct = len(segment.doc_codes) / len(tokens)
    neighbours = (residuals[1:] * residuals[:-1]).sum(axis=1).mean()
    sizes = np.percentile(store.cell_sizes, [10, 50, 99])
    return {
        "cosine with centroid": f"{(tokens * centroids).sum(axis=1).mean():.3f}",
        "tokens of a cell, 10, 50, 99 %": "/".join(f"{size:.0f}" for size in sizes),
        "residuals: correlation in a document": f"{pairs.mean() / total:.3f}",
        "of neighbours": f"{neighbours / total:.3f}", "distinct centroids for each token": f"{distinct:.3f}",
    }  # fmt: skip


def scores(exact: pd.DataFrame, queries: pd.DataFrame) -> dict[str, str]:
    """Mean scores for each query row at some ranks."""
    rows = exact["qid"].map(dict(zip(queries["qid"], queries["query_embs"].map(len), strict=True)))
    of_row = exact["score"] / rows
    return {f"score of a row, rank {rank}": f"{of_row[exact['rank'] == rank - 1].mean():.3f}" for rank in (1, 10, 100)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    args = parser.parse_args()
    model, columns = Model.cached(Data(DATASETS[0])), []
    for tokens in args.tokens:
        data = Data(REAL if tokens > 480_000 else DATASETS[0])
        collection = Collection(model, tokens)
        columns.append({"": "real", **figures(*real(data, tokens), "real")})
        columns.append({"": "synthetic", **figures(list(collection.documents()), collection.queries(QUERIES), "made")})
        table = [[name, *(column[name] for column in columns)] for name in columns[0] if name]
        text = ["# Synthetic collections beside real ones", "", *(__doc__ or "").strip().splitlines()[4:], "",
                *markdown(["", *(column[""] for column in columns)], table), ""]  # fmt: skip
        (RESULTS / "synthetic.md").write_text("\n".join(text))
        print("\n".join(text[-len(table) - 3 :]), flush=True)


if __name__ == "__main__":
    main()
