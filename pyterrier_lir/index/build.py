"""Building an index: documents stream into segments; the manifest that names them is written last."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import __version__, columns
from pyterrier_lir.index.files import write_synced
from pyterrier_lir.index.segment import Segment, SegmentWriter
from pyterrier_lir.index.store import MANIFEST, SEGMENTS, finished_segments, read_manifest

LOGGER = logging.getLogger(__name__)
Record = dict[str, Any]
Progress = Callable[[Iterator[Record], int], Iterable[Record]]


def build(
    path: Path,
    documents: Iterable[Record],
    *,
    mode: str = "create",
    resume: bool = False,
    segment_mb: float = 64,
    progress: Progress | None = None,
) -> None:
    """Writes a stream of documents with embeddings to the index at ``path``.

    Each segment of about ``segment_mb`` is finished as soon as it is full, so that after a crash at most the
    last one is lost; the index itself comes to be, or is replaced, in one step at the end.

    Args:
        path: The index directory.
        documents: Records with ``docno`` and ``doc_embs``; perhaps ``doc_tok_ids``, ``doc_encoder``.
        mode: ``"create"`` refuses an index that is built; ``"overwrite"`` replaces it when the new one is finished.
        resume: Keep the segments of an interrupted build.
        segment_mb: Megabytes of token vectors in a segment.
        progress: Wraps the documents, given also how many are stored already, to show how far the build is.

    Raises:
        ValueError: If the index is built already (with ``mode="create"``), if a build was interrupted and neither
            resumed nor overwritten, or if a document is unusable; what was there before is intact.
        OSError: If the disk is full or cannot be written to. Finished segments stay and can be resumed.
    """
    path.mkdir(parents=True, exist_ok=True)
    with _only_writer(path):
        manifest = read_manifest(path)
        live = manifest["segments"] if manifest else []
        left = [name for name in finished_segments(path) if name not in live]
        records = iter(documents)
        if manifest and mode == "create":
            _refuse_built(path, resume, records)
            return
        if left and not resume:
            _refuse_interrupted(path, left, mode)
            _remove(path, left)
            left = []
        number = 1 + max(map(int, [*live, *left, "0"]))
        spool = _Spool(path, left, number, limit=int(segment_mb * 1e6))
        _stream(spool, progress(records, spool.documents) if progress else records)
        _finish(path, manifest, spool, {"segment_mb": segment_mb})


def _refuse_built(path: Path, resume: bool, records: Iterator[Record]) -> None:
    # Resuming a build that was finished is fine as long as nothing is left to do.
    if not resume or next(records, None) is not None:
        raise ValueError(
            f"The index at {path} is built already; expected an empty path. Replace it with "
            'index.indexer(mode="overwrite"), or choose another path.'
        )
    LOGGER.info("%s is complete: nothing to resume", path)


def _refuse_interrupted(path: Path, left: list[str], mode: str) -> None:
    if mode == "create":
        stored = sum(len(Segment(path / SEGMENTS / name)) for name in left)
        raise ValueError(
            f"An interrupted build left {stored} documents at {path}; expected resume=True or "
            'mode="overwrite". Go on: (index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus). '
            'Or drop them: index.indexer(mode="overwrite").'
        )


def _stream(spool: _Spool, records: Iterable[Record]) -> None:
    try:
        for record in records:
            spool.append(record)
        spool.finish_segment()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            errno.ENOSPC,
            f"The disk is full; {spool.stored} documents are stored safely. Free some space and go on: "
            "(index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus)",
            str(spool.path),
        ) from error
    finally:
        spool.close()


def _finish(path: Path, old: dict[str, Any] | None, spool: _Spool, parameters: dict[str, Any]) -> None:
    segments = [Segment(path / SEGMENTS / name) for name in spool.names]
    if not segments:
        raise ValueError("No documents came; expected at least one. Check the corpus, or what is left of it.")
    manifest = {
        "type": "multivec_index",
        "format": "lir",
        "package_hint": "pyterrier-lir",
        "number": old["number"] + 1 if old else 1,
        "documents": sum(map(len, segments)),
        "tokens": sum(segment.tokens_total for segment in segments),
        "dim": max(segment.dim for segment in segments),  # a segment of empty documents may have none
        "dtype": "float16",
        "encoder": segments[0].encoder,
        "tok_ids": segments[0].tok_ids is not None,
        "segments": spool.names,
        "parameters": parameters,
        "versions": {"pyterrier_lir": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    write_synced(path / MANIFEST, json.dumps(manifest, indent=1))
    _remove(path, old["segments"] if old else [])


class _Spool:
    """The segments of one build: checks every document and writes it to the open segment."""

    def __init__(self, path: Path, left: list[str], number: int, limit: int) -> None:
        self.path = path
        self.names = list(left)
        self.number = number
        self.limit = limit
        self.seen = _SeenDocnos([Segment(path / SEGMENTS / name) for name in left])
        self.stored = self.seen.stored
        self.documents = self.stored
        first = self.seen.segments[0] if left else None
        self.dim = max((segment.dim for segment in self.seen.segments), default=0)
        self.encoder = first.encoder if first else None
        self.tok_ids = first.tok_ids is not None if first else False
        self.started = first is not None
        self.writer: SegmentWriter | None = None

    def append(self, record: Record) -> None:
        """Checks one document and stores it."""
        docno = _docno(record)
        try:
            embs, tok_ids = columns.as_document(
                record.get(columns.DOC_EMBS), record.get(columns.DOC_TOK_IDS), self.dim or None
            )
            half = _half(embs)
            self._check_constant(record, half)
        except ValueError as error:
            raise ValueError(f"Document {docno!r} cannot be indexed: {error}") from error
        self.seen.add(docno)
        if self.writer is None:
            target = self.path / SEGMENTS / f"{self.number:06d}"
            self.writer = SegmentWriter(target, dim=self.dim, encoder=self.encoder, tok_ids=self.tok_ids)
        self.writer.append(docno, half, tok_ids)
        self.documents += 1
        if self.writer.bytes >= self.limit:
            self.finish_segment()

    def finish_segment(self) -> None:
        """Makes the open segment durable."""
        if self.writer is not None:
            self.writer.finish()
            self.names.append(self.writer.path.name)
            self.stored = self.documents
            self.seen.next_segment(Segment(self.writer.path))
            self.number += 1
            self.writer = None

    def close(self) -> None:
        """Drops a segment that was not finished."""
        if self.writer is not None:
            self.writer.abandon()

    def _check_constant(self, record: Record, embs: npt.NDArray[np.float16]) -> None:
        """The encoder, the dimension and the presence of token ids are the same for all documents."""
        encoder, has_ids = record.get(columns.DOC_ENCODER), record.get(columns.DOC_TOK_IDS) is not None
        if not self.started:
            self.started, self.encoder, self.tok_ids = True, encoder, has_ids
        if encoder != self.encoder:
            raise ValueError(
                f"its {columns.DOC_ENCODER} is {encoder!r}; expected {self.encoder!r} as for the documents before it. "
                "Encode all documents of an index with one encoder."
            )
        if has_ids != self.tok_ids:
            state = "has" if has_ids else "lacks"
            raise ValueError(
                f"it {state} {columns.DOC_TOK_IDS}, unlike the documents before it; expected them for all documents or "
                "for none."
            )
        if not self.dim and embs.shape[1]:
            if self.writer is not None:  # only documents without rows so far: begin a segment that knows the width
                self.finish_segment()
            self.dim = embs.shape[1]


class _SeenDocnos:
    """Which docnos were stored: 8 bytes each, because a large collection has more names than fit into memory."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments: list[Segment] = []
        self.hashes: list[npt.NDArray[np.uint64]] = []
        self.current: set[str] = set()
        for segment in segments:
            self.next_segment(segment)

    @property
    def stored(self) -> int:
        return sum(map(len, self.segments))

    def add(self, docno: str) -> None:
        """Notes a docno.

        Raises:
            ValueError: If it was there already.
        """
        if docno in self.current or self._stored(docno):
            raise ValueError(
                f"The docno {docno!r} occurs twice; expected every document once. Remove the second one, or filter "
                "what is stored already with index.unseen()."
            )
        self.current.add(docno)

    def next_segment(self, segment: Segment) -> None:
        """The docnos since the last call now lie in a finished segment."""
        hashes = np.sort(np.array([_hash(docno) for docno in segment.docnos], dtype=np.uint64))
        del segment.docnos  # cached; read again only where a hash agrees
        self.segments.append(segment)
        self.hashes.append(hashes)
        self.current = set()

    def _stored(self, docno: str) -> bool:
        value = np.uint64(_hash(docno))
        for segment, hashes in zip(self.segments, self.hashes, strict=True):
            at = np.searchsorted(hashes, value)
            if at < len(hashes) and hashes[at] == value and docno in segment.docnos:
                return True
        return False


def _docno(record: Record) -> str:
    if "docno" not in record or columns.DOC_EMBS not in record:
        missing = [name for name in ("docno", columns.DOC_EMBS) if name not in record]
        raise ValueError(
            f"A document has no {' and no '.join(missing)}, only {sorted(record)}; expected docno and "
            f"{columns.DOC_EMBS}. Put the encoder first: (encoder >> index).index(corpus)."
        )
    docno = record["docno"]
    if not isinstance(docno, str) or not docno:
        raise ValueError(f"The docno {docno!r} is a {type(docno).__name__}; expected a non-empty string: str(docno).")
    return docno


def _half(embs: columns.Floats) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = embs.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(
            f"doc_embs holds {np.abs(embs).max():g}; expected values within +-65504, the range of float16. "
            "Normalise the vectors."
        )
    return half


def _hash(docno: str) -> int:
    return int.from_bytes(hashlib.blake2b(docno.encode(), digest_size=8).digest(), "little")


def _remove(path: Path, names: list[str]) -> None:
    for name in names:
        shutil.rmtree(path / SEGMENTS / name, ignore_errors=True)


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
