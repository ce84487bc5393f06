"""What PLAID folders of other engines have in common: chunks of documents, codes, and levels in Stanford's bit order.

A folder holds centroids, one codebook for all dimensions, and chunk after chunk the number of tokens of each document,
the centroid of each token, and its levels. What engines store them in is theirs: see `stanford` and `fast_plaid`.

Stanford's bit order: a row's levels one after the other, each with its least significant bit first, fill bytes from
the most significant bit on. So the levels 0 1 2 3 in two bits are ``00 10 01 11``, 0x27.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.index.codebook import Codebook

METADATA = "metadata.json"
DOCNOS = "docnos.json"  # in folders that we have exported: the names of the documents, a list
# What a folder must hold to be an index of some engine.
FILES = {
    "stanford": {"centroids.pt", "buckets.pt", METADATA},
    "fast_plaid": {"centroids.npy", "bucket_weights.npy", METADATA},
}
ADVICE = "Is the folder whole? Copy it again, or build the index from the documents: (encoder >> index).index(corpus)."

Chunk = tuple[npt.NDArray[np.integer], npt.NDArray[np.uint8]]


class ForeignFolder(ABC):
    """A PLAID index of another engine, opened to be read once, in order.

    Attributes:
        path: The folder.
        centroids: float32 ``(K, dim)``.
        codebook: What levels stand for.
        doclens: Tokens of each document, a list for each chunk, int64.
    """

    KIND: str

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = read_json(path / METADATA, dict)
        self.centroids, self.codebook = self._read_codec()
        count = self.metadata.get("num_chunks")
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{path / METADATA} says num_chunks {count}; expected at least 1. {ADVICE}")
        self.doclens = [self._read_doclens(i) for i in range(count)]
        self._check()

    def __len__(self) -> int:
        return sum(map(len, self.doclens))

    @property
    def nbits(self) -> int:
        """Bits of a level."""
        return int(np.log2(len(self.codebook.weights)))

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return self.centroids.shape[1]

    @property
    def offsets(self) -> Docids:
        """Document i owns the tokens ``offsets[i]:offsets[i + 1]``, int64 ``(N + 1,)``."""
        return np.concatenate([[0], np.cumsum(np.concatenate(self.doclens))]).astype(np.int64)

    def chunks(self) -> Iterator[Chunk]:
        """Codes ``(n,)`` and residual bytes ``(n, dim * nbits / 8)`` of each chunk.

        Raises:
            ValueError: If a chunk does not fit to the rest of the folder.
        """
        for i, lengths in enumerate(self.doclens):
            codes, residuals = self._read_chunk(i)
            tokens, width = int(lengths.sum()), self.dim * self.nbits // 8
            if codes.shape != (tokens,) or residuals.shape != (tokens, width) or residuals.dtype != np.uint8:
                raise ValueError(
                    f"Chunk {i} of {self.path} has codes {codes.shape} and residuals {residuals.shape} of "
                    f"{residuals.dtype}; expected ({tokens},) and ({tokens}, {width}) of uint8, for the tokens of its "
                    f"documents, with {self.dim} dimensions of {self.nbits} bits. {ADVICE}"
                )
            if not np.issubdtype(codes.dtype, np.integer):
                raise ValueError(
                    f"Chunk {i} of {self.path} has codes of {codes.dtype}; expected whole numbers. {ADVICE}"
                )
            outside = (codes < 0) | (codes >= len(self.centroids))
            if outside.any():
                raise ValueError(
                    f"Chunk {i} of {self.path} has the code {codes[outside][0]}; expected 0 to "
                    f"{len(self.centroids) - 1}, a centroid. {ADVICE}"
                )
            yield codes, residuals

    @abstractmethod
    def _read_codec(self) -> tuple[Floats, Codebook]: ...

    @abstractmethod
    def _read_chunk(self, i: int) -> Chunk: ...

    def _read_doclens(self, i: int) -> Docids:
        found = read_json(self.path / f"doclens.{i}.json", list)
        if not all(isinstance(length, int) and length >= 0 for length in found):
            raise ValueError(f"{self.path / f'doclens.{i}.json'} is no list of numbers of tokens. {ADVICE}")
        return np.array(found, dtype=np.int64)

    def _check(self) -> None:
        said = {**self.metadata, **self.metadata.get("config", {})}
        tokens = int(sum(lengths.sum() for lengths in self.doclens))
        if not tokens:
            raise ValueError(f"{self.path} has no tokens; expected some to import. {ADVICE}")
        found = {
            "num_embeddings": tokens, "num_partitions": len(self.centroids), "nbits": self.nbits, "dim": self.dim,
            "num_documents": len(self),
        }  # fmt: skip
        for name, value in found.items():
            if said.get(name, value) != value:
                raise ValueError(
                    f"{self.path / METADATA} says {name} {said[name]}; expected {value}, which is there. {ADVICE}"
                )
        if self.dim * self.nbits % 8:
            raise ValueError(
                f"{self.path} has {self.dim} dimensions of {self.nbits} bits; expected whole bytes. {ADVICE}"
            )


def kind_of(names: Collection[str]) -> str | None:
    """Whose index a folder with files of these names is: ``"stanford"``, ``"fast_plaid"``, or None."""
    if any(name.endswith("passage_ids.npy") for name in names):
        return None  # WARP's; it begins with the same files, but scores other vectors
    return next((kind for kind, wanted in FILES.items() if wanted <= set(names)), None)


def levels_of(residuals: npt.NDArray[np.uint8], nbits: int) -> npt.NDArray[np.uint8]:
    """The levels in rows of bytes in Stanford's bit order, uint8 ``(n, 8 / nbits * W)``.

    >>> levels_of(np.array([[0x27]], dtype=np.uint8), 2)
    array([[0, 1, 2, 3]], dtype=uint8)
    """
    return _levels_of_bytes(nbits)[residuals].reshape(len(residuals), residuals.shape[1] * (8 // nbits))


def residuals_of(levels: npt.NDArray[np.uint8], nbits: int) -> npt.NDArray[np.uint8]:
    """Rows of levels, a multiple of ``8 / nbits``, as bytes in Stanford's bit order; the reverse of `levels_of`."""
    bits = levels[:, :, None] >> np.arange(nbits, dtype=np.uint8) & 1
    return np.packbits(bits.reshape(len(levels), levels.shape[1] * nbits), axis=1)


def codebook_of(path: Path, weights: Any, cutoffs: Any) -> Codebook:
    """The codebook of a folder.

    Raises:
        ValueError: If these are not ascending numbers, one weight more than cutoffs.
    """
    try:
        return Codebook(np.asarray(weights, dtype=np.float32), np.asarray(cutoffs, dtype=np.float32))
    except ValueError as error:
        raise ValueError(f"The buckets of {path} are damaged: {error} {ADVICE}") from error


def centroids_of(path: Path, vectors: Any) -> Floats:
    """The centroids of a folder as float32, which holds what they are stored in exactly.

    Raises:
        ValueError: If it is no matrix of finite numbers.
    """
    found = np.asarray(vectors, dtype=np.float32)
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise ValueError(f"The centroids of {path} have shape {found.shape}; expected (K, dim), all finite. {ADVICE}")
    return np.ascontiguousarray(found)


def read_json(path: Path, kind: type) -> Any:
    """A small file of a folder.

    Raises:
        ValueError: If it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}). {ADVICE}") from error
    if not isinstance(found, kind):
        raise ValueError(f"{path} holds a {type(found).__name__}; expected a {kind.__name__}. {ADVICE}")
    return found


def _levels_of_bytes(nbits: int) -> npt.NDArray[np.uint8]:
    """The levels in each byte, uint8 ``(256, 8 / nbits)``."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(256, 8 // nbits, nbits)
    return (bits << np.arange(nbits, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)
