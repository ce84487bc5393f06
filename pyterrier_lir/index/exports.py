"""Exporting an index as a PLAID folder of Stanford's ColBERT (see `stanford`), which others can read.

The folder decodes to the vectors that the index scores, if its codec has one codebook for all dimensions: that of an
imported index, or ``codec="quantile"``. Codes and levels go as they are, centroids in half precision, as Stanford keeps
them; those of an imported index lose nothing by that. What Stanford's format has no place for, the documents' names, is
in ``docnos.json``. Memory holds one chunk of the folder, and the documents of all centroids in 4 bytes each.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.index.codebook import Codebook
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.counting_sort import CountingSort
from pyterrier_lir.index.foreign import DOCNOS, METADATA, residuals_of
from pyterrier_lir.index.kmeans import Progress
from pyterrier_lir.index.store import Store

CHUNK = 25_000  # documents, as Stanford's code has it
BLOCK = 1 << 14  # tokens whose bits are reordered at once


@dataclass(frozen=True)
class Chunk:
    """Documents that follow each other in a folder.

    Attributes:
        docids: In the index, int64 ``(n,)``.
        lengths: Tokens of each, int64 ``(n,)``.
        codes: Centroid of each token, int32 ``(t,)``.
        residuals: Packed levels of each token, in our order of bits, uint8 ``(t, W)``.
    """

    docids: Docids
    lengths: Docids
    codes: npt.NDArray[np.int32]
    residuals: npt.NDArray[np.uint8]


def export_folder(store: Store, path: Path, *, checkpoint: str | None, progress: Progress) -> None:
    """Writes the documents of an index, those that are not deleted, to a folder that appears when it is whole.

    Args:
        store: The opened index.
        path: Where the folder will be.
        checkpoint: The model of the documents, for the folder's options; None to leave it out.
        progress: Wraps the chunks.

    Raises:
        ValueError: If the folder exists, or would decode to other vectors than those that the index scores.
    """
    codec, codebook = _check(store)
    if path.exists():
        raise ValueError(f"{path} exists; expected a new folder to export to. Choose another one.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir()
    try:
        _write(store, codec, codebook, temporary, checkpoint, progress)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(
    store: Store, codec: Codec, codebook: Codebook, path: Path, checkpoint: str | None, progress: Progress
) -> None:
    config: dict[str, Any] = {"nbits": codec.nbits, "dim": codec.dim}
    if checkpoint is not None:
        config["checkpoint"] = checkpoint
    counts = np.zeros(len(codec.centroids.vectors), dtype=np.int64)
    used = np.zeros(2**codec.nbits, dtype=np.int64)
    documents = tokens = chunks = 0
    for i, chunk in enumerate(progress(_chunks(store, residuals=True), "Exporting", 0, _number_of_chunks(store))):
        size = len(chunk.codes)
        residuals = np.empty((size, codec.dim * codec.nbits // 8), dtype=np.uint8)
        for start in range(0, size, BLOCK):
            levels = kernels.unpack(chunk.residuals[start : start + BLOCK], codec.dim, codec.nbits)
            used += np.bincount(levels.ravel(), minlength=len(used))
            residuals[start : start + BLOCK] = residuals_of(levels, codec.nbits)
        _save(path / f"{i}.codes.pt", chunk.codes)
        _save(path / f"{i}.residuals.pt", residuals)
        _dump(path / f"doclens.{i}.json", chunk.lengths.tolist())
        first = {"passage_offset": documents, "embedding_offset": tokens}
        _dump(path / f"{i}.metadata.json", {**first, "num_passages": len(chunk.docids), "num_embeddings": size})
        counts += np.bincount(_distinct(chunk, len(counts))[1], minlength=len(counts))
        documents, tokens, chunks = documents + len(chunk.docids), tokens + size, chunks + 1
    _save(path / "ivf.pid.pt", _documents_of_cells(store, counts), counts)
    _save(path / "centroids.pt", codec.centroids.vectors.astype(np.float16))
    _save(path / "buckets.pt", codebook.cutoffs, _half_if_exact(codebook.weights))
    _save(path / "avg_residual.pt", np.array((used @ np.abs(codebook.weights)) / used.sum(), dtype=np.float16))
    _dump(path / DOCNOS, store.names(store.live_docids))
    plan = {"config": config, "num_chunks": chunks, "num_partitions": len(counts)}
    mean = tokens / documents
    _dump(path / "plan.json", {**plan, "num_embeddings_est": float(tokens), "avg_doclen_est": mean})
    _dump(path / METADATA, {**plan, "num_embeddings": tokens, "avg_doclen": mean})


def _check(store: Store) -> tuple[Codec, Codebook]:
    codec = store.codec
    if codec is None or not store.manifest["tokens"]:
        raise ValueError(f"The index {store.path} has no tokens; expected some to export.")
    if codec.inv_norm_range is None:
        raise ValueError(
            f"The index {store.path} does not scale its vectors to unit length, as those of a PLAID folder "
            "are; expected vectors of unit length in 2 bits or more. Divide each by its length, and index them with "
            'index.indexer(codec="quantile", nbits=4).'
        )
    if codec.dim % (8 * codec.nbits):
        raise ValueError(
            f"The index {store.path} has {codec.dim} dimensions of {codec.nbits} bits; Stanford's code expects a "
            f"multiple of {8 * codec.nbits} dimensions."
        )
    codebook = codec.codebook
    if codebook is None and (codec.step == codec.step[0]).all() and (codec.lo == codec.lo[0]).all():
        weights = codec.lo[0] + codec.step[0] * np.arange(2**codec.nbits, dtype=np.float32)
        codebook = Codebook(weights, (weights[1:] + weights[:-1]) / 2)
    if codebook is None:
        raise ValueError(
            f"The index {store.path} has other steps in each dimension; expected one codebook for all dimensions, "
            "since a PLAID folder holds one. Compress the vectors anew, and lose what that loses: "
            'LirIndex(path).indexer(codec="quantile").index(index.get_corpus_iter()).'
        )
    return codec, codebook


def _number_of_chunks(store: Store) -> int:
    return -(-len(store.live_docids) // CHUNK)


def _chunks(store: Store, *, residuals: bool) -> Iterator[Chunk]:
    """The documents that are not deleted; without ``residuals`` only their codes are read."""
    docids = store.live_docids
    for first in range(0, len(docids), CHUNK):
        wanted = docids[first : first + CHUNK]
        parts = [_chunk(store, start, wanted, residuals=residuals) for start in range(len(store.segments))]
        yield Chunk(
            wanted,
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.residuals for part in parts]),
        )


def _chunk(store: Store, number: int, docids: Docids, *, residuals: bool) -> Chunk:
    """Those of some docids that lie in one segment."""
    segment, start = store.segments[number], store.starts[number]
    lo, hi = np.searchsorted(docids, (start, start + len(segment)))
    here = docids[lo:hi] - start
    lengths = segment.offsets[here + 1] - segment.offsets[here]
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(here) else np.zeros(0, np.int64)
    rows = np.repeat(segment.offsets[here] - begins, lengths) + np.arange(lengths.sum())
    width = 0 if segment.residuals is None or not residuals else segment.residuals.shape[1]
    codes = np.zeros(0, np.int32) if segment.codes is None else segment.codes[rows].astype(np.int32)
    packed = np.zeros((len(rows), 0), np.uint8) if not width else segment.residuals[rows]  # type: ignore[index]
    return Chunk(docids[lo:hi], lengths, codes, packed)


def _distinct(chunk: Chunk, cells: int) -> tuple[Docids, Docids]:
    """The places in a chunk of the documents that have a centroid, ascending, and the centroid; each pair once."""
    keys = np.unique(np.repeat(np.arange(len(chunk.lengths)), chunk.lengths) * cells + chunk.codes)
    return keys // cells, keys % cells


def _documents_of_cells(store: Store, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The places in the folder of each centroid's documents, ascending."""
    sort = CountingSort(counts)
    found = np.empty(int(counts.sum()), dtype=np.int32)
    first = 0
    for chunk in _chunks(store, residuals=False):
        documents, cells = _distinct(chunk, len(counts))
        found[sort.places(cells)] = first + documents
        first += len(chunk.docids)
    return found


def _half_if_exact(values: Floats) -> npt.NDArray[np.floating]:
    half = values.astype(np.float16)
    return half if (half == values).all() else values


def _save(path: Path, *arrays: npt.NDArray[Any]) -> None:
    """One array as a tensor, several as a tuple of them."""
    import torch

    tensors = tuple(torch.from_numpy(np.array(array)) for array in arrays)
    torch.save(tensors if len(tensors) > 1 else tensors[0], path)


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
