"""Centroids and their cells in NumPy; see :mod:`pyterrier_lir.kernels.cells`."""

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.reference.shared import check_cells, check_codes, integer_products, padded_rows


def centroid_scores(
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    centroids: npt.NDArray[np.int8],
    centroid_scale: npt.NDArray[np.float32],
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Scores of all centroids, a column for each query row, and columns of zeros."""
    n = len(query)
    scores = np.zeros((len(centroids), padded_rows(n)), dtype=np.float32)
    scores[:, :n] = (query_scale * centroid_scale[:, None]) * integer_products(centroids, query)
    return scores


def score_table(
    scores: npt.NDArray[np.float32], n: int, num_threads: int = 1
) -> tuple[npt.NDArray[np.uint8], float, float]:
    """The scores as 0 to 255, from their minimum to their maximum; also the minimum and the width of a step."""
    table = np.zeros(scores.shape, dtype=np.uint8)
    used = scores[:, :n]
    if used.size == 0:
        return table, 0.0, 0.0
    lo, hi = used.min(), used.max()
    step = (hi - lo) / np.float32(255)
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.float32(255) / (hi - lo)
    if np.isfinite(scale):
        table[:, :n] = np.minimum(np.floor((used - lo) * scale + np.float32(0.5)), 255)
    return table, float(lo), float(step)


def top_cells(scores: npt.NDArray[np.float32], n: int, p: int) -> npt.NDArray[np.int32]:
    """Numbers of each column's ``p`` best centroids, best first, ties by number."""
    return np.argsort(-scores[:, :n].T, axis=1, kind="stable")[:, :p].astype(np.int32)


def top_cells_in_groups(
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    centroids: npt.NDArray[np.int8],
    centroid_scale: npt.NDArray[np.float32],
    group_offsets: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int32],
    p: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Numbers and scores of each row's ``p`` best centroids among those of its groups, best first, ties by number."""
    cells = np.zeros((len(query), p), dtype=np.int32)
    scores = np.zeros((len(query), p), dtype=np.float32)
    for i, row in enumerate(groups):
        _check_groups(row, group_offsets, len(centroids))
        ranges = [np.arange(group_offsets[g], group_offsets[g + 1]) for g in np.sort(row)]
        members = np.concatenate([np.zeros(0, dtype=np.int64), *ranges])
        if len(members) < p:
            raise ValueError(f"the groups of row {i} hold {len(members)} centroids, but p is {p}; choose more groups")
        found = centroid_scores(query[i : i + 1], query_scale[i : i + 1], centroids[members], centroid_scale[members])
        best = np.argsort(-found[:, 0], kind="stable")[:p]
        cells[i], scores[i] = members[best], found[best, 0]
    return cells, scores


def candidates(
    cells: npt.NDArray[np.int32], cell_offsets: npt.NDArray[np.int64], cell_docs: npt.NDArray[np.int32], num_docs: int
) -> npt.NDArray[np.int64]:
    """The documents of some cells, ascending, each once."""
    check_cells(cells, cell_offsets, len(cell_docs))
    lists = [cell_docs[cell_offsets[cell] : cell_offsets[cell + 1]] for cell in np.unique(cells)]
    docs = np.unique(np.concatenate([np.zeros(0, dtype=np.int32), *lists]))
    outside = (docs < 0) | (docs >= num_docs)
    if outside.any():
        raise ValueError(
            f"cell_docs contains {docs[outside][0]}, but there are {num_docs} documents; are they from another index?"
        )
    return docs.astype(np.int64)


def centroid_maxsim(
    table: npt.NDArray[np.uint8],
    n: int,
    doc_codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    num_threads: int = 1,
) -> npt.NDArray[np.int32]:
    """Sums over the query's rows of the best table entry among the codes ``starts[k]`` to ``ends[k]``."""
    scores = np.full(len(starts), -1, dtype=np.int32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start < end:
            check_codes(doc_codes, np.arange(start, end), len(table))
            scores[k] = table[doc_codes[start:end], :n].max(axis=0).sum(dtype=np.int32)
    return scores


def _check_groups(groups: npt.NDArray[np.int32], group_offsets: npt.NDArray[np.int64], num_centroids: int) -> None:
    num_groups = len(group_offsets) - 1
    for group in groups:
        if not 0 <= group < num_groups:
            raise ValueError(
                f"groups contains {group}, but there are {num_groups} groups; are they from another index?"
            )
        start, end = group_offsets[group], group_offsets[group + 1]
        if not 0 <= start <= end <= num_centroids:
            raise ValueError(
                f"group_offsets gives group {group} the centroids {start} to {end}, but there are {num_centroids}; "
                "is the file cut off?"
            )
