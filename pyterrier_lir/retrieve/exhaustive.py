"""Exhaustive late interaction: the exact ranking by MaxSim, to which every other method is compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, frames, kernels
from pyterrier_lir.frames import Query
from pyterrier_lir.index import scoring, whole
from pyterrier_lir.retrieve.retriever import found_by
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset

Hits = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]  # docids and scores, best first
NOTHING: Hits = np.zeros(0, np.int64), np.zeros(0, np.float32)


class Exhaustive(LirTransformer):
    """Scores every document of the index: ``MaxSim(Q, D) = sum_i w_i max_j <q_i, d_j>``.

    The vectors are the fp16 ones if the index kept them (``keep_embs=True``: the exact ranking), else the
    decompressed ones, scored straight from their codes with the query rounded to 8 bits a value.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: the columns of the query, and ``docno``, ``score``, ``rank``; documents without tokens and queries without
    rows give no results. Equal scores are in index order.

    Args:
        index_: The index.
        num_results: Documents per query.
        docnos: Search only these; None for all.
        num_threads: Threads on the processor; None for all cores. The ranking does not depend on it.
        device: ``"cpu"``, or ``"cuda"`` to score with torch on a GPU.

    Raises:
        ValueError: If the query's encoder or dimension is not the index's, or if docnos are unknown.

    .. cite.dblp:: conf/sigir/KhattabZ20
    """

    LABEL = "Exhaustive"

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        arguments.check_counts(num_results=num_results)
        scoring.check_device(device)
        scoring.threads(num_threads)
        self.index_ = index_
        self.num_results = num_results
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.device = device

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Retrieves for every query of the frame; segments are the outer loop, so each is read once."""
        frames.check_query_frame(inp, self)
        if not len(inp):
            return frames.retrieved(inp, [])
        store = self.index_.store
        queries = frames.queries(inp, store.dim, encoder=store.encoder, what=self)
        hits: list[tuple[Sequence[str], npt.NDArray[Any]]] = [((), np.zeros(0))] * len(inp)
        for query, (docids, scores) in zip(queries, self.retrieve(store, queries), strict=True):
            for row in query.rows:
                hits[row] = (store.names(docids), scores)
        return frames.retrieved(inp, hits)

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every document that has tokens is scored for every query."""
        store = self.index_.store
        return {"scored": len(inp) * store.num_filled(store.subset(self.docnos))}

    def retrieve(self, store: Store, queries: Sequence[Query]) -> list[Hits]:
        """The best documents of each query, in one call of the kernels where they are compiled."""
        searcher, wanted = whole.searcher(store), store.subset(self.docnos)
        asked = [query for query in queries if len(query.embs)]
        if self.device != "cpu" or searcher is None or store.codec is None or not asked:
            return self._retrieve_by_segment(store, queries, wanted)
        results = searcher.exhaustive(
            whole.query_arrays(asked, store.codec),
            num_results=self.num_results,
            wanted=None if wanted is None else wanted.mask,
            num_threads=scoring.threads(self.num_threads),
        )
        found = iter(found_by(results))
        return [next(found)[:2] if len(query.embs) else NOTHING for query in queries]

    def _retrieve_by_segment(self, store: Store, queries: Sequence[Query], wanted: Subset | None) -> list[Hits]:
        best = [NOTHING for _ in queries]
        scorer = scoring.Scorer(store, num_threads=self.num_threads, device=self.device)
        prepared = [scorer.prepare(query) if len(query.embs) else None for query in queries]
        for start, segment in store.parts():
            docids = np.arange(len(segment)) if wanted is None else wanted.of(start, len(segment))
            if not len(docids):
                continue
            vectors = scorer.vectors(segment)
            for i, query in enumerate(prepared):
                if query is not None:
                    scores = scorer.maxsim(query, segment, None if wanted is None else docids, vectors)
                    best[i] = _merge(best[i], docids + start, scores, self.num_results)
        return best

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking."""
        return pt.inspect.transformer_apply_attributes(self, num_results=k) if 0 < k < self.num_results else None


def _merge(hits: Hits, docids: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], k: int) -> Hits:
    # Later docids come second and top_k prefers the first of equal scores, so ties stay in index order.
    docids, scores = np.concatenate([hits[0], docids]), np.concatenate([hits[1], scores])
    top = kernels.top_k(scores, k)
    return docids[top], scores[top]
