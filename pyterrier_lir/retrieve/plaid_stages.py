"""PLAID's stages as transformers of their own: candidates without scores, and the centroid interaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyterrier_lir import arguments, frames
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.retrieve.plaid import CentroidQuery, check_threshold
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex


class PlaidCandidates(LirTransformer):
    """PLAID's first stage: the documents in the ``nprobe`` best cells of each query row, unordered.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query and ``docno``, without score and rank.

    Args:
        index_: The index.
        nprobe: Cells probed for each query row.
        min_docs: Documents at least, by probing more cells if need be.
        docnos: Candidates among these only; None for all.
        num_threads: Threads on the processor; None for all cores.

    Raises:
        ValueError: If the query's encoder or dimension is not the index's, or if docnos are unknown.
    """

    LABEL = "PLAID Candidates"

    def __init__(
        self,
        index_: LirIndex,
        *,
        nprobe: int = 4,
        min_docs: int = 1,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
    ) -> None:
        arguments.check_counts(nprobe=nprobe, min_docs=min_docs)
        threads(num_threads)
        self.index_ = index_
        self.nprobe = nprobe
        self.min_docs = min_docs
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Collects the candidates of every query."""
        frames.check_query_frame(inp, self)
        hits: list[tuple[Sequence[str], npt.NDArray[Any]]] = [((), np.zeros(0))] * len(inp)
        if len(inp):
            store = self.index_.store
            wanted = store.subset(self.docnos)
            least = min(self.min_docs, store.num_filled(wanted))
            for query in frames.queries(inp, store.dim, encoder=store.encoder, what=self):
                if store.codec is None or not len(query.embs):
                    continue
                asked = CentroidQuery(store, query, threads(self.num_threads))
                docnos = store.names(asked.candidates(self.nprobe, at_least=least, wanted=wanted))
                for row in query.rows:
                    hits[row] = docnos, np.zeros(len(docnos))
        return frames.retrieved(inp, hits).drop(columns=["score", "rank"])


class CentroidMaxSim(LirTransformer):
    """PLAID's centroid interaction as a re-ranker: MaxSim with every token replaced by its centroid.

    Expected columns: ``qid``, ``query_embs``, ``docno``. Output: all rows and columns, with new ``score`` and ``rank``;
    a document without tokens scores -inf. Scores come in steps of 1/255 of the range of the query's centroid scores.

    Args:
        index_: The index.
        threshold: Centroids whose best similarity over all rows, before weights, is less take no part; None for none.
        threshold_quantile: The same as a share of the centroids.
        missing: What to do with rows whose docno the index does not hold: ``"error"`` or ``"drop"``.
        num_threads: Threads on the processor; None for all cores.
    """

    LABEL = "Centroid MaxSim"

    def __init__(
        self,
        index_: LirIndex,
        *,
        threshold: float | None = None,
        threshold_quantile: float | None = None,
        missing: str = "error",
        num_threads: int | None = None,
    ) -> None:
        check_threshold(threshold, threshold_quantile)
        arguments.check_missing(missing)
        threads(num_threads)
        self.index_ = index_
        self.threshold = threshold
        self.threshold_quantile = threshold_quantile
        self.missing = missing
        self.num_threads = num_threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores every row."""
        frames.check_result_frame(inp, self)
        if not len(inp):
            return frames.rescored(inp, np.zeros(0))
        store = self.index_.store
        inp, docids = frames.located(inp, store, self.missing)
        scores = np.full(len(docids), -np.inf, dtype=np.float32)
        for query in frames.queries(inp, store.dim, encoder=store.encoder, what=self):
            if store.codec is not None and len(query.embs):
                asked = CentroidQuery(store, query, threads(self.num_threads))
                sums = asked.maxsim(docids[query.rows], self.threshold, self.threshold_quantile)
                scores[query.rows] = asked.similarity(sums)
        return frames.rescored(inp, scores, ties=docids)
