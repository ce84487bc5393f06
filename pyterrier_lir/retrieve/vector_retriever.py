"""What retrievers by one long vector share: lists of vectors under ``derived/``, one for each segment if they can."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pyterrier as pt

from pyterrier_lir.columns import Floats
from pyterrier_lir.frames import Query
from pyterrier_lir.index.manifest import small_files
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.retrieve import vectors
from pyterrier_lir.retrieve.faiss_vectors import FaissVectors
from pyterrier_lir.retrieve.retriever import Found, Retriever, Scores

if TYPE_CHECKING:
    from pyterrier_lir.index import files
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset

TOGETHER = 64  # queries that are encoded at once

Parts = Sequence[tuple[int, "Segment"]]  # segments, with the docids of their first documents


class VectorRetriever(Retriever):
    """A retriever that searches the vectors of a source, which it fills in, by inner product."""

    ann: str
    seed: int
    ef_search: int | None
    nprobe: int | None

    def source(self, store: Store, parts: Parts, num_threads: int) -> tuple[vectors.Source, dict[str, str]]:
        """The vectors of the documents of some segments, and what else they are made with, beside the index's files."""
        raise NotImplementedError

    def note(self, folder: files.Directory) -> None:
        """Writes down for people what else may have played a part; nothing."""

    def encoded(self, store: Store, queries: Sequence[Query], num_threads: int) -> Floats:
        """Queries as vectors, float32 ``(n, size)``."""
        raise NotImplementedError

    def scores(self, store: Store, query: Query, products: Floats) -> Scores:
        """What inner products of a query come to; themselves."""
        return products

    def retrieve(self, store: Store, query: Query, wanted: Subset | None, num_threads: int) -> Found:
        """Encodes one query and searches for it."""
        return self._found(store, [query], wanted, num_threads)[0]

    def retrieve_all(self, store: Store, queries: Sequence[Query], wanted: Subset | None) -> list[Found]:
        """The same for several queries; ``"flat"`` reads what is stored once for many, times are shares of theirs."""
        if self.ann != "flat":
            return super().retrieve_all(store, queries, wanted)
        blocks = [queries[first : first + TOGETHER] for first in range(0, len(queries), TOGETHER)]
        return [one for block in blocks for one in self._found(store, block, wanted, threads(self.num_threads))]

    def _found(self, store: Store, queries: Sequence[Query], wanted: Subset | None, num_threads: int) -> list[Found]:
        searched = self.searched(store)
        clock = [time.perf_counter()]
        encoded = self.encoded(store, queries, num_threads)
        clock.append(time.perf_counter())
        effort = self.ef_search or self.nprobe
        hits = list(searched.search(encoded, self.num_results, wanted, effort, num_threads))
        clock.append(time.perf_counter())
        stats = (1000 / len(queries) * np.diff(clock)).tolist()
        return [
            Found(docids, self.scores(store, query, products), stats)
            for query, (docids, products) in zip(queries, hits, strict=True)
        ]

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking; not from FAISS, which for fewer may choose other equal scores."""
        if self.ann != "flat" or not 0 < k < self.num_results:
            return None
        return pt.inspect.transformer_apply_attributes(self, num_results=k)

    def searched(self, store: Store) -> vectors.Flat | FaissVectors:
        """What is searched: ``"flat"`` is stored for each segment, so that only new ones are made."""
        name = self.derived[-1]
        parts = [part for part in store.parts() if part[1].num_tokens]
        if self.ann != "flat":
            return self._opened(store, name, parts)

        def joined() -> vectors.Flat:
            each = [self._opened(store, f"{name}/{part[1].folder.path.name}", [part]) for part in parts]
            return vectors.Flat.joined(cast("list[vectors.Flat]", each))

        return store.once(f"{name}/joined", joined)

    def _opened(self, store: Store, name: str, parts: Parts) -> vectors.Flat | FaissVectors:
        count = threads(self.num_threads)

        def opened() -> vectors.Flat | FaissVectors:
            source, made_with = self.source(store, parts, count)

            def write(folder: files.Directory) -> None:
                self.note(folder)
                vectors.write(self.ann, source, folder, seed=self.seed, num_threads=count)

            sources = small_files([segment.folder.path.name for _, segment in parts], store.manifest["codec"])
            return vectors.read(self.ann, source, store.derived(name, sources, write, made_with))

        return store.once(name, opened)
