"""Search for the largest inner products with one long vector per document: exact here, approximate in `faiss_vectors`.

====== ============================================= ========================= ==================================
kind   method                                        bytes for ``size`` values searched with
====== ============================================= ========================= ==================================
flat   all products, in half precision               2 size                    `kernels.inner_products`
hnsw   a graph of near neighbours, half precision    2 size + 8 `NEIGHBOURS`   ``ef_search``: length of the queue
pq     all products, of 8 values coded in one byte   size / 8                  FAISS's tables
ivfpq  the same, of the nearest clusters             size / 8 + 8              ``nprobe``: clusters
====== ============================================= ========================= ==================================

``flat`` is read by memory map, and its ranking is exact up to rounding; FAISS reads its indexes into memory, see
`faiss_vectors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.arguments import check_choice
from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.index import files
from pyterrier_lir.index.files import ADVICE
from pyterrier_lir.index.subset import Subset
from pyterrier_lir.retrieve import faiss_vectors
from pyterrier_lir.retrieve.faiss_vectors import FaissVectors

KINDS = ("flat", "hnsw", "pq", "ivfpq")
PRODUCTS = 1 << 24  # of several queries in memory at once

Hits = tuple[Docids, Floats]  # docids and inner products, best first


class Source(Protocol):
    """Where vectors come from; it need not hold them."""

    size: int  # values of a vector
    docids: Docids  # of the documents that have a vector, ascending

    def blocks(self) -> Iterator[tuple[Docids, Floats]]:
        """All vectors, in the order of ``docids``."""

    def some(self, docids: Docids) -> Floats:
        """The vectors of a few documents."""


def check_kind(kind: str, ef_search: int | None, nprobe: int | None) -> None:
    """Refuses a kind that there is not, and an effort that is not the kind's."""
    check_choice("ann", kind, KINDS)
    for name, value, of in (("ef_search", ef_search, "hnsw"), ("nprobe", nprobe, "ivfpq")):
        if value is not None and kind != of:
            raise ValueError(f'{name} is {value}, but ann is {kind!r}; expected ann="{of}". Leave {name} out.')


def write(kind: str, source: Source, folder: files.Directory, *, seed: int, num_threads: int) -> None:
    """Writes what a kind searches; no more than a block of vectors, or a sample, is in memory besides the index.

    The same on any number of threads: a graph is always built on one.
    """
    folder.meta |= {"kind": kind, "size": source.size}  # for people
    folder.file("docids.i64").write(source.docids.astype("<i8").tobytes())
    if kind == "flat":
        for docids, vectors in source.blocks():
            folder.file("vectors.f16").write(_half(vectors, docids).tobytes())
        return
    faiss_vectors.write(kind, source, folder, seed=seed, num_threads=num_threads)


def read(kind: str, source: Source, folder: files.Opened) -> Flat | FaissVectors:
    """Opens what `write` wrote.

    Raises:
        ValueError: If it is of other documents than the source, or has other vectors; it may have been sent by someone.
    """
    docids: Docids = folder.map("docids.i64", "<i8")
    if not np.array_equal(docids, source.docids):
        raise ValueError(f"{folder.path / 'docids.i64'} is damaged; expected the documents of the index. {ADVICE}")
    return Flat.read(folder, source.size) if kind == "flat" else FaissVectors(kind, folder, source.size)


class Flat:
    """All vectors, in matrices one after the other.

    Args:
        docids: Of all rows, ascending.
        matrices: float16 ``(N, size)``, of N documents each.
    """

    def __init__(self, docids: Docids, matrices: Sequence[npt.NDArray[np.float16]]) -> None:
        self.docids = docids
        self.matrices = matrices

    @classmethod
    def read(cls, folder: files.Opened, size: int) -> Flat:
        """Maps one matrix from a folder."""
        docids: Docids = folder.map("docids.i64", "<i8")
        values = folder.map("vectors.f16", "<f2")
        if len(values) != len(docids) * size:
            raise ValueError(f"{folder.path / 'vectors.f16'} does not fit; expected {size} values each. {ADVICE}")
        return cls(docids, [values.reshape(len(docids), size)])

    @classmethod
    def joined(cls, parts: Sequence[Flat]) -> Flat:
        """Several as one; the matrices stay where they are."""
        docids = np.concatenate([part.docids for part in parts])
        return cls(docids, [matrix for part in parts for matrix in part.matrices])

    def search(
        self, queries: Floats, k: int, wanted: Subset | None, effort: int | None, num_threads: int
    ) -> Iterator[Hits]:
        """For each query the documents with the largest inner products; of equal ones the first.

        Args:
            queries: float32 ``(n, size)``; they share what is read.
            k: How many.
            wanted: Documents to look at; None for all.
            effort: Of no use here.
            num_threads: Threads; the result does not depend on it.
        """
        rows = None if wanted is None else np.flatnonzero(wanted.has(self.docids))
        block = max(PRODUCTS // max(len(self.docids), 1), 1)
        for first in range(0, len(queries), block):
            some = queries[first : first + block]
            for products in kernels.inner_products(some, self.matrices, rows, num_threads=num_threads):
                top = kernels.top_k(products, k)
                yield self.docids[top if rows is None else rows[top]], products[top]


def _half(vectors: Floats, docids: Docids) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = vectors.astype("<f2")
    if not np.isfinite(half).all():
        large = docids[~np.isfinite(half).all(axis=1)][0]
        raise ValueError(
            f"the encoding of document {large} holds values above 65504; expected those of vectors of about unit "
            "length. Scale the vectors down."
        )
    return half
