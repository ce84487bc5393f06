"""Which row of an encoded page is which patch: from the token ids that a processor gave the model.

Three ways of cutting a page are known:

- A square grid, whatever the page's shape (ColPali): the placeholders of the image, line by line.
- A grid of the page's own shape (ColQwen2): the processor says how many rows and columns, before it merges neighbours.
- Tiles (ColIdefics, ColModernVBERT): a tag ``<row_i_col_j>`` before the placeholders of each tile, and at the end the
  whole page once more, made small. The small copy's rows are no patches where there are tiles.

Faysse, Sibille, Wu, Omrani, Viaud, Hudelot, Colombo: ColPali: Efficient Document Retrieval with Vision Language Models.
ICLR 2025.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Ints, patch_ids

Tile = tuple[int, int]
_TILE = re.compile(r"<row_(\d+)_col_(\d+)>")


class Layout(NamedTuple):
    """Where the rows of a page belong.

    Attributes:
        tok_ids: int32 ``(m,)``: ``-2 - p`` for patch p of the page, line by line; ids of the vocabulary for the rest.
        grid: Rows and columns of patches.
    """

    tok_ids: Ints
    grid: tuple[int, int]


class Placeholders(NamedTuple):
    """What a processor puts into a prompt for an image.

    Attributes:
        image: The id that stands for one patch.
        tiles: Row and column, from 0 on, of each tag of a tile.
        whole: The id of the tag before the whole page made small; -1 where there is none.
        merge: Neighbouring patches that become one, along one side.
    """

    image: int
    tiles: Mapping[int, Tile]
    whole: int
    merge: int


def placeholders(processor: Any) -> Placeholders:
    """What this processor of transformers uses.

    Raises:
        ValueError: If it has no placeholder for images: it is one for text.
    """
    tokenizer = getattr(processor, "tokenizer", None)
    image = getattr(processor, "image_token", None)
    if tokenizer is None or image is None:
        raise ValueError(
            f"the checkpoint's processor is a {type(processor).__name__}, which takes no images; expected that of a "
            "model for pages, such as ColPali. For text take LateInteractionEncoder."
        )
    added = tokenizer.get_added_vocab()
    tiles = {i: (int(tag[1]) - 1, int(tag[2]) - 1) for word, i in added.items() if (tag := _TILE.fullmatch(word))}
    whole = added.get("<global-img>", -1) if tiles else -1
    merge = getattr(processor.image_processor, "merge_size", 1)
    return Placeholders(int(tokenizer.convert_tokens_to_ids(str(image))), tiles, whole, merge)


def layout(tok_ids: Ints, known: Placeholders, grid_thw: npt.ArrayLike | None = None) -> Layout:
    """The patches of one page.

    Args:
        tok_ids: int32 ``(m,)``, without padding.
        known: The processor's placeholders.
        grid_thw: Images, rows and columns before merging, where the processor says so.

    Raises:
        ValueError: If there are not as many placeholders as the grid has patches.
    """
    at = np.flatnonzero(tok_ids == known.image)
    if any(int(i) in known.tiles for i in np.intersect1d(tok_ids, list(known.tiles))):
        return _tiled(tok_ids, known)
    if grid_thw is not None:
        _, rows, columns = (int(side) for side in np.asarray(grid_thw))
        grid = rows // known.merge, columns // known.merge
    else:
        side = math.isqrt(len(at))
        grid = side, side
    if not len(at) or grid[0] * grid[1] != len(at):
        raise ValueError(
            f"a page has {len(at)} patches, its grid is {grid[0]} x {grid[1]}; expected as many. The processor cuts "
            "pages in a way that is not known here."
        )
    ids = tok_ids.copy()
    ids[at] = patch_ids(np.arange(len(at)))
    return Layout(ids, grid)


def _tiled(tok_ids: Ints, known: Placeholders) -> Layout:
    """Tiles, each a square of patches line by line, and the whole page at the end."""
    tile, places = None, []  # row, tile and number within the tile of each patch
    for row, tok_id in enumerate(tok_ids.tolist()):
        if tok_id in known.tiles or tok_id == known.whole:
            tile, number = known.tiles.get(tok_id), 0
        elif tok_id == known.image and tile is not None:
            places.append((row, *tile, number))
            number += 1
    row, down, right, number = np.array(places).T
    side = math.isqrt(int(number.max()) + 1)
    grid = int(down.max() + 1) * side, int(right.max() + 1) * side
    if grid[0] * grid[1] != len(places):
        raise ValueError(
            f"a page has {len(places)} patches in tiles, its grid is {grid[0]} x {grid[1]}; expected as many."
        )
    ids = tok_ids.copy()
    ids[row] = patch_ids((down * side + number // side) * grid[1] + right * side + number % side)
    return Layout(ids, grid)
