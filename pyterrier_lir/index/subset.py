"""Some documents of an index, to which a search is confined: those that a user names, or all that are not deleted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Docids
from pyterrier_lir.index.files import ADVICE


@dataclass(frozen=True)
class Subset:
    """Some documents.

    Attributes:
        mask: Which of the index's documents belong to it, bool ``(N,)``.
        num_filled: How many of them have tokens.
        named: Whether a user has named them: they may be few. Else all that are not deleted.
    """

    mask: npt.NDArray[np.bool_]
    num_filled: int
    named: bool

    def of(self, start: int, count: int) -> Docids:
        """Its documents among ``count`` from docid ``start`` on, as numbers from there, ascending."""
        return np.flatnonzero(self.mask[start : start + count])

    def among(self, docids: Docids) -> Docids:
        """Those of some docids that belong to it."""
        return docids[self.has(docids)]

    def has(self, docids: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Which of some docids belong to it.

        Raises:
            ValueError: If there is no such document; damaged files may name any.
        """
        if len(docids) and not 0 <= docids.min() <= docids.max() < len(self.mask):
            raise ValueError(
                f"docids lie in {docids.min()} to {docids.max()}, but there are {len(self.mask)}. {ADVICE}"
            )
        return self.mask[docids]
