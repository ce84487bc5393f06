"""Pruning of blank patches: what shows nothing but paper is left out of the index, whatever the query.

A patch is blank if its darkest and its lightest pixel differ by no more than a tolerance: margins, gaps between
paragraphs, plain grounds of any colour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import arguments, columns
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.pages.images import open_image
from pyterrier_lir.reduce.reducer import Reducer


class BlankPruning(Reducer):
    """Leaves out the patches of a page on which nothing is printed.

    Expected columns: ``doc_embs``, ``doc_tok_ids``, ``doc_grid``, as encoders of pages write them, and the image.
    Output: the same columns, ``doc_embs`` float32 ``(m', dim)`` with the rows that stay, in their order; rows that are
    no patches stay, and a page keeps one row at least. MaxSim with what is left is never larger.

    Args:
        tolerance: How far the luminance within a blank patch varies at most, from 0 to 255; 0 leaves out only what has
            one tone. Scans and JPEG pictures have noise.
        image_field: The column with the page's image.

    Raises:
        ValueError: If an argument has no meaning, the image cannot be used, or a page has patches outside of its grid.

    Example:
        >>> import pandas as pd
        >>> half = np.zeros((4, 8, 3), np.uint8)
        >>> half[:, :4] = np.arange(4)[:, None, None]
        >>> page = {"doc_embs": [[1, 0], [0, 1]], "doc_tok_ids": [-2, -3], "doc_grid": [1, 2], "image": half}
        >>> BlankPruning(tolerance=2)(pd.DataFrame([page]))["doc_embs"][0].tolist()
        [[1.0, 0.0]]
    """

    LABEL = "Blank Pruning"
    NEEDED = (columns.DOC_EMBS, columns.DOC_TOK_IDS)

    def __init__(self, *, tolerance: float = 8, image_field: str = "image") -> None:
        arguments.check_number("tolerance", tolerance, 0, 255, "a difference of luminance, 0 <= tolerance <= 255")
        self.tolerance = tolerance
        self.image_field = image_field

    def beside(self) -> tuple[str, ...]:
        """The grid and the image."""
        return (columns.DOC_GRID, self.image_field)

    def reduce(self, embs: Floats, tok_ids: Ints | None, *beside: Any) -> tuple[Floats, Ints | None]:
        """Prunes one page; see the class."""
        tok_ids = columns.needed_ids(tok_ids, columns.DOC_TOK_IDS)
        patches, grid = columns.patches_on_grid(tok_ids, beside[0])
        contrast = contrasts(np.asarray(open_image(beside[1]).convert("L")), grid).ravel()
        stay = (patches < 0) | (contrast[patches] > self.tolerance)
        stay[0] |= not stay.any()
        return np.ascontiguousarray(embs[stay]), tok_ids[stay]


def contrasts(luminance: npt.NDArray[np.uint8], grid: tuple[int, int]) -> npt.NDArray[np.int16]:
    """The largest difference of luminance within each patch.

    Args:
        luminance: uint8 ``(height, width)``.
        grid: Rows and columns of patches, spread evenly over the picture.

    Returns:
        int16 of the grid's shape.

    Example:
        >>> contrasts(np.array([[0, 9, 5, 5]], dtype=np.uint8), (1, 2)).tolist()
        [[9, 0]]
    """
    down, right = (np.arange(count) * size // count for count, size in zip(grid, luminance.shape, strict=True))
    high = np.maximum.reduceat(np.maximum.reduceat(luminance, down, axis=0), right, axis=1)
    low = np.minimum.reduceat(np.minimum.reduceat(luminance, down, axis=0), right, axis=1)
    return high.astype(np.int16) - low
