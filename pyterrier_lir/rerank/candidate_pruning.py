"""Candidate pruning: documents that the first stage scores far below its k-th are not worth re-ranking.

Martinico, Nardini, Rulli, Venturini: Multivector Reranking in the Era of Strong First-Stage Retrievers.
arXiv:2601.05200, 2026.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyterrier_lir import arguments, frames
from pyterrier_lir.transformer import LirTransformer


class CandidatePruning(LirTransformer):
    """Keeps the documents with ``score >= s_k - alpha |s_k|``, where ``s_k`` is the query's k-th best score.

    A query with no more than k documents keeps them all.

    Expected columns: ``qid``, ``docno``, ``score``. Output: the same columns, fewer rows, as they were.

    Args:
        alpha: How far below the k-th a document may be; 0 keeps k, and those that equal the last; infinity keeps all.
            The paper's values are .015 to .05, for a learned sparse first stage.
        k: Documents that will be looked at in the end.

    Raises:
        ValueError: If ``alpha`` is negative, or k no positive number.

    Example:
        >>> ranking = pd.DataFrame({"qid": "1", "docno": list("abcd"), "score": [10.0, 8.0, 7.0, 6.0]})
        >>> CandidatePruning(0.2, k=2)(ranking)["docno"].tolist()  # at least 8 - .2 * 8
        ['a', 'b', 'c']

    Martinico, Nardini, Rulli, Venturini: Multivector Reranking in the Era of Strong First-Stage Retrievers.
    arXiv:2601.05200, 2026.
    """

    LABEL = "Candidate Pruning"

    def __init__(self, alpha: float, *, k: int = 10) -> None:
        arguments.check_number("alpha", alpha, 0, np.inf, "a number of at least 0; float('inf') keeps all")
        arguments.check_counts(k=k)
        self.alpha = alpha
        self.k = k

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Leaves out the rows that score too little."""
        frames.check_columns(inp, self, ["qid", "docno", "score"])
        inp = inp.reset_index(drop=True)
        if self.alpha == np.inf:
            return inp
        scores, keep = inp["score"].to_numpy(dtype=float), np.ones(len(inp), dtype=np.bool_)
        for rows in inp.groupby("qid", sort=False).indices.values():
            if len(rows) > self.k:
                kth = np.partition(scores[rows], -self.k)[-self.k]
                keep[rows] = scores[rows] >= kth - self.alpha * abs(kth)
        return inp[keep].reset_index(drop=True)
