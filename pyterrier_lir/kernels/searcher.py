"""Whole searches: every stage of a query, over every segment of an index, for every query of a frame, in one call.

What one call does is what the stages do one after the other, bit for bit; they are its specification, and do the work
where nothing is compiled (:func:`compiled` says so).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.builds import active, active_module
from pyterrier_lir.kernels.checks import (
    check_array,
    check_inv_norm,
    check_length,
    check_level_table,
    check_nbits,
    check_num_threads,
    check_width,
)

MOST = 2**62  # of anything that is counted: more are all of them

Codes = npt.NDArray[np.uint16] | npt.NDArray[np.int32]


def compiled() -> bool:
    """Whether the build that is active has whole searches: all but ``numpy`` have."""
    return active() != "numpy"


class SegmentArrays(NamedTuple):
    """The arrays of a segment, which may be memory maps: N documents, T tokens, D distinct codes of documents.

    Attributes:
        first_doc: The docid of its first document.
        offsets: ``(N + 1,)`` where each document's tokens begin.
        codes: ``(T,)`` centroid of each token.
        packed: ``(T, W)`` levels of each token.
        inv_norm: ``(T,)``, or None.
        code_offsets: ``(N + 1,)`` where each document's distinct codes begin.
        doc_codes: ``(D,)`` these.
        vectors: ``(T, dim)`` the tokens, float16, if they are kept and are to be scored.
    """

    first_doc: int
    offsets: npt.NDArray[np.int64]
    codes: Codes
    packed: npt.NDArray[np.uint8]
    inv_norm: npt.NDArray[np.uint8] | None
    code_offsets: npt.NDArray[np.int64]
    doc_codes: Codes
    vectors: npt.NDArray[np.float16] | None


class DocCells(NamedTuple):
    """The documents of each of K centroids, of neighbouring segments.

    Attributes:
        first_doc: The docid of the first document.
        num_docs: How many documents there are.
        offsets: ``(K + 1,)`` where each centroid's documents begin.
        docs: ``(D,)`` these, counted from the first one on.
    """

    first_doc: int
    num_docs: int
    offsets: npt.NDArray[np.int64]
    docs: npt.NDArray[np.int32]


class QueryArrays(NamedTuple):
    """Queries one behind the other: R rows in all.

    Attributes:
        row_offsets: ``(Q + 1,)`` where each query's rows begin.
        embs: ``(R, dim)``.
        weights: ``(R,)``; the other arrays have them in.
        values: ``(R, dim)`` the rows in units of ``scale``.
        scale: ``(R,)``.
        levels: ``(R, dim)`` the rows times the codec's step, in units of ``level_scale``.
        level_scale: ``(R,)``.
        bias: ``(R,)`` products of the rows with the codec's lowest level.
    """

    row_offsets: npt.NDArray[np.int64]
    embs: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    levels: npt.NDArray[np.int8]
    level_scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


class Results(NamedTuple):
    """The results of Q queries one behind the other, each best first: query q has ``offsets[q]:offsets[q + 1]``.

    Attributes:
        offsets: ``(Q + 1,)``.
        docids: ``(M,)``.
        scores: ``(M,)``.
        stats: ``(Q, s)`` what the searches cost.
    """

    offsets: npt.NDArray[np.int64]
    docids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    stats: npt.NDArray[np.float64]


class Searcher:
    """An index, to be searched by the build that is active when this is made.

    Args:
        num_docs: Documents of the index, with those of segments without tokens, which are not given.
        nbits: Bits of a level.
        centroids: ``(K, dim)`` in units of ``centroid_scale``.
        centroid_scale: ``(K,)``.
        level_table: See :func:`maxsim_codes`.
        inv_norm_table: The same.
        segments: Those with tokens, in the order of their documents.
        cells: The documents of each centroid, of all segments.

    Raises:
        ValueError: An array has the wrong type or length. What it holds is checked where it is read.
    """

    def __init__(
        self,
        num_docs: int,
        nbits: int,
        centroids: npt.NDArray[np.int8],
        centroid_scale: npt.NDArray[np.float32],
        level_table: npt.NDArray[np.uint8] | None,
        inv_norm_table: npt.NDArray[np.float32] | None,
        segments: list[SegmentArrays],
        cells: list[DocCells],
    ) -> None:
        check_array("centroids", centroids, 2, np.int8)
        check_array("centroid_scale", centroid_scale, 1, np.float32)
        check_length("centroid_scale", centroid_scale, len(centroids), "centroid")
        check_nbits(nbits)
        check_level_table(level_table, nbits)
        module = active_module()
        self.num_centroids, self.dim, self.num_docs = *centroids.shape, num_docs
        self._queries = module.Queries
        wide = any(segment.codes.dtype == np.int32 for segment in segments)
        self._index: Any = (module.Index32 if wide else module.Index16)(
            num_docs, nbits, centroids, centroid_scale, level_table, inv_norm_table
        )
        for segment in segments:
            _check_segment(segment, self.dim, nbits, np.int32 if wide else np.uint16)
            check_inv_norm(segment.inv_norm, inv_norm_table, len(segment.codes))
            vectors = None if segment.vectors is None else segment.vectors.view(np.uint16)
            self._index.add_segment(*segment[:-1], vectors)
        for run in cells:
            check_array("cell_offsets", run.offsets, 1, np.int64)
            check_length("cell_offsets", run.offsets, len(centroids) + 1, "centroid, and one more")
            check_array("cell_docs", run.docs, 1, np.int32)
            self._index.add_doc_cells(*run)

    def plaid(
        self,
        queries: QueryArrays,
        *,
        nprobe: int,
        ndocs: int,
        threshold: float | None,
        at_least: int,
        num_results: int,
        wanted: npt.NDArray[np.bool_] | None,
        num_threads: int,
    ) -> Results:
        """PLAID, as the stages of `pyterrier_lir.retrieve.plaid.Plaid.retrieve`.

        Args:
            queries: Each with a row at least.
            nprobe: Cells of each row.
            ndocs: Documents after the first centroid interaction; a quarter of them is scored.
            threshold: Centroids whose similarity to every row, before weights, is less take no part in the first
                interaction; None for all.
            at_least: Documents that reach every stage, by probing more cells if need be.
            num_results: Documents of each query.
            wanted: ``(num_docs,)`` which documents to search; None for all.
            num_threads: One query uses all; of several, each uses one.

        Returns:
            With the stats candidates, documents scored, and the milliseconds of the three stages.
        """
        check_search(queries, wanted, num_threads, self.dim, self.num_docs)
        found = self._index.plaid(
            self._queries(*queries),
            min(nprobe, self.num_centroids),
            min(ndocs, MOST),
            threshold,
            *(min(count, MOST) for count in (at_least, num_results)),
            wanted,
            num_threads,
        )
        return Results(*found)

    def exhaustive(
        self, queries: QueryArrays, *, num_results: int, wanted: npt.NDArray[np.bool_] | None, num_threads: int
    ) -> Results:
        """The best documents of all, or of those that are wanted; see :func:`maxsim` and :func:`maxsim_codes`."""
        check_search(queries, wanted, num_threads, self.dim, self.num_docs)
        return Results(*self._index.exhaustive(self._queries(*queries), min(num_results, MOST), wanted, num_threads))

    def score(
        self,
        queries: QueryArrays,
        pair_offsets: npt.NDArray[np.int64],
        docids: npt.NDArray[np.int64],
        *,
        num_threads: int,
    ) -> npt.NDArray[np.float32]:
        """Scores of documents that are named: query q with ``docids[pair_offsets[q]:pair_offsets[q + 1]]``.

        Returns:
            ``(M,)``; minus infinity for a document without tokens.
        """
        check_search(queries, None, num_threads, self.dim, self.num_docs)
        found: npt.NDArray[np.float32] = self._index.score(self._queries(*queries), pair_offsets, docids, num_threads)
        return found


def check_search(
    queries: QueryArrays, wanted: npt.NDArray[np.bool_] | None, num_threads: int, dim: int, num_docs: int
) -> None:
    """Raises a ValueError unless queries and wanted documents fit to an index of such dimensions and documents."""
    check_num_threads(num_threads)
    if wanted is not None:
        check_array("wanted", wanted, 1, np.bool_)
        check_length("wanted", wanted, num_docs, "document")
    if queries.embs.shape[1] != dim:
        raise ValueError(f"queries have {queries.embs.shape[1]} dimensions, the index has {dim}")


def _check_segment(segment: SegmentArrays, dim: int, nbits: int, code: type[np.generic]) -> None:
    check_array("offsets", segment.offsets, 1, np.int64)
    check_array("code_offsets", segment.code_offsets, 1, np.int64)
    check_length("code_offsets", segment.code_offsets, len(segment.offsets), "offset")
    check_array("codes", segment.codes, 1, code)
    check_array("doc_codes", segment.doc_codes, 1, code)
    check_array("packed", segment.packed, 2, np.uint8)
    check_width(segment.packed, dim, nbits)
    check_length("packed", segment.packed, len(segment.codes), "code")
    if segment.vectors is not None:
        check_array("vectors", segment.vectors, 2, np.float16)
        if segment.vectors.shape != (len(segment.codes), dim):
            raise ValueError(f"vectors has shape {segment.vectors.shape}, but must have {(len(segment.codes), dim)}")
