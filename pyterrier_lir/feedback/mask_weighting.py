"""[MASK] rows as term weights: what the model would add to the query says which of its words matter.

ColBERT fills short queries with [MASK]; the rows that come out lie next to rows of the query's words.

Giacalone, Paiement, Tucker, Zanibbi: Beneath the [MASK]: An Analysis of Structural Query Tokens in ColBERT. ECIR 2024.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.feedback.reweighter import Reweighter


class MaskWeighting(Reweighter):
    """Gives the weight of every [MASK] row to the query row that is nearest to it.

    ``w'_i = w_i + sum of w_j over the [MASK] rows j whose most similar other row is i``, and 0 for the [MASK] rows: a
    row weighs 1 plus the number of masks that say the same. The sum of the weights stays as it was; a query without
    [MASK], or with nothing else, stays as it is.

    Expected columns: ``query_embs``, ``query_tok_ids``; ``query_weights`` is honoured if it is there. Output: all
    rows and columns, and ``query_weights``, float32 ``(n,)``.

    Args:
        mask_id: The token id of the rows that are spread, 103 for BERT's [MASK].
        exclude: Token ids of rows that get nothing and keep their weight. With those of [CLS], [SEP] and [Q] masks go
            to words only; by default they go to all, which the paper found best.

    Raises:
        ValueError: If ``mask_id`` is no token id, or ``query_weights`` or ``query_tok_ids`` do not fit the rows.

    Giacalone, Paiement, Tucker, Zanibbi: Beneath the [MASK]: An Analysis of Structural Query Tokens in ColBERT. ECIR
    2024.
    """

    LABEL = "MASK Weighting"

    def __init__(self, mask_id: int, *, exclude: Collection[int] = ()) -> None:
        arguments.check_counts(0, mask_id=mask_id)
        if not isinstance(exclude, Iterable) or isinstance(exclude, str | bytes):
            raise ValueError(f"exclude is {exclude!r}; expected token ids, such as [101, 102].")
        self.mask_id = mask_id
        self.exclude = tuple(exclude)

    def reweight(self, embs: Floats, tok_ids: Ints, weights: Floats) -> Floats:
        """The weights after spreading those of the masks."""
        alive = (weights > 0) & embs.any(axis=1)
        masks = np.flatnonzero(alive & (tok_ids == self.mask_id))
        words = np.flatnonzero(alive & (tok_ids != self.mask_id) & ~np.isin(tok_ids, self.exclude))
        if not len(masks) or not len(words):
            return weights
        spread = weights.copy()
        spread[masks] = 0
        np.add.at(spread, words[(embs[masks] @ embs[words].T).argmax(axis=1)], weights[masks])
        return spread
