"""PLAID: late interaction through centroids, whole and in stages.

1. *Candidates*: the ``nprobe`` best centroids of each query row; the documents with a token in one of their cells.
2. *Centroid interaction*: MaxSim with every token replaced by its centroid, once without the centroids that score less
   than ``threshold`` with every row (keep ``ndocs``), then with all of them (keep ``ndocs // 4``, but k at least).
3. *Exact scores* of what is left, from fp16 vectors if the index kept them, else straight from codes.

The centroid interaction reads one byte per row of a document's distinct centroids and is nearly free, so that without a
threshold its two rounds are one.

Santhanam, Khattab, Potts, Zaharia: PLAID: An Efficient Engine for Late Interaction Retrieval. CIKM 2022.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyterrier as pt

from pyterrier_lir import arguments, frames, kernels
from pyterrier_lir.columns import Docids
from pyterrier_lir.frames import Query
from pyterrier_lir.index import whole
from pyterrier_lir.index.scoring import CodedQuery, Scorer, check_device, threads
from pyterrier_lir.retrieve.retriever import Found, Retriever, Scores, found_by

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset


class Settings(NamedTuple):
    """The parameters of one search."""

    nprobe: int
    ndocs: int
    threshold: float | None


def paper_settings(k: int) -> Settings:
    """The paper's parameters for k results."""
    if k <= 10:
        return Settings(1, 256, 0.5)
    if k <= 100:
        return Settings(2, 1024, 0.45)
    return Settings(4, max(4 * k, 4096), 0.4)


def measured_settings(k: int, centroids: int) -> Settings:
    """Our defaults for k results: four cells, no threshold, and exact scores for 128 documents or twice k.

    With more than 8,192 centroids exact scores are for a 64th as many documents as there are centroids, but 1,024 at
    most: a larger collection has more documents that are nearly as good as the best ones. With more than 65,536 there
    are eight cells, as four leave out too many of them (``benchmarks/results/growth.md``).
    """
    return Settings(4 if centroids <= 1 << 16 else 8, max(512, 8 * k, min(centroids // 16, 4096)), None)


PRESETS: dict[str, Callable[[int, int], Settings]] = {
    "measured": measured_settings,
    "paper": lambda k, _centroids: paper_settings(k),
}


class Plaid(Retriever):
    """Retrieves by PLAID: candidates from cells, centroid interaction, exact scores.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: the columns of the query, and ``docno``, ``score``, ``rank``. Scores are those of ``index.exhaustive()``;
    equal scores are in index order. Where the cells hold fewer documents than are asked for, more cells are probed, so
    there are as many results as exhaustive search has.

    With ``nprobe`` = number of centroids, ``threshold=None`` and ``ndocs`` >= 4 times the documents, the ranking is the
    exhaustive one.

    Args:
        index_: The index.
        num_results: Documents per query, k.
        nprobe: Cells probed for each query row; None for the preset's: 4 (``"measured"``).
        ndocs: Documents kept after the first centroid interaction; ``max(ndocs // 4, k)`` are scored exactly; None for
            the preset's: ``max(512, 8 k, min(K // 16, 4096))`` with K centroids, so 512 up to 8,192 and k = 64.
        threshold: Centroids whose best similarity over all rows, before weights, is less take no part in the first
            interaction; None for the preset's: all take part.
        threshold_quantile: The same as a share of the centroids, for models with another range of similarities: .9
            leaves a tenth of them.
        min_docs: Documents that reach every stage at least, by probing more cells if need be; None for k.
        preset: Where ``nprobe``, ``ndocs`` and ``threshold`` come from if they are not given, for the index and the k
            of the call: ``"measured"`` (ours), or ``"paper"``: 1, 256, .5 up to k = 10; 2, 1024, .45 up to 100; else
            4, ``max(4 k, 4096)``, .4.
        docnos: Search only these; None for all.
        num_threads: Threads on the processor; None for all cores. The ranking does not depend on it.
        device: ``"cpu"``, or ``"cuda"`` for all steps with torch on a GPU, where the decoded index must fit; scores are
            then of the query as it came, not rounded to 8 bits a value (``retrieve/plaid_device.py``).
        stats: Adds ``plaid_candidates`` and ``plaid_scored`` (documents) and ``plaid_candidates_ms``,
            ``plaid_interaction_ms``, ``plaid_scoring_ms`` to the rows of each query.

    Raises:
        ValueError: If the query's encoder or dimension is not the index's, or if docnos are unknown.

    .. cite.dblp:: conf/cikm/SanthanamKPZ22
    """

    LABEL = "PLAID"
    STATS: ClassVar[tuple[str, ...]] = (
        "plaid_candidates",
        "plaid_scored",
        "plaid_candidates_ms",
        "plaid_interaction_ms",
        "plaid_scoring_ms",
    )
    SCORED = "plaid_scored"

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        nprobe: int | None = None,
        ndocs: int | None = None,
        threshold: float | None = None,
        threshold_quantile: float | None = None,
        min_docs: int | None = None,
        preset: str = "measured",
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        device: str = "cpu",
        stats: bool = False,
    ) -> None:
        arguments.check_counts(num_results=num_results)
        arguments.check_optional_counts(nprobe=nprobe, ndocs=ndocs, min_docs=min_docs)
        arguments.check_flags(stats=stats)
        check_threshold(threshold, threshold_quantile)
        check_device(device)
        arguments.check_choice("preset", preset, PRESETS)
        threads(num_threads)
        self.index_ = index_
        self.num_results = num_results
        self.nprobe = nprobe
        self.ndocs = ndocs
        self.threshold = threshold
        self.threshold_quantile = threshold_quantile
        self.min_docs = min_docs
        self.preset = preset
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.device = device
        self.stats = stats

    @property
    def settings(self) -> Settings:
        """What the parameters come to for this index and number of results."""
        default = PRESETS[self.preset](self.num_results, self.index_.store.manifest["centroids"])
        given = self.threshold is not None or self.threshold_quantile is not None
        return Settings(
            self.nprobe or default.nprobe, self.ndocs or default.ndocs, self.threshold if given else default.threshold
        )

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking: what was a default for the old k is pinned."""
        if not 0 < k < self.num_results or not self.index_.built:
            return None
        pinned = {**self.settings._asdict(), "min_docs": self.min_docs or self.num_results}
        return pt.inspect.transformer_apply_attributes(self, num_results=k, **pinned)

    def retrieve_all(self, store: Store, queries: Sequence[Query], wanted: Subset | None) -> list[Found]:
        """`retrieve` for several queries, in one call of the kernels where they are compiled."""
        searcher = whole.searcher(store)
        in_stages = self.device != "cpu" or self.threshold_quantile is not None
        if searcher is None or store.codec is None or in_stages:
            return super().retrieve_all(store, queries, wanted)
        results = searcher.plaid(
            whole.query_arrays(queries, store.codec),
            **self.settings._asdict(),
            at_least=min(self.min_docs or self.num_results, store.num_filled(wanted)),
            num_results=self.num_results,
            wanted=None if wanted is None else wanted.mask,
            num_threads=threads(self.num_threads),
        )
        return found_by(results)

    def retrieve(self, store: Store, query: Query, wanted: Subset | None, num_threads: int) -> Found:
        """The three stages for one query, one after the other."""
        nprobe, ndocs, threshold = self.settings
        least = min(self.min_docs or self.num_results, store.num_filled(wanted))
        if self.device != "cpu":
            return self._on_device(store, query, wanted, least)
        clock = [time.perf_counter()]
        asked = CentroidQuery(store, query, num_threads)
        docids = asked.candidates(nprobe, at_least=least, wanted=wanted)
        candidates = len(docids)
        clock.append(time.perf_counter())
        if threshold is not None or self.threshold_quantile is not None:
            docids = _best(docids, asked.maxsim(docids, threshold, self.threshold_quantile), max(ndocs, least))
        docids = _best(docids, asked.maxsim(docids), max(ndocs // 4, least))
        clock.append(time.perf_counter())
        scores = exact_scores(store, asked.coded, query, docids, num_threads)
        top = kernels.top_k(scores, self.num_results)
        clock.append(time.perf_counter())
        return Found(docids[top], scores[top], (candidates, len(docids), *(1000 * np.diff(clock))))

    def _on_device(self, store: Store, query: Query, wanted: Subset | None, least: int) -> Found:
        """The three stages on a GPU; their times are not told apart."""
        from pyterrier_lir.retrieve.plaid_device import DevicePlaid

        nprobe, ndocs, threshold = self.settings
        clock = time.perf_counter()
        there = store.once(f"plaid on {self.device}", lambda: DevicePlaid(store, self.device))
        keep = max(ndocs // 4, least), max(ndocs, least)
        met, docids, scores = there.search(query, nprobe, keep, threshold, self.threshold_quantile, least, wanted)
        top = kernels.top_k(scores, self.num_results)
        taken = 1000 * (time.perf_counter() - clock)
        return Found(docids[top], scores[top], (met, len(docids), 0.0, 0.0, taken))


class CentroidQuery:
    """A query and its scores with all centroids.

    Args:
        store: The opened index, with a codec.
        query: With at least one row.
        num_threads: Threads on the processor.
    """

    def __init__(self, store: Store, query: Query, num_threads: int) -> None:
        assert store.codec is not None
        self.store = store
        self.rows = len(query.embs)
        self.weights = query.weights
        self.num_threads = num_threads
        self.coded = CodedQuery(query.embs, query.weights, store.codec, num_threads)

    def candidates(self, nprobe: int, *, at_least: int, wanted: Subset | None = None) -> Docids:
        """The documents in the best cells of each row, ascending.

        Args:
            nprobe: Cells of each row.
            at_least: Where there are fewer documents, as many cells more as it takes.
            wanted: Documents to choose from; None for all.
        """
        cells = len(self.coded.centroid_scores)
        nprobe = min(nprobe, cells)
        while True:
            chosen = self.coded.best_cells(nprobe)[0].ravel()
            found = [start + self._in_cells(chosen, segment) for start, segment in self.store.parts()]
            docids = np.concatenate([np.zeros(0, np.int64), *found])
            if wanted is not None:
                docids = wanted.among(docids)
            if len(docids) >= at_least or nprobe == cells:
                return docids
            nprobe = min(2 * nprobe, cells)

    def maxsim(
        self, docids: Docids, threshold: float | None = None, threshold_quantile: float | None = None
    ) -> npt.NDArray[np.int32]:
        """Sums over rows of the best byte of a document's centroids; -1 for a document without tokens.

        Weights are in the sums; the threshold is of similarities before weights, as which centroids are near a row does
        not depend on what the row counts.
        """
        table = self._table[0]
        if threshold is not None or threshold_quantile is not None:
            similarities = self.coded.centroid_scores[:, : self.rows]
            best = (similarities if self.weights is None else similarities / self.weights).max(axis=1)
            bar = float(threshold if threshold is not None else np.quantile(best, threshold_quantile or 0.0))
            table = np.where(best[:, None] >= bar, table, 0).astype(np.uint8)  # 0 is never better than another centroid
        scores = np.full(len(docids), -1, dtype=np.int32)
        for start, segment in self.store.parts():
            here = (docids >= start) & (docids < start + len(segment))
            if here.any() and segment.num_tokens:
                assert segment.doc_codes is not None
                assert segment.doc_code_offsets is not None
                scores[here] = kernels.centroid_maxsim(
                    table, self.rows, segment.doc_codes, segment.doc_code_offsets, docids[here] - start,
                    num_threads=self.num_threads,
                )  # fmt: skip
        return scores

    def similarity(self, sums: npt.NDArray[np.int32]) -> Scores:
        """Sums of bytes as similarities; -inf for a document without tokens."""
        _table, lo, step = self._table
        return np.where(sums < 0, -np.inf, np.float32(self.rows * lo) + np.float32(step) * sums).astype(np.float32)

    @cached_property
    def _table(self) -> tuple[npt.NDArray[np.uint8], float, float]:
        return kernels.score_table(self.coded.centroid_scores, self.rows, num_threads=self.num_threads)

    def _in_cells(self, cells: npt.NDArray[np.int32], segment: Segment) -> Docids:
        if not segment.num_tokens:
            return np.zeros(0, np.int64)
        assert segment.cell_offsets is not None
        assert segment.cell_docs is not None
        return kernels.candidates(cells, segment.cell_offsets, segment.cell_docs, len(segment))


def exact_scores(store: Store, coded: CodedQuery, query: Query, docids: Docids, num_threads: int) -> Scores:
    """The scores that exhaustive search gives to some documents."""
    scorer = Scorer(store, num_threads=num_threads, device="cpu")
    prepared = query if store.manifest["keep_embs"] else coded  # shares the centroid scores of the earlier stages
    return scorer.documents(prepared, docids)


def _best(docids: Docids, scores: npt.NDArray[np.int32], count: int) -> Docids:
    """The ``count`` best documents, ascending; of equal scores the first in the index."""
    return docids if len(docids) <= count else np.sort(docids[kernels.top_k(scores.astype(np.float32), count)])


def check_threshold(threshold: float | None, quantile: float | None) -> None:
    """Refuses a threshold that is no number, or given in two ways."""
    for name, value in (("threshold", threshold), ("threshold_quantile", quantile)):
        if value is not None and not isinstance(value, Real):
            raise ValueError(f"{name} is {value!r}; expected a number, or None.")
    if threshold is not None and quantile is not None:
        raise ValueError(f"threshold is {threshold} and threshold_quantile is {quantile}; expected one of them.")
    if quantile is not None and not 0 <= quantile < 1:
        raise ValueError(f"threshold_quantile is {quantile}; expected 0 <= threshold_quantile < 1.")
