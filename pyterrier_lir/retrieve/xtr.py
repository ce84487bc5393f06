"""XTR: documents are scored by the tokens that were retrieved, and what was not retrieved is imputed.

1. *Token retrieval*: for each query row the ``token_k`` tokens with the largest products, of the whole collection.
2. *Missing similarities*: a document without a retrieved token for row i gets ``m_i``, the score of the last one that
   was retrieved: no token of the document can be better.
3. *Scores*: the mean over rows of what was retrieved or imputed. No vectors are gathered.

Lee, Dai, Duddu, Lei, Naim, Chang, Zhao: Rethinking the Role of Token Retrieval in Multi-Vector Retrieval. NeurIPS 2023.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, frames, kernels
from pyterrier_lir.columns import Docids
from pyterrier_lir.frames import Query
from pyterrier_lir.index import cell_tokens
from pyterrier_lir.index.scoring import CodedQuery, threads
from pyterrier_lir.retrieve.retriever import Found, Retriever, Scores
from pyterrier_lir.retrieve.triples import Part, Triples, reduce, scan
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset

TOKEN_K = 10_000


class Xtr(Retriever):
    """Retrieves by XTR: documents are scored by their retrieved tokens alone.

    ``score(D) = sum_i w_i s_i(D) / sum_i w_i``, where ``s_i(D)`` is the largest product of row i with a retrieved token
    of D, or what is imputed. Tokens are compared by the vectors that ``index.exhaustive()`` scores, so that with
    ``token_k`` = number of tokens the score is MaxSim divided by the sum of weights; with fewer it is never less than
    that.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: the columns of the query, and ``docno``, ``score``, ``rank``; equal scores are in index order. Documents
    without a retrieved token are no results. ``>> index.maxsim()`` refines them by exact scores.

    Checkpoints that are trained this way, such as ``google/xtr-base-en``, load through ``LateInteractionEncoder``.
    Other models want a larger ``token_k``: their token scores are not trained to say which documents are good, and
    documents with few retrieved tokens profit from what is imputed.

    Args:
        index_: The index.
        num_results: Documents per query.
        token_k: Tokens retrieved for each row, k'. The paper has 40,000; memory is 16 bytes times this and rows.
        impute: What a row without a retrieved token of a document counts: ``"kth"`` (the paper), the score of the last
            retrieved token; ``"zero"``; a number; or ``"none"``: it does not count, and the mean is over the others.
        normalise: ``"mean"`` (the paper) or ``"sum"``, not divided.
        nprobe: Retrieve tokens of each row's so many best cells only, from their codes; None for all tokens.
        docnos: Search only these; None for all. Tokens of others are not retrieved.
        num_threads: Threads on the processor; None for all cores. The ranking does not depend on it.
        stats: Adds ``xtr_docs`` (documents with a retrieved token), ``xtr_tokens_ms`` and ``xtr_scoring_ms``.

    Raises:
        ValueError: If the query's encoder or dimension is not the index's, or if docnos are unknown.

    Lee, Dai, Duddu, Lei, Naim, Chang, Zhao: Rethinking the Role of Token Retrieval. NeurIPS 2023, arXiv:2304.01982.
    """

    LABEL = "XTR"
    STATS = ("xtr_docs", "xtr_tokens_ms", "xtr_scoring_ms")
    SCORED = "xtr_docs"

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        token_k: int = TOKEN_K,
        impute: str | float = "kth",
        normalise: str = "mean",
        nprobe: int | None = None,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> None:
        arguments.check_counts(num_results=num_results, token_k=token_k)
        arguments.check_optional_counts(nprobe=nprobe)
        arguments.check_flags(stats=stats)
        _check_scoring(impute, normalise)
        threads(num_threads)
        self.index_ = index_
        self.num_results = num_results
        self.token_k = token_k
        self.impute = impute
        self.normalise = normalise
        self.nprobe = nprobe
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.stats = stats

    def retrieve(self, store: Store, query: Query, wanted: Subset | None, num_threads: int) -> Found:
        """The three steps for one query."""
        clock = [time.perf_counter()]
        retrieved = retrieve_tokens(store, query, self.token_k, self.nprobe, wanted, num_threads)
        clock.append(time.perf_counter())
        docids, scores, _ = xtr_scores(store, query, retrieved, self.impute, self.normalise, num_threads)
        top = kernels.top_k(scores, self.num_results)
        clock.append(time.perf_counter())
        return Found(docids[top], scores[top], (len(docids), *(1000 * np.diff(clock))))

    @property
    def derived(self) -> tuple[str, ...]:
        """Tokens cell after cell, where cells are probed."""
        return () if self.nprobe is None else (cell_tokens.NAME,)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking."""
        return pt.inspect.transformer_apply_attributes(self, num_results=k) if 0 < k < self.num_results else None


class XtrScorer(LirTransformer):
    """XTR as a re-ranker: the tokens of a query's documents are all that can be retrieved.

    Expected columns: ``qid``, ``query_embs``, ``docno``. Output: all rows and columns, with new ``score`` and ``rank``:
    the scores of `Xtr` with ``docnos`` = the documents of the query. A document without a retrieved token gets what is
    imputed (-inf with ``impute="none"``), one without tokens -inf.

    Args:
        index_: The index.
        token_k: As in `Xtr`.
        impute: As in `Xtr`.
        normalise: As in `Xtr`.
        missing: What to do with rows whose docno the index does not hold: ``"error"`` or ``"drop"``.
        num_threads: Threads on the processor; None for all cores.
    """

    LABEL = "XTR Scorer"

    def __init__(
        self,
        index_: LirIndex,
        *,
        token_k: int = TOKEN_K,
        impute: str | float = "kth",
        normalise: str = "mean",
        missing: str = "error",
        num_threads: int | None = None,
    ) -> None:
        arguments.check_counts(token_k=token_k)
        _check_scoring(impute, normalise)
        arguments.check_missing(missing)
        threads(num_threads)
        self.index_ = index_
        self.token_k = token_k
        self.impute = impute
        self.normalise = normalise
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
                scores[query.rows] = self._score(store, query, docids[query.rows])
        return frames.rescored(inp, scores, ties=docids)

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every row is scored."""
        return {"scored": len(inp)}

    def _score(self, store: Store, query: Query, docids: Docids) -> Scores:
        count, among = threads(self.num_threads), np.unique(docids)
        retrieved = retrieve_tokens(store, query, self.token_k, None, store.some(among), count)
        found, scores, nothing = xtr_scores(store, query, retrieved, self.impute, self.normalise, count)
        empty = np.array([store.num_tokens(docid) == 0 for docid in among.tolist()])
        all_scores = np.where(empty, np.float32(-np.inf), nothing)
        all_scores[np.searchsorted(among, found)] = scores
        return all_scores[np.searchsorted(among, docids)]


def retrieve_tokens(
    store: Store, query: Query, token_k: int, nprobe: int | None, wanted: Subset | None, num_threads: int
) -> list[Part]:
    """Each row's ``token_k`` best tokens: of all, of some documents, or of its ``nprobe`` best cells."""
    assert store.codec is not None
    coded = CodedQuery(query.embs, query.weights, store.codec, num_threads)
    if nprobe is None:
        parts = [
            Part(
                start,
                len(segment),
                _top_tokens(store, segment, query, coded, token_k, _in_segment(wanted, start, segment)),
            )
            for start, segment in store.parts()
            if segment.num_tokens
        ]
    else:
        cells, scores = coded.best_cells(min(nprobe, len(store.codec.centroids.vectors)))
        parts = scan(store, coded, cells, scores, normalise=True)
        if wanted is not None:
            parts = [_kept(part, wanted.has(part.first + part.triples.docs)) for part in parts]
    return _best(parts, len(query.embs), token_k)


def xtr_scores(
    store: Store, query: Query, retrieved: list[Part], impute: str | float, normalise: str, num_threads: int
) -> tuple[Docids, Scores, float]:
    """Scores of the documents that have a retrieved token, ascending by docid; also that of one that has none."""
    weights = np.ones(len(query.embs), np.float32) if query.weights is None else query.weights
    if impute == "kth":
        imputed = _last_scores(retrieved, len(weights))
    else:
        imputed = weights * np.float32(0 if isinstance(impute, str) else impute)
    docids, sums = reduce(retrieved, imputed, num_threads)
    if impute == "none":
        rows = [part.scored(_by_row(weights, part.triples)) for part in retrieved]
        _, counted = reduce(rows, np.zeros_like(weights), num_threads)
        return docids, sums / counted, -np.inf
    total = np.float32(weights.sum() if normalise == "mean" else 1)
    return docids, sums / total, float(imputed.sum() / total)


def _top_tokens(
    store: Store, segment: Segment, query: Query, coded: CodedQuery, token_k: int, docids: Docids | None
) -> Triples:
    """The best tokens of a segment, by the vectors that exhaustive search scores."""
    if store.manifest["keep_embs"]:
        assert segment.tokens is not None
        weighted = query.embs if query.weights is None else query.embs * query.weights[:, None]
        docs, scores = kernels.top_tokens(
            weighted, segment.tokens, segment.offsets, docids, count=token_k, num_threads=coded.num_threads
        )
    else:
        docs, scores = coded.top_tokens(segment, docids, token_k)
    return Triples(np.arange(len(docs) + 1) * docs.shape[1], docs.astype(np.int32).ravel(), scores.ravel())


def _in_segment(wanted: Subset | None, start: int, segment: Segment) -> Docids | None:
    return None if wanted is None else wanted.of(start, len(segment))


def _kept(part: Part, keep: np.ndarray) -> Part:
    """Some of the triples."""
    before, (row_offsets, docs, scores) = np.concatenate([[0], np.cumsum(keep)]), part.triples
    return part._replace(triples=Triples(before[row_offsets], docs[keep], scores[keep]))


def _best(parts: list[Part], rows: int, count: int) -> list[Part]:
    """Each row's ``count`` best triples over all segments; of equal ones the first."""
    triples = [part.triples for part in parts]
    sizes = sum((np.diff(one.row_offsets) for one in triples), np.zeros(rows, np.int64))
    if (sizes <= count).all():
        return parts
    keep = [np.ones(len(one.docs), dtype=bool) for one in triples]
    for i in range(rows):
        slices = [slice(one.row_offsets[i], one.row_offsets[i + 1]) for one in triples]
        if sum(where.stop - where.start for where in slices) <= count:
            continue
        scores = np.concatenate([one.scores[where] for one, where in zip(triples, slices, strict=True)])
        best = np.zeros(len(scores), dtype=bool)
        best[kernels.top_k(scores, count)] = True
        ends = np.cumsum([where.stop - where.start for where in slices])
        for mask, where, chosen in zip(keep, slices, np.split(best, ends[:-1]), strict=True):
            mask[where] = chosen
    return [_kept(part, mask) for part, mask in zip(parts, keep, strict=True)]


def _last_scores(parts: list[Part], rows: int) -> Scores:
    """The score of each row's last retrieved token; 0 where nothing was retrieved."""
    last = np.full(rows, np.inf, dtype=np.float32)
    for part in parts:
        found = np.flatnonzero(np.diff(part.triples.row_offsets))  # reduceat is wrong on empty rows
        if len(found):
            least = np.minimum.reduceat(part.triples.scores, part.triples.row_offsets[found])
            last[found] = np.minimum(last[found], least)
    return np.where(np.isfinite(last), last, 0).astype(np.float32)


def _by_row(values: Scores, part: Triples) -> Scores:
    return np.repeat(values, np.diff(part.row_offsets))


def _check_scoring(impute: str | float, normalise: str) -> None:
    named = isinstance(impute, str) and impute in ("kth", "zero", "none")
    if not named and (not isinstance(impute, Real) or not math.isfinite(impute)):
        raise ValueError(f'impute is {impute!r}; expected "kth", "zero", "none" or a number.')
    arguments.check_choice("normalise", normalise, ("mean", "sum"))
    if impute == "none" and normalise == "sum":
        raise ValueError(
            'impute is "none" and normalise is "sum"; expected "mean", or impute="zero", which is the same.'
        )
