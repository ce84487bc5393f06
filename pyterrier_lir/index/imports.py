"""Importing PLAID indexes of other engines: their centroids, codebook, codes and levels, as they are.

Nothing is encoded or trained. Levels change their order in a byte, centroids their numbers: ours are sorted by coarse
groups, which a small k-means over the centroids finds. ``1 / |x'|`` is computed for each token, since these engines
scale every vector back to unit length. Memory holds one chunk of the folder, and a number for each document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.index import build, compress, files, manifest
from pyterrier_lir.index.codec import LEAST_NORM, Codec, norms_of
from pyterrier_lir.index.fast_plaid import FastPlaidFolder
from pyterrier_lir.index.foreign import DOCNOS, ForeignFolder, kind_of, levels_of, read_json
from pyterrier_lir.index.kmeans import Progress, grouped
from pyterrier_lir.index.manifest import CODECS, SEGMENTS
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import BUILD, spooled
from pyterrier_lir.index.stanford import StanfordFolder
from pyterrier_lir.ragged import Ragged

BLOCK = 1 << 14  # tokens that are converted at once
NAME = "import"

KINDS: dict[str, type[ForeignFolder]] = {"stanford": StanfordFolder, "fast_plaid": FastPlaidFolder}


def open_folder(path: Path) -> ForeignFolder:
    """Opens the folder of another engine.

    Raises:
        ValueError: If it is no folder of an engine that is known, or damaged.
    """
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    kind = kind_of(names)
    if kind is None:
        inner = [name for name in ("fast_plaid_index",) if name in names]
        advice = f"Give {path / inner[0]}." if inner else "Give the folder with the centroids."
        found = f"holds {', '.join(sorted(names)[:3])}" if names else "is no folder with files"
        raise ValueError(
            f"{path} {found}; expected a PLAID index of Stanford's ColBERT (centroids.pt, buckets.pt, metadata.json) "
            f"or of fast-plaid (centroids.npy, bucket_weights.npy, metadata.json). {advice}"
        )
    return KINDS[kind](path)


def import_folder(
    folder: Path, path: Path, *, docnos: Sequence[str] | None, encoder: str | None, progress: Progress
) -> None:
    """Writes an index with what the folder of another engine holds.

    Args:
        folder: Of Stanford's ColBERT or of fast-plaid.
        path: Where the index will be.
        docnos: The names of the documents in their order there; None for those in ``docnos.json``, or else numbers.
        encoder: Fingerprint of the encoder, if known.
        progress: Wraps the chunks.

    Raises:
        ValueError: If the folder is of another kind or damaged, docnos do not fit, or there is an index at ``path``.
    """
    source = open_folder(folder)
    if docnos is None and (folder / DOCNOS).exists():
        docnos = read_json(folder / DOCNOS, list)
    names = _docnos(docnos, len(source))
    path.mkdir(parents=True, exist_ok=True)
    with manifest.only_writer(path):
        before = manifest.read(path)
        build.clean_up(path, before)
        if before is not None:
            raise ValueError(f"The index at {path} is built already; expected an empty path. Choose another one.")
        if not spooled(path):
            build.abandon(path)  # of an import that was killed
        build.begin(path, {"kind": NAME, "parameters": {}}, keep=False, drop=False)
        with build.finishing(path):
            codec, part = _convert(source, path / BUILD, names, progress)
            name = build.name_segment(path, before)
            meta = {"dim": source.dim, "encoder": encoder, "tok_ids": False, "keep_embs": False}
            compress.merge([part], codec, path / SEGMENTS / name, meta, block=BLOCK)
            codec.save(path / CODECS / name)
            parameters = build.Parameters(source.nbits, codec="quantile", centroids=len(source.centroids))
            manifest.commit(
                path, before, [Segment(path / SEGMENTS / name)], (name, codec), np.zeros(0, np.int64),
                parameters=asdict(parameters), trained={"tokens": int(part.offsets[-1]), "residual_norms": 0},
            )  # fmt: skip
            build.abandon(path)


def _convert(source: ForeignFolder, folder: Path, docnos: Ragged, progress: Progress) -> tuple[Codec, compress.Part]:
    """The codec, and the tokens in our order of bits and centroids, in files."""
    centroids, order = grouped(source.centroids)
    numbers = np.empty(len(order), dtype=np.int32)
    numbers[order] = np.arange(len(order))
    codec = Codec.of_codebook(centroids, source.nbits, source.codebook, None)
    offsets = source.offsets
    with (folder / "norms.f32").open("wb") as file:
        files.reserve(file, 4 * int(offsets[-1]))
    norms = np.memmap(folder / "norms.f32", dtype="<f4", mode="r+", shape=(int(offsets[-1]),))
    done = 0
    with files.Directory(folder / NAME, compress.CHUNK, {}) as out:
        for codes, residuals in progress(source.chunks(), "Importing", 0, len(source.doclens)):
            for start in range(0, len(codes), BLOCK):
                block = slice(start, start + BLOCK)
                ours, packed = numbers[codes[block]], _pack(residuals[block], source)
                out.file("codes").write(ours.astype(compress.code_type(codec)).tobytes())
                out.file("residuals").write(packed.tobytes())
                norms[done : done + len(ours)] = norms_of(codec.decompress(ours, packed))
                done += len(ours)
        inverse = 1 / max(norms.max(), LEAST_NORM), 1 / max(norms.min(), LEAST_NORM)
        codec = replace(codec, inv_norm_range=(float(inverse[0]), float(inverse[1])))
        for start in range(0, done, BLOCK):
            found = codec.inv_norm_bytes(norms[start : start + BLOCK])
            assert found is not None
            out.file("inv_norms").write(found.tobytes())
    opened = files.Opened(folder / NAME, compress.CHUNK)
    codes, residuals = opened.map("codes", compress.code_type(codec)), opened.map("residuals", "u1")
    inv_norms = opened.map("inv_norms", "u1")
    return codec, compress.Part(offsets, docnos, None, None, codes, residuals.reshape(done, -1), inv_norms, 0)


def _pack(residuals: npt.NDArray[np.uint8], source: ForeignFolder) -> npt.NDArray[np.uint8]:
    levels = levels_of(residuals, source.nbits)
    if source.nbits == 8:
        levels = source.codebook.on_grid(255)[levels]  # see `Codec.of_codebook`
    return kernels.pack(levels, source.nbits)


def _docnos(docnos: Sequence[str] | None, count: int) -> Ragged:
    names = [str(i) for i in range(count)] if docnos is None else list(docnos)
    if len(names) != count:
        raise ValueError(
            f"docnos has {len(names)} names; expected {count}, one for each document of the folder, in its order."
        )
    wrong = next((name for name in names if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise ValueError(f"docnos has {wrong!r}; expected non-empty strings: str(docno).")
    if len(set(names)) < count:
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"docnos has {twice!r} twice; expected every name once.")
    encoded = [name.encode() for name in names]
    offsets = np.concatenate([[0], np.cumsum([len(name) for name in encoded])]).astype(np.int64)
    return Ragged(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)
