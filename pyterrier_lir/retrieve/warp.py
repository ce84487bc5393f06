"""WARP: every token of the probed cells is scored where it lies, and what was not probed is imputed.

1. *WARP-SELECT*: the ``nprobe`` best centroids of each query row, and an estimate ``m_i`` for tokens that no probed
   cell holds: the score of the centroid at which the clusters, best first, together reach ``t_prime`` tokens.
2. *Implicit decompression*: the tokens of each row's cells, which lie cell after cell, are scored straight from their
   codes: ``<q_i, c> + <q_i, r>``, without normalising ``c + r``.
3. *Two-stage reduction*: the best token of each row and document, then the sum over rows, with ``m_i`` where a row
   found no token of the document.

Scheerer, Zaharia, Potts, Alonso, Khattab: WARP: An Efficient Engine for Multi-Vector Retrieval. SIGIR 2025.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyterrier as pt

from pyterrier_lir import arguments, frames, kernels
from pyterrier_lir.frames import Query
from pyterrier_lir.index import cell_tokens, whole
from pyterrier_lir.index.scoring import CodedQuery, threads
from pyterrier_lir.retrieve.retriever import Found, Retriever, Scores, found_by
from pyterrier_lir.retrieve.triples import reduce, scan

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset


class Settings(NamedTuple):
    """The parameters of one search."""

    nprobe: int
    t_prime: int
    bound: int
    groups: int | None


class Size(NamedTuple):
    """What the defaults depend on."""

    tokens: int
    centroids: int
    k: int  # results that are asked for


def paper_settings(size: Size, nprobe: int | None) -> Settings:
    """The paper's parameters; t' is ``sqrt(8 T)`` in whole thousands, but not rounded where these would be none."""
    reach = int(np.sqrt(8 * size.tokens))
    t_prime = reach // 1000 * 1000 or max(reach, 1)
    if size.centroids > 1 << 16:
        t_prime = 50_000 if size.k <= 100 else 100_000
    return Settings(nprobe or 32, t_prime, 128, None)


def measured_settings(size: Size, nprobe: int | None) -> Settings:
    """Our defaults: t' lies four times as deep as the probed cells, as what they miss is worse than all they hold."""
    nprobe = nprobe or cells_to_probe(size.centroids)
    t_prime = max(-(-4 * nprobe * size.tokens // max(size.centroids, 1)), 1)
    return Settings(nprobe, t_prime, max(128, 6 * nprobe), None if size.centroids <= ALL_GROUPS else 32)


def cells_to_probe(centroids: int) -> int:
    """32 cells; a 256th of all where there are more than 8,192 of them, but 512 at most.

    How many of the best tokens of the best documents are met depends on the share of cells that is probed, whatever the
    size of the collection (``benchmarks/results/growth.md``).
    """
    return min(max(32, centroids // 256), 512)


PRESETS: dict[str, Callable[[Size, int | None], Settings]] = {
    "measured": measured_settings,
    "paper": paper_settings,
}
ALL_GROUPS = 1 << 15  # up to so many centroids, scoring all of them is quicker than choosing some


class Warp(Retriever):
    """Retrieves by WARP: all tokens of the probed cells, scored where they lie.

    ``score(D) = sum_i w_i (max over the tokens of D in the cells of row i of <q_i, d>, or m_i if there is none)``, over
    decompressed vectors that are not scaled back to unit length: scores are near those of ``index.exhaustive()``, but
    not the same. ``>> index.maxsim()`` gives comparable ones.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: the columns of the query, and ``docno``, ``score``, ``rank``; equal scores are in index order. Where the
    cells hold fewer documents than are asked for, more cells are probed, so there are as many results as exhaustive
    search has. With ``nprobe`` = number of centroids the score is MaxSim, whatever ``t_prime``.

    The first search sorts the tokens of the index by centroid, under ``derived/``. WARP was made for models that are
    trained as XTR is (``google/xtr-base-en``, which the encoder loads): their scores of single tokens are calibrated so
    that an imputed score is a good guess. With others expect a good first stage, and put ``>> index.maxsim()`` behind.

    Args:
        index_: The index.
        num_results: Documents per query, k.
        nprobe: Cells probed for each query row; None for 32, and with ``preset="measured"`` and K > 8,192 centroids
            for ``K // 256``, but 512 at most.
        t_prime: Tokens in the best clusters of a row after which the next centroid's score is imputed, t'. None for
            ``4 nprobe T / K`` with T tokens and K centroids, rounded up, or the paper's ``sqrt(8 T)`` in whole
            thousands (in ones below 1,000), and with more than 65,536 centroids 50,000 for k up to 100, else 100,000.
        bound: Clusters among which t' is looked for; None for ``max(128, 6 nprobe)``, or the paper's 128.
        groups: Coarse groups of centroids in which each row looks for its cells; None for all, but 32 with
            ``preset="measured"`` and more than 32,768 centroids, as scoring all of them would take most of the time.
        min_docs: Documents that are found at least, by probing more cells if need be; None for k.
        preset: Where ``nprobe``, ``t_prime``, ``bound`` and ``groups`` come from if they are not given, for the index
            and the k of the call: ``"measured"`` (ours) or ``"paper"``. ``index.warp().settings`` shows them.
        docnos: Search only these; None for all.
        num_threads: Threads on the processor; None for all cores. The ranking does not depend on it.
        stats: Adds ``warp_tokens`` and ``warp_docs`` (what was scored), ``warp_select_ms``, ``warp_scan_ms`` and
            ``warp_reduce_ms`` to the rows of each query.

    Raises:
        ValueError: If the query's encoder or dimension is not the index's, or if docnos are unknown.

    Scheerer, Zaharia, Potts, Alonso, Khattab: WARP. SIGIR 2025, doi:10.1145/3726302.3729904.
    """

    LABEL = "WARP"
    STATS: ClassVar[tuple[str, ...]] = ("warp_tokens", "warp_docs", "warp_select_ms", "warp_scan_ms", "warp_reduce_ms")
    SCORED = "warp_docs"

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        nprobe: int | None = None,
        t_prime: int | None = None,
        bound: int | None = None,
        groups: int | None = None,
        min_docs: int | None = None,
        preset: str = "measured",
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> None:
        arguments.check_counts(num_results=num_results)
        arguments.check_optional_counts(nprobe=nprobe, t_prime=t_prime, bound=bound, groups=groups, min_docs=min_docs)
        arguments.check_flags(stats=stats)
        arguments.check_choice("preset", preset, PRESETS)
        threads(num_threads)
        self.index_ = index_
        self.num_results = num_results
        self.nprobe = nprobe
        self.t_prime = t_prime
        self.bound = bound
        self.groups = groups
        self.min_docs = min_docs
        self.preset = preset
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.stats = stats

    @property
    def settings(self) -> Settings:
        """What the parameters come to for this index and number of results, k."""
        manifest = self.index_.store.manifest
        size = Size(manifest["tokens"], manifest["centroids"], self.num_results)
        default = PRESETS[self.preset](size, self.nprobe)
        return Settings(
            default.nprobe, self.t_prime or default.t_prime, self.bound or default.bound, self.groups or default.groups
        )

    def retrieve_all(self, store: Store, queries: Sequence[Query], wanted: Subset | None) -> list[Found]:
        """`retrieve` for several queries, in one call of the kernels where they are compiled."""
        searcher = whole.cell_searcher(store)
        if searcher is None or store.codec is None:
            return super().retrieve_all(store, queries, wanted)
        results = searcher.warp(
            whole.query_arrays(queries, store.codec),
            **self.settings._asdict(),
            at_least=min(self.min_docs or self.num_results, store.num_filled(wanted)),
            num_results=self.num_results,
            wanted=None if wanted is None else wanted.mask,
            num_threads=threads(self.num_threads),
        )
        return found_by(results)

    def retrieve(self, store: Store, query: Query, wanted: Subset | None, num_threads: int) -> Found:
        """The three steps for one query, with twice as many cells where these hold too few documents."""
        assert store.codec is not None
        nprobe, t_prime, bound, groups = self.settings
        least = min(self.min_docs or self.num_results, store.num_filled(wanted))
        all_cells = len(store.codec.centroids.vectors)
        nprobe = min(nprobe, all_cells)
        coded = CodedQuery(query.embs, query.weights, store.codec, num_threads)
        while True:
            clock = [time.perf_counter()]
            cells, cell_scores, imputed = warp_select(coded, store.cell_sizes, nprobe, t_prime, bound, groups)
            clock.append(time.perf_counter())
            parts = scan(store, coded, cells, cell_scores, normalise=False)
            clock.append(time.perf_counter())
            docids, scores = reduce(parts, imputed, num_threads)
            if wanted is not None:
                keep = wanted.mask[docids]
                docids, scores = docids[keep], scores[keep]
            if len(docids) >= least or nprobe == all_cells:
                break
            nprobe, groups = min(2 * nprobe, all_cells), groups and 2 * groups
        top = kernels.top_k(scores, self.num_results)
        clock.append(time.perf_counter())
        scanned = sum(len(part.triples.docs) for part in parts)
        return Found(docids[top], scores[top], (scanned, len(docids), *(1000 * np.diff(clock))))

    @property
    def derived(self) -> tuple[str, ...]:
        """Tokens cell after cell."""
        return (cell_tokens.NAME,)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking: what was a default for the old k is pinned."""
        if not 0 < k < self.num_results or not self.index_.built:
            return None
        pinned = {**self.settings._asdict(), "min_docs": self.min_docs or self.num_results}
        return pt.inspect.transformer_apply_attributes(self, num_results=k, **pinned)


def warp_select(
    coded: CodedQuery, sizes: npt.NDArray[np.int64], nprobe: int, t_prime: int, bound: int, groups: int | None
) -> tuple[npt.NDArray[np.int32], Scores, Scores]:
    """WARP-SELECT: the cells to probe, the scores of their centroids, and what to impute.

    Args:
        coded: The query.
        sizes: Tokens of each cell.
        nprobe: Cells of each row, at most K.
        t_prime: Tokens after which a centroid's score is imputed.
        bound: Cells among which these are looked for.
        groups: Coarse groups to look in; None for all.

    Returns:
        int32 ``(n, nprobe)``, float32 ``(n, nprobe)``, best first, and float32 ``(n,)``; where ``bound`` cells hold
        fewer than ``t_prime`` tokens, the last one's score is imputed.
    """
    bound = min(max(bound, nprobe), len(sizes))
    # A quarter more cells than t' takes on average, and all that are allowed if those are too few.
    count = int(np.clip(1.25 * t_prime * len(sizes) / sizes.sum(), nprobe, bound))
    while True:
        cells, scores = coded.best_cells(count, groups)
        reached = np.cumsum(sizes[cells], axis=1) >= t_prime
        if count == bound or reached[:, -1].all():
            break
        count = bound
    last = np.where(reached.any(axis=1), reached.argmax(axis=1), count - 1)
    imputed = scores[np.arange(len(scores)), last]
    return np.ascontiguousarray(cells[:, :nprobe]), np.ascontiguousarray(scores[:, :nprobe]), imputed
