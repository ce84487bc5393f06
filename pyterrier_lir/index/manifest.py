"""The manifest of an index, ``pt_meta.json``: which segments are live, which documents are deleted, and the codec.

Whatever changes an index writes beside what is there, and then replaces the manifest in one step: who opens the index
sees the state before or after, and who has opened it goes on reading the files that it has mapped. Only then does the
writer remove what the manifest no longer names. Manifests are numbered, one up at every change.
"""

from __future__ import annotations

import fcntl
import json
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pyterrier_lir import __version__
from pyterrier_lir.columns import Docids
from pyterrier_lir.index import derived, files
from pyterrier_lir.index.codec import META as CODEC_META
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.segment import META as SEGMENT_META
from pyterrier_lir.index.segment import Segment

MANIFEST = "pt_meta.json"
SEGMENTS = "segments"
CODECS = "codecs"
DELETED = "deleted"  # for each manifest with deleted documents a file of their docids, int64, ascending
DERIVED = "derived"  # see `derived`
FORMAT_VERSION = 1  # of all files that a manifest names; one up where a released version could not read them

Manifest = dict[str, Any]

# What a manifest must hold, and of what type; the rest is for people.
FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("number", "documents", "tokens", "deleted", "dim", "centroids", "nbits"), (int,)),
    **dict.fromkeys(("tok_ids", "keep_embs"), (bool,)),
    **dict.fromkeys(("encoder", "deletions", "codec"), (str, type(None))),
    **dict.fromkeys(("parameters", "trained", "sha256"), (dict,)),
    "segments": (list,),
}


def read(path: Path) -> Manifest | None:
    """The manifest of an index, or None where no index was finished.

    Raises:
        ValueError: If it is damaged, or that of something else.
    """
    try:
        text = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{path / MANIFEST} cannot be read ({error}); expected a file. {files.ADVICE}") from error
    try:
        manifest = json.loads(text)
        what = f"{manifest.get('type')}.{manifest.get('format')}"
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path / MANIFEST} is damaged ({error}); restore it from a copy or build again.") from error
    if what != "multivec_index.lir":
        raise ValueError(
            f"{path} holds a {what}; expected multivec_index.lir. Open it with pt.Artifact.load, or choose another "
            "path for the index."
        )
    _check_version(path, manifest)
    found, expected = manifest.pop(files.CHECKSUM, None), files.checksum(manifest)
    if found != expected:
        raise ValueError(f"{path / MANIFEST} is damaged: its checksum is {found}; expected {expected}. {files.ADVICE}")
    wrong = _wrong(manifest)
    if wrong:
        raise ValueError(f"{path / MANIFEST} is damaged: {wrong}. {files.ADVICE}")
    return manifest  # type: ignore[no-any-return]


def make_folder(path: Path) -> None:
    """Makes the folder of an index, unless it is there.

    Raises:
        OSError: If something else is there, or the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"There can be no index at {path} ({error.strerror}); expected a folder, or a path where this process may "
            'make one. Choose another: LirIndex("my.lir")',
        ) from error


def commit(
    path: Path,
    before: Manifest | None,
    segments: Sequence[Segment],
    codec: tuple[str, Codec] | None,
    deleted: Docids,
    *,
    parameters: dict[str, Any],
    trained: dict[str, Any],
) -> None:
    """Replaces the manifest; from here on the index is what it says.

    Args:
        path: The index directory.
        before: The manifest until now.
        segments: Those that are live, in the order of their documents.
        codec: Its name and itself; None where there are no tokens.
        deleted: Docids of deleted documents, ascending.
        parameters: The options with which the index was built.
        trained: What the codec was trained on: ``tokens``, and the sum of their ``residual_norms``.
    """
    names = [segment.folder.path.name for segment in segments]
    number = next_number(before)
    deletions = _write_deleted(path, number, deleted) if len(deleted) else None
    gone = sum(_tokens(segment, _within(deleted, start, segment)) for start, segment in _parts(segments))
    manifest = {
        "type": "multivec_index",
        "format": "lir",
        "package_hint": "pyterrier-lir",
        "format_version": FORMAT_VERSION,
        "number": number,
        "documents": sum(map(len, segments)) - len(deleted),
        "tokens": sum(segment.num_tokens for segment in segments) - gone,
        "deleted": len(deleted),
        "dim": max(segment.dim for segment in segments),
        "encoder": segments[0].encoder,
        "tok_ids": segments[0].tok_ids is not None,
        "keep_embs": parameters["keep_embs"],
        "segments": names,
        "deletions": deletions,
        "codec": codec and codec[0],
        "centroids": len(codec[1].centroids.vectors) if codec else 0,
        "nbits": parameters["nbits"],
        "parameters": parameters,
        "trained": trained,
        "versions": {"pyterrier_lir": __version__, "numpy": np.__version__, "python": platform.python_version()},
        "sha256": {
            file: files.sha256(path / file)
            for file in [*small_files(names, codec and codec[0]), *([deletions] if deletions else [])]
        },
    }
    files.write_synced(path / MANIFEST, json.dumps({**manifest, files.CHECKSUM: files.checksum(manifest)}, indent=1))
    sweep(path, manifest)


def next_number(manifest: Manifest | None) -> int:
    """The number of the manifest that a change makes."""
    return manifest["number"] + 1 if manifest else 1


def new_name(path: Path, manifest: Manifest | None) -> str:
    """The name of what a change adds, with nothing under it: what a writer left that was killed right here goes."""
    name = f"{next_number(manifest):06d}"
    for folder in (SEGMENTS, CODECS):
        shutil.rmtree(path / folder / name, ignore_errors=True)
    return name


def small_files(segments: Sequence[str], codec: str | None) -> list[str]:
    """The files that are compared with their checksums whenever an index is opened; they hold those of the others."""
    names = [f"{SEGMENTS}/{name}/{SEGMENT_META}" for name in segments]
    return [*names, *([f"{CODECS}/{codec}/{CODEC_META}"] if codec else [])]


def check_small_files(path: Path, manifest: Manifest) -> None:
    """Raises a ValueError that names a file whose content is not what it was when the manifest was written."""
    for name, expected in manifest["sha256"].items():
        found = files.sha256(path / name) if (path / name).is_file() else "nothing"
        if found != expected:
            raise ValueError(f"{path / name} is damaged: it has sha256 {found}; expected {expected}. {files.ADVICE}")


def read_deleted(path: Path, manifest: Manifest) -> Docids:
    """The docids of deleted documents, ascending."""
    if manifest["deletions"] is None:
        return np.zeros(0, np.int64)
    deleted = np.fromfile(path / manifest["deletions"], dtype="<i8").astype(np.int64)
    if len(deleted) != manifest["deleted"] or (np.diff(deleted, prepend=-1) <= 0).any():
        raise ValueError(
            f"{path / manifest['deletions']} is damaged; expected {manifest['deleted']} docids, ascending. "
            f"{files.ADVICE}"
        )
    return deleted


def sweep(path: Path, manifest: Manifest) -> None:
    """Removes what the manifest does not name: what it replaced, and what a writer left that was killed."""
    names = [f"{SEGMENTS}/{name}" for name in manifest["segments"]]
    live = {path / name for name in (*names, f"{CODECS}/{manifest['codec']}", manifest["deletions"] or "")}
    for folder in (path / name for name in (SEGMENTS, CODECS, DELETED)):
        # What a link leads to does not belong to the index.
        for entry in list(folder.iterdir()) if folder.exists() and not folder.is_symlink() else ():
            if entry not in live:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
    derived.sweep(path / DERIVED, manifest["sha256"])


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Holds the index's lock, which is gone with the process, however that ends.

    Raises:
        ValueError: If another process holds it.
        OSError: If the folder cannot be written to.
    """
    try:
        lock = (path / ".writer.lock").open("w")
    except OSError as error:
        raise type(error)(
            error.errno,
            "The index cannot be changed; expected a folder that this process may write to. Copy the index to one",
            str(path),
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is writing to the index at {path}; expected one writer. Wait for it to end."
            ) from error
        yield


def _check_version(path: Path, manifest: Manifest) -> None:
    """Raises a ValueError for an index of a later format; comes first, as nothing else is known of such a manifest."""
    version = manifest.get("format_version", 1)  # those before the first release did not say it
    if type(version) is not int or version < 1:
        raise ValueError(
            f"{path / MANIFEST} is damaged: its format_version is {version!r}; expected 1 or more. {files.ADVICE}"
        )
    if version > FORMAT_VERSION:
        raise ValueError(
            f"The index at {path} has format version {version}; pyterrier-lir {__version__} reads up to "
            f"{FORMAT_VERSION}. Open it with a newer pyterrier-lir."
        )


def _wrong(manifest: Manifest) -> str:
    """What is wrong with a manifest; no name in it may lead out of the index, whoever has sent it."""
    for name, kinds in FIELDS.items():
        if type(manifest.get(name, ...)) not in kinds:
            return f"its {name} is {manifest.get(name)!r}; expected {' or '.join(kind.__name__ for kind in kinds)}"
    negative = [name for name, kinds in FIELDS.items() if kinds == (int,) and not 0 <= manifest[name] < 1 << 48]
    if negative:
        return f"its {negative[0]} is {manifest[negative[0]]}; expected a count"
    names = [*manifest["segments"], *([manifest["codec"]] if manifest["codec"] is not None else [])]
    strange = [name for name in names if type(name) is not str or not re.fullmatch(r"[0-9]{6,20}", name)]
    if strange or not manifest["segments"] or len({*manifest["segments"]}) < len(manifest["segments"]):
        return f"it names segments and codec {names}; expected numbers such as 000001, each segment once"
    deletions = manifest["deletions"]
    if deletions is not None and not re.fullmatch(DELETED + r"/[0-9]{6,20}\.i64", deletions):
        return f"it names deletions {deletions!r}; expected a file such as {DELETED}/000001.i64"
    expected = {*small_files(manifest["segments"], manifest["codec"]), *([deletions] if deletions else [])}
    if {*manifest["sha256"]} != expected:
        return f"it has checksums of {sorted(manifest['sha256'])}; expected those of {sorted(expected)}"
    counts = [manifest["trained"].get(name) for name in ("tokens", "residual_norms")]
    if any(type(count) is not int for count in counts):
        return f"its codec was trained on {manifest['trained']}; expected counts of tokens and residual_norms"
    parameters = {name: manifest["parameters"].get(name) for name in ("nbits", "keep_embs")}
    if parameters != {name: manifest[name] for name in parameters}:
        return f"its parameters are {parameters}; expected what it says itself of nbits and keep_embs"
    return ""


def _write_deleted(path: Path, number: int, deleted: Docids) -> str:
    name = f"{DELETED}/{number:06d}.i64"
    (path / DELETED).mkdir(exist_ok=True)
    files.write_synced(path / name, deleted.astype("<i8").tobytes())
    return name


def _parts(segments: Sequence[Segment]) -> Iterator[tuple[int, Segment]]:
    start = 0
    for segment in segments:
        yield start, segment
        start += len(segment)


def _within(docids: Docids, start: int, segment: Segment) -> Docids:
    lo, hi = np.searchsorted(docids, (start, start + len(segment)))
    return docids[lo:hi] - start


def _tokens(segment: Segment, docs: Docids) -> int:
    return int((segment.offsets[docs + 1] - segment.offsets[docs]).sum())
