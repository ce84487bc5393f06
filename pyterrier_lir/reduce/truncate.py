"""Dimension cuts for models that were trained for them.

Kusupati et al.: Matryoshka Representation Learning. NeurIPS 2022.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.transformer import LirTransformer

SIDES = ((columns.QUERY_EMBS, columns.QUERY_ENCODER), (columns.DOC_EMBS, columns.DOC_ENCODER))


class Truncate(LirTransformer):
    """Keeps the first ``dim`` dimensions of every vector and scales it back to unit length: ``x[:dim] / |x[:dim]|``.

    For models with Matryoshka training. Others lose much: their dimensions are in no order; for a dense one
    `LateInteractionEncoder.adapt` finds the best projection.

    Expected columns: ``query_embs`` or ``doc_embs``, or both; queries and documents must be cut alike:
    ``encoder >> Truncate(64) >> index`` and ``encoder.query_encoder() >> Truncate(64) >> index.plaid()``. Output: the
    same columns, the matrices float32 ``(n, dim)``. The encoder's fingerprint gets the suffix ``[:dim]``, so that cut
    and whole vectors are not compared with each other.

    Args:
        dim: How many dimensions stay.

    Raises:
        ValueError: If ``dim`` is no positive number, or larger than what the vectors have.

    Example:
        >>> document = pd.DataFrame({"docno": ["d"], "doc_embs": [[[3, 4, 12]]]})
        >>> Truncate(2)(document)["doc_embs"][0]
        array([[0.6, 0.8]], dtype=float32)

    .. cite.dblp:: conf/nips/KusupatiBRWSRHC22
    """

    LABEL = "Truncate"

    def __init__(self, dim: int) -> None:
        arguments.check_counts(dim=dim)
        self.dim = dim

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Cuts the vectors of every row."""
        with frames.validated(inp, self) as v:
            v.columns(includes=[columns.DOC_EMBS])
            v.columns(includes=[columns.QUERY_EMBS])
        changed: dict[str, object] = {}
        for embs, encoder in SIDES:
            if embs in inp.columns:
                changed[embs] = columns.object_column([self._cut(value, embs) for value in inp[embs]])
            if embs in inp.columns and encoder in inp.columns:
                changed[encoder] = inp[encoder].reset_index(drop=True) + f"[:{self.dim}]"
        return inp.reset_index(drop=True).assign(**changed)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are cut one by one: leave out first, cut what is left."""
        return pt.RankCutoff(k) >> self

    def _cut(self, value: object, column: str) -> Floats:
        embs = columns.as_matrix(value, column)
        width = embs.shape[1]
        if len(embs) and width < self.dim:
            raise ValueError(
                f"{column} has {width} dimensions; expected at least {self.dim}. At most: Truncate({width})."
            )
        if width == self.dim:
            return embs
        cut = embs[:, : self.dim]
        norms = np.linalg.norm(cut, axis=1, keepdims=True)
        return np.ascontiguousarray(cut / np.where(norms > 0, norms, 1))
