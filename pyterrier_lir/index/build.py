"""Building an index: spool -> train -> compress -> invert -> finish. Each stage can be resumed.

While it is built, an index has a folder ``build/`` with what is finished so far:

    parameters.json     the options, which a resumed build must repeat
    spool/000001/ ...   documents as they came (see `spool`)
    codec/              the trained codec
    chunks/000001/ ...  the spooled tokens, compressed
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyterrier_lir import __version__
from pyterrier_lir.index import compress
from pyterrier_lir.index.codec import KINDS, NBITS, Codec
from pyterrier_lir.index.files import sha256, write_synced
from pyterrier_lir.index.kmeans import Progress
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import Record, Spool
from pyterrier_lir.index.store import BUILD, CODECS, MANIFEST, SEGMENTS, SPOOL, read_manifest, small_files, spooled

LOGGER = logging.getLogger(__name__)
PARAMETERS = "parameters.json"
CODEC = "codec"
CHUNKS = "chunks"


@dataclass(frozen=True)
class Parameters:
    """What the bytes of an index depend on, besides its documents.

    Attributes:
        nbits: Bits per dimension of a compressed token: 1, 2, 4 or 8.
        codec: ``"uniform"``, or ``"quantile"`` for ColBERTv2's codebook.
        centroids: Number of centroids; None for the field's rule, ``2 ** floor(log2(16 sqrt(T)))`` for T tokens.
        keep_embs: Whether the fp16 vectors stay, so that exact scores are exact.
        seed: Of sample and clustering.
    """

    nbits: int = 4
    codec: str = "uniform"
    centroids: int | None = None
    keep_embs: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.nbits not in NBITS:
            raise ValueError(f"nbits is {self.nbits}; expected 1, 2, 4 or 8 (4 is the default).")
        if self.codec not in KINDS:
            raise ValueError(f'codec is {self.codec!r}; expected "uniform" (the default) or "quantile".')
        if self.centroids is not None and self.centroids < 1:
            raise ValueError(f"centroids is {self.centroids}; expected at least 1, or None for 16 sqrt(tokens).")


def build(
    path: Path,
    documents: Iterable[Record],
    parameters: Parameters,
    *,
    overwrite: bool = False,
    resume: bool = False,
    segment_mb: float = 64,
    memory_mb: float = 512,
    num_threads: int = 1,
    progress: Progress,
) -> None:
    """Writes a stream of documents with embeddings to the index at ``path``.

    The index comes to be, or is replaced, in one step at the end. After a crash nothing is lost but the open segment
    of the spool, or the piece of a later stage that was in work.

    Args:
        path: The index directory.
        documents: Records with ``docno`` and ``doc_embs``; perhaps ``doc_tok_ids``, ``doc_encoder``.
        parameters: What the index depends on.
        overwrite: Whether an index that is there may be replaced.
        resume: Go on with what an interrupted build stored.
        segment_mb: Megabytes of embeddings after which what was spooled is made durable.
        memory_mb: Bounds the memory for blocks of tokens.
        num_threads: Threads; the bytes of the index do not depend on them.
        progress: Wraps what a stage goes through, given its name, how much is done and how much there is.

    Raises:
        ValueError: If the index is built already, if a build was interrupted and is neither resumed nor overwritten,
            or if a document is unusable; what was there before is intact.
        OSError: If the disk is full or cannot be written to. What is finished can be resumed.
    """
    path.mkdir(parents=True, exist_ok=True)
    with _only_writer(path):
        manifest = read_manifest(path)
        _sweep(path, manifest)
        if manifest and not overwrite:
            _refuse_built(path, resume, iter(documents))
            return
        _begin(path, manifest, parameters, overwrite=overwrite, resume=resume)
        with _cleaning_up(path):
            spool = Spool(path / BUILD / SPOOL, spooled(path), limit=int(segment_mb * 1e6))
            spool.fill(_untrained(path, progress(documents, "Spooling", spool.documents, None)))
            segments = [Segment(entry) for entry in spooled(path)]
            if not segments:
                raise ValueError("No documents came; expected at least one. Check the corpus, or what is left of it.")
            block = _block(segments, memory_mb)
            codec = _train(path, segments, parameters, block, num_threads, progress)
            chunks = _compress(path, segments, codec, block, num_threads, progress)
            _finish(path, manifest, segments, chunks, codec, parameters, block)


def _refuse_built(path: Path, resume: bool, records: Iterator[Record]) -> None:
    # Resuming a build that was finished is fine as long as nothing is left to do.
    if not resume or next(records, None) is not None:
        raise ValueError(
            f"The index at {path} is built already; expected an empty path. Replace it with "
            'index.indexer(mode="overwrite"), or choose another path.'
        )
    LOGGER.info("%s is complete: nothing to resume", path)


def _begin(
    path: Path, manifest: dict[str, Any] | None, parameters: Parameters, *, overwrite: bool, resume: bool
) -> None:
    """Decides about what an interrupted build left, and notes the parameters of this one."""
    left = spooled(path)
    file = path / BUILD / PARAMETERS
    if left and not resume:
        if not overwrite:
            stored = sum(len(Segment(entry)) for entry in left)
            raise ValueError(
                f"An interrupted build left {stored} documents at {path}; expected resume=True or "
                'mode="overwrite". Go on: (index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus). '
                'Or drop them: index.indexer(mode="overwrite").'
            )
        shutil.rmtree(path / BUILD)
    elif left and file.exists():
        before = json.loads(file.read_text())["parameters"]
        other = {name: value for name, value in before.items() if asdict(parameters)[name] != value}
        if other:
            raise ValueError(
                f"The interrupted build at {path} had other options, {other}; expected the same ones. Give them to "
                'index.indexer(resume=True, ...), or begin anew with index.indexer(mode="overwrite").'
            )
    (path / BUILD / SPOOL).mkdir(parents=True, exist_ok=True)
    write_synced(file, json.dumps({"number": _number(manifest), "parameters": asdict(parameters)}))


def _untrained(path: Path, documents: Iterable[Record]) -> Iterator[Record]:
    """Passes documents on; before the first one drops what was trained without them."""
    for i, document in enumerate(documents):
        if i == 0:
            for folder in (CODEC, CHUNKS):
                shutil.rmtree(path / BUILD / folder, ignore_errors=True)
        yield document


def _number(manifest: dict[str, Any] | None) -> int:
    """The number of the index that a build makes."""
    return manifest["number"] + 1 if manifest else 1


def _sweep(path: Path, manifest: dict[str, Any] | None) -> None:
    """Removes what a build that died between its last two steps left: its folder, or what it replaced."""
    if manifest is None:
        return
    file = path / BUILD / PARAMETERS
    if file.exists() and json.loads(file.read_text())["number"] <= manifest["number"]:
        shutil.rmtree(path / BUILD)
    live = {*manifest["segments"], manifest["codec"]}
    for folder in (SEGMENTS, CODECS):
        for entry in (path / folder).iterdir() if (path / folder).exists() else ():
            if entry.name not in live:
                shutil.rmtree(entry, ignore_errors=True)


def _block(segments: list[Segment], memory_mb: float) -> int:
    """Tokens in a block: some ten arrays of that many float32 vectors are alive at the worst moment."""
    dim = max(max(segment.dim for segment in segments), 1)
    return max(256, int(memory_mb * 1e6 / (40 * dim)))


def _train(
    path: Path, segments: list[Segment], parameters: Parameters, block: int, num_threads: int, progress: Progress
) -> Codec | None:
    if not sum(segment.num_tokens for segment in segments):
        return None  # empty documents only
    folder = path / BUILD / CODEC
    if not folder.exists():
        codec = compress.train(
            segments,
            path / BUILD,
            nbits=parameters.nbits,
            codec=parameters.codec,
            centroids=parameters.centroids,
            seed=parameters.seed,
            block=block,
            num_threads=num_threads,
            progress=progress,
        )
        codec.save(folder)
    return Codec.load(folder)


def _compress(
    path: Path, segments: list[Segment], codec: Codec | None, block: int, num_threads: int, progress: Progress
) -> list[Path]:
    folder = path / BUILD / CHUNKS
    chunks = [folder / segment.folder.path.name for segment in segments] if codec else []
    left = [(segment, chunk) for segment, chunk in zip(segments, chunks, strict=False) if not chunk.exists()]
    for segment, chunk in progress(left, "Compressing", len(chunks) - len(left), len(chunks)):
        assert codec is not None
        compress.compress(segment, codec, chunk, block=block, num_threads=num_threads)
    return chunks


def _finish(
    path: Path,
    old: dict[str, Any] | None,
    spool: list[Segment],
    chunks: list[Path],
    codec: Codec | None,
    parameters: Parameters,
    block: int,
) -> None:
    number = _number(old)
    name = f"{number:06d}"
    for folder in (SEGMENTS, CODECS):
        shutil.rmtree(path / folder / name, ignore_errors=True)  # of a build that died right here
    compress.merge(spool, chunks, codec, path / SEGMENTS / name, keep_embs=parameters.keep_embs, block=block)
    if codec is not None:
        codec.save(path / CODECS / name)
    segment = Segment(path / SEGMENTS / name)
    manifest = {
        "type": "multivec_index",
        "format": "lir",
        "package_hint": "pyterrier-lir",
        "number": number,
        "documents": len(segment),
        "tokens": segment.num_tokens,
        "dim": segment.dim,
        "encoder": segment.encoder,
        "tok_ids": segment.tok_ids is not None,
        "keep_embs": parameters.keep_embs,
        "segments": [name],
        "codec": name if codec is not None else None,
        "centroids": len(codec.centroids.vectors) if codec is not None else 0,
        "nbits": parameters.nbits,
        "parameters": asdict(parameters),
        "versions": {"pyterrier_lir": __version__, "numpy": np.__version__, "python": platform.python_version()},
        "bytes": {entry: found["bytes"] for entry, found in segment.folder.meta["files"].items()},
        "sha256": {file: sha256(path / file) for file in small_files([name], name if codec is not None else None)},
    }
    write_synced(path / MANIFEST, json.dumps(manifest, indent=1))
    _sweep(path, manifest)


@contextmanager
def _cleaning_up(path: Path) -> Iterator[None]:
    """Leaves no trace of a build that stored nothing, and says of a full disk what is safe and how to go on."""
    try:
        yield
    except BaseException as error:
        if not spooled(path):
            shutil.rmtree(path / BUILD, ignore_errors=True)  # nothing to resume
        if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
            raise
        stored = sum(len(Segment(entry)) for entry in spooled(path))
        raise OSError(
            errno.ENOSPC,
            f"The disk is full; {stored} documents are stored safely. Free some space and go on: "
            "(index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus)",
            str(path),
        ) from error


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Holds the index's lock. It is gone with the process, however that ends."""
    with (path / ".writer.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is writing to the index at {path}; expected one writer. Wait for it to end."
            ) from error
        yield
