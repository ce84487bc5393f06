"""The methods over shards: the steps of each, one question to all shards for each, and the merge between them.

A step keeps the best k of all documents by a score that depends on nothing but the document, the query and the codec.
The best k of all are among the best k of each shard, so that merging them gives what one index would have kept: the
rankings are those of the unsharded index, tie by tie. Whatever depends on all documents (how many candidates there are,
how many tokens a cell has) is added up over the shards first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, frames, kernels
from pyterrier_lir.columns import Docids
from pyterrier_lir.distributed.merging import Asking
from pyterrier_lir.frames import Query
from pyterrier_lir.index.scoring import CodedQuery, threads
from pyterrier_lir.rerank.maxsim import IndexMaxSim
from pyterrier_lir.retrieve.plaid import Plaid
from pyterrier_lir.retrieve.retriever import Found, Retriever, Scores, in_parallel
from pyterrier_lir.retrieve.warp import Warp, warp_select

if TYPE_CHECKING:
    from pyterrier_lir.distributed.shards import Shards

MISSING = "shards_missing"


class Sharded(Retriever):
    """What the retrievers over shards share: marking results that lack a shard."""

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """As of the method of one index; where partial results are allowed, with a column ``shards_missing``."""
        shards: Any = self.index_
        if not shards.partial or self.stats:
            return super().transform(inp)
        marked = pt.inspect.transformer_apply_attributes(self, stats=True).transform(inp)
        return marked.drop(columns=[name for name in self.STATS if name != MISSING])

    def retrieve_all(self, store: Any, queries: Sequence[Query], wanted: Any) -> list[Found]:
        """Query by query: the shards do the work."""
        return in_parallel(lambda query, count: self.retrieve(store, query, wanted, count), queries, self.num_threads)

    def _found(self, asked: Asking, docids: Docids, scores: Scores, *stats: float) -> Found:
        """The result under its names, without what could not be named."""
        docnos = asked.names(docids)
        kept = [i for i, docno in enumerate(docnos) if docno is not None]
        names = [docno for docno in docnos if docno is not None]
        return Found(docids[kept], scores[kept], (*stats, len(asked.missing)), names)


class ShardedExhaustive(Sharded):
    """Scores every document of every shard: ``MaxSim(Q, D) = sum_i w_i max_j <q_i, d_j>``.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: as of ``index.exhaustive()``, and ``shards_missing`` where partial results are allowed.

    Args:
        index_: The shards.
        num_results: Documents per query.
        docnos: Search only these; None for all.
        num_threads: Threads of each shard; None for all cores of its machine. The ranking does not depend on it.
        stats: Adds ``exhaustive_scored`` (documents) and ``shards_missing``.

    Raises:
        ShardError: If a shard does not answer.
        ValueError: If the query's encoder or dimension is not that of the shards, or if docnos are unknown.
    """

    LABEL = "Exhaustive, sharded"
    STATS = ("exhaustive_scored", MISSING)
    SCORED = "exhaustive_scored"

    def __init__(
        self,
        index_: Shards,
        *,
        num_results: int = 1000,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> None:
        arguments.check_counts(num_results=num_results)
        arguments.check_flags(stats=stats)
        threads(num_threads)
        self.index_ = index_  # type: ignore[assignment]
        self.num_results = num_results
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.stats = stats

    def retrieve(self, store: Any, query: Query, wanted: Any, num_threads: int) -> Found:
        """One question."""
        asked = Asking(store)
        found = asked.best("exhaustive", query, self.num_results, self.docnos, self.num_threads)
        top = kernels.top_k(found.scores, self.num_results)
        return self._found(asked, found.docids[top], found.scores[top], store.num_filled(wanted))

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking."""
        return pt.inspect.transformer_apply_attributes(self, num_results=k) if 0 < k < self.num_results else None


class ShardedPlaid(Sharded, Plaid):
    """Retrieves by PLAID over shards, with the ranking of ``index.plaid()`` on one index.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: as of ``index.plaid()``, and ``shards_missing`` where partial results are allowed.

    Three questions: the best by centroid interaction, exact scores of the best of these, their names; with a threshold
    one more, and more where the cells hold too few documents. The options are those of
    `pyterrier_lir.retrieve.plaid.Plaid`; ``index_`` are the shards; ``stats`` adds counts, without times.
    """

    LABEL = "PLAID, sharded"
    STATS = ("plaid_candidates", "plaid_scored", MISSING)

    def retrieve(self, store: Any, query: Query, wanted: Any, num_threads: int) -> Found:
        """The stages of `Plaid.retrieve`, each over all shards."""
        if self.device != "cpu":
            raise ValueError(f'device is {self.device!r}; expected "cpu" over shards.')
        nprobe, ndocs, threshold = self.settings
        least = min(self.min_docs or self.num_results, store.num_filled(wanted))
        rounds = 2 if threshold is not None or self.threshold_quantile is not None else 1
        keep = max(ndocs if rounds == 2 else ndocs // 4, least)
        cells = len(store.codec.centroids.vectors)
        nprobe = min(nprobe, cells)
        asked = Asking(store)
        while True:
            found = asked.best(
                "interaction", query, nprobe, keep, threshold, self.threshold_quantile, self.docnos, self.num_threads
            )
            if found.of >= least or nprobe == cells:
                break
            nprobe = min(2 * nprobe, cells)
        docids = _best(found.docids, found.scores, keep)
        if rounds == 2:
            sums = asked.scores("centroid_sums", query, docids, self.num_threads)
            docids = _best(docids, sums, max(ndocs // 4, least))
        scores = asked.scores("maxsim", query, docids, self.num_threads)
        top = kernels.top_k(scores, self.num_results)
        return self._found(asked, docids[top], scores[top], found.of, len(docids))


class ShardedWarp(Sharded, Warp):
    """Retrieves by WARP over shards, with the ranking of ``index.warp()`` on one index.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: as of ``index.warp()``, and ``shards_missing`` where partial results are allowed.

    The cells and what is imputed are chosen here, by how many tokens the cells have in all shards. Two questions: the
    best by WARP's score, their names; more where the cells hold too few documents. The options are those of
    `pyterrier_lir.retrieve.warp.Warp`; ``index_`` are the shards; ``stats`` adds counts, without times.
    """

    LABEL = "WARP, sharded"
    STATS = ("warp_tokens", "warp_docs", MISSING)

    def retrieve(self, store: Any, query: Query, wanted: Any, num_threads: int) -> Found:
        """The steps of `Warp.retrieve`, the first one here and the others over all shards."""
        nprobe, t_prime, bound, groups = self.settings
        least = min(self.min_docs or self.num_results, store.num_filled(wanted))
        all_cells = len(store.codec.centroids.vectors)
        nprobe = min(nprobe, all_cells)
        coded = CodedQuery(query.embs, query.weights, store.codec, num_threads)
        asked = Asking(store)
        while True:
            chosen = warp_select(coded, store.cell_sizes, nprobe, t_prime, bound, groups)
            found = asked.best("warp", query, *chosen, self.num_results, self.docnos, self.num_threads)
            if found.of >= least or nprobe == all_cells:
                break
            nprobe, groups = min(2 * nprobe, all_cells), groups and 2 * groups
        top = kernels.top_k(found.scores, self.num_results)
        return self._found(asked, found.docids[top], found.scores[top], found.tokens, found.of)

    @property
    def derived(self) -> tuple[str, ...]:
        """Lies with the shards, and is not counted here."""
        return ()


class ShardedMaxSim(IndexMaxSim):
    """Re-ranks by MaxSim over the vectors that the shards store, with the scores of ``index.maxsim()``.

    Expected columns: ``qid``, ``query_embs``, ``docno``; ``query_weights`` and ``query_encoder`` are honoured if they
    are there. Output: all rows and columns, with new ``score`` and ``rank``. A re-ranker's result is whole or none: a
    shard that does not answer is an error, also where partial results are allowed. The options are those of
    `pyterrier_lir.rerank.maxsim.IndexMaxSim`; ``index_`` are the shards, and ``device`` must be ``"cpu"``.
    """

    LABEL = "MaxSim, sharded"

    def scores(self, store: Any, queries: list[Query], docids: Docids) -> Scores:
        """The score of each row, from the shard where its document lies."""
        scores = np.full(len(docids), -np.inf, dtype=np.float32)
        for query in queries:
            if len(query.embs) and len(query.rows):
                asked = Asking(store, whole=True)
                bare = query._replace(rows=query.rows[:0])  # the shard has no use for them
                scores[query.rows] = asked.scores("maxsim", bare, docids[query.rows], self.num_threads)
        return scores


def _best(docids: Docids, scores: Any, keep: int) -> Docids:
    """The best documents, ascending; of equal scores the first in the index."""
    return docids if len(docids) <= keep else np.sort(docids[kernels.top_k(np.asarray(scores, np.float32), keep)])
