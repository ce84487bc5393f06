"""Token vectors as codes: the nearest centroid's number and the packed levels of the residual.

A token ``t`` with code ``c`` and levels ``l`` stands for the vector ``centroids[c] + lo + step * l``, divided by its
norm where the index says so. Its inner product with a query row ``q`` falls apart into ``q . centroids[c]``, which all
tokens of the cell share, ``q . lo``, which all tokens share, and ``sum_j (q_j step_j) l_j``, which is an integer
product once ``q_j step_j`` is rounded to int8.
"""

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.builds import active_module
from pyterrier_lir.kernels.checks import (
    as_bits,
    check_array,
    check_coded_tokens,
    check_integer,
    check_length,
    check_nbits,
    check_num_threads,
    check_width,
    document_ranges,
)


def pack(levels: npt.NDArray[np.uint8], nbits: int) -> npt.NDArray[np.uint8]:
    """Packs small numbers into bytes.

    Value ``j`` of a row goes to byte ``j % W``, at bits ``nbits * (j // W)``, ``W = ceil(d / (8 / nbits))``: one mask
    and one shift of a packed row give ``W`` neighbouring values. Bits that belong to no value are 0.

    Args:
        levels: ``(n, d)``, values below ``2 ** nbits``.
        nbits: 1, 2, 4 or 8.

    Returns:
        ``(n, W)`` bytes.

    Raises:
        ValueError: an argument has the wrong type or shape, or a value needs more bits.

    >>> pack(np.array([[1, 8]], dtype=np.uint8), 4)
    array([[129]], dtype=uint8)
    """
    check_array("levels", levels, 2, np.uint8)
    check_nbits(nbits)
    if levels.size and levels.max() >= 2**nbits:
        raise ValueError(f"levels contains {levels.max()}, but {nbits} bits hold values up to {2**nbits - 1}")
    return active_module().pack(levels, nbits)


def unpack(packed: npt.NDArray[np.uint8], dim: int, nbits: int) -> npt.NDArray[np.uint8]:
    """The values that :func:`pack` was given.

    Args:
        packed: ``(n, W)`` bytes.
        dim: values of each row, ``d`` of :func:`pack`.
        nbits: 1, 2, 4 or 8.

    Returns:
        ``(n, d)`` values below ``2 ** nbits``.

    Raises:
        ValueError: an argument has the wrong type or shape.
    """
    check_array("packed", packed, 2, np.uint8)
    check_nbits(nbits)
    check_width(packed, dim, nbits)
    return active_module().unpack(packed, dim, nbits)


def nearest(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    centroids: npt.NDArray[np.float32],
    *,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The centroid with the largest inner product, for each row.

    Products are accumulated in float32 over the dimensions in order, whatever else is computed with them and on how
    many threads. Builds with a fused multiply-add agree bit for bit; the others round differently.

    Args:
        x: ``(n, d)``, float16 or float32, finite; may be a read-only memory map.
        centroids: ``(K, d)``, finite, ``K >= 1``.
        num_threads: threads that share the rows.

    Returns:
        ``(n,)`` numbers of centroids, the lowest where several are best, and ``(n,)`` their inner products.

    Raises:
        ValueError: an argument has the wrong type or shape.
    """
    check_array("x", x, 2, np.float16, np.float32)
    _check_centroids(centroids, x.shape[1])
    check_num_threads(num_threads)
    kernels = active_module()
    return kernels.nearest(as_bits(x, kernels), centroids, num_threads)


def nearest_groups(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    centroids: npt.NDArray[np.float32],
    count: int,
    *,
    num_threads: int = 1,
) -> npt.NDArray[np.int32]:
    """The ``count`` centroids with the largest inner products, for each row; for a few hundred centroids.

    Products as in :func:`nearest`.

    Args:
        x: ``(n, d)``, float16 or float32, finite.
        centroids: ``(K, d)``, finite, ``K >= 1``.
        count: how many, 1 to ``K``.
        num_threads: threads that share the rows.

    Returns:
        ``(n, count)`` numbers of centroids: product descending, then number ascending.

    Raises:
        ValueError: an argument has the wrong type or shape, or there are fewer than ``count`` centroids.
    """
    check_array("x", x, 2, np.float16, np.float32)
    _check_centroids(centroids, x.shape[1])
    check_integer("count", count)
    if not 1 <= count <= len(centroids):
        raise ValueError(f"count is {count}, but must be 1 to {len(centroids)}, the number of centroids")
    check_num_threads(num_threads)
    kernels = active_module()
    return kernels.nearest_groups(as_bits(x, kernels), centroids, count, num_threads)


def encode_residuals(
    x: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    centroids: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int32],
    step: npt.NDArray[np.float32],
    lo: npt.NDArray[np.float32],
    nbits: int,
    *,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Levels of the residuals, and the norms of the vectors that they stand for.

    ``level = clip(rint((x - centroids[code] - lo) / step), 0, 2 ** nbits - 1)`` in float32, halves rounded to even;
    the norm is that of ``(centroids[code] + lo) + level * step`` in float32, summed in order in float64. All builds
    agree bit for bit.

    Args:
        x: ``(n, d)``, float16 or float32, finite.
        centroids: ``(K, d)``, finite.
        codes: ``(n,)`` number of each row's centroid.
        step: ``(d,)`` distance of two levels, above 0.
        lo: ``(d,)`` residual of level 0.
        nbits: 1, 2, 4 or 8.
        num_threads: threads that share the rows.

    Returns:
        ``(n, W)`` levels as :func:`pack` packs them, and ``(n,)`` norms.

    Raises:
        ValueError: an argument has the wrong type or shape, or a code names no centroid.
    """
    check_array("x", x, 2, np.float16, np.float32)
    _check_centroids(centroids, x.shape[1])
    check_array("codes", codes, 1, np.int32)
    check_length("codes", codes, len(x), "row of x")
    for name, values in (("step", step), ("lo", lo)):
        check_array(name, values, 1, np.float32)
        check_length(name, values, x.shape[1], "dimension")
    if not (step > 0).all():
        raise ValueError(f"step contains {step[~(step > 0)][0]}, but the distance of two levels must be above 0")
    check_nbits(nbits)
    check_num_threads(num_threads)
    kernels = active_module()
    return kernels.encode_residuals(as_bits(x, kernels), centroids, codes, step, lo, nbits, num_threads)


def maxsim_codes(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    offsets: npt.NDArray[np.int64],
    docids: npt.NDArray[np.int64] | None = None,
    *,
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None = None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """MaxSim of one query with many documents, from the codes of their tokens.

    ``scores[k] = sum_i max_t ((S[codes[t], i] + query_bias[i]) + query_scale[i] * acc[t, i]) * r[t]`` over the tokens
    ``t`` of document ``docids[k]``, with ``S`` the ``centroid_scores``, ``r[t] = inv_norm_table[inv_norm[t]]`` and
    ``acc[t, i] = sum_j query[i, j] * levels[t, j]`` in integers (Santhanam et al., PLAID, CIKM 2022, over a uniform
    codec). With a ``level_table``, ``levels`` are what it has for the packed ones: a codebook whose values are not
    equally far apart is one of 128 equal steps, of which few are used.

    Every float operation is rounded by itself, in the order of the formula, and rows are summed in order: all builds
    and NumPy agree bit for bit, on any number of threads.

    Args:
        centroid_scores: ``(K, L)``, columns ``i < n`` the products of the query's rows with the centroids; ``L`` is
            ``n`` rounded up to a multiple of 16, as from :func:`centroid_scores`.
        query: ``(n, d)``, the query's rows times the codec's step, in units of ``query_scale``; ``d`` up to 65,536.
        query_scale: ``(n,)`` what one unit of a row is.
        query_bias: ``(n,)`` products of the rows with the codec's ``lo``.
        codes: ``(T,)`` centroid of each token.
        packed: ``(T, W)`` levels of each token, as from :func:`encode_residuals`.
        inv_norm: ``(T,)`` entry of ``inv_norm_table`` for each token; ``None`` for no normalisation.
        inv_norm_table: ``(256,)`` factors; ``None`` together with ``inv_norm``.
        offsets: ``(N + 1,)``, not decreasing, within ``0 .. T``: where each document's tokens begin.
        docids: ``(m,)`` documents to score, in any order, repeated or not; ``None`` for all ``N``.
        nbits: 1, 2, 4 or 8.
        level_table: ``(2 ** nbits,)``, 0 to 127: what each level counts as; ``None`` for itself. Not with 8 bits.
        num_threads: threads that share the documents.

    Returns:
        ``(m,)`` scores; minus infinity for a document without tokens.

    Raises:
        ValueError: an argument has the wrong type or shape, or names documents, tokens or centroids that do not exist.
    """
    check_coded_tokens(
        centroid_scores, query, query_scale, query_bias, codes, packed, inv_norm, inv_norm_table, nbits, level_table
    )
    check_num_threads(num_threads)
    starts, ends = document_ranges(offsets, docids, len(codes))
    return active_module().maxsim_codes(
        centroid_scores,
        query,
        query_scale,
        query_bias,
        codes,
        packed,
        inv_norm,
        inv_norm_table,
        starts,
        ends,
        nbits,
        level_table,
        num_threads,
    )


def _check_centroids(centroids: npt.NDArray[np.float32], dim: int) -> None:
    check_array("centroids", centroids, 2, np.float32)
    if len(centroids) == 0:
        raise ValueError("centroids has no rows, but at least 1 must be there to be the nearest")
    if centroids.shape[1] != dim or dim == 0:
        raise ValueError(
            f"x has {dim} dimensions and centroids have {centroids.shape[1]}, but both must have the same number, "
            "at least 1"
        )
