"""Ball carving: the rows of a query that say nearly the same become one row, so that scoring has fewer to look at."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.transformer import LirTransformer


class BallCarving(LirTransformer):
    """Replaces rows of a query that are close to each other by their sum.

    Greedily: the first row that is in no ball yet is the centre of the next one; all rows in no ball whose inner
    product with it is at least ``tau`` join it; the ball's row is ``sum_i w_i q_i``. For the carved query Q'

        MaxSim(Q', D) = sum over balls of max_j <sum_i w_i q_i, d_j>  <=  MaxSim(Q, D)

    with equality where the rows of each ball have the same best match in D. MUVERA encodes the cells of a document from
    all its vectors, so put this behind ``index.muvera()``, before ``index.maxsim()``: it speeds up the exact scores.

    Expected columns: ``query_embs``; ``query_weights`` is honoured if it is there. Output: the same columns, with fewer
    rows in ``query_embs``, in the order of their centres; the weights are in the sums, so ``query_weights`` becomes
    ones. ``query_tok_ids`` is dropped, because a row no longer belongs to one token. Padding, and rows of weight 0,
    are left out.

    Args:
        tau: Least inner product with the centre; above 1, vectors of unit length stay as they are, and with -1 or less
            they all become one.

    Raises:
        ValueError: If ``tau`` is no finite number, ``query_embs`` no matrix, or ``query_weights`` do not fit its rows.

    Example:
        >>> frame = pd.DataFrame([{"qid": "1", "query_embs": [[1, 0], [0, 1], [0.8, 0.6]]}])
        >>> BallCarving(tau=0.7)(frame)["query_embs"][0].tolist()
        [[1.7999999523162842, 0.6000000238418579], [0.0, 1.0]]

    Jayaram, Dhulipala, Hadian, Lee, Mirrokni: MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings. NeurIPS
    2024.

    .. cite.dblp:: conf/nips/JayaramDHLM24
    """

    LABEL = "Ball Carving"

    def __init__(self, *, tau: float = 0.7) -> None:
        self.tau = tau
        if not isinstance(tau, Real) or not math.isfinite(tau):
            raise ValueError(f"tau is {tau!r}; expected a finite number, for unit vectors a cosine such as 0.7.")

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Carves the query of each row."""
        with frames.validated(inp, self) as v:
            v.query_frame([columns.QUERY_EMBS])
            v.result_frame([columns.QUERY_EMBS])
            v.columns(includes=[columns.QUERY_EMBS])
        inp = frames.with_query_embs(inp)
        queries = zip(inp[columns.QUERY_EMBS], frames.cells(inp, columns.QUERY_WEIGHTS), strict=True)
        carved = [carve(*columns.as_query(*query), self.tau) for query in queries]
        changed = {columns.QUERY_EMBS: columns.object_column(carved)}
        if columns.QUERY_WEIGHTS in inp.columns:
            changed[columns.QUERY_WEIGHTS] = columns.object_column([np.ones(len(q), np.float32) for q in carved])
        return inp.drop(columns=columns.QUERY_TOK_IDS, errors="ignore").reset_index(drop=True).assign(**changed)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are carved one by one: cut first, carve what is left."""
        return pt.RankCutoff(k) >> self


def carve(embs: Floats, weights: Floats | None, tau: float) -> Floats:
    """The balls' rows, float32 ``(m, dim)``, of a query's rows ``(n, dim)`` and weights ``(n,)``, or None for ones."""
    near = embs @ embs.T >= tau
    np.fill_diagonal(near, True)  # a centre is in its own ball, however short it is
    rows = embs if weights is None else embs * weights[:, None]
    free = np.ones(len(embs), dtype=bool)
    balls = []
    for centre in range(len(embs)):
        if free[centre]:
            ball = near[centre] & free
            free &= ~ball
            balls.append(rows[ball].sum(axis=0))
    return np.stack(balls) if balls else embs
