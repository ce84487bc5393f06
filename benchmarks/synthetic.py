"""Collections of any size that are no copies: tokens drawn from a model of real ones, in a stream.

Real tokens are fitted by `CELLS` centroids ``mu_c`` with their shares, and in each coarse group g of centroids by the
covariance ``S_g`` of what is left. A token of cell c is then

    x = mu_c + S_g^(1/2) (a m + b u + c v + d e), scaled to unit length,

with vectors of standard normal numbers: ``m`` is the meaning's, ``u`` the document's (in part its topic's), ``v``
that of a passage, and ``e`` the token's own; ``a^2 + b^2 + c^2 + d^2 = 1`` (`SHARES`), so that every cell keeps its
mean and its spectrum, and documents and passages the correlation that real ones have. A cell has several meanings, the
r-th with a share in proportion to ``1 / r``; by Heaps' law there are ``30 sqrt(T)`` meanings for T tokens. There are
``sqrt(documents)`` fields, and in them a topic for every 20 documents, some of which have many; topics have vectors
near their field's, and meanings that their documents prefer, half of which are their field's. A query is written as a
document is: from meanings of a document and others, in its topic and near its vector, with tokens of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from embedded import CACHE, Data

from pyterrier_lir.index.kmeans import two_level

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CELLS = 4096
SHARES = {"meaning": 0.28, "document": 0.23, "passage": 0.14, "token": 0.35}
HEAPS = 30  # meanings = HEAPS sqrt(T), and not fewer than cells
PASSAGE = 24  # tokens
DISTINCT = 0.8  # meanings of a document for each of its tokens
TOPICAL = 0.85  # of them from its topic's
MEANINGS = 250  # that a topic prefers, and a field
DOCUMENTS = 20  # of a topic
FIELD, TOPIC, OWN = 0.25, 0.4, 0.35  # squared lengths of the parts of a document's vector
KNOWN, NEAR = (0.6, 1.0), 0.5  # of a query: rows with meanings of its document; share of the document's own vector
BATCH = 400  # documents drawn at once; part of the recipe


class Model(NamedTuple):
    """What is fitted to real tokens.

    Attributes:
        means: float32 ``(CELLS, dim)``.
        shares: Cumulated, float64 ``(CELLS,)``.
        groups: The coarse group of each cell.
        roots: ``S_g^(1/2)``, float32 ``(groups, dim, dim)``.
        lengths: Of real documents and of real queries.
    """

    means: Floats
    shares: npt.NDArray[np.float64]
    groups: Ints
    roots: Floats
    lengths: tuple[Ints, Ints]

    @classmethod
    def cached(cls, data: Data) -> Model:
        """From the cache, or fitted now."""
        file = CACHE.parent / "growth" / "model.npz"
        if not file.exists():
            made = cls.fit(data)
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, *made[:-1], *made.lengths)
        *arrays, documents, queries = np.load(file).values()
        return cls(*arrays, (documents, queries))

    @classmethod
    def fit(cls, data: Data) -> Model:
        tokens = data.docs.astype(np.float32)
        order = np.random.default_rng(0).permutation(len(tokens))
        found = two_level(tokens[order], CELLS, seed=0, block=1 << 16, num_threads=2)
        codes, cosines = found.assign(tokens, block=1 << 16, num_threads=2)
        counts = np.bincount(codes, minlength=CELLS)
        means = found.vectors * (np.bincount(codes, cosines, minlength=CELLS) / np.maximum(counts, 1))[:, None]
        groups = np.repeat(np.arange(len(found.coarse)), np.diff(found.offsets))
        residuals = tokens - means[codes].astype(np.float32)
        of_token = groups[codes]
        roots = [_root(residuals[of_token == group]) for group in range(len(found.coarse))]
        queries = data.frame["query_embs"].map(len).to_numpy()
        shares = np.cumsum(counts) / counts.sum()
        return cls(means.astype(np.float32), shares, groups, np.stack(roots), (np.diff(data.offsets), queries))


def _root(residuals: Floats) -> Floats:
    """The symmetric root of their second moments."""
    values, vectors = np.linalg.eigh(residuals.T.astype(np.float64) @ residuals / len(residuals))
    return ((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T).astype(np.float32)


class Collection:
    """So many tokens drawn from a model; the same number gives the same documents.

    Args:
        model: The fitted model.
        tokens: How many at least; the last document is whole.
    """

    def __init__(self, model: Model, tokens: int) -> None:
        self.model, self.tokens = model, tokens
        documents = tokens / model.lengths[0].mean()
        self.ranks = max(round(HEAPS * np.sqrt(tokens) / CELLS), 1)  # meanings of a cell
        rng = np.random.default_rng([0, tokens])
        dim = model.means.shape[1]
        self._meanings = rng.standard_normal((self.ranks * CELLS, dim), dtype=np.float32)
        fields, topics = max(int(np.sqrt(documents)), 1), max(int(documents / DOCUMENTS), 1)
        of_topic = rng.integers(fields, size=topics)
        vectors = rng.standard_normal((fields, dim), dtype=np.float32)[of_topic]
        own = rng.standard_normal((topics, dim), dtype=np.float32)
        self._topics = np.float32(np.sqrt(FIELD)) * vectors + np.float32(np.sqrt(TOPIC)) * own
        preferred = self._draw(rng, fields * MEANINGS).reshape(fields, MEANINGS)[of_topic]
        own_meanings = self._draw(rng, topics * MEANINGS).reshape(topics, MEANINGS)
        self._preferred = np.where(rng.random(preferred.shape) < 0.5, preferred, own_meanings).astype(np.int32)

    @cached_property
    def _ranked(self) -> npt.NDArray[np.float64]:
        weights = np.cumsum(1 / np.arange(1, self.ranks + 1))
        return weights / weights[-1]

    def _draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Meanings by their shares: number ``r CELLS + c`` is the r-th of cell c."""
        cells = np.searchsorted(self.model.shares, rng.random(count), side="right")
        return np.searchsorted(self._ranked, rng.random(count), side="right") * CELLS + np.minimum(cells, CELLS - 1)

    def documents(self, first: int = 0) -> Iterator[Floats]:
        """The tokens of each document, float32 ``(m, dim)``, from document number ``first`` on."""
        batch, skipped = divmod(first, BATCH)
        left = self.tokens - sum(int(self._lengths(before)[1].sum()) for before in range(batch))
        with ThreadPoolExecutor(1) as drawing:  # one batch ahead of whoever takes them
            ahead = drawing.submit(self._batch, batch)
            while left > 0:
                tokens, offsets = ahead.result()
                batch += 1
                ahead = drawing.submit(self._batch, batch)
                for i, (start, end) in enumerate(pairwise(offsets)):
                    if left <= 0:
                        return
                    if i >= skipped:
                        yield tokens[start:end]
                    left -= end - start
                skipped = 0

    def _lengths(self, batch: int) -> tuple[np.random.Generator, Ints]:
        """A batch's random numbers, of which the first ones are the lengths of its documents, and these."""
        rng = np.random.default_rng([1, self.tokens, batch])
        return rng, rng.choice(self.model.lengths[0], BATCH)

    def _batch(self, batch: int) -> tuple[Floats, Ints]:
        rng, lengths = self._lengths(batch)
        offsets = np.append(0, np.cumsum(lengths))
        topics, own, lists = self._written(rng, lengths)
        meanings = _of_lists(rng, lists, lengths)
        return self._vectors(rng, meanings, self._document_vectors(topics, own), lengths), offsets

    def _written(self, rng: np.random.Generator, lengths: Ints) -> tuple[Ints, Floats, list[Ints]]:
        """Topics, own vectors and meanings of documents."""
        topics = (len(self._topics) * rng.random(len(lengths)) ** 1.5).astype(int)
        own = rng.standard_normal((len(lengths), self._topics.shape[1]), dtype=np.float32)
        lists = []
        for topic, length in zip(topics, lengths, strict=True):
            count = max(int(DISTINCT * length), 1)
            free = self._draw(rng, count)
            preferred = self._preferred[topic, rng.integers(MEANINGS, size=count)]
            lists.append(np.where(rng.random(count) < TOPICAL, preferred, free))
        return topics, own, lists

    def _document_vectors(self, topics: Ints, own: Floats) -> Floats:
        return self._topics[topics] + np.float32(np.sqrt(OWN)) * own

    def _vectors(self, rng: np.random.Generator, meanings: Ints, documents: Floats, lengths: Ints) -> Floats:
        """Tokens with these meanings, of documents with these vectors and lengths."""
        a, b, c, d = (np.sqrt(np.float32(share)) for share in SHARES.values())
        of_token = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.cumsum(lengths) - lengths
        passage = (np.arange(len(of_token)) - np.repeat(starts, lengths)) // PASSAGE
        passages = np.cumsum(np.append(True, (np.diff(passage) != 0) | (np.diff(of_token) != 0))) - 1
        dim = documents.shape[1]
        noise = d * rng.standard_normal((len(of_token), dim), dtype=np.float32)
        noise += c * rng.standard_normal((passages[-1] + 1, dim), dtype=np.float32)[passages]
        noise += b * documents[of_token] + a * self._meanings[meanings]
        cells = meanings % CELLS
        vectors = self.model.means[cells]
        order = np.argsort(self.model.groups[cells], kind="stable")
        borders = np.searchsorted(self.model.groups[cells][order], np.arange(len(self.model.roots) + 1))
        for root, (start, end) in zip(self.model.roots, pairwise(borders), strict=True):
            vectors[order[start:end]] += noise[order[start:end]] @ root
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def queries(self, count: int) -> pd.DataFrame:
        """Queries written from documents: ``qid``, ``query``, ``query_embs``, and the docno of the ``source``."""
        batches = -(-self.tokens // int(BATCH * self.model.lengths[0].mean()))
        rng = np.random.default_rng([2, self.tokens])
        rows = []
        for i in range(count):
            batch = int(rng.integers(max(batches - 1, 1)))
            topics, own, lists = self._written(*self._lengths(batch))
            doc = int(rng.integers(min(BATCH, self.tokens // 256)))
            embs = self._query(rng, topics[doc], own[doc], lists[doc])
            rows.append({"qid": str(i), "query": str(i), "query_embs": embs, "source": str(batch * BATCH + doc)})
        return pd.DataFrame(rows)

    def _query(self, rng: np.random.Generator, topic: int, own: Floats, meanings: Ints) -> Floats:
        length = int(rng.choice(self.model.lengths[1]))
        known = _of_lists(rng, [meanings], np.array([length]))
        chosen = np.where(rng.random(length) < rng.uniform(*KNOWN), known, self._draw(rng, length))
        other = rng.standard_normal(len(own), dtype=np.float32)
        near = np.float32(np.sqrt(NEAR)) * own + np.float32(np.sqrt(1 - NEAR)) * other
        document = self._document_vectors(np.array([topic]), near[None])
        return self._vectors(rng, chosen, document, np.array([length]))


def _of_lists(rng: np.random.Generator, lists: list[Ints], lengths: Ints) -> Ints:
    """A meaning of its document's list for each token; the first ones more often."""
    parts = [found[(len(found) * rng.random(n) ** 1.5).astype(int)] for found, n in zip(lists, lengths, strict=True)]
    return np.concatenate(parts)
