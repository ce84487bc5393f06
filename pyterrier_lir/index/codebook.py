"""One list of values for the residuals of all dimensions, as ColBERTv2 has it, instead of equal steps in each.

A residual becomes the number of cutoffs below it, its level, and a level stands for a value. Cutoffs and values are
quantiles of the residuals, so that every level is used equally often. Scores want integers: the values lie on a grid
of 128 equal steps from the least to the greatest, which is as fine as the query's 8 bits are.

Santhanam, Khattab, Saad-Falcon, Potts, Zaharia: ColBERTv2: Effective and Efficient Retrieval via Lightweight Late
Interaction. NAACL 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Floats

GRID = 127  # the largest entry of a level table, see `kernels.maxsim_codes`


@dataclass(frozen=True)
class Codebook:
    """Values of levels.

    Attributes:
        weights: What each level stands for, ascending, float32 ``(2 ** nbits,)``.
        cutoffs: Where a level ends and the next begins, ascending, float32 ``(2 ** nbits - 1,)``.
    """

    weights: Floats
    cutoffs: Floats

    def __post_init__(self) -> None:
        for name, values, count in (("weights", self.weights, len(self.cutoffs) + 1), ("cutoffs", self.cutoffs, None)):
            if values.ndim != 1 or (count is not None and len(values) != count):
                raise ValueError(f"{name} has shape {values.shape}; expected one value more than there are cutoffs.")
            if not np.isfinite(values).all() or (np.diff(values) < 0).any():
                raise ValueError(f"{name} is {values}; expected finite numbers in ascending order.")
        if len(self.weights) not in (2, 4, 16, 256):
            raise ValueError(f"There are {len(self.weights)} weights; expected 2, 4, 16 or 256 for 1, 2, 4 or 8 bits.")

    @classmethod
    def train(cls, residuals: Floats, nbits: int) -> Codebook:
        """Quantiles of residuals, of all dimensions together: cutoffs at ``i / B``, weights at ``(i + 1/2) / B``.

        Args:
            residuals: float32 ``(n, dim)``, n > 0.
            nbits: Bits of a level, ``B = 2 ** nbits``.
        """
        buckets = 2**nbits
        values = np.sort(residuals, axis=None)
        cutoffs = np.quantile(values, np.arange(1, buckets) / buckets)
        weights = np.quantile(values, (np.arange(buckets) + 0.5) / buckets)
        return cls(weights.astype(np.float32), cutoffs.astype(np.float32))

    def levels(self, residuals: Floats) -> npt.NDArray[np.uint8]:
        """The number of cutoffs below each residual."""
        return np.searchsorted(self.cutoffs, residuals).astype(np.uint8)

    @property
    def lo(self) -> np.float32:
        """Where the grid begins."""
        return np.float32(self.weights[0])

    def step(self, size: int = GRID) -> np.float32:
        """The distance of two points of a grid of ``size`` steps."""
        return np.float32(max((self.weights[-1] - self.weights[0]) / size, np.finfo(np.float32).tiny))

    def on_grid(self, size: int = GRID) -> npt.NDArray[np.uint8]:
        """The number of each weight's nearest point: ``weights ~ lo + step * on_grid``, uint8 ``(2 ** nbits,)``."""
        return np.clip(np.rint((self.weights - self.lo) / self.step(size)), 0, size).astype(np.uint8)

    @cached_property
    def table(self) -> npt.NDArray[np.uint8]:
        """The level table of the kernels."""
        return self.on_grid()
