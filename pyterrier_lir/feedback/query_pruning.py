"""Query-row pruning: candidates are found with the rarest few rows of the query only.

Tonellotto, Macdonald: Query Embedding Pruning for Dense Retrieval. CIKM 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.feedback.reweighter import Reweighter

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex


class QueryPruning(Reweighter):
    """Keeps the ``keep`` query rows whose tokens occur least often in the collection; the others get the weight 0.

    A row of weight 0 takes part in nothing, in any retriever. Rows of tokens that do not occur ([MASK], [Q]) go
    first, for nothing is known of them; of equal ones the first rows stay. To score what was found with all rows,
    drop the weights, which costs nothing: ``q >> index.query_pruning(keep=3) >> index.plaid() >>
    pt.apply.query_weights(drop=True) >> index.maxsim()``.

    Expected columns: ``query_embs``, ``query_tok_ids``; ``query_weights`` is honoured if it is there. Output: all
    rows and columns, and ``query_weights``, float32 ``(n,)``: what it was, or 0.

    Args:
        index_: Where the frequencies come from.
        keep: Rows that stay; as many as a query has, or more, change nothing.

    Raises:
        ValueError: If ``keep`` is less than 1, or the index has no token ids.

    .. cite.dblp:: conf/cikm/TonellottoM21
    """

    LABEL = "Query Pruning"

    def __init__(self, index_: LirIndex, keep: int) -> None:
        arguments.check_counts(keep=keep)
        self.index_ = index_
        self.keep = keep

    def reweight(self, embs: Floats, tok_ids: Ints, weights: Floats) -> Floats:
        """The weights, 0 for all but the rarest rows."""
        frequency = self.index_.token_stats().collection_frequency(tok_ids)
        rarity = np.where(frequency > 0, frequency, np.iinfo(np.int64).max)
        rows = np.flatnonzero((weights > 0) & embs.any(axis=1))
        kept = rows[np.argsort(rarity[rows], kind="stable")[: self.keep]]
        return np.where(np.isin(np.arange(len(weights)), kept), weights, 0).astype(np.float32)
