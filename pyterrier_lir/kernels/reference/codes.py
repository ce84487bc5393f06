"""Compressed token vectors in NumPy: a centroid's number and the packed levels of the residual."""

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.reference.shared import check_codes, integer_products, sum_in_order


def pack(levels: npt.NDArray[np.uint8], nbits: int) -> npt.NDArray[np.uint8]:
    """Value ``j`` goes to byte ``j % width``, at bits ``nbits * (j // width)``: planes of contiguous values."""
    rows, dim = levels.shape
    width = packed_width(dim, nbits)
    packed = np.zeros((rows, width), dtype=np.uint8)
    for plane, first in enumerate(range(0, dim, width or 1)):
        values = levels[:, first : first + width]
        packed[:, : values.shape[1]] |= values << np.uint8(nbits * plane)
    return packed


def unpack(packed: npt.NDArray[np.uint8], dim: int, nbits: int) -> npt.NDArray[np.uint8]:
    """The values that :func:`pack` was given."""
    mask = np.uint8(2**nbits - 1)
    planes = [packed >> np.uint8(nbits * plane) & mask for plane in range(8 // nbits)]
    return np.ascontiguousarray(np.concatenate(planes, axis=1)[:, :dim])


def unpack_levels(
    packed: npt.NDArray[np.uint8], dim: int, nbits: int, level_table: npt.NDArray[np.uint8] | None
) -> npt.NDArray[np.uint8]:
    """The values that :func:`pack` was given, or what a table has for them."""
    levels = unpack(packed, dim, nbits)
    return levels if level_table is None else level_table[levels]


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
    check_codes(codes, np.arange(len(codes)), len(centroids))
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
    level_table: npt.NDArray[np.uint8] | None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """MaxSim of documents ``starts[k]`` to ``ends[k]``, from integer dot products."""
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue
        similarities = code_similarities(
            centroid_scores, query, query_scale, query_bias, codes, packed, inv_norm, inv_norm_table,
            np.arange(start, end), nbits, level_table,
        )  # fmt: skip
        scores[k] = sum_in_order(similarities.max(axis=0))
    return scores


def code_similarities(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    tokens: npt.NDArray[np.int64],
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.float32]:
    """Similarities of some tokens, a row for each, with all rows of the query."""
    check_codes(codes, tokens, len(centroid_scores))
    products = integer_products(unpack_levels(packed[tokens], query.shape[1], nbits, level_table), query)
    similarities = (centroid_scores[codes[tokens], : len(query)] + query_bias) + query_scale * products
    if inv_norm is not None and inv_norm_table is not None:
        similarities = similarities * inv_norm_table[inv_norm[tokens], None]
    return similarities
