"""Stage 1 of a build: documents stream to disk as fp16 segments, each checked, each segment made durable when full."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir import columns
from pyterrier_lir.columns import Docids
from pyterrier_lir.index.segment import Segment, SegmentWriter

BUILD = "build"  # the folder of what an unfinished build or addition has stored so far
SPOOL = "spool"

Record = dict[str, Any]
UNIT = 0.01  # vectors whose norm is within this of 1 have unit length: bfloat16 and float16 round that much


class Kind(NamedTuple):
    """What is the same for all documents of an index."""

    dim: int
    encoder: str | None
    tok_ids: bool
    unit: bool  # whether token vectors must have unit length


class Spool:
    """Checks every document of a build and writes it to the open segment.

    Args:
        path: The folder of the segments.
        left: The segments that are there already.
        limit: Bytes of token vectors after which a segment is finished.
        like: What documents must be like; None for like the first one.
        there: Segments of the index that must not hold these documents already, each with those that are deleted.
        note: What the meta of each segment says besides.
    """

    def __init__(
        self,
        path: Path,
        left: list[Path],
        limit: int,
        like: Kind | None = None,
        there: Sequence[tuple[Segment, Docids]] = (),
        note: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.note = note
        self.limit = limit
        self.seen = SeenDocnos()
        for segment, deleted in there:
            self.seen.next_segment(segment, deleted)
        before = [Segment(entry) for entry in left]
        for segment in before:
            self.seen.next_segment(segment)
        self.number = len(left) + 1
        self.documents = sum(map(len, before))
        first = before[0] if before else None
        if like is None and first is not None:
            dim = max(segment.dim for segment in before)
            like = Kind(dim, first.encoder, first.tok_ids is not None, unit=False)
        self.started = like is not None
        self.dim, self.encoder, self.tok_ids, self.unit = like or Kind(0, None, False, False)
        self.writer: SegmentWriter | None = None

    def fill(self, records: Iterable[Record]) -> None:
        """Stores all records; after an error the finished segments stay."""
        try:
            for record in records:
                self.append(record)
            self.finish_segment()
        finally:
            if self.writer is not None:
                self.writer.abandon()

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
        writer = self.writer or self.begin_segment()
        writer.append(docno, half, tok_ids)
        self.documents += 1
        if writer.bytes >= self.limit:
            self.finish_segment()

    def begin_segment(self) -> SegmentWriter:
        """Opens the next segment; called for where no document may come."""
        target = self.path / f"{self.number:06d}"
        self.writer = SegmentWriter(target, dim=self.dim, encoder=self.encoder, tok_ids=self.tok_ids, note=self.note)
        return self.writer

    def finish_segment(self) -> None:
        """Makes the open segment durable."""
        if self.writer is not None:
            self.writer.finish()
            self.seen.next_segment(Segment(self.writer.path))
            self.number += 1
            self.writer = None

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
        if self.unit and len(embs):
            norms = np.linalg.norm(embs.astype(np.float32), axis=1)
            if np.abs(norms - 1).max() > UNIT:
                raise ValueError(
                    f"a token vector has length {norms[np.abs(norms - 1).argmax()]:.3f}; expected 1, as those have on "
                    "which the index was built. Normalise the vectors, as the encoder of the index does."
                )
        if not self.dim and embs.shape[1]:
            if self.writer is not None:  # only documents without rows so far: begin a segment that knows the width
                self.finish_segment()
            self.dim = embs.shape[1]


class SeenDocnos:
    """Which docnos were stored: 8 bytes each, because a large collection has more names than fit into memory."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.hashes: list[npt.NDArray[np.uint64]] = []
        self.current: set[str] = set()

    def add(self, docno: str) -> None:
        """Notes a docno.

        Raises:
            ValueError: If it was there already.
        """
        if docno in self.current or self._stored(docno):
            raise ValueError(
                f"The docno {docno!r} occurs twice; expected every document once. Remove the second one, filter what "
                "is stored already with index.unseen(), or replace it with index.update(records)."
            )
        self.current.add(docno)

    def next_segment(self, segment: Segment, deleted: Docids | None = None) -> None:
        """The docnos of a segment now lie in a file; those of deleted documents are free."""
        hashes = np.array([_hash(docno) for docno in segment.docnos], dtype=np.uint64)
        hashes = np.sort(hashes if deleted is None else np.delete(hashes, deleted))
        self.current.difference_update(segment.docnos)
        del segment.docnos  # cached; read again only where a hash agrees
        self.segments.append(segment)
        # As in a merge tree, so that a document is looked up in few arrays, however many segments there are.
        while self.hashes and len(self.hashes[-1]) < 2 * len(hashes):
            hashes = np.sort(np.concatenate([self.hashes.pop(), hashes]), kind="stable")
        self.hashes.append(hashes)

    def _stored(self, docno: str) -> bool:
        value = np.uint64(_hash(docno))
        places = ((hashes, int(hashes.searchsorted(value))) for hashes in self.hashes)
        if not any(at < len(hashes) and hashes[at] == value for hashes, at in places):
            return False
        return any(docno in segment.docnos for segment in self.segments)


def _docno(record: Record) -> str:
    if not isinstance(record, Mapping):
        raise ValueError(
            f"A document is {record!r:.60}, a {type(record).__name__}; expected a record with docno and "
            f"{columns.DOC_EMBS}. Give records to an encoder before the index: (encoder >> index).index(corpus) with "
            'corpus = [{"docno": "d1", "text": "..."}].'
        )
    if "docno" not in record or columns.DOC_EMBS not in record:
        missing = [name for name in ("docno", columns.DOC_EMBS) if name not in record]
        raise ValueError(
            f"A document has no {' and no '.join(missing)}, only {sorted(record)}; expected docno and "
            f"{columns.DOC_EMBS}. Put the encoder first: (encoder >> index).index(corpus)."
        )
    docno = record["docno"]
    if not isinstance(docno, str) or not docno:
        raise ValueError(f"The docno {docno!r} is a {type(docno).__name__}; expected a non-empty string: str(docno).")
    try:
        docno.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The docno {docno!r} is no text ({error}); expected a string that UTF-8 can hold.") from error
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


def spooled(path: Path) -> list[Path]:
    """The finished segments that an unfinished build or addition left, in the order in which they were written."""
    folder = path / BUILD / SPOOL
    return sorted(entry for entry in folder.iterdir() if entry.name.isdigit()) if folder.is_dir() else []
