"""Why WARP misses documents: how many of the best tokens of the best documents lie in the cells that are probed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt

import pyterrier_lir as lir
from pyterrier_lir.index.scoring import CodedQuery

CELLS = (16, 32, 64, 128, 256, 512)
SHALLOW, SHARE = 4, 64  # t' reaches so many times as deep as the cells, or that part of the collection
K = 10


class Reach(NamedTuple):
    """One row, as text."""

    cells: str
    share_of_cells: str
    best_tokens_reached: str
    overlap_t_4_times: str
    overlap_t_64th: str


def reach(index: lir.LirIndex, queries: pd.DataFrame, best: list[list[str]]) -> list[Reach]:
    """A row for each number of cells.

    ``best_tokens_reached`` is the share of pairs (row of a query, one of its ten best documents) where the document's
    best token for the row lies in a cell that is probed. Overlaps are WARP's where t' lies four times as deep as the
    cells, and where it is a 64th of the collection.
    """
    ranks = best_cells_ranks(index, queries, best)
    info = index.info()
    tokens, centroids = info["tokens"], info["centroids"]
    rows = []
    for cells in CELLS:
        if cells > centroids // 2:
            break
        shallow, deep = (
            overlap(warp(index, cells, t_prime), queries, best)
            for t_prime in (SHALLOW * cells * tokens // centroids, tokens // SHARE)
        )
        rows.append(Reach(
            str(cells), f"{cells / centroids:.2%}", f"{np.mean(ranks < cells):.3f}", f"{shallow:.3f}", f"{deep:.3f}",
        ))  # fmt: skip
    return rows


def warp(index: lir.LirIndex, cells: int, t_prime: int) -> pt.Transformer:
    """WARP with these settings, and no other bound."""
    return index.warp(nprobe=cells, t_prime=max(t_prime, 1), bound=1 << 30, num_results=K)


def best_cells_ranks(index: lir.LirIndex, queries: pd.DataFrame, best: list[list[str]]) -> np.ndarray:
    """For each row of a query and each of its best documents, how many cells are better than that of its best token."""
    pairs = zip(queries["query_embs"], best, strict=True)
    return np.concatenate([_ranks(index, query, docnos) for query, docnos in pairs])


def _ranks(index: lir.LirIndex, query: np.ndarray, docnos: list[str]) -> np.ndarray:
    store = index.store
    coded = CodedQuery(query, None, store.codec, 1)
    scores, found = coded.centroid_scores, []
    order = np.sort(scores[:, : len(query)], axis=0)
    for docid in store.lookup(docnos):
        segment, place = store.locate(int(docid))
        rows = slice(int(segment.offsets[place]), int(segment.offsets[place + 1]))
        cells = segment.codes[rows][(query @ store.vectors(segment, rows).T).argmax(axis=1)]
        own = scores[cells, np.arange(len(query))]
        better = [len(order) - np.searchsorted(order[:, i], own[i], side="right") for i in range(len(query))]
        found.append(np.array(better))
    return np.concatenate(found)


def overlap(system: pt.Transformer, queries: pd.DataFrame, best: list[list[str]]) -> float:
    """The share of each query's best documents that a system finds among its first, on average."""
    found = system(queries).groupby("qid")["docno"].agg(set)
    shares = [len(found[qid] & set(top)) / len(top) for qid, top in zip(queries["qid"], best, strict=True)]
    return float(np.mean(shares))
