"""Stages 2 to 4 of a build: train the codec, compress segment by segment, join and invert.

Memory holds a block of tokens, the trained centroids, and 24 bytes for each sampled token; all else lies in files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.index import files
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.counting_sort import CountingSort
from pyterrier_lir.index.kmeans import POINTS_PER_CENTROID, Progress, number_of_centroids, two_level
from pyterrier_lir.index.segment import META, Segment
from pyterrier_lir.index.spool import UNIT
from pyterrier_lir.ragged import Ragged

HELD_OUT = 8192  # tokens on which the codec's steps are chosen
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
    device: str = "cpu",
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
        device: Where the clustering runs, as of `kmeans.two_level`.
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
        sample[held_out:], k, seed=int(kmeans_seed), block=block, num_threads=num_threads, device=device,
        progress=progress,
    )  # fmt: skip
    unit = all(segment.folder.meta["off_unit"] <= UNIT for segment in spool)
    held_out_tokens = np.array(sample[:HELD_OUT], dtype=np.float32)
    del sample
    path.unlink()
    return Codec.train(found, held_out_tokens, nbits, kind=codec, unit=unit, block=block, num_threads=num_threads)


def compress(segment: Segment, codec: Codec, path: Path, *, block: int, num_threads: int) -> None:
    """Compresses a spooled segment into a directory of ``codes``, ``residuals`` and ``inv_norms``."""
    assert segment.tokens is not None
    norms = 0
    with files.Directory(path, CHUNK, {"tokens": segment.num_tokens}) as chunk:
        for name in _chunk_files(codec):
            chunk.file(name)
        for start in range(0, segment.num_tokens, block):
            tokens = segment.tokens[start : start + block]
            encoded = codec.encode(tokens, block=block, num_threads=num_threads)
            norms += residual_norms(tokens, codec.centroids.vectors[encoded.codes])
            chunk.file(code_file("codes", codec)).write(encoded.codes.astype(code_type(codec)).tobytes())
            chunk.file("residuals.u8").write(encoded.residuals.tobytes())
            if encoded.inv_norms is not None:
                chunk.file("inv_norms.u8").write(encoded.inv_norms.tobytes())
        chunk.meta["residual_norms"] = norms


@dataclass(frozen=True)
class Part:
    """Documents with compressed tokens, on the way into a segment. Arrays are as in `segment`; maps of files are fine.

    Attributes:
        offsets: Document i owns the tokens ``offsets[i]:offsets[i + 1]``; int64 ``(N + 1,)``, from 0.
        docnos: Their names in UTF-8, uint8.
        tok_ids: int32 ``(T,)``, or None.
        tokens: float16 ``(T, dim)``, or None.
        codes: ``(T,)``; None where there are no tokens.
        residuals: uint8 ``(T, W)``; None where there are no tokens.
        inv_norms: uint8 ``(T,)``, or None.
        residual_norms: The sum of the residuals' norms, as `residual_norms` gives it.
        keep: The documents that are wanted, ascending; None for all.
    """

    offsets: Docids
    docnos: Ragged
    tok_ids: npt.NDArray[Any] | None
    tokens: npt.NDArray[np.float16] | None
    codes: npt.NDArray[Any] | None
    residuals: npt.NDArray[np.uint8] | None
    inv_norms: npt.NDArray[np.uint8] | None
    residual_norms: int
    keep: Docids | None = None

    @classmethod
    def of(cls, segment: Segment, keep: Docids | None = None) -> Part:
        """A segment of an index, or some of its documents; their share of the residuals' norms is that of tokens."""
        if (np.diff(segment.offsets) < 0).any() or (np.diff(segment.docnos_utf8.offsets) < 0).any():
            raise ValueError(f"The offsets of {segment.folder.path} decrease; expected none to. {files.ADVICE}")
        norms = segment.folder.meta["residual_norms"]
        if keep is not None:
            tokens = int((segment.offsets[keep + 1] - segment.offsets[keep]).sum())
            norms = norms * tokens // max(segment.num_tokens, 1)
        return cls(
            segment.offsets, segment.docnos_utf8, segment.tok_ids, segment.tokens, segment.codes, segment.residuals,
            segment.inv_norms, norms, keep,
        )  # fmt: skip

    @classmethod
    def spooled(cls, segment: Segment, chunk: Path | None, codec: Codec | None) -> Part:
        """A spooled segment, and what `compress` made of it."""
        vectors = segment.offsets, segment.docnos_utf8, segment.tok_ids, segment.tokens
        if chunk is None or codec is None:
            return cls(*vectors, None, None, None, 0)
        opened = files.Opened(chunk, CHUNK)
        codes = opened.map(code_file("codes", codec), code_type(codec))
        residuals = opened.map("residuals.u8", "u1").reshape(len(codes), -(-codec.dim * codec.nbits // 8))
        inv_norms = opened.map("inv_norms.u8", "u1") if codec.inv_norm_range else None
        return cls(*vectors, codes, residuals, inv_norms, opened.meta["residual_norms"])

    def runs(self, block: int) -> Iterator[tuple[int, int]]:
        """Ranges of wanted documents that lie side by side, each of about ``block`` tokens at most."""
        count = len(self.offsets) - 1
        wanted = np.arange(count) if self.keep is None else self.keep
        for neighbours in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
            if len(neighbours):
                yield from _document_blocks(self.offsets, block, int(neighbours[0]), int(neighbours[-1]) + 1)


def merge(parts: Sequence[Part], codec: Codec | None, path: Path, meta: dict[str, Any], *, block: int) -> None:
    """Joins documents into one segment, with its inverted lists.

    Args:
        parts: What comes after what.
        codec: The codec; None where there are no tokens.
        path: Where the segment will appear.
        meta: Its ``dim``, ``encoder``, ``tok_ids`` and ``keep_embs``.
        block: Tokens in memory at once.
    """
    norms = sum(part.residual_norms for part in parts)
    with files.Directory(path, META, {**meta, "residual_norms": norms}) as out:
        names = _token_files(codec, tok_ids=meta["tok_ids"], keep_embs=meta["keep_embs"])
        for name in [*names, "docnos.utf8"]:
            out.file(name)  # also where nothing comes
        for name in ("offsets.i64", "docnos.i64"):
            out.file(name).write(np.int64(0).tobytes())
        tokens = documents = text = 0
        for part in parts:
            for lo, hi in part.runs(block):
                rows, letters = (slice(ends[lo], ends[hi]) for ends in (part.offsets, part.docnos.offsets))
                for name, attribute in names.items():
                    _write(out, name, getattr(part, attribute)[rows])
                _write(out, "docnos.utf8", part.docnos.values[letters])
                _write(out, "offsets.i64", part.offsets[lo + 1 : hi + 1] - rows.start + tokens)
                _write(out, "docnos.i64", part.docnos.offsets[lo + 1 : hi + 1] - letters.start + text)
                documents, tokens = documents + hi - lo, tokens + int(rows.stop - rows.start)
                text += int(letters.stop - letters.start)
        out.meta |= {"documents": documents, "tokens": tokens}
        if codec is not None:
            _invert(out, parts, codec, block)


def residual_norms(tokens: npt.NDArray[np.floating], centroids: Floats) -> int:
    """``sum |x - c|`` over tokens and their centroids, in millionths: a sum that is the same in any order."""
    residuals = tokens.astype(np.float32) - centroids
    norms = np.sqrt(np.einsum("ij,ij->i", residuals, residuals, dtype=np.float64))
    return int(np.rint(norms * 1e6).astype(np.int64).sum())


def code_type(codec: Codec) -> str:
    """The type of a centroid's number on disk."""
    return "<u2" if len(codec.centroids.vectors) <= 1 << 16 else "<i4"


def code_file(name: str, codec: Codec) -> str:
    """The name of a file of centroid numbers."""
    return f"{name}.{'u16' if code_type(codec) == '<u2' else 'i32'}"


def _chunk_files(codec: Codec) -> list[str]:
    return [code_file("codes", codec), "residuals.u8", *(["inv_norms.u8"] if codec.inv_norm_range else [])]


def _token_files(codec: Codec | None, *, tok_ids: bool, keep_embs: bool) -> dict[str, str]:
    """The files of a segment that have a row for each token, and where a `Part` has them."""
    names = {"tok_ids.i32": "tok_ids"} if tok_ids else {}
    if keep_embs:
        names["tokens.f16"] = "tokens"
    if codec is not None:
        names |= dict(zip(_chunk_files(codec), ("codes", "residuals", "inv_norms"), strict=False))
    return names


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
    with path.open("wb") as file:
        files.reserve(file, 2 * size * dim)
    sample = np.memmap(path, dtype="<f2", mode="r+", shape=(size, dim))
    first = 0
    for segment in spool:
        lo, hi = np.searchsorted(rows, (first, first + segment.num_tokens))
        for at in range(lo, hi, HELD_OUT):
            part = slice(at, min(at + HELD_OUT, hi))
            assert segment.tokens is not None
            sample[places[part]] = segment.tokens[rows[part] - first]
        first += segment.num_tokens
    return sample


def _write(out: files.Directory, name: str, values: npt.NDArray[Any]) -> None:
    dtype = {"u8": "u1", "utf8": "u1", "f16": "<f2", "u16": "<u2", "i32": "<i4", "i64": "<i8"}[name.rsplit(".", 1)[1]]
    out.file(name).write(np.ascontiguousarray(values, dtype=dtype).tobytes())


def _invert(out: files.Directory, parts: Sequence[Part], codec: Codec, block: int) -> None:
    """Writes each document's distinct centroids, then the documents of each centroid (a counting sort in a file)."""
    name = code_file("doc_codes", codec)
    counts = np.zeros(len(codec.centroids.vectors), dtype=np.int64)
    out.file(name)
    _write(out, "doc_codes.i64", np.zeros(1))
    end = 0
    for documents, codes in _distinct(parts, codec, block):
        ends = end + np.cumsum(documents)
        _write(out, name, codes)
        _write(out, "doc_codes.i64", ends)
        counts += np.bincount(codes, minlength=len(counts))
        end = int(ends[-1])
    sort = CountingSort(counts)
    out.file("cell_docs.i64").write(sort.offsets.tobytes())
    cell_docs = out.allocate("cell_docs.i32", "<i4", end)
    first = 0
    for documents, codes in _distinct(parts, codec, block):
        cell_docs[sort.places(codes)] = np.repeat(np.arange(first, first + len(documents)), documents)
        first += len(documents)


def _distinct(
    parts: Sequence[Part], codec: Codec, block: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Runs of documents: how many distinct centroids each has, and these, ascending within a document."""
    k = len(codec.centroids.vectors)
    for part in parts:
        assert part.codes is not None
        for lo, hi in part.runs(block):
            documents = np.repeat(np.arange(hi - lo), np.diff(part.offsets[lo : hi + 1]))
            keys = np.unique(documents * k + part.codes[part.offsets[lo] : part.offsets[hi]])
            yield np.bincount(keys // k, minlength=hi - lo), keys % k


def _document_blocks(offsets: Docids, block: int, lo: int, end: int) -> Iterator[tuple[int, int]]:
    """Ranges of whole documents with about ``block`` tokens, and not more documents than that."""
    while lo < end:
        hi = int(np.searchsorted(offsets, offsets[lo] + block, side="right")) - 1
        hi = min(max(hi, lo + 1), lo + block, end)
        yield lo, hi
        lo = hi
