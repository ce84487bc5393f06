"""Similarity maps: where on a page each token of the query found what it looked for.

A map shows ``<q_i, d_p>`` for one query row and every patch p, where the patch is. What MaxSim took, the best patch of
the row, is framed; the best of all rows need not be a patch, where a prompt's rows are in the index as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import columns
from pyterrier_lir.columns import Floats
from pyterrier_lir.explain.heatmap import explained
from pyterrier_lir.figures import new_figure
from pyterrier_lir.pages.images import open_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

TOKENS = 8  # that are shown where none are chosen
OPAQUE = 0.8  # of the best patch of all
COLOUR = (209, 73, 91)


def page_similarities(row: Mapping[str, Any], grid: Sequence[int] | None = None) -> Floats:
    """The similarities of an explained row as pictures, one for each row of the query.

    Args:
        row: A row of ``index.explain(encoder)`` or ``encoder.explain()``.
        grid: Rows and columns of patches, ``encoder.patch_grid(image)``; None takes the row's ``doc_grid``.

    Returns:
        float32 ``(n, rows, columns)``; NaN where the index has no vector for a patch.

    Raises:
        ValueError: If the row was not explained, is no page, has no grid, or one that is too small.
    """
    matrix, patches = explained(row, "match_matrix", "doc_patches")
    rows, width = _grid(row, grid)
    is_patch = patches >= 0
    if not is_patch.any():
        raise ValueError("no row of the document is a patch; expected a page that an encoder of pages has encoded.")
    if patches.max() >= rows * width:
        raise ValueError(
            f"the document has a patch {patches.max()}, the grid is {rows} x {width}; expected that of this page: "
            "grid=encoder.patch_grid(image)."
        )
    maps = np.full((len(matrix), rows * width), np.nan, dtype=np.float32)
    maps[:, patches[is_patch]] = matrix[:, is_patch]
    return maps.reshape(len(matrix), rows, width)


def page_map(
    row: Mapping[str, Any],
    image: Any,
    *,
    grid: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
    across: int = 4,
    width: float = 2.6,
) -> Figure:
    """Draws a page once for each chosen row of the query, the redder where the patch is the more similar.

    Args:
        row: A row of ``index.explain(encoder)`` or ``encoder.explain()``: ``frame.iloc[0]``, or a dictionary.
        image: The page, as `pyterrier_lir.pages.open_image` opens it.
        grid: As for `page_similarities`.
        tokens: Rows of the query, counted from 0; None for the eight with the largest share of the score.
        across: Pictures beside each other.
        width: Of a picture, in inches.

    Returns:
        A figure of its own, not known to pyplot; ``figure.savefig("page.png")`` keeps it.

    Raises:
        ValueError: As `page_similarities`; or if the image cannot be used, the query is blank or there are no such
            tokens.
    """
    page = open_image(image)
    maps, words, pos, patches = page_similarities(row, grid), *explained(row, "query_words", "match_pos", "doc_patches")
    chosen = chosen_tokens(row, tokens)
    down = -(-len(chosen) // across)
    figure = new_figure((width * min(across, len(chosen)), (width * page.height / page.width + 0.3) * down))
    extent = (0, page.width, page.height, 0)
    colours = overlays(maps)
    for place, i in enumerate(chosen):
        axes = figure.add_subplot(down, min(across, len(chosen)), place + 1)
        axes.imshow(page, extent=extent)
        axes.imshow(colours[i], extent=extent, interpolation="nearest")
        _frame(axes, pos[i], patches, maps.shape[1:], page)
        axes.set_title(f"{words[i]}  {row['match_share'][i]:.0%}", fontsize=9, parse_math=False)
        axes.axis("off")
    return figure


def overlays(maps: Floats) -> npt.NDArray[np.float32]:
    """A colour for every patch, float32 ``(n, rows, columns, 4)``: opaque for the best of all, clear below the mean.

    Example:
        >>> overlays(np.array([[[0, 0, 1, np.nan]]], dtype=np.float32))[0, 0, :, 3].astype(float).round(2)
        array([0. , 0. , 0.8, 0. ])
    """
    low, high = float(np.nanmean(maps)), float(np.nanmax(maps))
    depth = np.clip((np.nan_to_num(maps, nan=low) - low) / max(high - low, 1e-9), 0, 1) ** 2
    colours = np.empty((*maps.shape, 4), dtype=np.float32)
    colours[..., :3] = np.array(COLOUR) / 255
    colours[..., 3] = OPAQUE * depth
    return colours


def _grid(row: Mapping[str, Any], grid: Sequence[int] | None) -> tuple[int, int]:
    if grid is None and columns.DOC_GRID not in row:
        raise ValueError(
            f"the row has no {columns.DOC_GRID}, and no grid is given; expected one: grid=encoder.patch_grid(image)."
        )
    return columns.as_grid(row[columns.DOC_GRID] if grid is None else grid)


def chosen_tokens(row: Mapping[str, Any], tokens: Sequence[int] | None = None) -> list[int]:
    """The rows of the query to show: those that are asked for, or the eight with the largest share of the score."""
    shares = np.asarray(row["match_share"])
    if not len(shares):
        raise ValueError(f"the query {row.get('query', '')!r} has no rows; expected one with tokens. Draw another row.")
    if tokens is None:
        return sorted(np.argsort(-shares, kind="stable")[:TOKENS].tolist())
    unknown = [token for token in tokens if not 0 <= token < len(shares)]
    if unknown or not len(tokens):
        raise ValueError(f"tokens is {list(tokens)}; expected some of the query's {len(shares)} rows, counted from 0.")
    return list(tokens)


def _frame(axes: Any, best: int, patches: npt.NDArray[np.int32], grid: tuple[int, ...], page: Image) -> None:
    """Frames the patch that MaxSim took, where it took one."""
    from matplotlib.patches import Rectangle

    if best >= 0 and patches[best] >= 0:
        high, wide = page.height / grid[0], page.width / grid[1]
        down, right = divmod(int(patches[best]), grid[1])
        axes.add_patch(
            Rectangle((right * wide, down * high), wide, high, fill=False, edgecolor="#1d3557", linewidth=1.2)
        )
