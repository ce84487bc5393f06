"""The mean of all token vectors of an index: where a model's vectors lie, if they lie to one side of the origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Floats
from pyterrier_lir.index import files
from pyterrier_lir.ragged import Ragged

NAME = "token_mean"
BLOCK = 1 << 16  # tokens in memory at once


def write(
    blocks: Callable[[int], Iterator[tuple[npt.NDArray[np.int64], Ragged]]], dim: int, folder: files.Directory
) -> None:
    """Adds up the vectors of `Store.blocks` in float64, a block at a time."""
    total, count = np.zeros(dim), 0
    for _, vectors in blocks(BLOCK):
        total += vectors.values.sum(axis=0, dtype=np.float64)
        count += len(vectors.values)
    folder.file("mean.f32").write((total / max(count, 1)).astype("<f4").tobytes())


def read(folder: files.Opened) -> Floats:
    """The mean, float32 ``(dim,)``."""
    return folder.map("mean.f32", "<f4")
