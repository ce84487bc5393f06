"""MaxSim as a mean over the query's rows instead of a sum, for scores that are to be added to others.

Reddy, Martin, Yang, Yates, Sanders, Murray, Kriz, de Melo, Van Durme, Chellappa: Video-ColBERT: Contextualized Late
Interaction for Text-to-Video Retrieval. CVPR 2025.
"""

from __future__ import annotations

import numpy as np

from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.feedback.reweighter import Reweighter


class MeanWeighting(Reweighter):
    """Scales the weights of a query's rows to the sum 1: ``w_i / sum_i w_i``, without weights ``1 / n``.

    Every scorer and retriever then gives the mean ``1/n sum_i max_j <q_i, d_j>``: the ranking of a query is the same,
    but scores of long and of short queries, and of several indexes, can be compared and added:
    ``encoder.query_encoder() >> MeanWeighting() >> (frames.maxsim() + tokens.maxsim())``.

    Expected columns: ``query_embs``, ``query_tok_ids``; ``query_weights`` is honoured if it is there. Output: all rows
    and columns, and ``query_weights``, float32 ``(n,)``; rows of padding have the weight 0.

    .. cite.dblp:: journals/corr/abs-2503-19009
    """

    LABEL = "Mean Weighting"

    def __init__(self) -> None:
        pass  # PyTerrier's own takes anything

    def reweight(self, embs: Floats, tok_ids: Ints, weights: Floats) -> Floats:
        """The weights, divided by their sum."""
        alive = np.where(embs.any(axis=1), weights, 0)
        total = float(alive.sum(dtype=np.float64))
        return (alive / total if total else alive).astype(np.float32)
