"""ColBERT-PRF: the query gets rows that stand for what its best documents have in common.

1. The token vectors of the best ``fb_docs`` documents are clustered.
2. Every cluster is a candidate row: the mean of its members, as it is. The token that most of its members are says what
   it means; the paper asks the 10 nearest tokens of the whole index.
3. Its weight is ``beta * idf``, ``idf(t) = ln((N + 1) / (df(t) + 1))``; the ``fb_embs`` largest are added to the query.
   A token that is in all documents, such as [CLS], weighs nothing and is never added.

Wang, Macdonald, Tonellotto, Ounis: Pseudo-Relevance Feedback for Multiple Representation Dense Retrieval. ICTIR 2021.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, columns, frames, kernels
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.index.kmeans import kmeans
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.token_stats import TokenStats

ITERATIONS = 20  # of k-means


class Expansion(NamedTuple):
    """Rows to add to a query, by descending weight: float32 ``(e, dim)``, int32 ``(e,)``, float32 ``(e,)``."""

    embs: Floats
    tok_ids: Ints
    weights: Floats


class ColbertPRF(LirTransformer):
    """Expands queries by what their best documents have in common.

    Expected columns: ``qid``, ``query_embs``, ``docno``, ``rank``; without an index also ``doc_embs`` and
    ``doc_tok_ids``, from ``encoder.doc_encoder()``. Output: ``query_embs``, float32 ``(n + e, dim)``,
    ``query_weights`` (``n + e``; 1 for the query's own rows, or what they had) and, where they are there,
    ``query_tok_ids``. One row for each query with the query's columns, to search again (the paper's ranker), or, with
    ``return_docs=True``, all rows and columns with their old scores, to score again (its re-ranker).

    ``retriever >> index.colbert_prf() >> index.plaid()``; ``... >> index.colbert_prf(return_docs=True) >>
    index.maxsim()``; from text, ``... >> ColbertPRF(stats=stats)``.

    Args:
        index_: Where token vectors, token ids and their frequencies come from; None for columns and ``stats``.
        stats: The frequencies, where there is no index.
        fb_docs: Documents that are looked at, by ``rank``.
        clusters: Clusters of their tokens; fewer where there are fewer distinct vectors.
        fb_embs: Rows that are added at most; 0 adds none.
        beta: Weight of an added row, times its idf; 0 leaves the scores as they were. The paper's 1 is for ColBERT,
            whose queries have 32 rows; where they have fewer, less is better.
        seed: Of the clustering.
        return_docs: Whether the documents stay.

    Raises:
        ValueError: If an argument has no meaning, the index has no token ids, docnos are unknown, or the query's
            encoder or dimension is not that of the documents.

    Wang, Macdonald, Tonellotto, Ounis: Pseudo-Relevance Feedback for Multiple Representation Dense Retrieval. ICTIR
    2021.
    """

    LABEL = "ColBERT-PRF"

    def __init__(
        self,
        index_: LirIndex | None = None,
        *,
        stats: TokenStats | None = None,
        fb_docs: int = 3,
        clusters: int = 24,
        fb_embs: int = 10,
        beta: float = 1.0,
        seed: int = 0,
        return_docs: bool = False,
    ) -> None:
        if (index_ is None) == (stats is None):
            raise ValueError(
                f"index_ is {index_!r} and stats is {stats!r}; expected one of them: index.colbert_prf(), or "
                "ColbertPRF(stats=index.token_stats()) for documents that come as columns."
            )
        arguments.check_flags(return_docs=return_docs)
        arguments.check_counts(fb_docs=fb_docs, clusters=clusters)
        arguments.check_counts(0, fb_embs=fb_embs)
        arguments.check_seed(seed)
        arguments.check_number("beta", beta, 0, sys.float_info.max, "a number of at least 0")
        if fb_embs > clusters:
            raise ValueError(
                f"fb_embs is {fb_embs}; expected at most clusters, {clusters}, as a cluster gives one row."
            )
        self.index_ = index_
        self.stats = stats
        self.fb_docs = fb_docs
        self.clusters = clusters
        self.fb_embs = fb_embs
        self.beta = beta
        self.seed = seed
        self.return_docs = return_docs

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Expands every query of the frame."""
        needed = ["rank"] if self.index_ else ["rank", columns.DOC_EMBS, columns.DOC_TOK_IDS]
        frames.check_result_frame(inp, self, needed)
        inp = frames.with_query_embs(inp.reset_index(drop=True))
        rows, expanded = self._expanded(inp) if len(inp) else (np.zeros(0, np.int64), [])
        out = inp if self.return_docs else inp[frames.query_columns(inp)].iloc[rows].reset_index(drop=True)
        for i, name in enumerate((columns.QUERY_EMBS, columns.QUERY_WEIGHTS, columns.QUERY_TOK_IDS)):
            if name in inp.columns or name == columns.QUERY_WEIGHTS:
                out = out.assign(**{name: columns.object_column([query[i] for query in expanded])})
        return out

    def fuse_left(self, left: pt.Transformer) -> pt.Transformer | None:
        """A retriever right before need find no more than is looked at, where no document goes out.

        Behind other stages ranks may have gaps: those that come first need not be below ``fb_docs``.
        """
        cut = getattr(left, "fuse_rank_cutoff", None)
        if self.return_docs or cut is None or getattr(left, "num_results", 0) <= self.fb_docs:
            return None
        fewer = cut(self.fb_docs)
        return None if fewer is None else fewer >> self

    def _expanded(self, inp: pd.DataFrame) -> tuple[npt.NDArray[np.int64], list[Any]]:
        """The rows that go out, and the new query of each."""
        store = self.index_.store if self.index_ else None
        dim, encoder = (store.dim, store.encoder) if store else (None, frames.doc_encoder(inp))
        ranks, queries = frames.ranks(inp), frames.queries(inp, dim, encoder=encoder, what=self)
        names = (columns.QUERY_EMBS, columns.QUERY_TOK_IDS, columns.QUERY_WEIGHTS)
        own = list(zip(*(frames.cells(inp, name) for name in names), strict=True))
        found: dict[int, Any] = {}
        for query in queries:
            best = query.rows[np.argsort(ranks[query.rows], kind="stable")[: self.fb_docs]]
            rows, width = query.embs.shape
            expansion = self._expansion(inp.iloc[best], width) if rows and self.fb_embs else None
            new = _appended(own[query.rows[0]], expansion)
            found |= dict.fromkeys(query.rows.tolist() if self.return_docs else query.rows[:1].tolist(), new)
        return np.array(sorted(found)), [found[row] for row in sorted(found)]

    def _expansion(self, best: pd.DataFrame, dim: int) -> Expansion:
        documents = self._documents(best, dim)
        stats = self.index_.token_stats() if self.index_ else self.stats
        assert stats is not None
        embs = np.concatenate([embs for embs, _ in documents])
        tok_ids = np.concatenate([ids for _, ids in documents])
        means, ids = clusters_of(embs, tok_ids, self.clusters, np.random.default_rng(self.seed))
        idf = stats.idf(ids)
        chosen = np.argsort(-idf, kind="stable")[: self.fb_embs]
        chosen = chosen[idf[chosen] > 0]
        return Expansion(means[chosen], ids[chosen], (self.beta * idf[chosen]).astype(np.float32))

    def _documents(self, best: pd.DataFrame, dim: int) -> list[tuple[Floats, Any]]:
        if self.index_ is None:
            pairs = zip(best[columns.DOC_EMBS], best[columns.DOC_TOK_IDS], strict=True)
            return [columns.as_document(*pair, dim) for pair in pairs]
        self.index_.store.check_tok_ids("ColBERT-PRF")
        return [self.index_.store.document(docid) for docid in self.index_.store.lookup(best["docno"].tolist())]


def clusters_of(embs: Floats, tok_ids: Ints, count: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """The means of clusters of tokens, and what each stands for: the token that most of its members are.

    Of several such tokens it is the one that comes nearest to the mean. The order of the tokens does not matter.

    Args:
        embs: float32 ``(m, dim)``.
        tok_ids: int32 ``(m,)``.
        count: Clusters; fewer where there are fewer distinct rows.
        rng: Begins the clustering.

    Returns:
        float32 ``(c, dim)``, not of unit length, and int32 ``(c,)``.
    """
    distinct, places = np.unique(embs, axis=0, return_inverse=True)
    order = np.lexsort((tok_ids, places.ravel()))  # NumPy 2.0.0 gives a column
    embs, tok_ids = embs[order], tok_ids[order]
    points = embs if count < len(distinct) else distinct  # else every distinct row is a cluster
    nearest = kernels.nearest(embs, kmeans(points, count, ITERATIONS, rng))[0] if len(embs) else np.zeros(0, np.int32)
    groups = [np.flatnonzero(nearest == cluster) for cluster in np.unique(nearest)]
    means = [embs[group].mean(axis=0) for group in groups]
    ids = [_elected(embs[group] @ mean, tok_ids[group]) for group, mean in zip(groups, means, strict=True)]
    return np.array(means, np.float32).reshape(-1, embs.shape[1]), np.array(ids, np.int32)


def _elected(similarities: Floats, tok_ids: Ints) -> int:
    """The most frequent id; of several the one with the most similar member."""
    names, groups, votes = np.unique(tok_ids, return_inverse=True, return_counts=True)
    nearest = np.full(len(names), -np.inf)
    np.maximum.at(nearest, groups, similarities)
    return int(names[np.lexsort((-nearest, -votes))[0]])


def _appended(own: tuple[Any, Any, Any], expansion: Expansion | None) -> tuple[Floats, Floats, Any]:
    """Embeddings, weights and token ids of a query with new rows at its end; its own stay as they are, with padding."""
    embs, tok_ids, weights = columns.as_aligned_query(*own)
    if expansion is None:
        return embs, weights, tok_ids
    if tok_ids is not None:
        tok_ids = np.concatenate([tok_ids, expansion.tok_ids])
    return np.concatenate([embs, expansion.embs]), np.concatenate([weights, expansion.weights]), tok_ids
