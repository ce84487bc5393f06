"""Many multi-vectors in one container: the rows of all texts after each other, and where each text begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Ragged:
    """A list of matrices (or vectors) of different lengths.

    Attributes:
        values: All rows after each other, ``(T, dim)`` or ``(T,)``.
        offsets: int64 ``(N + 1,)``; text ``i`` owns ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_list(cls, parts: Sequence[npt.NDArray[Any]]) -> Ragged:
        """Concatenates matrices of one width; an empty list gives no rows of width 0."""
        offsets = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        filled = [part for part in parts if len(part)]
        empty = parts[0][:0] if parts else np.zeros((0, 0), dtype=np.float32)
        return cls(np.ascontiguousarray(np.concatenate(filled) if filled else empty), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> npt.NDArray[Any]:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (self[i] for i in range(len(self)))
