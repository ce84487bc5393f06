"""Fixed dimensional encodings in NumPy; see :mod:`pyterrier_lir.kernels.fde`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def encode_fde(
    vectors: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32] | None,
    planes: npt.NDArray[np.float32],
    thresholds: npt.NDArray[np.float32],
    projections: npt.NDArray[np.float32] | None,
    places: npt.NDArray[np.int32] | None,
    signs: npt.NDArray[np.float32] | None,
    size: int,
    mean: bool,
    fill: bool,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """One document after the other, one repetition after the other; ``num_threads`` is left to NumPy."""
    out = np.zeros((len(starts), size), dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue
        rows = vectors[start:end]
        weighted = rows if weights is None else weights[start:end, None] * rows
        for rep, hyperplanes in enumerate(planes):
            cells = _cells(rows, weighted, hyperplanes, thresholds[rep], mean, fill)
            block = (cells if projections is None else cells @ projections[rep].T).ravel()
            part = slice(rep * len(block), (rep + 1) * len(block))
            if places is None or signs is None:
                out[k, part] = block
            else:
                np.add.at(out[k], places[part], signs[part] * block)
    return out


def _cells(
    rows: npt.NDArray[np.float32],
    weighted: npt.NDArray[np.float32],
    planes: npt.NDArray[np.float32],
    thresholds: npt.NDArray[np.float32],
    mean: bool,
    fill: bool,
) -> npt.NDArray[np.float32]:
    """What the cells of one repetition hold, ``(2 ** bits, d)``."""
    bits = rows @ planes.T > thresholds
    cells = bits @ (1 << np.arange(len(planes)))
    sums = np.zeros((1 << len(planes), rows.shape[1]), dtype=np.float32)
    np.add.at(sums, cells, weighted)
    counts = np.bincount(cells, minlength=len(sums))
    if mean:
        sums /= np.maximum(counts, 1)[:, None].astype(np.float32)
    if fill:
        empty = np.flatnonzero(counts == 0)
        distances = np.bitwise_count(empty[:, None] ^ cells)
        sums[empty] = rows[distances.argmin(axis=1)]  # the first of the nearest
    return sums


def inner_products(
    vectors: npt.NDArray[np.float32],
    parts: Sequence[npt.NDArray[np.float16]],
    numbers: npt.NDArray[np.int64] | None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Products with all rows, or those that are named, a block at a time."""
    starts = np.cumsum([0, *map(len, parts)])
    numbers = np.arange(starts[-1]) if numbers is None else numbers
    part_of = np.searchsorted(starts, numbers, side="right") - 1
    products = np.zeros((len(vectors), len(numbers)), dtype=np.float32)
    block = 256  # rows, so that memory does not grow with them
    for part, rows in enumerate(parts):
        places = np.flatnonzero(part_of == part)
        for first in range(0, len(places), block):
            some = places[first : first + block]
            values = rows[numbers[some] - starts[part]].astype(np.float32)
            for vector, product in zip(vectors, products, strict=True):
                # not a matrix product, whose rounding depends on where a row stands
                product[some] = (values * vector).sum(axis=1)
    return products
