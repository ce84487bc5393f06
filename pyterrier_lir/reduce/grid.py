"""Pooling of a page's patches by where they are: lines, columns, or squares of neighbours.

- ``rows``, ``columns``: the mean of each line of patches, or of each column; ``both`` gives these and those. For
  finding candidates with 32 + 32 instead of 1,024 vectors.
- ``blocks``: the mean of each square of ``size x size`` patches, ``size ** 2`` vectors become one. What Light-ColPali
  compares merging by similarity with, which is ``TokenPooling(size ** 2, protected=0)``.

Ma et al.: Towards Storage-Efficient Visual Document Retrieval: An Empirical Study on Reducing Patch-Level Embeddings.
Findings of ACL 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import arguments, columns
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.reduce.pooling import group_means, unit
from pyterrier_lir.reduce.reducer import Reducer

Numbers = npt.NDArray[np.integer]

# Patch numbers, columns of the grid, size of a block -> the group of each patch.
GROUPS: dict[str, Callable[[Numbers, int, int], Numbers]] = {
    "rows": lambda patches, width, size: patches // width,
    "columns": lambda patches, width, size: patches % width,
    "blocks": lambda patches, width, size: patches // width // size * width + patches % width // size,
}


class GridPooling(Reducer):
    """Replaces patch vectors of a page, or token vectors of a video, by means over lines, columns or squares.

    Expected columns: ``doc_embs``, ``doc_tok_ids``, ``doc_grid``, as encoders of pages and videos write them. Output:
    the same columns, ``doc_embs`` float32 ``(m', dim)``: the rows that are no patches, then the pooled ones; a pooled
    row keeps the id of its member that is nearest to the mean. Patches that were pruned before are missing in the
    means. The grid of a video is frames by patches: ``"rows"`` are means over each frame.

    Args:
        by: ``"rows"``, ``"columns"``, ``"both"`` or ``"blocks"``.
        size: Patches along a side of a block; only for ``"blocks"``, where 1 changes nothing.
        normalise: Scale pooled rows to unit length.

    Raises:
        ValueError: If an argument has no meaning, or does nothing; or if a page has patches outside of its grid.

    Example:
        >>> import pandas as pd
        >>> page = {"doc_embs": [[1, 0], [0, 1], [0, 1], [0, 1]], "doc_tok_ids": [-2, -3, -4, -5], "doc_grid": [2, 2]}
        >>> GridPooling("rows", normalise=False)(pd.DataFrame([page]))["doc_embs"][0].tolist()
        [[0.5, 0.5], [0.0, 1.0]]

    .. cite.dblp:: journals/corr/abs-2506-04997
    """

    LABEL = "Grid Pooling"
    NEEDED = (columns.DOC_EMBS, columns.DOC_TOK_IDS)

    def __init__(self, by: str, *, size: int | None = None, normalise: bool = True) -> None:
        arguments.check_choice("by", by, [*GROUPS, "both"])
        arguments.check_optional_counts(size=size)
        if (size is not None) != (by == "blocks"):
            state = "is missing" if size is None else f"is {size}"
            raise ValueError(f'size {state}; expected it for blocks, and only there: GridPooling("blocks", size=3).')
        self.by = by
        self.size = size
        self.normalise = normalise

    def beside(self) -> tuple[str, ...]:
        """The grid."""
        return (columns.DOC_GRID,)

    def reduce(self, embs: Floats, tok_ids: Ints | None, *beside: Any) -> tuple[Floats, Ints | None]:
        """Pools one page; see the class."""
        tok_ids = columns.needed_ids(tok_ids, columns.DOC_TOK_IDS)
        patches, (_, width) = columns.patches_on_grid(tok_ids, beside[0])
        at = np.flatnonzero(patches >= 0)
        if not len(at):
            return embs, tok_ids
        parts, ids = [embs[patches < 0]], [tok_ids[patches < 0]]
        for by in ("rows", "columns") if self.by == "both" else (self.by,):
            means, members = group_means(embs[at], GROUPS[by](patches[at], width, self.size or 1))
            parts.append(unit(means) if self.normalise else means)
            ids.append(tok_ids[at][members])
        return np.concatenate(parts), np.concatenate(ids)
