"""What retrievers by one long vector share: lists of vectors under ``derived/``, one for each segment if they can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyterrier as pt

from pyterrier_lir.index.manifest import small_files
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.retrieve import vectors
from pyterrier_lir.retrieve.faiss_vectors import FaissVectors
from pyterrier_lir.retrieve.retriever import Retriever

if TYPE_CHECKING:
    from pyterrier_lir.index import files
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store

Parts = Sequence[tuple[int, "Segment"]]  # segments, with the docids of their first documents


class VectorRetriever(Retriever):
    """A retriever that searches the vectors of a source, which it fills in, by inner product."""

    ann: str
    seed: int

    def source(self, store: Store, parts: Parts, num_threads: int) -> tuple[vectors.Source, dict[str, str]]:
        """The vectors of the documents of some segments, and what else they are made with, beside the index's files."""
        raise NotImplementedError

    def note(self, folder: files.Directory) -> None:
        """Writes down for people what else may have played a part; nothing."""

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking; not from FAISS, which for fewer may choose other equal scores."""
        if self.ann != "flat" or k >= self.num_results:
            return None
        return pt.inspect.transformer_apply_attributes(self, num_results=k)

    def searched(self, store: Store, name: str) -> list[vectors.Flat | FaissVectors]:
        """What is searched: ``"flat"`` is a list for each segment, so that only new ones are made."""
        parts = [part for part in store.parts() if part[1].num_tokens]
        if self.ann != "flat":
            return [self._opened(store, name, parts)]
        return [self._opened(store, f"{name}/{part[1].folder.path.name}", [part]) for part in parts]

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
