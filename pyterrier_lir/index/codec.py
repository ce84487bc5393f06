"""The residual codec: a token vector is its centroid plus a few bits per dimension for what is left.

The residual ``r = x - c`` is rounded per dimension to one of ``2 ** nbits`` equal steps:

    level = clip(round((r - lo) / step), 0, 2 ** nbits - 1)        x' = c + lo + step * level

so that ``<q, x'> = <q, c> + <q, lo> + sum_d (q_d step_d) level_d`` is an integer product up to scales. Equal steps, of
a size chosen by least squared error, keep .976 of the exact top 10 at 4 bits where ColBERTv2's quantile codebook keeps
.947; an index that comes from there keeps its codebook (see `codebook`). Vectors that came with unit length are scaled
back to it: one byte per token holds ``1 / |x'|``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Floats
from pyterrier_lir.index import files
from pyterrier_lir.index.codebook import GRID, Codebook
from pyterrier_lir.index.kmeans import Centroids

NBITS = (1, 2, 4, 8)
KINDS = ("uniform", "quantile")
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
CODEBOOK = ("weights.f32", "cutoffs.f32")  # where there is one
META = "codec.json"
LEAST_NORM = 1e-3  # a shorter vector is not scaled to unit length
BLOCK = 4096  # tokens whose levels are looked up in a codebook at once


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
        codebook: What levels stand for where steps are not equal; `step` and `lo` are then its grid's. None else.
        folder: Where it was loaded from.
    """

    centroids: Centroids
    nbits: int
    step: Floats
    lo: Floats
    inv_norm_range: tuple[float, float] | None
    codebook: Codebook | None = None
    folder: files.Opened | None = None

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

    @property
    def level_table(self) -> npt.NDArray[np.uint8] | None:
        """What the kernels take levels for; None for themselves."""
        return None if self.codebook is None else self.codebook.table

    @classmethod
    def of_codebook(
        cls, centroids: Centroids, nbits: int, codebook: Codebook, inv_norm_range: tuple[float, float] | None
    ) -> Codec:
        """A codec with one codebook for all dimensions.

        With 8 bits its values are so near to each other that equal steps from the least to the greatest serve as well,
        and a byte is its own integer: level ``l`` of the codebook is then stored as ``codebook.on_grid(255)[l]``.
        """
        size = GRID if nbits < 8 else 255
        dim = centroids.vectors.shape[1]
        step, lo = (np.full(dim, value, dtype=np.float32) for value in (codebook.step(size), codebook.lo))
        return cls(centroids, nbits, step, lo, inv_norm_range, codebook if nbits < 8 else None)

    @classmethod
    def train(
        cls,
        centroids: Centroids,
        sample: Floats,
        nbits: int,
        *,
        kind: str = "uniform",
        unit: bool,
        block: int,
        num_threads: int = 1,
    ) -> Codec:
        """Finds the steps for given centroids.

        Args:
            centroids: From `kmeans.two_level`.
            sample: Held-out tokens, float32 ``(n, dim)``, n > 0.
            nbits: Bits per dimension.
            kind: ``"uniform"`` or ``"quantile"``, one codebook for all dimensions.
            unit: Whether the tokens of the collection have unit length, to which they are then scaled back; not with
                one bit, where it loses more than it gains.
            block: Tokens in memory at once.
            num_threads: Threads; the result does not depend on it.
        """
        codes, _scores = centroids.assign(sample, block=block, num_threads=num_threads)
        residuals = sample - centroids.vectors[codes]
        if kind == "quantile":
            codec = cls.of_codebook(centroids, nbits, Codebook.train(residuals, nbits), None)
        else:
            codec = cls(centroids, nbits, *_equal_steps(residuals, nbits), None)
        if not unit or nbits == 1:
            return codec
        _packed, norms = codec._pack(sample, codes, num_threads)
        inverse = 1 / np.maximum(norms, LEAST_NORM)
        return replace(codec, inv_norm_range=(float(inverse.min()), float(inverse.max())))

    def encode(self, tokens: npt.NDArray[np.floating], *, block: int = 1 << 15, num_threads: int = 1) -> Encoded:
        """Compresses tokens, float16 or float32 ``(n, dim)``, ``block`` at a time."""
        tokens = np.ascontiguousarray(tokens)
        codes, _scores = self.centroids.assign(tokens, block=block, num_threads=num_threads)
        packed, norms = self._pack(tokens, codes, num_threads)
        return Encoded(codes, packed, self.inv_norm_bytes(norms))

    def inv_norm_bytes(self, norms: Floats) -> npt.NDArray[np.uint8] | None:
        """The bytes that say ``1 / norm`` best, uint8 ``(n,)``; None where vectors keep their length."""
        if self.inv_norm_range is None:
            return None
        lo, hi = self.inv_norm_range
        scale = 255 / (hi - lo) if hi > lo else 0.0
        return np.clip(np.rint((1 / np.maximum(norms, LEAST_NORM) - lo) * scale), 0, 255).astype(np.uint8)

    def decode(self, encoded: Encoded) -> Floats:
        """The vectors that are scored, float32 ``(n, dim)``."""
        vectors = self.decompress(encoded.codes, encoded.residuals)
        table = self.inv_norm_table
        if table is None or encoded.inv_norms is None:
            return vectors
        return vectors * table[encoded.inv_norms][:, None]

    def decompress(self, codes: npt.NDArray[np.integer], residuals: npt.NDArray[np.uint8]) -> Floats:
        """``x'`` of codes and packed levels, float32 ``(n, dim)``, as they are before they are scaled back."""
        self.check_codes(codes)
        levels = kernels.unpack(residuals, self.dim, self.nbits)
        if self.codebook is not None:
            return self.centroids.vectors[codes] + self.codebook.weights[levels]
        return self.centroids.vectors[codes] + self.lo + self.step * levels

    def check_codes(self, codes: npt.NDArray[np.integer]) -> None:
        """Raises a ValueError if a code names no centroid: a damaged file may hold any number."""
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(self.centroids.vectors):
            raise ValueError(
                f"codes lie in {codes.min()} to {codes.max()}, but there are {len(self.centroids.vectors)} centroids. "
                f"{files.ADVICE}"
            )

    def save(self, path: Path) -> None:
        """Writes the codec to a new directory, at once."""
        meta = {"nbits": self.nbits, "inv_norm_range": self.inv_norm_range}
        with files.Directory(path, META, meta) as folder:
            vectors, bytes_, scales = self.centroids.vectors, *self.centroid_bytes
            arrays = (vectors, bytes_, scales, self.centroids.coarse, self.centroids.offsets, self.step, self.lo)
            for (name, dtype), array in zip(ARRAYS.items(), arrays, strict=True):
                folder.file(name).write(np.ascontiguousarray(array, dtype=dtype).tobytes())
            if self.codebook is not None:
                for name, values in zip(CODEBOOK, (self.codebook.weights, self.codebook.cutoffs), strict=True):
                    folder.file(name).write(values.astype("<f4").tobytes())

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
            ValueError: If a file is missing or has another size than its meta says, or if there is no such codebook.
        """
        folder = files.Opened(path, META)
        arrays: dict[str, Any] = {name: folder.map(name, dtype) for name, dtype in ARRAYS.items()}
        span = folder.meta.get("inv_norm_range")
        _check(folder, arrays, span)
        dim = len(arrays["step.f32"])
        centroids = Centroids(
            arrays["centroids.f32"].reshape(-1, dim), arrays["coarse.f32"].reshape(-1, dim), arrays["groups.i64"]
        )
        codebook = Codebook(*(folder.map(name, "<f4") for name in CODEBOOK)) if CODEBOOK[0] in folder else None
        codec = cls(
            centroids,
            folder.meta["nbits"],
            arrays["step.f32"],
            arrays["lo.f32"],
            None if span is None else tuple(span),
            codebook,
            folder,
        )
        codec.__dict__["centroid_bytes"] = arrays["centroids.i8"].reshape(-1, dim), arrays["scales.f32"]
        return codec

    def _pack(
        self, tokens: npt.NDArray[np.floating], codes: npt.NDArray[np.int32], num_threads: int
    ) -> tuple[npt.NDArray[np.uint8], Floats]:
        if self.codebook is None:
            return kernels.encode_residuals(
                tokens, self.centroids.vectors, codes, self.step, self.lo, self.nbits, num_threads=num_threads
            )
        packed, norms = [], [np.zeros(0, np.float32)]
        for start in range(0, len(tokens), BLOCK):
            part = slice(start, start + BLOCK)
            residuals = tokens[part].astype(np.float32) - self.centroids.vectors[codes[part]]
            packed.append(kernels.pack(self.codebook.levels(residuals), self.nbits))
            norms.append(norms_of(self.decompress(codes[part], packed[-1])))
        empty = kernels.pack(np.zeros((0, self.dim), np.uint8), self.nbits)
        return np.concatenate([empty, *packed]), np.concatenate(norms)


def _check(folder: files.Opened, arrays: dict[str, npt.NDArray[Any]], span: Any) -> None:
    """Raises a ValueError unless a stored codec's numbers and lengths fit together."""
    dim, scales = len(arrays["step.f32"]), len(arrays["scales.f32"])
    groups = arrays["groups.i64"]
    expected = {"lo.f32": dim, "centroids.f32": scales * dim, "centroids.i8": scales * dim,
                "coarse.f32": (len(groups) - 1) * dim}  # fmt: skip
    wrong = [name for name, length in expected.items() if len(arrays[name]) != length]
    if not dim or not scales or wrong:
        raise ValueError(f"{folder.path} has {wrong or 'nothing'} of another length than it must be. {files.ADVICE}")
    if len(groups) < 2 or groups[0] != 0 or groups[-1] != scales or (np.diff(groups) < 0).any():
        raise ValueError(
            f"{folder.path / 'groups.i64'} is damaged; expected numbers from 0 to {scales}, ascending. {files.ADVICE}"
        )
    if type(folder.meta.get("nbits")) is not int or folder.meta["nbits"] not in NBITS:
        raise ValueError(f"{folder.path / META} says nbits {folder.meta.get('nbits')!r}; expected one of {NBITS}.")
    numbers = isinstance(span, list) and len(span) == 2 and all(type(value) is float for value in span)
    if span is not None and not (numbers and 0 <= span[0] <= span[1] < np.inf):
        raise ValueError(f"{folder.path / META} says inv_norm_range {span!r}; expected two numbers or null.")
    if (CODEBOOK[0] in folder) and folder.meta["files"][CODEBOOK[0]]["bytes"] != 4 << folder.meta["nbits"]:
        raise ValueError(f"{folder.path / CODEBOOK[0]} is damaged; expected a weight for each level. {files.ADVICE}")


def norms_of(vectors: Floats) -> Floats:
    """Lengths of rows, summed in float64, float32 ``(n,)``."""
    return np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)


def _equal_steps(residuals: Floats, nbits: int) -> tuple[Floats, Floats]:
    """Step and lowest value of each dimension, of the candidates those with the least squared error."""
    mean, deviation = residuals.mean(axis=0), residuals.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1e-6).astype(np.float32)  # a constant dimension
    top = 2**nbits - 1

    def steps(gamma: float) -> tuple[Floats, Floats]:
        step = (gamma * deviation).astype(np.float32)
        return step, (mean - top / 2 * step).astype(np.float32)

    def error(gamma: float) -> float:
        step, lo = steps(gamma)
        levels = np.clip(np.rint((residuals - lo) / step), 0, top)
        return float(np.mean((lo + levels * step - residuals) ** 2, dtype=np.float64))

    return steps(min(STEPS[nbits], key=error))


def to_bytes(vectors: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Rounds each vector to 8 bits a value.

    Returns:
        int8 ``(n, dim)``, and what one unit of each row is, float32 ``(n,)``: ``vector ~ scale * bytes``.
    """
    scale = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    safe = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(vectors / safe[:, None]).astype(np.int8), safe
