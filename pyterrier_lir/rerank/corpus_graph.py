"""The corpus graph: each document's nearest documents, found with the index itself.

A document's own token vectors are the query, at most ``rows`` of them, evenly spread over the text, and PLAID answers
it, `BLOCK` documents in one call.

========== ================ =========================================================
file       dtype, shape     content
========== ================ =========================================================
edges.i32  int32 (N, k)     the nearest documents, best first; -1 where there are fewer
========== ================ =========================================================

Derived from an index when first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.columns import Docids, Floats, Ints
from pyterrier_lir.index import files
from pyterrier_lir.index.manifest import small_files

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store

BLOCK = 256  # documents in memory at once


@dataclass(frozen=True)
class CorpusGraph:
    """For each document of an index its nearest documents: a graph for adaptive re-ranking, without deleted ones.

    Nothing is computed before the graph is first used; then one search for each document, and the result is kept under
    ``derived/`` in the index, 4 k bytes a document. It serves `pyterrier_lir.LirIndex.ladr`, and
    ``pyterrier_adaptive.GAR``, which asks for `neighbours` as well.

    Args:
        index_: The index.
        k: Neighbours of a document at most; itself is none.
        rows: Token vectors of a document that are searched for at most, evenly spread over it. They are the rows
            of its search: more of them see more of a long document, and make the graph take longer.

    Raises:
        ValueError: If k or ``rows`` is no positive number; on first use, if the index is damaged.
    """

    index_: LirIndex
    k: int = 16
    rows: int = 32

    def __post_init__(self) -> None:
        arguments.check_counts(k=self.k, rows=self.rows)

    @property
    def name(self) -> str:
        """Its folder among what the index derives."""
        return f"corpus_graph/k={self.k},rows={self.rows}"

    @property
    def edges(self) -> Ints:
        """int32 ``(N, k)``: the docids of the nearest documents, best first; -1 where there are fewer."""
        return self._edges_of(self.index_.store)

    def _edges_of(self, store: Store) -> Ints:
        return store.once(self.name, lambda: self._opened(store))

    def _opened(self, store: Store) -> Ints:
        sources = small_files(store.manifest["segments"], store.manifest["codec"])
        folder = store.derived(self.name, sources, lambda out: self._write(store, out))
        edges = folder.map("edges.i32", "<i4")
        if len(edges) != len(store) * self.k or not -1 <= edges.min() <= edges.max() < len(store):
            raise ValueError(
                f"{folder.path / 'edges.i32'} is damaged; expected {self.k} docids for each document, or -1. Remove "
                f"the folder {folder.path}, so that it is made again."
            )
        return edges.reshape(len(store), self.k)

    @overload
    def neighbours(self, document: int) -> Ints: ...
    @overload
    def neighbours(self, document: str) -> list[str]: ...
    def neighbours(self, document: int | str) -> Ints | list[str]:
        """The nearest documents of one, best first: docids for a docid, docnos for a docno.

        Raises:
            ValueError: If the docno is unknown.
        """
        store = self.index_.store
        docid = int(store.lookup([document])[0]) if isinstance(document, str) else document
        found = self._edges_of(store)[docid]
        found = found[found >= 0]
        found = found if store.live is None else found[store.live.mask[found]]
        return store.names(found.astype(np.int64)) if isinstance(document, str) else found

    def _write(self, store: Store, folder: files.Directory) -> None:
        size = len(store)
        edges = folder.allocate("edges.i32", "<i4", size * self.k).reshape(size, self.k)
        edges[:] = -1
        for start in pt.tqdm(range(0, size, BLOCK), desc="Corpus graph", unit=f" x {BLOCK} docs"):
            docs, neighbours = self._nearest(store, np.arange(start, min(start + BLOCK, size)))
            places = np.arange(len(docs)) - np.searchsorted(docs, docs)
            edges[docs[places < self.k], places[places < self.k]] = neighbours[places < self.k]

    def _nearest(self, store: Store, docids: Docids) -> tuple[Docids, Docids]:
        """Pairs of a document and one that is near it, ascending by the first, best first.

        Deleted documents are found as well, so that the graph does not depend on when they were deleted.
        """
        plaid = self.index_.plaid(num_results=self.k + 1)
        rows = [self._sample(store.document(int(docid))[0]) for docid in docids]
        frame = pd.DataFrame({"qid": docids, columns.QUERY_EMBS: columns.object_column(rows)})
        asked = [query for query in frames.queries(frame, store.dim) if len(query.embs)]
        found = plaid.retrieve_all(store, asked, None) if asked else []
        docs = np.repeat(docids[[query.rows[0] for query in asked]], [len(one.docids) for one in found])
        near = np.concatenate([np.zeros(0, np.int64), *(one.docids for one in found)])
        return docs[docs != near], near[docs != near]

    def _sample(self, embs: Floats) -> Floats:
        return embs[np.linspace(0, len(embs) - 1, min(self.rows, len(embs))).round().astype(np.int64)]
