"""Re-ranks pages from their images: encodes both sides, then exact MaxSim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from pyterrier_lir import columns, frames
from pyterrier_lir.index import scoring
from pyterrier_lir.rerank.maxsim import MaxSim
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.encode.page_model import PageModel


class PageScorer(LirTransformer):
    """Re-ranks by ``sum_i max_j <q_i, d_j>`` of freshly encoded queries and images.

    Expected columns: ``qid``, ``query``, ``docno``, and the encoder's image field. Output: all rows and columns, with
    new ``score`` and ``rank``; no vectors stay behind. A blank query scores -inf. Equal scores are in the order of the
    rows. A row whose image cannot be used is an error, or left out, as the encoder's ``on_error`` says.

    Args:
        encoder: Encodes queries and pages.
        num_threads: Threads for scoring; None for all cores. The scores do not depend on it.
    """

    LABEL = "Page Scorer"

    def __init__(self, encoder: PageModel, *, num_threads: int | None = None) -> None:
        scoring.threads(num_threads)
        self.encoder = encoder
        self.num_threads = num_threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the queries and images of the frame and scores every row."""
        with frames.validated(inp, self) as v:
            v.result_frame(["query", *self.encoder.text_fields()])
        encoded = self.encoder.doc_encoder().transform(self.encoder.query_encoder().transform(inp))
        scored = MaxSim(num_threads=self.num_threads).transform(encoded)
        added = {columns.QUERY_EMBS, columns.QUERY_TOK_IDS, columns.QUERY_ENCODER, columns.DOC_GRID} - set(inp.columns)
        return scored.drop(columns=sorted(added))

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every row is scored."""
        return {"scored": len(inp)}
