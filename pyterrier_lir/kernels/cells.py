"""Centroids and their cells: which documents are worth a closer look.

Scores of centroids are matrices ``(K, L)`` with a column for each of the query's ``n`` rows, and columns of zeros up to
``L``, ``n`` rounded up to a multiple of 16: what a token needs lies together.
"""

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.builds import active_module
from pyterrier_lir.kernels.checks import (
    check_array,
    check_integer,
    check_length,
    check_num_threads,
    check_query_bytes,
    check_score_columns,
    document_ranges,
)


def centroid_scores(
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    centroids: npt.NDArray[np.int8],
    centroid_scale: npt.NDArray[np.float32],
    *,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Products of a query's rows with all centroids.

    ``S[c, i] = (query_scale[i] * centroid_scale[c]) * sum_j query[i, j] * centroids[c, j]``: the sum is an integer, and
    the two products are rounded in this order, so all builds and NumPy agree bit for bit.

    Args:
        query: ``(n, d)``, in units of ``query_scale``; ``d`` up to 65,536.
        query_scale: ``(n,)``.
        centroids: ``(K, d)``, in units of ``centroid_scale``.
        centroid_scale: ``(K,)``.
        num_threads: threads that share the centroids.

    Returns:
        ``(K, L)``; columns from ``n`` on are 0.

    Raises:
        ValueError: an argument has the wrong type or shape.
    """
    check_query_bytes(query, query_scale)
    check_array("centroids", centroids, 2, np.int8)
    if centroids.shape[1] != query.shape[1]:
        raise ValueError(f"query has {query.shape[1]} dimensions and centroids have {centroids.shape[1]}")
    check_array("centroid_scale", centroid_scale, 1, np.float32)
    check_length("centroid_scale", centroid_scale, len(centroids), "centroid")
    check_num_threads(num_threads)
    return active_module().centroid_scores(query, query_scale, centroids, centroid_scale, num_threads)


def score_table(
    scores: npt.NDArray[np.float32], n: int, *, num_threads: int = 1
) -> tuple[npt.NDArray[np.uint8], float, float]:
    """Scores as bytes, for :func:`centroid_maxsim`.

    ``T = floor((S - lo) * (255 / (hi - lo)) + 0.5)`` in float32, with ``lo`` and ``hi`` the smallest and the largest
    score of the first ``n`` columns: one scale for all rows, so that sums over rows keep their order. All zeros where
    ``hi - lo`` is 0, or too small to divide by.

    Args:
        scores: ``(K, L)``, finite, as from :func:`centroid_scores`.
        n: the query's rows.
        num_threads: threads that share the centroids.

    Returns:
        ``(K, L)`` bytes, columns from ``n`` on 0; ``lo``; and the step ``(hi - lo) / 255``: ``S`` is about
        ``lo + step * T``.

    Raises:
        ValueError: an argument has the wrong type or shape.
    """
    check_array("scores", scores, 2, np.float32)
    check_score_columns("scores", scores, n)
    check_num_threads(num_threads)
    return active_module().score_table(scores, n, num_threads)


def top_cells(scores: npt.NDArray[np.float32], n: int, p: int) -> npt.NDArray[np.int32]:
    """The best centroids of each query row.

    Args:
        scores: ``(K, L)`` without NaN, as from :func:`centroid_scores`.
        n: the query's rows.
        p: how many for each row, 1 to ``K``.

    Returns:
        ``(n, p)`` numbers of centroids: score descending, then number ascending.

    Raises:
        ValueError: an argument has the wrong type or shape, or there are fewer than ``p`` centroids.
    """
    check_array("scores", scores, 2, np.float32)
    check_score_columns("scores", scores, n)
    check_integer("p", p)
    if not 1 <= p <= len(scores):
        raise ValueError(f"p is {p}, but must be 1 to {len(scores)}, the number of centroids")
    return active_module().top_cells(scores, n, p)


def top_cells_in_groups(
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    centroids: npt.NDArray[np.int8],
    centroid_scale: npt.NDArray[np.float32],
    group_offsets: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int32],
    p: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The best centroids of each query row among those of some groups, where scoring all would take too long.

    Scores are those of :func:`centroid_scores`, and with all groups the result is that of :func:`top_cells`.

    Args:
        query: ``(n, d)``, in units of ``query_scale``; ``d`` up to 65,536.
        query_scale: ``(n,)``.
        centroids: ``(K, d)``, in units of ``centroid_scale``, sorted by group.
        centroid_scale: ``(K,)``.
        group_offsets: ``(G + 1,)``, not decreasing, within ``0 .. K``: where each group's centroids begin.
        groups: ``(n, g)`` the groups of each row, each once in a row.
        p: how many centroids for each row, at least 1.

    Returns:
        ``(n, p)`` numbers of centroids, score descending, then number ascending, and ``(n, p)`` their scores.

    Raises:
        ValueError: an argument has the wrong type or shape, names groups that do not exist, or groups that hold fewer
            than ``p`` centroids.
    """
    check_query_bytes(query, query_scale)
    check_array("centroids", centroids, 2, np.int8)
    if centroids.shape[1] != query.shape[1]:
        raise ValueError(f"query has {query.shape[1]} dimensions and centroids have {centroids.shape[1]}")
    check_array("centroid_scale", centroid_scale, 1, np.float32)
    check_length("centroid_scale", centroid_scale, len(centroids), "centroid")
    check_array("group_offsets", group_offsets, 1, np.int64)
    if len(group_offsets) == 0:
        raise ValueError("group_offsets is empty, but G groups have G + 1 offsets; for no groups give [0]")
    check_array("groups", groups, 2, np.int32)
    check_length("groups", groups, len(query), "query row")
    check_integer("p", p)
    if p < 1:
        raise ValueError(f"p is {p}, but at least 1 centroid must be wanted")
    if p > len(centroids):
        raise ValueError(f"p is {p}, but there are {len(centroids)} centroids")
    return active_module().top_cells_in_groups(query, query_scale, centroids, centroid_scale, group_offsets, groups, p)


def candidates(
    cells: npt.NDArray[np.int32],
    cell_offsets: npt.NDArray[np.int64],
    cell_docs: npt.NDArray[np.int32],
    num_docs: int,
) -> npt.NDArray[np.int64]:
    """The documents with a token in one of some cells.

    Args:
        cells: ``(m,)`` numbers of cells, in any order, repeated or not.
        cell_offsets: ``(K + 1,)``, not decreasing: where each cell's documents begin.
        cell_docs: ``(P,)`` documents, each below ``num_docs``.
        num_docs: the number of documents; the kernel takes one bit of memory for each.

    Returns:
        The documents of all these cells, ascending, each once.

    Raises:
        ValueError: an argument has the wrong type or shape, or names cells or documents that do not exist.
    """
    check_array("cells", cells, 1, np.int32)
    check_array("cell_offsets", cell_offsets, 1, np.int64)
    check_array("cell_docs", cell_docs, 1, np.int32)
    if len(cell_offsets) == 0:
        raise ValueError("cell_offsets is empty, but K cells have K + 1 offsets; for no cells give [0]")
    check_integer("num_docs", num_docs)
    if num_docs < 0:
        raise ValueError(f"num_docs is {num_docs}, but the number of documents cannot be negative")
    return active_module().candidates(cells, cell_offsets, cell_docs, num_docs)


def centroid_maxsim(
    table: npt.NDArray[np.uint8],
    n: int,
    doc_codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    doc_offsets: npt.NDArray[np.int64],
    docids: npt.NDArray[np.int64] | None = None,
    *,
    num_threads: int = 1,
) -> npt.NDArray[np.int32]:
    """MaxSim of documents with every token replaced by its centroid (PLAID's centroid interaction).

    ``scores[k] = sum_(i < n) max_t table[doc_codes[t], i]``, ``t`` over the codes of document ``docids[k]``; each code
    of a document need be there only once (Santhanam et al., PLAID, CIKM 2022).

    Args:
        table: ``(K, L)``, as from :func:`score_table`; columns from ``n`` on are not read for scores.
        n: the query's rows.
        doc_codes: ``(P,)`` centroids of each document.
        doc_offsets: ``(N + 1,)``, not decreasing, within ``0 .. P``: where each document's codes begin.
        docids: ``(m,)`` documents to score, in any order, repeated or not; ``None`` for all ``N``.
        num_threads: threads that share the documents.

    Returns:
        ``(m,)`` sums, 0 to ``255 * n``; -1 for a document without codes.

    Raises:
        ValueError: an argument has the wrong type or shape, or names documents or centroids that do not exist.
    """
    check_array("table", table, 2, np.uint8)
    check_score_columns("table", table, n)
    check_array("doc_codes", doc_codes, 1, np.uint16, np.int32)
    check_num_threads(num_threads)
    starts, ends = document_ranges(doc_offsets, docids, len(doc_codes))
    return active_module().centroid_maxsim(table, n, doc_codes, starts, ends, num_threads)
