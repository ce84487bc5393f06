"""Re-ranks documents from their text: encodes both sides, then exact MaxSim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pyterrier_lir import frames, kernels
from pyterrier_lir.index import scoring
from pyterrier_lir.ragged import Ragged
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder


class TextScorer(LirTransformer):
    """Re-ranks by ``sum_i max_j <q_i, d_j>`` of freshly encoded texts; equal texts are encoded once.

    Expected columns: ``qid``, ``query``, ``docno``, and the encoder's text fields; ``instruction`` is honoured if it is
    there. Output: all rows and columns, with new ``score`` and ``rank``; no vectors stay behind. A blank query or text
    scores -inf. Equal scores are in the order of the rows.

    Args:
        encoder: Encodes queries and documents.
        num_threads: Threads for scoring; None for all cores. The scores do not depend on it.
    """

    LABEL = "Text Scorer"

    def __init__(self, encoder: Encoder, *, num_threads: int | None = None) -> None:
        scoring.threads(num_threads)
        self.encoder = encoder
        self.num_threads = num_threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the distinct queries and texts of the frame and scores every row."""
        with frames.validated(inp, self) as v:
            v.result_frame(["query", *self.encoder.text_fields()])
        if not len(inp):
            return frames.rescored(inp, np.zeros(0))
        query_codes, queries = pd.factorize(np.array(self.encoder.query_texts(inp), dtype=object))
        text_codes, texts = pd.factorize(np.array(self.encoder.document_texts(inp), dtype=object))
        documents = Ragged.from_list([text.embs for text in self.encoder.encode_docs(list(texts))])
        scores = np.full(len(inp), -np.inf, dtype=np.float32)
        for code, query in enumerate(self.encoder.encode_queries(list(queries))):
            rows = np.flatnonzero(query_codes == code)
            if len(query.embs):
                scores[rows] = kernels.maxsim(
                    query.embs, documents.values, documents.offsets, text_codes[rows].astype(np.int64),
                    num_threads=scoring.threads(self.num_threads),
                )  # fmt: skip
        return frames.rescored(inp, scores)

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every row is scored."""
        return {"scored": len(inp)}
