"""What an index derives from itself: made when first asked for, kept under ``derived/``, made anew when it is stale.

Every structure is a directory of its own, whose meta names what it was made from, and is sealed. Nothing in it is
precious: a damaged or outdated one is made again.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyterrier_lir.index import files

LOGGER = logging.getLogger(__name__)
META = "derived.json"

Source = dict[str, str]  # file -> sha256
Write = Callable[[files.Directory], None]


def open_or_make(path: Path, source: Source, write: Write) -> files.Opened:
    """Opens a derived structure; makes it first if it is missing, damaged, or made from something else.

    Several processes may ask at once: one makes it, the others wait. Where the folder cannot be written, the structure
    is made in a temporary one, which goes when it is no longer used.

    Args:
        path: Its directory.
        source: What it is made from.
        write: Writes its files; must leave no more in memory than a block.

    Raises:
        OSError: If the disk is full.
    """
    found = _usable(path, source)
    if found is not None:
        return found
    try:
        with _one_maker(path):
            return _usable(path, source) or _make(path, source, write)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC, "The disk is full; expected room for what the index derives from itself", str(path)
            ) from error
        LOGGER.warning("%s cannot be written (%s); it is made for this process only.", path, error)
    folder = tempfile.TemporaryDirectory(prefix="lir-derived-")
    made = _make(Path(folder.name) / path.name, source, write)
    made.keep_alive = folder
    return made


def verify(path: Path) -> None:
    """Compares the files of all structures that can be used with their checksums.

    Args:
        path: The folder of all structures.

    Raises:
        ValueError: If files differ; it names them.
    """
    usable = [found for found in map(_usable, _structures(path)) if found is not None]
    damaged = [problem for found in usable for problem in found.damage()]
    if damaged:
        raise ValueError(
            f"{'; '.join(damaged)}. Remove the folder {path}: what is in it is made again when it is needed."
        )


def _structures(path: Path) -> list[Path]:
    """The structures in a folder, without those that are being made."""
    found = (Path(folder) for folder, _, names in os.walk(path) if META in names)
    return [folder for folder in found if not folder.name.startswith(".")]


def _usable(path: Path, source: Source | None = None) -> files.Opened | None:
    """A structure that is whole, and made from these files if some are named."""
    if not path.is_dir():
        return None
    try:
        opened = files.Opened(path, META)
        opened.map_all()  # a writer that makes it stale may remove it at any moment
        return opened if opened.sealed and source in (None, opened.meta["source"]) else None
    except (ValueError, KeyError, AttributeError, TypeError, FileNotFoundError):
        return None


def _make(path: Path, source: Source, write: Write) -> files.Opened:
    LOGGER.info("making %s", path)
    shutil.rmtree(path, ignore_errors=True)
    with files.Directory(path, META, {"source": source}, sealed=True) as folder:
        write(folder)
    made = files.Opened(path, META)
    made.map_all()
    return made


def sweep(path: Path, sha256: Source) -> None:
    """Removes the structures under ``path`` that are made from files which an index has no longer.

    Args:
        path: The folder of all structures.
        sha256: The files of the index, and their hashes.
    """
    for folder in _structures(path):
        try:
            source = files.Opened(folder, META).meta["source"]
            stale = any(
                sha256.get(name, sha) != sha or ("/" in name and name not in sha256) for name, sha in source.items()
            )
        except (ValueError, KeyError, AttributeError, TypeError):
            stale = True
        if stale:
            remove([folder])


def remove(folders: Iterable[Path]) -> None:
    """Removes structures, but what someone who has opened the index before makes just now."""
    for folder in folders:
        if folder.is_dir():
            with suppress(OSError), _one_maker(folder, wait=False) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _one_maker(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds the lock of a structure, which is gone with the process, however that ends; without waiting, if it can."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
