"""Exact MaxSim as a re-ranker: of documents in an index (`IndexMaxSim`), or in columns (`MaxSim`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyterrier_lir import arguments, columns, frames, kernels
from pyterrier_lir.frames import Query
from pyterrier_lir.index import scoring, whole
from pyterrier_lir.ragged import Ragged
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store


class IndexMaxSim(LirTransformer):
    """Re-ranks by ``sum_i w_i max_j <q_i, d_j>`` over the vectors that the index stores.

    Expected columns: ``qid``, ``query_embs``, ``docno``; ``query_weights`` and ``query_encoder`` are honoured if they
    are there; a ``docid`` is ignored. Output: all rows and columns, with new ``score`` and ``rank``. A row whose
    document or query has no vectors scores -inf. Equal scores are in index order.

    Args:
        index_: The index.
        missing: What to do with rows whose docno the index does not hold: ``"error"`` or ``"drop"``.
        num_threads: Threads on the processor; None for all cores. The scores do not depend on it.
        device: ``"cpu"``, or ``"cuda"`` to score with torch on a GPU.

    Raises:
        ValueError: If docnos are unknown (it names three), or the query's encoder or dimension is not the index's.

    .. cite.dblp:: conf/sigir/KhattabZ20
    """

    LABEL = "MaxSim"

    def __init__(
        self, index_: LirIndex, *, missing: str = "error", num_threads: int | None = None, device: str = "cpu"
    ) -> None:
        arguments.check_missing(missing)
        scoring.check_device(device)
        scoring.threads(num_threads)
        self.index_ = index_
        self.missing = missing
        self.num_threads = num_threads
        self.device = device

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores every row."""
        frames.check_result_frame(inp, self)
        if not len(inp):
            return frames.rescored(inp, np.zeros(0))
        store = self.index_.store
        inp, docids = frames.located(inp, store, self.missing)
        queries = frames.queries(inp, store.dim, encoder=store.encoder, what=self)
        return frames.rescored(inp, self.scores(store, queries, docids), ties=docids)

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every row is scored."""
        return {"scored": len(inp)}

    def scores(self, store: Store, queries: list[Query], docids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The score of each row, whose document is ``docids[row]``; in one call of the kernels where compiled."""
        scores = np.full(len(docids), -np.inf, dtype=np.float32)
        searcher, asked = whole.searcher(store), [query for query in queries if len(query.embs)]
        if self.device == "cpu" and searcher is not None and store.codec is not None and asked:
            rows = np.concatenate([query.rows for query in asked])
            offsets = np.cumsum([0, *(len(query.rows) for query in asked)])
            arrays = whole.query_arrays(asked, store.codec)
            count = scoring.threads(self.num_threads)
            scores[rows] = searcher.score(arrays, offsets, docids[rows], num_threads=count)
            return scores
        scorer = scoring.Scorer(store, num_threads=self.num_threads, device=self.device)
        prepared = [(scorer.prepare(query), query.rows) for query in queries if len(query.embs)]
        for start, segment in store.parts():
            here = (docids >= start) & (docids < start + len(segment))
            vectors = scorer.vectors(segment) if here.any() else None
            for query, rows in prepared:
                found = rows[here[rows]]
                if len(found):
                    scores[found] = scorer.maxsim(query, segment, docids[found] - start, vectors)
        return scores


class MaxSim(LirTransformer):
    """Re-ranks by ``sum_i w_i max_j <q_i, d_j>`` over vectors in columns, from whatever model or engine.

    Expected columns: ``qid``, ``query_embs``, ``docno``, ``doc_embs``; ``query_weights`` is honoured if it is there,
    and ``query_encoder`` must equal ``doc_encoder`` where both are. Output: all rows, with new ``score`` and ``rank``
    and without the document's vectors. A row whose document or query has no vectors scores -inf. Equal scores are in
    the order of the rows.

    Args:
        num_threads: Threads on the processor; None for all cores. The scores do not depend on it.

    Raises:
        ValueError: If encoders or dimensions of queries and documents differ, or a cell is no matrix.

    Example:
        >>> frame = pd.DataFrame([{"qid": "1", "query_embs": [[1, 0]], "docno": "a", "doc_embs": [[0, 1], [0.5, 0]]}])
        >>> MaxSim()(frame)[["docno", "score", "rank"]].values.tolist()
        [['a', 0.5, 0]]
    """

    LABEL = "MaxSim"

    def __init__(self, *, num_threads: int | None = None) -> None:
        scoring.threads(num_threads)
        self.num_threads = num_threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores every row."""
        frames.check_result_frame(inp, self, [columns.DOC_EMBS])
        drop = (columns.DOC_EMBS, columns.DOC_TOK_IDS, columns.DOC_ENCODER)
        if not len(inp):
            return frames.rescored(inp, np.zeros(0), drop=drop)
        inp = frames.with_query_embs(inp)
        documents = [columns.as_document(embs)[0] for embs in inp[columns.DOC_EMBS]]
        scores = np.full(len(inp), -np.inf, dtype=np.float32)
        for query in frames.queries(inp, None, encoder=frames.doc_encoder(inp), what=self):
            if len(query.embs):
                scores[query.rows] = self._score(query, [documents[row] for row in query.rows])
        return frames.rescored(inp, scores, drop=drop)

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every row is scored."""
        return {"scored": len(inp)}

    def _score(self, query: Query, documents: list[columns.Floats]) -> npt.NDArray[np.float32]:
        dim = query.embs.shape[1]
        other = {document.shape[1] for document in documents if len(document)} - {dim}
        if other:
            raise ValueError(
                f"{columns.DOC_EMBS} has {min(other)} dimensions, {columns.QUERY_EMBS} has {dim}; expected the same. "
                "Encode queries and documents with the same encoder."
            )
        packed = Ragged.from_list([document.reshape(-1, dim) for document in documents])
        return kernels.maxsim(
            query.embs,
            packed.values,
            packed.offsets,
            weights=query.weights,
            num_threads=scoring.threads(self.num_threads),
        )
