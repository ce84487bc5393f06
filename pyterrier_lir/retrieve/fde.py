"""MUVERA: each multi-vector becomes one long vector, whose inner products estimate MaxSim.

1. *Cells*: k random hyperplanes cut space into ``B = 2 ** k`` cells (SimHash). Vectors that are close to each other
   tend to lie in the same cell, so a query's vector mostly meets its best match there.
2. *Blocks*: a query's block for a cell is the sum of its vectors in the cell, a document's block the mean, or, if the
   cell is empty, the vector whose cell is nearest by Hamming distance. The product of two blocks is then the sum over
   the query's vectors of their similarity to the mean of the document's vectors nearby: at most MaxSim.
3. *Projection*: each block is projected from d to ``d_proj`` dimensions by random signs, which keeps inner products on
   average. All of this is repeated R times; the blocks after each other are the encoding, of ``R * B * d_proj`` values,
   or, after a final projection (a count sketch), of ``final_dim``.

With F the encodings, ``<F(Q), F(D)> / R`` estimates ``MaxSim(Q, D)``. Without projections and with fill it is never
larger. The estimate is low, but ranks well enough for a first stage; the exact scores of what it finds decide.

*Centring*. Vectors of many models lie to one side of the origin, where few hyperplanes divide them: most cells are
empty, and all documents look the same. Subtracting a vector c from documents moves all scores of a query alike:

    MaxSim(Q, D - c) = MaxSim(Q, D) - sum_i w_i <q_i, c>

So with a centre, documents are encoded as D - c; the *cell* of a query's vector is that of q - c, because near vectors
must be moved alike to share cells, but its *value* remains q, because with q - c the scores of a query would move by an
amount that depends on the document.

Jayaram, Dhulipala, Hadian, Lee, Mirrokni: MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings. NeurIPS 2024.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir import arguments, kernels
from pyterrier_lir.columns import Floats
from pyterrier_lir.frames import Query
from pyterrier_lir.ragged import Ragged


class Fde(NamedTuple):
    """The parameters of an encoding; see `Muvera`."""

    k_sim: int
    d_proj: int | None
    reps: int
    final_dim: int | None
    fill_empty: bool
    projection: str
    seed: int

    @classmethod
    def of(cls, transformer: object) -> Fde:
        """The parameters of a transformer."""
        return cls(*(getattr(transformer, name) for name in cls._fields))

    def check(self) -> None:
        """Raises a ValueError that names a parameter that cannot be."""
        arguments.check_counts(k_sim=self.k_sim, reps=self.reps)
        arguments.check_seed(self.seed)
        arguments.check_optional_counts(d_proj=self.d_proj, final_dim=self.final_dim)
        if self.k_sim > 20:
            raise ValueError(f"k_sim is {self.k_sim}; expected at most 20, which is a million cells.")
        arguments.check_choice("projection", self.projection, ("dense", "sparse"))
        if self.projection == "sparse" and self.d_proj is None:
            raise ValueError(
                'projection is "sparse", but d_proj is None; expected d_proj as well. Leave projection out.'
            )
        arguments.check_flags(fill_empty=self.fill_empty)

    @property
    def name(self) -> str:
        """Short, and different for different parameters."""
        projection = "none" if self.d_proj is None else f"{self.projection}{self.d_proj}"
        final = "" if self.final_dim is None else f"-final{self.final_dim}"
        return f"k{self.k_sim}-{projection}-r{self.reps}{final}{'-fill' if self.fill_empty else ''}-seed{self.seed}"

    def block(self, dim: int) -> int:
        """Values of a cell's block."""
        return dim if self.d_proj is None else min(self.d_proj, dim)

    def size(self, dim: int) -> int:
        """Values of an encoding of vectors of ``dim`` dimensions."""
        return self.final_dim or self.reps * self.block(dim) << self.k_sim


class Matrices(NamedTuple):
    """What is drawn at random; see `kernels.encode_fde`."""

    planes: npt.NDArray[np.float32]
    projections: npt.NDArray[np.float32] | None
    places: npt.NDArray[np.int32] | None
    signs: npt.NDArray[np.float32] | None

    def digest(self) -> str:
        """Tells whether the same were drawn: NumPy may draw others from the same seed in another version."""
        parts = [array.tobytes() for array in self if array is not None]
        return hashlib.sha256(b"".join(parts)).hexdigest()


@lru_cache(maxsize=8)
def draw(fde: Fde, dim: int) -> Matrices:
    """The matrices of an encoding; each repetition has a random stream of its own, spawned from the seed."""
    repetitions, final = np.random.SeedSequence(fde.seed).spawn(2)
    block = fde.block(dim)
    planes, projections = [], []
    for rng in map(np.random.default_rng, repetitions.spawn(fde.reps)):
        planes.append(rng.standard_normal((fde.k_sim, dim), dtype=np.float32))
        if block < dim:
            projections.append((_dense if fde.projection == "dense" else _sparse)(rng, block, dim))
    places = signs = None
    if fde.final_dim is not None:
        rng = np.random.default_rng(final)
        count = fde.reps * block << fde.k_sim
        places = rng.integers(0, fde.final_dim, count, dtype=np.int32)
        signs = _signs(rng, (count,))
    return Matrices(np.stack(planes), np.stack(projections) if projections else None, places, signs)


def _dense(rng: np.random.Generator, block: int, dim: int) -> Floats:
    """Random signs, scaled so that inner products are kept on average."""
    return _signs(rng, (block, dim)) / np.float32(np.sqrt(block))


def _sparse(rng: np.random.Generator, block: int, dim: int) -> Floats:
    """A count sketch: every dimension is added, with a random sign, to one of the block."""
    matrix = np.zeros((block, dim), dtype=np.float32)
    matrix[rng.integers(0, block, dim), np.arange(dim)] = _signs(rng, (dim,))
    return matrix


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.choice(np.array([-1, 1], dtype=np.float32), shape)


class FdeEncoder:
    """Encodes queries and documents.

    Args:
        fde: The parameters.
        dim: Dimensions of a token vector.
        center: What is subtracted, float32 ``(dim,)``; None for nothing.
        num_threads: Threads among which texts are shared; an encoding does not depend on it.
    """

    def __init__(self, fde: Fde, dim: int, center: Floats | None, num_threads: int) -> None:
        self.fde = fde
        self.dim = dim
        self.size = fde.size(dim)
        self.matrices = draw(fde, dim)
        self.center = center
        self.num_threads = num_threads

    def queries(self, queries: Sequence[tuple[Floats, Floats | None]]) -> Floats:
        """Sums, each row times its weight; float32 ``(N, size)``."""
        planes = self.matrices.planes
        # <g, q - c> > 0 is <g, q> > <g, c>
        thresholds = np.zeros(planes.shape[:2], np.float32) if self.center is None else planes @ self.center
        rows = Ragged.from_list([embs for embs, _ in queries])
        weights = Ragged.from_list([np.ones(len(embs), np.float32) if w is None else w for embs, w in queries])
        return self._encode(rows, thresholds, mean=False, fill=False, weights=weights.values.reshape(-1))

    def documents(self, documents: Ragged) -> Floats:
        """Means, empty cells filled; float32 ``(N, size)``."""
        if self.center is not None:
            documents = Ragged(documents.values.reshape(-1, self.dim) - self.center, documents.offsets)
        thresholds = np.zeros(self.matrices.planes.shape[:2], np.float32)
        return self._encode(documents, thresholds, mean=True, fill=self.fde.fill_empty)

    def _encode(self, rows: Ragged, thresholds: Floats, **kind: Any) -> Floats:
        planes, projections, places, signs = self.matrices
        values, final_dim = rows.values.reshape(-1, self.dim), self.fde.final_dim
        return kernels.encode_fde(
            values, rows.offsets, planes, thresholds, projections, places, signs, final_dim,
            num_threads=self.num_threads, **kind,
        )  # fmt: skip


def shift(query: Query, center: Floats | None) -> float:
    """What centring takes from all scores of a query: ``sum_i w_i <q_i, c>``."""
    if center is None:
        return 0.0
    products = query.embs @ center
    return float(products.sum() if query.weights is None else products @ query.weights)
