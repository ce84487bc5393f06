"""Changing an index: add and update documents, delete them, compact. The codec stays as it was trained.

Segments are never touched: what is added becomes a new one, what is deleted is listed, and `compact` writes one new
segment of all that is left. Each change is one new manifest (see `manifest`), so that a search sees all of it or none.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pyterrier_lir.columns import Docids
from pyterrier_lir.index import build, compress, manifest
from pyterrier_lir.index.kmeans import Progress
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import BUILD, SPOOL, Kind, Record, Spool, spooled
from pyterrier_lir.index.store import Store


def add(
    path: Path,
    documents: Iterable[Record],
    *,
    replace: bool,
    resume: bool,
    segment_mb: float,
    memory_mb: float,
    num_threads: int,
    progress: Progress,
) -> None:
    """Appends documents as one new segment, compressed by the codec that is there.

    Each document's codes depend on the codec and on itself alone, so that additions in any split score the same.

    Args:
        path: The index directory.
        documents: Records as `build.build` takes them.
        replace: Whether documents of the same docno go when these come; else there must be none.
        resume: Go on with what an interrupted addition stored.
        segment_mb: Megabytes of embeddings after which what was spooled is made durable.
        memory_mb: Bounds the memory for blocks of tokens.
        num_threads: Threads; the result does not depend on them.
        progress: As for `build.build`.

    Raises:
        FileNotFoundError: If there is no finished index.
        ValueError: If a document is unusable, is there already, or does not fit to the index; if an addition was
            interrupted and ``resume`` is not set. The index is as it was.
        OSError: If the disk is full or cannot be written to. What is finished can be resumed.
    """
    with _changing(path) as store:
        like = _kind(store)
        build.begin(path, {"kind": "update" if replace else "append", "parameters": {}}, keep=resume, drop=False)
        with build.finishing(path):
            there = [] if replace else [(segment, store.deleted_in(start, segment)) for start, segment in store.parts()]
            spool = Spool(path / BUILD / SPOOL, spooled(path), limit=int(segment_mb * 1e6), like=like, there=there)
            spool.fill(progress(documents, "Spooling", spool.documents, None))
            new = [Segment(entry) for entry in spooled(path)]
            if new:
                block = build.block_size(new, memory_mb)
                parts = build.compress_all(path, new, store.codec, block, num_threads, progress)
                segment = _merged(path, build.name_segment(path, store.manifest), store, parts, block)
                replaced = store.lookup(segment.docnos, missing="drop") if replace else np.zeros(0, np.int64)
                gone = np.union1d(store.deleted, replaced[replaced >= 0])
                _commit(path, store, [*store.segments, segment], gone)
            build.abandon(path)


def delete(path: Path, docnos: Collection[str], *, missing: str) -> int:
    """Marks documents as deleted.

    Args:
        path: The index directory.
        docnos: The documents.
        missing: ``"error"`` refuses docnos that are not there, and then deletes none; ``"drop"`` passes over them.

    Returns:
        How many documents were deleted.

    Raises:
        FileNotFoundError: If there is no finished index.
        ValueError: If docnos are unknown, or if nothing would be left.
    """
    if isinstance(docnos, str) or not isinstance(docnos, Iterable):
        example = [docnos] if isinstance(docnos, str) else ["d1", "d2"]
        raise ValueError(f"docnos is {docnos!r}; expected a list of docnos: index.delete({example}).")
    if missing not in ("error", "drop"):
        raise ValueError(f'missing is {missing!r}; expected "error" or "drop".')
    with _changing(path) as store:
        docids = store.lookup(list(docnos), missing=missing)
        gone = np.union1d(store.deleted, docids[docids >= 0])
        count = len(gone) - len(store.deleted)
        if len(gone) == len(store):
            raise ValueError(
                f"All {store.manifest['documents']} documents of {path} would be deleted; expected at least one to "
                'stay. Build the index anew: index.indexer(mode="overwrite").'
            )
        if count:
            _commit(path, store, store.segments, gone)
        return count


def compact(path: Path, *, memory_mb: float) -> None:
    """Writes all documents that are not deleted into one segment; docids change, scores do not.

    Args:
        path: The index directory.
        memory_mb: Bounds the memory for blocks of tokens.

    Raises:
        FileNotFoundError: If there is no finished index.
        ValueError: If a file is damaged.
    """
    build.check_megabytes(memory_mb=memory_mb)
    with _changing(path) as store:
        if len(store.segments) == 1 and not len(store.deleted):
            return
        store.verify()  # else what is damaged would be copied and get a checksum of its own
        parts = []
        for start, segment in store.parts():
            deleted = store.deleted_in(start, segment)
            keep = np.setdiff1d(np.arange(len(segment)), deleted, assume_unique=True) if len(deleted) else None
            parts.append(compress.Part.of(segment, keep))
        build.unname_segment(path)
        name = manifest.new_name(path, store.manifest)
        merged = _merged(path, name, store, parts, build.block_size(store.segments, memory_mb))
        _commit(path, store, [merged], np.zeros(0, np.int64))


@contextmanager
def _changing(path: Path) -> Iterator[Store]:
    """Opens the index as its only writer."""
    Store(path)  # or there is nothing to lock
    with manifest.only_writer(path):
        build.clean_up(path, manifest.read(path))
        try:
            yield Store(path)
        except OSError as error:
            if error.errno != errno.ENOSPC or error.filename == str(path):
                raise
            message = "The disk is full; the index is as it was. Free some space and try again"
            raise OSError(errno.ENOSPC, message, str(path)) from error


def _kind(store: Store) -> Kind:
    """What documents must be like to be added."""
    if store.codec is None:
        raise ValueError(
            f"The index {store.path} holds empty documents only; expected some tokens, on which its codec was trained. "
            'Build it anew: index.indexer(mode="overwrite").'
        )
    unit = store.codec.inv_norm_range is not None  # then what is decompressed is scaled to unit length
    return Kind(store.dim, store.encoder, store.has_tok_ids, unit)


def _merged(path: Path, name: str, store: Store, parts: list[compress.Part], block: int) -> Segment:
    keep_embs = store.manifest["keep_embs"]
    return build.merge(path, name, parts, store.codec, store.segments, keep_embs=keep_embs, block=block)


def _commit(path: Path, store: Store, segments: Sequence[Segment], deleted: Docids) -> None:
    before = store.manifest
    codec = (before["codec"], store.codec) if store.codec is not None else None
    manifest.commit(path, before, segments, codec, deleted, parameters=before["parameters"], trained=before["trained"])
