"""Fixed dimensional encodings: many vectors as one, and inner products of what comes out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.builds import active_module
from pyterrier_lir.kernels.checks import (
    as_bits,
    check_array,
    check_integer,
    check_length,
    check_num_threads,
    document_ranges,
)

_MAX_BITS = 24  # 16 million cells


def encode_fde(
    vectors: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    planes: npt.NDArray[np.float32],
    thresholds: npt.NDArray[np.float32],
    projections: npt.NDArray[np.float32] | None = None,
    places: npt.NDArray[np.int32] | None = None,
    signs: npt.NDArray[np.float32] | None = None,
    final_dim: int | None = None,
    *,
    mean: bool,
    fill: bool,
    weights: npt.NDArray[np.float32] | None = None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Fixed dimensional encodings of queries or documents (Jayaram et al., MUVERA, NeurIPS 2024).

    In repetition ``r`` a vector ``x`` lies in the cell whose bit ``b`` is ``<planes[r, b], x> > thresholds[r, b]``. A
    cell holds the sum ``sum_t weights[t] * vectors[t]`` of the vectors in it, or with ``mean`` their mean. With
    ``fill`` a cell without any holds the vector whose bits differ least from the cell's, the first of several; else
    zeros. The encoding is the contents of all cells of all repetitions, after each other, each multiplied by
    ``projections[r]``; with a final projection, value ``j`` of these is added to value ``places[j]`` of the result,
    times ``signs[j]``, and they are never in memory at once.

    Sums run over vectors in order, products are accumulated over the dimensions in order, all in float32: an encoding
    is the same bit for bit whatever other documents are encoded with it and on how many threads. All builds with a
    fused multiply-add agree bit for bit; the others round differently, and so may see a vector that lies on a
    hyperplane, up to rounding, on its other side.

    Args:
        vectors: ``(T, d)``, finite.
        offsets: ``(N + 1,)``, not decreasing, within ``0 .. T``: where each document's vectors begin.
        planes: ``(R, k, d)``, finite: the normals of k hyperplanes in each of R repetitions.
        thresholds: ``(R, k)``; zeros for hyperplanes through the origin.
        projections: ``(R, p, d)``, finite; ``None`` for none.
        places: ``(R * 2 ** k * p,)`` of the final projection, each below ``final_dim``; ``None`` for none.
        signs: ``(R * 2 ** k * p,)``; ``None`` together with ``places``.
        final_dim: values of the result; ``None`` together with ``places``.
        mean: documents: whether a cell holds the mean of its vectors, not their sum.
        fill: documents: whether empty cells are filled.
        weights: ``(T,)`` of each vector, for sums; ``None`` for ones.
        num_threads: threads that share the documents.

    Returns:
        ``(N, R * 2 ** k * p)``, with ``p = d`` where there are no projections, or ``(N, final_dim)``; zeros for a
        document without vectors.

    Raises:
        ValueError: an argument has the wrong type or shape, or names vectors or places that do not exist.
    """
    check_array("vectors", vectors, 2, np.float32)
    check_array("planes", planes, 3, np.float32)
    reps, bits, dim = planes.shape
    if not (reps and 1 <= bits <= _MAX_BITS and dim) or vectors.shape[1] != dim:
        raise ValueError(
            f"planes has shape {planes.shape}, but must have (R, k, d) with R at least 1, k from 1 to {_MAX_BITS}, and "
            f"d the {vectors.shape[1]} dimensions of vectors, at least 1"
        )
    check_array("thresholds", thresholds, 2, np.float32)
    if thresholds.shape != (reps, bits):
        raise ValueError(f"thresholds has shape {thresholds.shape}, but must have {(reps, bits)}: one for each plane")
    width = dim
    if projections is not None:
        check_array("projections", projections, 3, np.float32)
        width = projections.shape[1]
        if projections.shape != (reps, width, dim) or not width:
            raise ValueError(f"projections has shape {projections.shape}, but must have ({reps}, p, {dim}), p above 0")
    size = _check_final(places, signs, final_dim, reps * width << bits)
    if weights is not None:
        check_array("weights", weights, 1, np.float32)
        check_length("weights", weights, len(vectors), "vector")
        if mean or fill:
            raise ValueError("weights were given together with mean or fill; only sums are weighted, so leave one out")
    for name, value in (("mean", mean), ("fill", fill)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, but must be True or False")
    check_num_threads(num_threads)
    starts, ends = document_ranges(offsets, None, len(vectors))
    return active_module().encode_fde(
        vectors, np.ascontiguousarray(starts), np.ascontiguousarray(ends), weights, planes, thresholds, projections,
        places, signs, size, mean, fill, num_threads,
    )  # fmt: skip


def inner_products(
    vectors: npt.NDArray[np.float32],
    parts: Sequence[npt.NDArray[np.float16]],
    numbers: npt.NDArray[np.int64] | None = None,
    *,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Inner products of vectors with long rows: ``products[v, k] = <vectors[v], rows[numbers[k]]>``.

    Accumulated in float32 over 16 lanes, added up in a fixed order: a product depends neither on the other vectors and
    rows nor on the number of threads. All builds with a fused multiply-add agree bit for bit.

    Args:
        vectors: ``(n, d)``; several share what is read of the rows.
        parts: Matrices ``(N, d)``, finite, whose rows follow each other; they may be read-only memory maps.
        numbers: ``(m,)`` rows to multiply with; ``None`` for all.
        num_threads: threads that share the rows.

    Returns:
        ``(n, m)``.

    Raises:
        ValueError: an argument has the wrong type or shape, or names rows that do not exist.
    """
    check_array("vectors", vectors, 2, np.float32)
    dim = vectors.shape[1]
    if not isinstance(parts, Sequence):
        raise ValueError(f"parts is a {type(parts).__name__}, but must be a list of matrices")
    for i, rows in enumerate(parts):
        check_array(f"parts[{i}]", rows, 2, np.float16)
        if rows.shape[1] != dim:
            raise ValueError(
                f"vectors have {dim} values and parts[{i}] has {rows.shape[1]}, but both must have as many"
            )
    count = sum(map(len, parts))
    if numbers is not None:
        check_array("numbers", numbers, 1, np.int64)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
            raise ValueError(f"numbers lie in {numbers.min()} to {numbers.max()}, but there are {count} rows")
    check_num_threads(num_threads)
    module = active_module()
    return module.inner_products(vectors, [as_bits(rows, module) for rows in parts], numbers, num_threads)


def _check_final(
    places: npt.NDArray[np.int32] | None, signs: npt.NDArray[np.float32] | None, final_dim: int | None, size: int
) -> int:
    """Raises unless there is a whole final projection of ``size`` values, or none; the values of the result."""
    if places is None and signs is None and final_dim is None:
        return size
    if places is None or signs is None or final_dim is None:
        raise ValueError("places, signs and final_dim belong together: give all, or None for all")
    check_integer("final_dim", final_dim)
    for name, array, dtype in (("places", places, np.int32), ("signs", signs, np.float32)):
        check_array(name, array, 1, dtype)
        check_length(name, array, size, "value of the cells")
    if not 0 <= places.min() <= places.max() < final_dim:
        raise ValueError(f"places lie in {places.min()} to {places.max()}, but final_dim is {final_dim}")
    return final_dim
