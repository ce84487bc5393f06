"""Sorting into a file what arrives block by block, when it is known how often every key occurs."""

import numpy as np
import numpy.typing as npt


class CountingSort:
    """Says where entries belong that are to be sorted by key; entries of one key keep their order.

    Args:
        counts: How often each key ``0 .. K - 1`` occurs.

    Attributes:
        offsets: The entries of key k go to ``offsets[k]:offsets[k + 1]``, int64 ``(K + 1,)``.
    """

    def __init__(self, counts: npt.NDArray[np.int64]) -> None:
        self.offsets = np.concatenate([[0], np.cumsum(counts)]).astype("<i8")
        self._free = self.offsets[:-1].copy()

    def places(self, keys: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Where the next entries go, whose keys these are."""
        order = np.argsort(keys, kind="stable")
        present, begins, times = np.unique(keys[order], return_index=True, return_counts=True)
        places = np.empty(len(keys), dtype=np.int64)
        places[order] = self._free[keys[order]] + np.arange(len(keys)) - np.repeat(begins, times)
        self._free[present] += times
        return places
