"""An opened index as the compiled kernels search it whole: see `kernels.searcher`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_lir import kernels
from pyterrier_lir.index import doc_cells
from pyterrier_lir.index.codec import Codec, to_bytes
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.store import Store
from pyterrier_lir.kernels.cell_searcher import CellArrays, CellSearcher
from pyterrier_lir.kernels.searcher import QueryArrays, Searcher, SegmentArrays

if TYPE_CHECKING:
    from pyterrier_lir.frames import Query


def searcher(store: Store) -> Searcher | None:
    """What searches this index in one call; None where nothing is compiled, or where no document has tokens."""
    if not kernels.compiled() or store.codec is None:
        return None
    codec = store.codec

    def make() -> Searcher:
        filled = [(start, segment) for start, segment in store.parts() if segment.num_tokens]
        parts = [_arrays(start, segment) for start, segment in filled]
        return Searcher(
            len(store), codec.nbits, *codec.centroid_bytes, codec.level_table, codec.inv_norm_table, parts,
            list(doc_cells.merged(filled)),
        )  # fmt: skip

    return store.once(f"searcher/{kernels.active()}", make)


def cell_searcher(store: Store) -> CellSearcher | None:
    """The same for WARP, which reads the tokens cell after cell; they are derived now if they are not there."""
    if not kernels.compiled() or store.codec is None:
        return None
    codec = store.codec

    def make() -> CellSearcher:
        parts = [CellArrays(first, size, t.offsets, t.docs, t.blocks) for first, size, t in store.cell_tokens]
        centroids, coarse, groups = codec.centroid_bytes, codec.coarse_bytes, codec.centroids.offsets
        return CellSearcher(
            len(store), codec.nbits, *centroids, codec.level_table, *coarse, groups, store.cell_sizes, parts
        )

    return store.once(f"cell searcher/{kernels.active()}", make)


def query_arrays(queries: Sequence[Query], codec: Codec) -> QueryArrays:
    """Queries as a searcher takes them, each with a row at least; every row is rounded by itself."""
    embs = np.concatenate([query.embs for query in queries])
    ones = [np.ones(len(query.embs), np.float32) if query.weights is None else query.weights for query in queries]
    weights = np.concatenate(ones)
    weighted = embs * weights[:, None]
    return QueryArrays(
        np.cumsum([0, *(len(query.embs) for query in queries)]),
        embs,
        weights,
        *to_bytes(weighted),
        *to_bytes(weighted * codec.step),
        (weighted * codec.lo).sum(axis=1),
    )


def _arrays(start: int, segment: Segment) -> SegmentArrays:
    assert segment.codes is not None
    assert segment.residuals is not None
    assert segment.doc_code_offsets is not None
    assert segment.doc_codes is not None
    return SegmentArrays(
        start, segment.offsets, segment.codes, segment.residuals, segment.inv_norms, segment.doc_code_offsets,
        segment.doc_codes, segment.tokens,
    )  # fmt: skip
