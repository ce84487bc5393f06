"""Re-ranks documents from their text: encodes both sides, then exact MaxSim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pyterrier_lir import columns, frames, kernels
from pyterrier_lir.index import scoring
from pyterrier_lir.ragged import Ragged
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder


class TextScorer(LirTransformer):
    """Re-ranks by ``sum_i w_i max_j <q_i, d_j>`` of freshly encoded texts; equal texts are encoded once.

    Expected columns: ``qid``, ``query``, ``docno``, and the encoder's text fields; ``instruction`` is honoured if it is
    there, and so is ``query_weights``, one number for each row of the query as it is encoded here. Output: all rows and
    columns, with new ``score`` and ``rank``; no vectors stay behind. A blank query or text scores -inf. Equal scores
    are in the order of the rows.

    Args:
        encoder: Encodes queries and documents.
        num_threads: Threads for scoring; None for all cores. The scores do not depend on it.

    Raises:
        ValueError: If there are not as many weights as rows, as where they belong to a reformulated ``query_embs``.
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
        inp = frames.with_queries(inp)
        text_codes, texts = pd.factorize(np.array(self.encoder.document_texts(inp), dtype=object))
        documents = Ragged.from_list([text.embs for text in self.encoder.encode_docs(list(texts))])
        scores = np.full(len(inp), -np.inf, dtype=np.float32)
        for query in frames.queries(self._encoded(inp), None):
            if len(query.embs):
                scores[query.rows] = kernels.maxsim(
                    query.embs, documents.values, documents.offsets, text_codes[query.rows].astype(np.int64),
                    weights=query.weights, num_threads=scoring.threads(self.num_threads),
                )  # fmt: skip
        return frames.rescored(inp, scores)

    def _encoded(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The queries of the rows, with their weights where there are any; equal queries share a matrix."""
        texts = self.encoder.query_texts(inp)
        distinct = list(dict.fromkeys(texts))
        rows = dict(zip(distinct, self.encoder.encode_queries(distinct), strict=True))
        asked = inp[["qid", *inp.columns.intersection([columns.QUERY_WEIGHTS])]]
        return asked.assign(query_embs=columns.object_column([rows[text].embs for text in texts]))

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every row is scored."""
        return {"scored": len(inp)}
