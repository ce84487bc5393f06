"""One immutable piece of an index on disk: some documents, their token vectors, docnos and token ids.

A segment is a directory that appears at once (it is written under a temporary name, synced and renamed):

=============== ===================== =============================================================
file            dtype, shape          content
=============== ===================== =============================================================
tokens.f16      float16 (T, dim)      the token vectors of all documents, in index order
offsets.i64     int64 (N + 1,)        document i owns the rows offsets[i]:offsets[i + 1]
docnos.utf8     uint8 (B,)            the docnos after each other
docnos.i64      int64 (N + 1,)        docno i is docnos.utf8[docnos.i64[i]:docnos.i64[i + 1]]
tok_ids.i32     int32 (T,)            vocabulary ids of the rows (only where the encoder gave them)
segment.json                          counts, dim, encoder, and the size and sha256 of every file
=============== ===================== =============================================================

All numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.ragged import Ragged

META = "segment.json"


class SegmentWriter:
    """Streams documents into a new segment; nothing is kept in memory but the lengths.

    Args:
        path: Where the finished segment will appear.
        dim: Dimensions of a token vector.
        encoder: Fingerprint of the encoder, if known.
        tok_ids: Whether every document brings token ids.
    """

    def __init__(self, path: Path, *, dim: int, encoder: str | None, tok_ids: bool) -> None:
        self.path = path
        self.documents = 0
        self.tokens = 0
        self.dim = dim
        self._meta = {"dim": dim, "encoder": encoder, "tok_ids": tok_ids}
        self._temporary = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(self._temporary, ignore_errors=True)  # of a process that was killed
        self._temporary.mkdir(parents=True)
        names = ["tokens.f16", "offsets.i64", "docnos.utf8", "docnos.i64", *(["tok_ids.i32"] if tok_ids else [])]
        self._files = {name: _HashedFile(self._temporary / name) for name in names}
        self._docno_bytes = 0
        for name in ("offsets.i64", "docnos.i64"):
            self._files[name].write(np.int64(0).tobytes())

    @property
    def bytes(self) -> int:
        """Bytes of token vectors written so far."""
        return self.tokens * self.dim * 2

    def append(self, docno: str, embs: npt.NDArray[np.float16], tok_ids: Ints | None) -> None:
        """Adds one document; the caller has checked it."""
        self.documents += 1
        self.tokens += len(embs)
        name = docno.encode()
        self._docno_bytes += len(name)
        self._files["tokens.f16"].write(np.ascontiguousarray(embs, dtype="<f2").tobytes())
        self._files["offsets.i64"].write(np.int64(self.tokens).tobytes())
        self._files["docnos.utf8"].write(name)
        self._files["docnos.i64"].write(np.int64(self._docno_bytes).tobytes())
        if self._meta["tok_ids"]:
            self._files["tok_ids.i32"].write(np.ascontiguousarray(tok_ids, dtype="<i4").tobytes())

    def finish(self) -> Path:
        """Syncs the files and lets the segment appear under its name."""
        files = {name: file.close() for name, file in self._files.items()}
        meta = {**self._meta, "documents": self.documents, "tokens": self.tokens, "files": files}
        write_synced(self._temporary / META, json.dumps(meta, indent=1))
        self._temporary.rename(self.path)
        sync_directory(self.path.parent)
        return self.path

    def abandon(self) -> None:
        """Removes what was written."""
        for file in self._files.values():
            file.discard()
        shutil.rmtree(self._temporary, ignore_errors=True)


class Segment:
    """A finished segment, opened by memory map.

    Raises:
        ValueError: If a file is missing or has another size than the segment's meta says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta = _read_meta(path)
        self.dim: int = self.meta["dim"]
        self.encoder: str | None = self.meta["encoder"]
        self.tokens_total: int = self.meta["tokens"]
        self.tokens = self._map("tokens.f16", "<f2").reshape(-1, self.dim) if self.dim else np.zeros((0, 0), "<f2")
        self.offsets: npt.NDArray[np.int64] = self._map("offsets.i64", "<i8")
        self._docnos = Ragged(self._map("docnos.utf8", "u1"), self._map("docnos.i64", "<i8"))
        self.tok_ids = self._map("tok_ids.i32", "<i4") if self.meta["tok_ids"] else None

    def __len__(self) -> int:
        return self.meta["documents"]  # type: ignore[no-any-return]

    def docno(self, i: int) -> str:
        """The docno of the segment's i-th document."""
        return self._docnos[i].tobytes().decode()

    @cached_property
    def docnos(self) -> list[str]:
        """All docnos in index order."""
        blob = bytes(self._docnos.values)
        ends = self._docnos.offsets.tolist()
        return [blob[a:b].decode() for a, b in pairwise(ends)]

    def document(self, i: int) -> tuple[Floats, Ints | None]:
        """Token vectors (float32 copy) and token ids of the segment's i-th document."""
        rows = slice(self.offsets[i], self.offsets[i + 1])
        ids = None if self.tok_ids is None else self.tok_ids[rows].astype(np.int32)
        return self.tokens[rows].astype(np.float32), ids

    def verify(self) -> Iterator[str]:
        """Yields a sentence for every file whose content is not what was written."""
        for name, expected in self.meta["files"].items():
            found = _sha256(self.path / name)
            if found != expected["sha256"]:
                yield f"{self.path / name} has sha256 {found}; expected {expected['sha256']}"

    def _map(self, name: str, dtype: str) -> npt.NDArray[Any]:
        path, expected = self.path / name, self.meta["files"][name]["bytes"]
        found = path.stat().st_size if path.exists() else None
        if found != expected:
            size = "is missing" if found is None else f"has {found} bytes"
            raise ValueError(
                f"{path} {size}; expected {expected} bytes. The index is damaged: restore this file from a copy, "
                'or build the index again with index.indexer(mode="overwrite").'
            )
        return np.memmap(path, dtype=dtype, mode="r") if found else np.zeros(0, dtype)


class _HashedFile:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._bytes += len(data)

    def close(self) -> dict[str, Any]:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def discard(self) -> None:
        try:
            self._file.close()
        except OSError:  # a full disk fails again when the buffer is flushed
            pass


def write_synced(path: Path, text: str) -> None:
    """Writes a small file so that it is on disk, whole, under its name, or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes a rename inside a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / META).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path / META} cannot be read ({error}); expected a segment's description. The index is damaged: "
            'restore it from a copy, or build it again with index.indexer(mode="overwrite").'
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
