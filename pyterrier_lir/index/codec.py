"""The residual codec: a token vector is its centroid plus a few bits per dimension for what is left.

The residual ``r = x - c`` is rounded per dimension to one of ``2 ** nbits`` equal steps:

    level = clip(round((r - lo) / step), 0, 2 ** nbits - 1)        x' = c + lo + step * level

so that ``<q, x'> = <q, c> + <q, lo> + sum_d (q_d step_d) level_d`` is an integer product up to scales. Equal steps, of
a size chosen by least squared error, keep .976 of the exact top 10 at 4 bits where ColBERTv2's quantile codebook keeps
.947. Vectors that came with unit length are scaled back to it: one byte per token holds ``1 / |x'|``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Floats
from pyterrier_lir.index import files
from pyterrier_lir.index.kmeans import Centroids

NBITS = (1, 2, 4, 8)
# Candidates for the step, in standard deviations of the residual; the one with the least squared error is taken.
STEPS = {
    1: np.arange(0.8, 2.4, 0.2),
    2: np.arange(0.6, 1.6, 0.1),
    4: np.arange(0.2, 0.6, 0.04),
    8: np.arange(0.02, 0.08, 0.005),
}
ARRAYS = {
    "centroids.f32": "<f4",
    "centroids.i8": "i1",
    "scales.f32": "<f4",
    "coarse.f32": "<f4",
    "groups.i64": "<i8",
    "step.f32": "<f4",
    "lo.f32": "<f4",
}
META = "codec.json"


@dataclass(frozen=True)
class Encoded:
    """Compressed tokens.

    Attributes:
        codes: Centroid of each token, int32 ``(n,)``.
        residuals: Packed levels, uint8 ``(n, ceil(dim * nbits / 8))``.
        inv_norms: ``1 / |x'|`` as a byte (`Codec.inv_norm_table`), uint8 ``(n,)``; None where lengths are kept.
    """

    codes: npt.NDArray[np.int32]
    residuals: npt.NDArray[np.uint8]
    inv_norms: npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class Codec:
    """A trained codec.

    Attributes:
        centroids: Where residuals start.
        nbits: Bits per dimension: 1, 2, 4 or 8.
        step: Size of a level in each dimension, float32 ``(dim,)``.
        lo: Value of level 0 in each dimension, float32 ``(dim,)``.
        inv_norm_range: Least and largest ``1 / |x'|`` that a byte can say; None where vectors keep their length.
    """

    centroids: Centroids
    nbits: int
    step: Floats
    lo: Floats
    inv_norm_range: tuple[float, float] | None

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return len(self.step)

    @property
    def inv_norm_table(self) -> Floats | None:
        """What each byte of `Encoded.inv_norms` means, float32 ``(256,)``."""
        if self.inv_norm_range is None:
            return None
        lo, hi = self.inv_norm_range
        return np.linspace(lo, hi, 256, dtype=np.float32)

    @classmethod
    def train(
        cls, centroids: Centroids, sample: Floats, nbits: int, *, unit: bool, block: int, num_threads: int = 1
    ) -> Codec:
        """Finds the steps for given centroids.

        Args:
            centroids: From `kmeans.two_level`.
            sample: Held-out tokens, float32 ``(n, dim)``, n > 0.
            nbits: Bits per dimension.
            unit: Whether the tokens of the collection have unit length, to which they are then scaled back; not with
                one bit, where it loses more than it gains.
            block: Tokens in memory at once.
            num_threads: Threads; the result does not depend on it.
        """
        codes, _scores = centroids.assign(sample, block=block, num_threads=num_threads)
        residuals = sample - centroids.vectors[codes]
        mean, deviation = residuals.mean(axis=0), residuals.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1e-6).astype(np.float32)  # a constant dimension
        top = 2**nbits - 1

        def codebook(gamma: float) -> tuple[Floats, Floats]:
            step = (gamma * deviation).astype(np.float32)
            return step, (mean - top / 2 * step).astype(np.float32)

        def error(gamma: float) -> float:
            step, lo = codebook(gamma)
            levels = np.clip(np.rint((residuals - lo) / step), 0, top)
            return float(np.mean((lo + levels * step - residuals) ** 2, dtype=np.float64))

        step, lo = codebook(min(STEPS[nbits], key=error))
        codec = cls(centroids, nbits, step, lo, None)
        if not unit or nbits == 1:
            return codec
        _packed, norms = codec._pack(sample, codes, num_threads)
        inverse = 1 / np.maximum(norms, 1e-3)
        return cls(centroids, nbits, step, lo, (float(inverse.min()), float(inverse.max())))

    def encode(self, tokens: npt.NDArray[np.floating], *, block: int = 1 << 15, num_threads: int = 1) -> Encoded:
        """Compresses tokens, float16 or float32 ``(n, dim)``, ``block`` at a time."""
        tokens = np.ascontiguousarray(tokens)
        codes, _scores = self.centroids.assign(tokens, block=block, num_threads=num_threads)
        packed, norms = self._pack(tokens, codes, num_threads)
        if self.inv_norm_range is None:
            return Encoded(codes, packed, None)
        lo, hi = self.inv_norm_range
        scale = 255 / (hi - lo) if hi > lo else 0.0
        byte = np.clip(np.rint((1 / np.maximum(norms, 1e-3) - lo) * scale), 0, 255).astype(np.uint8)
        return Encoded(codes, packed, byte)

    def decode(self, encoded: Encoded) -> Floats:
        """The vectors that are scored, float32 ``(n, dim)``."""
        levels = kernels.unpack(encoded.residuals, self.dim, self.nbits)
        vectors = self.centroids.vectors[encoded.codes] + self.lo + self.step * levels
        table = self.inv_norm_table
        if table is None or encoded.inv_norms is None:
            return vectors
        return vectors * table[encoded.inv_norms][:, None]

    def save(self, path: Path) -> None:
        """Writes the codec to a new directory, at once."""
        meta = {"nbits": self.nbits, "inv_norm_range": self.inv_norm_range}
        with files.Directory(path, META, meta) as folder:
            vectors, bytes_, scales = self.centroids.vectors, *self.centroid_bytes
            arrays = (vectors, bytes_, scales, self.centroids.coarse, self.centroids.offsets, self.step, self.lo)
            for (name, dtype), array in zip(ARRAYS.items(), arrays, strict=True):
                folder.file(name).write(np.ascontiguousarray(array, dtype=dtype).tobytes())

    @cached_property
    def centroid_bytes(self) -> tuple[npt.NDArray[np.int8], Floats]:
        """The centroids in 8 bits a value, int8 ``(K, dim)``, and what one unit of each is, float32 ``(K,)``."""
        return to_bytes(self.centroids.vectors)

    @cached_property
    def coarse_bytes(self) -> tuple[npt.NDArray[np.int8], Floats]:
        """The coarse groups' vectors in 8 bits a value, int8 ``(G, dim)``, and the units, float32 ``(G,)``."""
        return to_bytes(self.centroids.coarse)

    @classmethod
    def load(cls, path: Path) -> Codec:
        """Opens a codec by memory map.

        Raises:
            ValueError: If a file is missing or has another size than its meta says.
        """
        folder = files.Opened(path, META)
        arrays: dict[str, Any] = {name: folder.map(name, dtype) for name, dtype in ARRAYS.items()}
        dim = len(arrays["step.f32"])
        centroids = Centroids(
            arrays["centroids.f32"].reshape(-1, dim), arrays["coarse.f32"].reshape(-1, dim), arrays["groups.i64"]
        )
        span = folder.meta["inv_norm_range"]
        codec = cls(
            centroids, folder.meta["nbits"], arrays["step.f32"], arrays["lo.f32"], None if span is None else tuple(span)
        )
        codec.__dict__["centroid_bytes"] = arrays["centroids.i8"].reshape(-1, dim), arrays["scales.f32"]
        return codec

    def _pack(
        self, tokens: npt.NDArray[np.floating], codes: npt.NDArray[np.int32], num_threads: int
    ) -> tuple[npt.NDArray[np.uint8], Floats]:
        return kernels.encode_residuals(
            tokens, self.centroids.vectors, codes, self.step, self.lo, self.nbits, num_threads=num_threads
        )


def to_bytes(vectors: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Rounds each vector to 8 bits a value.

    Returns:
        int8 ``(n, dim)``, and what one unit of each row is, float32 ``(n,)``: ``vector ~ scale * bytes``.
    """
    scale = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    safe = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(vectors / safe[:, None]).astype(np.int8), safe
