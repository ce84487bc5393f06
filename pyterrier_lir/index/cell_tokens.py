"""The tokens once more, cell after cell, so that the tokens of a centroid can be scored in one sweep.

============ ========================= ===================================================================
file         dtype, shape              content
============ ========================= ===================================================================
offsets.i64  int64 (K + 1,)            centroid c owns the tokens offsets[c]:offsets[c + 1]
docs.i32     int32 (T,)                the document of each token, ascending within a cell, from 0 in each run
blocks.u32   uint32 (ceil(T/16), G, 16) the packed levels of 16 tokens, four bytes of each next to each other
inv_norms.u8 uint8 (T,)                1 / norm of each decompressed token (only for unit vectors)
============ ========================= ===================================================================

It is derived when a method first needs it, and takes about as much room as the tokens do. Neighbouring segments share
one (see `runs`): a cell is worth a sweep only if it holds many tokens, and an index may have a hundred small segments.

Scheerer, Zaharia, Potts, Alonso, Khattab: WARP: An Efficient Engine for Multi-Vector Retrieval. SIGIR 2025.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.index import files
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.counting_sort import CountingSort
from pyterrier_lir.index.segment import Segment

NAME = "cell_tokens"
BLOCK = 1 << 16  # tokens in memory at once


class CellTokens:
    """The opened structure.

    Args:
        folder: Its directory.
        codec: The codec of the tokens.
    """

    def __init__(self, folder: files.Opened, codec: Codec) -> None:
        self.folder = folder
        self.nbits = codec.nbits
        self.offsets: npt.NDArray[np.int64] = folder.map("offsets.i64", "<i8")
        self.docs: npt.NDArray[np.int32] = folder.map("docs.i32", "<i4")
        if len(self.offsets) != len(codec.centroids.vectors) + 1:
            raise ValueError(
                f"{folder.path / 'offsets.i64'} has {len(self.offsets)} numbers; expected one for each centroid, and "
                f"one more. Remove the folder {folder.path}, so that it is made again."
            )
        shape = kernels.blocks_shape(len(self.docs), codec.dim, codec.nbits)
        self.blocks: npt.NDArray[np.uint8] = folder.map("blocks.u32", "u1").reshape(shape)
        self.inv_norms: npt.NDArray[np.uint8] | None = (
            folder.map("inv_norms.u8", "u1") if "inv_norms.u8" in folder else None
        )


def runs(sizes: Sequence[int]) -> list[range]:
    """Which neighbouring segments share a structure: those that are less than 4 times as large as a new one join it.

    As in a merge tree, an index of n equal segments has at most log4(n) + 1 runs. While they are added one by one, and
    each time searched, a token is sorted again about once for each doubling of the index.

    Args:
        sizes: Tokens of each segment.
    """
    found: list[tuple[range, int]] = []
    for i, size in enumerate(sizes):
        run = range(i, i + 1)
        while found and found[-1][1] < 4 * size:
            before, more = found.pop()
            run, size = range(before.start, run.stop), size + more
        found.append((run, size))
    return [run for run, _ in found]


def write(segments: Sequence[Segment], codec: Codec, folder: files.Directory) -> None:
    """Sorts the tokens of segments by centroid: counts, then puts every token in its place, a block at a time."""
    k = len(codec.centroids.vectors)
    counts = np.zeros(k, dtype=np.int64)
    for _start, segment, rows in _blocks(segments):
        codes = _codes(segment)[rows]
        codec.check_codes(codes)
        counts += np.bincount(codes, minlength=k)
    sort = CountingSort(counts)
    num_tokens = int(counts.sum())
    folder.file("offsets.i64").write(sort.offsets.tobytes())
    docs = folder.allocate("docs.i32", "<i4", num_tokens)
    num_blocks, groups, lanes, _ = kernels.blocks_shape(num_tokens, codec.dim, codec.nbits)
    blocks = folder.allocate("blocks.u32", "<u4", num_blocks * groups * lanes).reshape(num_blocks, groups, lanes)
    has_norms = any(segment.inv_norms is not None for segment in segments)
    inv_norms = folder.allocate("inv_norms.u8", "u1", num_tokens) if has_norms else None
    for start, segment, rows in _blocks(segments):
        places = sort.places(_codes(segment)[rows])
        doc = np.searchsorted(segment.offsets, np.arange(rows.start, rows.stop), side="right") - 1
        docs[places] = start + doc
        blocks[places // lanes, :, places % lanes] = _words(segment, rows, groups)
        if inv_norms is not None and segment.inv_norms is not None:
            inv_norms[places] = segment.inv_norms[rows]


def _words(segment: Segment, rows: slice, groups: int) -> npt.NDArray[np.uint32]:
    """The packed levels of some tokens, four bytes in a number, filled up with zeros."""
    assert segment.residuals is not None
    packed = segment.residuals[rows]
    filled = np.zeros((len(packed), 4 * groups), dtype=np.uint8)
    filled[:, : packed.shape[1]] = packed
    return filled.view("<u4")


def _codes(segment: Segment) -> npt.NDArray[Any]:
    assert segment.codes is not None
    return segment.codes


def _blocks(segments: Sequence[Segment]) -> Iterator[tuple[int, Segment, slice]]:
    """Each segment's tokens, a block at a time, with the number of its first document among them all."""
    first = 0
    for segment in segments:
        for start in range(0, segment.num_tokens, BLOCK):
            yield first, segment, slice(start, min(start + BLOCK, segment.num_tokens))
        first += len(segment)
