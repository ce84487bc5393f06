"""Stages 2 to 4 of a build: train the codec, compress segment by segment, invert.

Memory holds a block of tokens, the trained centroids, and 24 bytes for each sampled token; all else lies in files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pyterrier_lir.index import files
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.counting_sort import CountingSort
from pyterrier_lir.index.kmeans import POINTS_PER_CENTROID, Progress, number_of_centroids, two_level
from pyterrier_lir.index.segment import META, Segment

HELD_OUT = 8192  # tokens on which the codec's steps are chosen
UNIT = 0.01  # vectors whose norm is within this of 1 have unit length: bfloat16 and float16 round that much
STRATUM = 1 << 18  # tokens of which a share is sampled
CHUNK = "chunk.json"


def train(
    spool: Sequence[Segment],
    folder: Path,
    *,
    nbits: int,
    codec: str,
    centroids: int | None,
    seed: int,
    block: int,
    num_threads: int,
    progress: Progress | None = None,
) -> Codec:
    """Trains centroids and codec on a random sample of the spooled tokens.

    Args:
        spool: Segments with vectors, together at least one token.
        folder: For the sample, which may be larger than memory.
        nbits: Bits per dimension.
        codec: Its kind, ``"uniform"`` or ``"quantile"``.
        centroids: Number of centroids; None for the field's rule, ``2 ** floor(log2(16 sqrt(T)))``.
        seed: Chooses the sample and the first centroids.
        block: Tokens in memory at once.
        num_threads: Threads; the codec does not depend on them.
        progress: Wraps what takes long.
    """
    total = sum(segment.num_tokens for segment in spool)
    k = min(centroids or number_of_centroids(total), total)
    sample_seed, kmeans_seed = np.random.SeedSequence(seed).generate_state(2)
    # Where every token is trained on, there is none to hold out, and none that would be coded worse.
    held_out = HELD_OUT if total > POINTS_PER_CENTROID * k + HELD_OUT else 0
    path = folder / "sample.f16"
    sample = _sample(spool, min(total, POINTS_PER_CENTROID * k + held_out), path, np.random.default_rng(sample_seed))
    found = two_level(
        sample[held_out:], k, seed=int(kmeans_seed), block=block, num_threads=num_threads, progress=progress
    )
    unit = all(segment.folder.meta["off_unit"] <= UNIT for segment in spool)
    held_out_tokens = np.array(sample[:HELD_OUT], dtype=np.float32)
    del sample
    path.unlink()
    return Codec.train(found, held_out_tokens, nbits, kind=codec, unit=unit, block=block, num_threads=num_threads)


def compress(segment: Segment, codec: Codec, path: Path, *, block: int, num_threads: int) -> None:
    """Compresses a spooled segment into a directory of ``codes``, ``residuals`` and ``inv_norms``."""
    assert segment.tokens is not None
    with files.Directory(path, CHUNK, {"tokens": segment.num_tokens}) as chunk:
        for name in _chunk_files(codec):
            chunk.file(name)
        for start in range(0, segment.num_tokens, block):
            encoded = codec.encode(segment.tokens[start : start + block], block=block, num_threads=num_threads)
            chunk.file(code_file("codes", codec)).write(encoded.codes.astype(code_type(codec)).tobytes())
            chunk.file("residuals.u8").write(encoded.residuals.tobytes())
            if encoded.inv_norms is not None:
                chunk.file("inv_norms.u8").write(encoded.inv_norms.tobytes())


def merge(
    spool: Sequence[Segment], chunks: Sequence[Path], codec: Codec | None, path: Path, *, keep_embs: bool, block: int
) -> None:
    """Joins spooled segments and their compressed chunks into one segment, with its inverted lists.

    Args:
        spool: At least one segment.
        chunks: Their compressed tokens; none where there are no tokens.
        codec: The codec; None where there are no tokens.
        path: Where the segment will appear.
        keep_embs: Whether the vectors stay.
        block: Tokens in memory at once.
    """
    meta = {
        "dim": max(segment.dim for segment in spool),  # a segment of empty documents may have none
        "encoder": spool[0].encoder,
        "tok_ids": spool[0].tok_ids is not None,
        "documents": sum(map(len, spool)),
        "tokens": sum(segment.num_tokens for segment in spool),
    }
    with files.Directory(path, META, meta) as out:
        copied = ["docnos.utf8", *(["tok_ids.i32"] if meta["tok_ids"] else [])]
        for name in [*copied, *(["tokens.f16"] if keep_embs else [])]:
            for segment in spool:
                _append(out, name, segment.folder.path / name)
        for name in ("offsets.i64", "docnos.i64"):
            _append_offsets(out, name, [segment.folder.map(name, "<i8") for segment in spool])
        if codec is not None:
            for name in _chunk_files(codec):
                for chunk in chunks:
                    _append(out, name, chunk / name)
            _invert(out, spool, chunks, codec, block)


def code_type(codec: Codec) -> str:
    """The type of a centroid's number on disk."""
    return "<u2" if len(codec.centroids.vectors) <= 1 << 16 else "<i4"


def code_file(name: str, codec: Codec) -> str:
    """The name of a file of centroid numbers."""
    return f"{name}.{'u16' if code_type(codec) == '<u2' else 'i32'}"


def _chunk_files(codec: Codec) -> list[str]:
    return [code_file("codes", codec), "residuals.u8", *(["inv_norms.u8"] if codec.inv_norm_range else [])]


def _sample(spool: Sequence[Segment], size: int, path: Path, rng: np.random.Generator) -> npt.NDArray[np.float16]:
    """A random sample of tokens without replacement, in random order, in a file."""
    total = sum(segment.num_tokens for segment in spool)
    # Drawn stratum by stratum, so that no list of all tokens is made; strata know nothing of segments, so that the
    # sample does not depend on how the documents were spooled.
    sizes = np.diff(np.append(np.arange(0, total, STRATUM), total))
    shares = rng.multivariate_hypergeometric(sizes, size, method="marginals")
    rows = np.concatenate([
        i * STRATUM + np.sort(rng.choice(sizes[i], share, replace=False)) for i, share in enumerate(shares)
    ])  # fmt: skip
    places = rng.permutation(size)
    dim = max(segment.dim for segment in spool)
    sample = np.memmap(path, dtype="<f2", mode="w+", shape=(size, dim))
    first = 0
    for segment in spool:
        lo, hi = np.searchsorted(rows, (first, first + segment.num_tokens))
        for at in range(lo, hi, HELD_OUT):
            part = slice(at, min(at + HELD_OUT, hi))
            assert segment.tokens is not None
            sample[places[part]] = segment.tokens[rows[part] - first]
        first += segment.num_tokens
    return sample


def _append(out: files.Directory, name: str, path: Path) -> None:
    target = out.file(name)
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            target.write(data)


def _append_offsets(out: files.Directory, name: str, parts: Sequence[npt.NDArray[np.int64]]) -> None:
    out.file(name).write(np.int64(0).tobytes())
    shift = 0
    for part in parts:
        out.file(name).write((part[1:] + shift).astype("<i8").tobytes())
        shift += int(part[-1])


def _invert(out: files.Directory, spool: Sequence[Segment], chunks: Sequence[Path], codec: Codec, block: int) -> None:
    """Writes each document's distinct centroids, then the documents of each centroid (a counting sort in a file)."""
    name, dtype = code_file("doc_codes", codec), code_type(codec)
    counts = np.zeros(len(codec.centroids.vectors), dtype=np.int64)
    out.file(name)
    out.file("doc_codes.i64").write(np.int64(0).tobytes())
    end = 0
    for documents, codes in _distinct(spool, chunks, codec, block):
        ends = end + np.cumsum(documents)
        out.file(name).write(codes.astype(dtype).tobytes())
        out.file("doc_codes.i64").write(ends.astype("<i8").tobytes())
        counts += np.bincount(codes, minlength=len(counts))
        end = int(ends[-1]) if len(ends) else end
    sort = CountingSort(counts)
    out.file("cell_docs.i64").write(sort.offsets.tobytes())
    cell_docs = out.allocate("cell_docs.i32", "<i4", end)
    first = 0
    for documents, codes in _distinct(spool, chunks, codec, block):
        cell_docs[sort.places(codes)] = np.repeat(np.arange(first, first + len(documents)), documents)
        first += len(documents)


def _distinct(
    spool: Sequence[Segment], chunks: Sequence[Path], codec: Codec, block: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Blocks of documents: how many distinct centroids each has, and these, ascending within a document."""
    k = len(codec.centroids.vectors)
    for segment, chunk in zip(spool, chunks, strict=True):
        opened = files.Opened(chunk, CHUNK)
        codes = opened.map(code_file("codes", codec), code_type(codec))
        for lo, hi in _document_blocks(segment.offsets, block):
            lengths = np.diff(segment.offsets[lo : hi + 1])
            documents = np.repeat(np.arange(hi - lo), lengths)
            keys = np.unique(documents * k + codes[segment.offsets[lo] : segment.offsets[hi]])
            yield np.bincount(keys // k, minlength=hi - lo), keys % k


def _document_blocks(offsets: npt.NDArray[np.int64], block: int) -> Iterator[tuple[int, int]]:
    """Ranges of whole documents with about ``block`` tokens, and not more documents than that."""
    lo, count = 0, len(offsets) - 1
    while lo < count:
        hi = int(np.searchsorted(offsets, offsets[lo] + block, side="right")) - 1
        hi = min(max(hi, lo + 1), lo + block, count)
        yield lo, hi
        lo = hi
