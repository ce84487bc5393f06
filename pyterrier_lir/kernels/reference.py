"""The kernels in NumPy: what the compiled ones must compute.

These functions are the specification that the compiled kernels are tested against, and stand in for them where none
could be built. They take checked arguments; see the functions of the same names in :mod:`pyterrier_lir.kernels`.
"""

import numpy as np
import numpy.typing as npt


def maxsim(
    query: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32] | None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """MaxSim of documents ``tokens[starts[k]:ends[k]]``; ``num_threads`` is left to NumPy."""
    if weights is None:
        weights = np.ones(len(query), dtype=np.float32)
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue  # no tokens, no maximum
        similarities = query @ tokens[start:end].astype(np.float32).T
        scores[k] = (weights * similarities.max(axis=1)).sum()
    return scores


def top_k(scores: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int64]:
    """Indices of the ``k`` best scores, ties by index, without those that are minus infinity."""
    found = np.flatnonzero(scores > -np.inf)
    k = min(k, len(found))
    if 0 < k < len(found):
        # Keep everything that ties with the k-th best: which of them are in is decided by index below.
        values = scores[found]
        found = found[values >= np.partition(values, len(found) - k)[len(found) - k]]
    return found[np.argsort(-scores[found], kind="stable")[:k]]


# -- token vectors as codes: a centroid's number and the packed levels of the residual


def pack(levels: npt.NDArray[np.uint8], nbits: int) -> npt.NDArray[np.uint8]:
    """Value ``j`` goes to byte ``j % width``, at bits ``nbits * (j // width)``: planes of contiguous values."""
    rows, dim = levels.shape
    width = packed_width(dim, nbits)
    packed = np.zeros((rows, width), dtype=np.uint8)
    for plane, first in enumerate(range(0, dim, width)):
        values = levels[:, first : first + width]
        packed[:, : values.shape[1]] |= values << np.uint8(nbits * plane)
    return packed


def unpack(packed: npt.NDArray[np.uint8], dim: int, nbits: int) -> npt.NDArray[np.uint8]:
    """The values that :func:`pack` was given."""
    mask = np.uint8(2**nbits - 1)
    planes = [packed >> np.uint8(nbits * plane) & mask for plane in range(8 // nbits)]
    return np.ascontiguousarray(np.concatenate(planes, axis=1)[:, :dim])


def packed_width(dim: int, nbits: int) -> int:
    """Bytes of one packed row."""
    return -(-dim // (8 // nbits))


def nearest(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], num_threads: int = 1
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Number and score of each row's best centroid, the lowest number where several are best."""
    codes = np.zeros(len(x), dtype=np.int32)
    scores = np.zeros(len(x), dtype=np.float32)
    block = 1024  # rows, so that memory does not grow with them
    for first in range(0, len(x), block):
        products = x[first : first + block].astype(np.float32) @ centroids.T
        codes[first : first + block] = products.argmax(axis=1)
        scores[first : first + block] = products.max(axis=1)
    return codes, scores


def nearest_groups(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    centroids: npt.NDArray[np.float32],
    count: int,
    num_threads: int = 1,
) -> npt.NDArray[np.int32]:
    """Numbers of each row's ``count`` best centroids, best first, the lower number where scores tie."""
    groups = np.zeros((len(x), count), dtype=np.int32)
    block = 1024
    for first in range(0, len(x), block):
        products = x[first : first + block].astype(np.float32) @ centroids.T
        groups[first : first + block] = np.argsort(-products, axis=1, kind="stable")[:, :count]
    return groups


def encode_residuals(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    centroids: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int32],
    step: npt.NDArray[np.float32],
    lo: npt.NDArray[np.float32],
    nbits: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Packed levels of ``x - centroids[codes]``, and the norms of what they stand for."""
    _check_codes(codes, np.arange(len(codes)), len(centroids))
    packed = np.zeros((len(x), packed_width(x.shape[1], nbits)), dtype=np.uint8)
    norms = np.zeros(len(x), dtype=np.float32)
    block = 4096
    for first in range(0, len(x), block):
        rows = slice(first, first + block)
        near = centroids[codes[rows]]
        levels = np.clip(np.rint((x[rows].astype(np.float32) - near - lo) / step), 0, 2**nbits - 1)
        packed[rows] = pack(levels.astype(np.uint8), nbits)
        decoded = ((near + lo) + levels * step).astype(np.float64)
        # Summed in order, in float64: the same on every machine.
        norms[rows] = np.sqrt(np.add.accumulate(decoded * decoded, axis=1)[:, -1]).astype(np.float32)
    return packed, norms


def maxsim_codes(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    nbits: int,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """MaxSim of documents ``starts[k]`` to ``ends[k]``, from integer dot products."""
    n, dim = query.shape
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue
        tokens = np.arange(start, end)
        _check_codes(codes, tokens, len(centroid_scores))
        products = integer_products(unpack(packed[start:end], dim, nbits), query)
        similarities = (centroid_scores[codes[start:end], :n] + query_bias) + query_scale * products
        if inv_norm is not None and inv_norm_table is not None:
            similarities = similarities * inv_norm_table[inv_norm[start:end], None]
        scores[k] = sum_in_order(similarities.max(axis=0))
    return scores


# -- centroids and their cells


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


def candidates(
    cells: npt.NDArray[np.int32], cell_offsets: npt.NDArray[np.int64], cell_docs: npt.NDArray[np.int32], num_docs: int
) -> npt.NDArray[np.int64]:
    """The documents of some cells, ascending, each once."""
    _check_cells(cells, cell_offsets, len(cell_docs))
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
            _check_codes(doc_codes, np.arange(start, end), len(table))
            scores[k] = table[doc_codes[start:end], :n].max(axis=0).sum(dtype=np.int32)
    return scores


# -- shared


def padded_rows(n: int) -> int:
    """Columns that the scores of ``n`` query rows take: whole blocks of 16."""
    return -(-n // 16) * 16


def integer_products(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """``left @ right.T``: float64 holds the sums exactly, and multiplies faster than NumPy's integers."""
    return (left.astype(np.float64) @ right.astype(np.float64).T).astype(np.float32)


def sum_in_order(values: npt.NDArray[np.float32]) -> np.float32:
    """The sum from left to right, rounded to float32 after every addition; ``np.sum`` adds in pairs."""
    return np.add.accumulate(values, dtype=np.float32)[-1] if len(values) else np.float32(0)


def _check_codes(codes: npt.NDArray[np.integer], tokens: npt.NDArray[np.integer], num_centroids: int) -> None:
    used = codes[tokens]
    outside = (used < 0) | (used >= num_centroids)
    if outside.any():
        t = tokens[outside][0]
        raise ValueError(
            f"codes[{t}] is {codes[t]}, but there are {num_centroids} centroids; are the codes from another index?"
        )


def _check_cells(cells: npt.NDArray[np.int32], cell_offsets: npt.NDArray[np.int64], num_entries: int) -> None:
    num_cells = len(cell_offsets) - 1
    outside = (cells < 0) | (cells >= num_cells)
    if outside.any():
        raise ValueError(
            f"cells contains {cells[outside][0]}, but there are {num_cells} cells; are they from another index?"
        )
    starts, ends = cell_offsets[cells], cell_offsets[cells + 1]
    wrong = (starts < 0) | (starts > ends) | (ends > num_entries)
    if wrong.any():
        k = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"cell_offsets gives cell {cells[k]} the entries {starts[k]} to {ends[k]}, but they must not decrease and "
            f"lie within 0 to {num_entries}, the number of entries; is the file cut off?"
        )
