"""What several twins share: layouts, sums that are the same on every machine, and checks of what files say."""

import numpy as np
import numpy.typing as npt


def padded_rows(n: int) -> int:
    """Columns that the scores of ``n`` query rows take: whole blocks of 16."""
    return -(-n // 16) * 16


def integer_products(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """``left @ right.T``: float64 holds the sums exactly, and multiplies faster than NumPy's integers."""
    return (left.astype(np.float64) @ right.astype(np.float64).T).astype(np.float32)


def sum_in_order(values: npt.NDArray[np.float32]) -> np.float32:
    """The sum from left to right, rounded to float32 after every addition; ``np.sum`` adds in pairs."""
    return np.add.accumulate(values, dtype=np.float32)[-1] if len(values) else np.float32(0)


def check_codes(codes: npt.NDArray[np.integer], tokens: npt.NDArray[np.integer], num_centroids: int) -> None:
    """Raises a ValueError where the codes of some tokens name no centroid."""
    used = codes[tokens]
    outside = (used < 0) | (used >= num_centroids)
    if outside.any():
        t = tokens[outside][0]
        raise ValueError(
            f"codes[{t}] is {codes[t]}, but there are {num_centroids} centroids; are the codes from another index?"
        )


def check_cells(cells: npt.NDArray[np.int32], cell_offsets: npt.NDArray[np.int64], num_entries: int) -> None:
    """Raises a ValueError where cells do not exist, or the file of their entries cannot be right."""
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
