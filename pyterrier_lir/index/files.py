"""Directories that appear at once and say what they should hold: every structure of an index is stored in one.

A directory is written under a temporary name, synced, and renamed. Its meta, a small JSON file, names every file
with its size and sha256. Opening compares the sizes, `Opened.damage` the content. A meta whose own hash is kept nowhere
else is sealed: it holds a checksum of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

CHECKSUM = "checksum"
ADVICE = 'The index is damaged: restore it from a copy, or build it again with index.indexer(mode="overwrite").'


class Directory:
    """A directory that is being written; leaving the ``with`` block lets it appear, an error removes it.

    Args:
        path: Where it will appear.
        meta_name: The name of its meta file.
        meta: What the meta holds besides the list of files; may be added to until the block ends.
        sealed: Whether the meta gets a checksum of itself.
    """

    def __init__(self, path: Path, meta_name: str, meta: dict[str, Any], *, sealed: bool = False) -> None:
        self.path = path
        self.meta = meta
        self._sealed = sealed
        self._meta_name = meta_name
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._files: dict[str, HashedFile] = {}
        shutil.rmtree(self._temporary, ignore_errors=True)  # of a process that was killed
        self._temporary.mkdir(parents=True)

    def file(self, name: str) -> HashedFile:
        """Begins a file, or goes on with it."""
        if name not in self._files:
            self._files[name] = HashedFile(self._temporary / name)
        return self._files[name]

    def allocate(self, name: str, dtype: str, size: int) -> npt.NDArray[Any]:
        """A file of a known size, to be written in any order; it is hashed when the directory is finished."""
        self._files[name] = HashedFile(self._temporary / name, np.dtype(dtype).itemsize * size)
        return np.memmap(self._temporary / name, dtype=dtype, mode="r+") if size else np.zeros(0, dtype)

    def finish(self) -> None:
        """Syncs everything and lets the directory appear."""
        listed = {name: file.close() for name, file in self._files.items()}
        meta = {**self.meta, "files": listed}
        seal = {CHECKSUM: checksum(meta)} if self._sealed else {}
        write_synced(self._temporary / self._meta_name, json.dumps({**meta, **seal}, indent=1))
        self._temporary.rename(self.path)
        sync_directory(self.path.parent)

    def abandon(self) -> None:
        """Removes what was written."""
        for file in self._files.values():
            file.discard()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()


class HashedFile:
    """A file that is hashed while it is written, or, where its size is given, when it is closed."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        self._path = path
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._size = size
        if size is not None:
            reserve(self._file, size)

    def write(self, data: bytes) -> None:
        """Appends."""
        self._file.write(data)
        self._hash.update(data)
        self._bytes += len(data)

    def close(self) -> dict[str, Any]:
        """Syncs the file; returns its size and hash."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._size is not None:
            return {"bytes": self._size, "sha256": sha256(self._path)}
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def discard(self) -> None:
        """Closes the file whatever its state."""
        try:
            self._file.close()
        except OSError:  # a full disk fails again when the buffer is flushed
            pass


class Opened:
    """A finished directory.

    Args:
        path: The directory.
        meta_name: The name of its meta file.

    Raises:
        ValueError: If the meta cannot be read.
    """

    def __init__(self, path: Path, meta_name: str) -> None:
        self.path = path
        self.keep_alive: object = None  # what must not go before this
        self._maps: dict[str, npt.NDArray[np.uint8]] = {}
        try:
            self.meta: dict[str, Any] = json.loads((path / meta_name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{path / meta_name} cannot be read ({error}); expected a description. {ADVICE}"
            ) from error
        wrong = _wrong(self.meta)
        if wrong:
            raise ValueError(f"{path / meta_name} is damaged: {wrong}. {ADVICE}")

    @property
    def sealed(self) -> bool:
        """Whether the meta holds a checksum of itself, and the right one."""
        rest = {name: value for name, value in self.meta.items() if name != CHECKSUM}
        return self.meta.get(CHECKSUM) == checksum(rest)

    def __contains__(self, name: str) -> bool:
        return name in self.meta["files"]

    def map(self, name: str, dtype: str) -> npt.NDArray[Any]:
        """A file as a read-only memory map.

        Raises:
            ValueError: If it is missing or has another size than the meta says.
        """
        if name not in self._maps:
            self._maps[name] = self._map(name)
        found = self._maps[name]
        if len(found) % np.dtype(dtype).itemsize:
            raise ValueError(f"{self.path / name} has {len(found)} bytes; expected whole {dtype} numbers. {ADVICE}")
        return found.view(dtype)

    def map_all(self) -> None:
        """Maps every file now, so that the directory can be read even when it has been removed.

        Raises:
            ValueError: If one is missing or has another size than the meta says.
        """
        self._maps = {name: self._map(name) for name in self.meta["files"]}

    def whole(self, name: str) -> npt.NDArray[np.uint8]:
        """A file for a reader that trusts what it reads: all bytes, compared with their hash first.

        Raises:
            ValueError: If the content is not what was written.
        """
        found: npt.NDArray[np.uint8] = self.map(name, "u1")
        expected = self.meta["files"][name]["sha256"]
        if hashlib.sha256(found.data).hexdigest() != expected:
            raise ValueError(f"{self.path / name} is damaged; expected sha256 {expected}. {ADVICE}")
        return found

    def _map(self, name: str) -> npt.NDArray[np.uint8]:
        path, expected = self.path / name, self.meta["files"].get(name, {}).get("bytes")
        found = path.stat().st_size if path.is_file() else None
        if found is None or found != expected:
            size = "is missing" if found is None else f"has {found} bytes"
            raise ValueError(f"{path} {size}; expected {expected} bytes. {ADVICE}")
        # As a plain array: slicing a np.memmap costs several times as much. A Path would be resolved, link by link.
        return np.asarray(np.memmap(str(path), dtype="u1", mode="r")) if found else np.zeros(0, "u1")

    def damage(self) -> Iterator[str]:
        """Yields a sentence for every file whose content is not what was written."""
        for name, expected in self.meta["files"].items():
            found = self._sha256(name)
            if found != expected["sha256"]:
                yield f"{self.path / name} has sha256 {found}; expected {expected['sha256']}"

    def _sha256(self, name: str) -> str | None:
        try:
            return sha256(self.path / name)
        except FileNotFoundError:  # where it is mapped, a writer has removed what it replaced: that is what is read
            return hashlib.sha256(self._maps[name].data).hexdigest() if name in self._maps else None


def _wrong(meta: Any) -> str:
    """What is wrong with a meta; a file must lie in the directory itself, wherever a meta that was sent points to."""
    listed = meta.get("files") if isinstance(meta, dict) else None
    if not isinstance(listed, dict):
        return "it lists no files"
    for name, said in listed.items():
        if not re.fullmatch(r"\w[\w.]*", name, re.ASCII):
            return f"it lists a file {name!r}; expected a name such as offsets.i64"
        if not isinstance(said, dict) or type(said.get("bytes")) is not int or type(said.get("sha256")) is not str:
            return f"of {name} it says {said!r}; expected bytes and sha256"
    return ""


def reserve(file: BinaryIO, size: int) -> None:
    """Gives an empty file its size, and the room on the disk for it.

    A hole in a file that is written by memory map on a full disk ends the process with SIGBUS.

    Raises:
        OSError: If the disk is full.
    """
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def write_synced(path: Path, data: str | bytes) -> None:
    """Writes a small file so that it is on disk, whole, under its name, or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
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


def folder_size(path: Path) -> int:
    """The bytes of all files in a folder; 0 where there is none."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def checksum(meta: dict[str, Any]) -> str:
    """The hash of what a meta says, however it is written."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
