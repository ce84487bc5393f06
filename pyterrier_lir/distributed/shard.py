"""One shard, where it lies: answers to the questions of a search over all of them, with docids of its own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Docids
from pyterrier_lir.frames import Query
from pyterrier_lir.index.codec import META as CODEC_META
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.manifest import CODECS, Manifest
from pyterrier_lir.index.scoring import CodedQuery, Scorer, threads
from pyterrier_lir.index.store import Store
from pyterrier_lir.index.subset import Subset
from pyterrier_lir.retrieve.plaid import CentroidQuery, exact_scores
from pyterrier_lir.retrieve.retriever import Scores
from pyterrier_lir.retrieve.triples import reduce, scan

Docnos = tuple[str, ...] | None  # those that a search is confined to


class Facts(NamedTuple):
    """What a shard says of itself when it is opened."""

    manifest: Manifest
    docids: int  # with those of deleted documents
    filled: int  # documents with tokens, without deleted ones
    codec: str | None  # the hash of what the codec consists of


class Best(NamedTuple):
    """The best documents of one shard, ascending in docid, of how many, and how many tokens were scored."""

    docids: Docids
    scores: npt.NDArray[Any]
    of: int
    tokens: int = 0


class Shard:
    """An index that is searched as a part of several.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store(path)
        self._named: tuple[Docnos, Subset | None] = (None, self.store.subset(None))

    def answer(self, method: str, number: int | None, *arguments: Any) -> Any:
        """What a method says.

        Args:
            method: Its name.
            number: The number of the manifest that was asked about, or None: after its process died a shard is opened
                again, and docids may no longer be what they were.
            arguments: Of the method.
        """
        found = self.store.manifest["number"]
        if number is not None and found != number:
            raise ValueError(
                f"The shard {self.path} has changed: its manifest is number {found}; expected {number}. Open the "
                "shards anew: shards.close()."
            )
        return getattr(self, method)(*arguments)

    def facts(self) -> Facts:
        """What it holds."""
        store = self.store
        name = f"{CODECS}/{store.manifest['codec']}/{CODEC_META}"
        filled = store.num_filled(store.subset(None))
        return Facts(store.manifest, len(store), filled, store.manifest["sha256"].get(name))

    def codec(self) -> Codec | None:
        """The codec, for the one who asks all shards."""
        return self.store.codec

    @cached_property
    def _cell_sizes(self) -> npt.NDArray[np.int64]:
        return self.store.cell_sizes

    def cell_sizes(self) -> npt.NDArray[np.int64]:
        """Tokens of each centroid, int64 ``(K,)``."""
        return self._cell_sizes

    def lookup(self, docnos: list[str]) -> Docids:
        """Docids, -1 for what it does not hold."""
        return self.store.lookup(docnos, missing="drop")

    def names(self, docids: Docids) -> list[str]:
        """The docnos of docids."""
        return self.store.names(docids)

    def filled(self, docnos: Docnos) -> int:
        """How many of some documents have tokens."""
        return self.store.num_filled(self._wanted(docnos))

    def exhaustive(self, query: Query, k: int, docnos: Docnos, num_threads: int | None) -> Best:
        """The k best of all documents by MaxSim."""
        store, wanted = self.store, self._wanted(docnos)
        scorer = Scorer(store, num_threads=num_threads, device="cpu")
        docids = np.arange(len(store)) if wanted is None else np.flatnonzero(wanted.mask)
        return _best(docids, scorer.documents(scorer.prepare(query), docids), k)

    def interaction(
        self, query: Query, nprobe: int, keep: int, threshold: float | None, quantile: float | None, docnos: Docnos,
        num_threads: int | None,
    ) -> Best:  # fmt: skip
        """PLAID's candidates, and the best of them by centroid interaction."""
        asked = CentroidQuery(self.store, query, threads(num_threads))
        docids = asked.candidates(nprobe, at_least=0, wanted=self._wanted(docnos))
        return _best(docids, asked.maxsim(docids, threshold, quantile), keep)

    def centroid_sums(self, query: Query, docids: Docids, num_threads: int | None) -> npt.NDArray[np.int32]:
        """PLAID's centroid interaction of some documents."""
        return CentroidQuery(self.store, query, threads(num_threads)).maxsim(docids)

    def maxsim(self, query: Query, docids: Docids, num_threads: int | None) -> Scores:
        """The exact scores of some documents."""
        assert self.store.codec is not None
        coded = CodedQuery(query.embs, query.weights, self.store.codec, threads(num_threads))
        return exact_scores(self.store, coded, query, docids, threads(num_threads))

    def warp(
        self, query: Query, cells: npt.NDArray[np.int32], cell_scores: Scores, imputed: Scores, keep: int,
        docnos: Docnos, num_threads: int | None,
    ) -> Best:  # fmt: skip
        """WARP's scores of the documents in chosen cells, and the best of them."""
        assert self.store.codec is not None
        count, wanted = threads(num_threads), self._wanted(docnos)
        coded = CodedQuery(query.embs, query.weights, self.store.codec, count)
        parts = scan(self.store, coded, cells, cell_scores, normalise=False)
        docids, scores = reduce(parts, imputed, count)
        if wanted is not None:
            inside = wanted.mask[docids]
            docids, scores = docids[inside], scores[inside]
        return _best(docids, scores, keep)._replace(tokens=sum(len(part.triples.docs) for part in parts))

    def _wanted(self, docnos: Docnos) -> Subset | None:
        """The documents of a search: those that are not deleted, or named ones that lie here; kept for the next."""
        if docnos is None:
            return self.store.subset(None)
        known, subset = self._named
        if known != docnos:
            docids = self.lookup(list(docnos))
            subset = self.store.some(docids[docids >= 0])
            self._named = (docnos, subset)
        return subset


def _best(docids: Docids, scores: npt.NDArray[Any], keep: int) -> Best:
    """The best documents, ascending; of equal scores the first in the index."""
    top = np.sort(kernels.top_k(scores.astype(np.float32), keep))
    return Best(docids[top], scores[top], len(docids))
