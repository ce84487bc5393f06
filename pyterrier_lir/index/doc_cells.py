"""The documents of each centroid, of many small segments as of one: a search looks a cell up once for all of them.

Merged in memory when an index is first searched: a hundred segments of twenty documents cost half of a PLAID query
otherwise. Segments of many documents stay as they are on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from pyterrier_lir.index.segment import Segment
from pyterrier_lir.kernels.searcher import DocCells

ENOUGH = 1 << 14  # documents whose cells are worth a look of their own


def merged(parts: Iterable[tuple[int, Segment]]) -> Iterator[DocCells]:
    """The cells of neighbouring segments with tokens, together until they hold `ENOUGH` documents.

    Args:
        parts: The first docid of each segment, and the segment, in order.

    Raises:
        ValueError: If a list of several segments is damaged; of a single one it is checked where it is read.
    """
    run: list[tuple[int, Segment]] = []
    for start, segment in parts:
        run.append((start, segment))
        if start + len(segment) - run[0][0] >= ENOUGH:
            yield _of(run)
            run = []
    if run:
        yield _of(run)


def _of(run: list[tuple[int, Segment]]) -> DocCells:
    first, (last, end) = run[0][0], run[-1]
    lists = [_lists(segment) for _, segment in run]
    if len(run) == 1:
        return DocCells(first, len(end), *lists[0])
    for (_, segment), (offsets, docs) in zip(run, lists, strict=True):
        _check(segment, offsets, docs)
    sizes = [np.diff(offsets) for offsets, _ in lists]
    offsets = np.concatenate([[0], np.cumsum(np.sum(sizes, axis=0))]).astype(np.int64)
    docs = np.zeros(offsets[-1], np.int32)
    free = offsets[:-1].copy()  # where the next segment's documents of each cell go
    for (start, _), (own, own_docs), size in zip(run, lists, sizes, strict=True):
        docs[np.repeat(free - own[:-1], size) + np.arange(len(own_docs))] = own_docs + np.int32(start - first)
        free += size
    return DocCells(first, last + len(end) - first, offsets, docs)


def _lists(segment: Segment) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    assert segment.cell_offsets is not None
    assert segment.cell_docs is not None
    return segment.cell_offsets, segment.cell_docs


def _check(segment: Segment, offsets: npt.NDArray[np.int64], docs: npt.NDArray[np.int32]) -> None:
    sizes = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != len(docs) or (len(sizes) and sizes.min() < 0):
        cell = int(np.argmin(sizes)) if len(sizes) else 0
        raise ValueError(
            f"{segment.folder.path}: cell_offsets gives cell {cell} the entries {offsets[cell]} to "
            f"{offsets[cell + 1]}; expected ones that do not decrease, within 0 to {len(docs)}, the number of entries; "
            "is the file cut off?"
        )
    if len(docs) and not 0 <= docs.min() <= docs.max() < len(segment):
        raise ValueError(
            f"{segment.folder.path}: cell_docs contains {docs.min()} to {docs.max()}, but there are {len(segment)} "
            "documents; are they from another index?"
        )
