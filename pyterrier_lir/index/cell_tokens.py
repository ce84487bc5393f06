"""A segment's tokens once more, cell after cell, so that the tokens of a centroid can be scored in one sweep.

============ ========================= ===================================================================
file         dtype, shape              content
============ ========================= ===================================================================
offsets.i64  int64 (K + 1,)            centroid c owns the tokens offsets[c]:offsets[c + 1]
docs.i32     int32 (T,)                the document of each token, ascending within a cell
blocks.u32   uint32 (ceil(T/16), G, 16) the packed levels of 16 tokens, four bytes of each next to each other
inv_norms.u8 uint8 (T,)                1 / norm of each decompressed token (only for unit vectors)
============ ========================= ===================================================================

It is derived from a segment when a method first needs it, and takes about as much room as the tokens do there.

Scheerer, Zaharia, Potts, Alonso, Khattab: WARP: An Efficient Engine for Multi-Vector Retrieval. SIGIR 2025.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def write(segment: Segment, codec: Codec, folder: files.Directory) -> None:
    """Sorts a segment's tokens by centroid: counts, then puts every token in its place, a block at a time."""
    assert segment.codes is not None
    k = len(codec.centroids.vectors)
    counts = np.zeros(k, dtype=np.int64)
    for rows in _blocks(segment):
        codec.check_codes(segment.codes[rows])
        counts += np.bincount(segment.codes[rows], minlength=k)
    sort = CountingSort(counts)
    folder.file("offsets.i64").write(sort.offsets.tobytes())
    docs = folder.allocate("docs.i32", "<i4", segment.num_tokens)
    num_blocks, groups, lanes, _ = kernels.blocks_shape(segment.num_tokens, codec.dim, codec.nbits)
    blocks = folder.allocate("blocks.u32", "<u4", num_blocks * groups * lanes).reshape(num_blocks, groups, lanes)
    inv_norms = None if segment.inv_norms is None else folder.allocate("inv_norms.u8", "u1", segment.num_tokens)
    for rows in _blocks(segment):
        places = sort.places(segment.codes[rows])
        docs[places] = np.searchsorted(segment.offsets, np.arange(rows.start, rows.stop), side="right") - 1
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


def _blocks(segment: Segment) -> Iterator[slice]:
    for start in range(0, segment.num_tokens, BLOCK):
        yield slice(start, min(start + BLOCK, segment.num_tokens))
