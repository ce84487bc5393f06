"""The opened index: its live segments as one list of documents. A store never changes; a rebuild makes another."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.index import cell_tokens, derived, files, token_mean, token_stats
from pyterrier_lir.index.cell_tokens import CellTokens
from pyterrier_lir.index.codec import META as CODEC_META
from pyterrier_lir.index.codec import Codec, Encoded
from pyterrier_lir.index.segment import META as SEGMENT_META
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.token_stats import TokenStats
from pyterrier_lir.ragged import Ragged

T = TypeVar("T")

MANIFEST = "pt_meta.json"
SEGMENTS = "segments"
CODECS = "codecs"
BUILD = "build"  # what an unfinished build has stored so far
SPOOL = "spool"
DERIVED = "derived"  # see `derived`


class Store:
    """What the manifest of an index names, opened by memory map.

    Documents have docids ``0 .. len(store) - 1`` in the order in which they were indexed.

    Args:
        path: The index directory.

    Raises:
        FileNotFoundError: If there is no built index.
        ValueError: If a file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest, self.segments, self.codec = _open(path)
        self.dim: int = self.manifest["dim"]
        self.encoder: str | None = self.manifest["encoder"]
        self._deriving = RLock()  # what is derived may need something else that is
        self._derived: dict[str, Any] = {}
        self.starts = list(accumulate((len(segment) for segment in self.segments), initial=0))

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def has_tok_ids(self) -> bool:
        """Whether the token ids of the documents are stored."""
        return bool(self.manifest["tok_ids"])

    def parts(self) -> Iterator[tuple[int, Segment]]:
        """Each segment with the docid of its first document."""
        return zip(self.starts, self.segments, strict=False)

    def locate(self, docid: int) -> tuple[Segment, int]:
        """The segment of a document, and its number there."""
        at = bisect_right(self.starts, docid) - 1
        return self.segments[at], docid - self.starts[at]

    def num_tokens(self, docid: int) -> int:
        """How many tokens a document has."""
        segment, i = self.locate(docid)
        return int(segment.offsets[i + 1] - segment.offsets[i])

    def num_filled(self, docids: npt.NDArray[np.int64] | None) -> int:
        """How many documents have tokens, of all or of some."""
        return int(self._filled.sum() if docids is None else self._filled[docids].sum())

    @cached_property
    def _filled(self) -> npt.NDArray[np.bool_]:
        return np.concatenate([np.zeros(0, bool), *(np.diff(segment.offsets) > 0 for segment in self.segments)])

    def docno(self, docid: int) -> str:
        """The docno of a docid."""
        segment, i = self.locate(docid)
        return segment.docno(i)

    def names(self, docids: npt.NDArray[np.int64]) -> list[str]:
        """The docnos of docids."""
        return [self.docno(docid) for docid in docids.tolist()]

    def document(self, docid: int) -> tuple[Floats, Ints | None]:
        """Token vectors, float32 ``(m, dim)``, and token ids of a document."""
        segment, i = self.locate(docid)
        rows = slice(int(segment.offsets[i]), int(segment.offsets[i + 1]))
        ids = None if segment.tok_ids is None else segment.tok_ids[rows].astype(np.int32)
        return self.vectors(segment, rows), ids

    def vectors(self, segment: Segment, rows: slice) -> Floats:
        """The vectors that are scored, float32 ``(n, dim)``: as they came if the index kept them, else from codes."""
        if segment.tokens is not None:
            return segment.tokens[rows].astype(np.float32)
        if self.codec is None or segment.codes is None or segment.residuals is None:
            return np.zeros((0, self.dim), dtype=np.float32)  # only empty documents
        inv_norms = None if segment.inv_norms is None else segment.inv_norms[rows]
        return self.codec.decode(Encoded(segment.codes[rows].astype(np.int32), segment.residuals[rows], inv_norms))

    def blocks(self, size: int) -> Iterator[tuple[npt.NDArray[np.int64], Ragged]]:
        """The docids of all documents with tokens, and their vectors, in blocks of about ``size`` tokens at most."""
        for start, segment in self.parts():
            offsets = segment.offsets
            docs = np.flatnonzero(np.diff(offsets))
            ends = offsets[docs + 1]
            first = 0
            while first < len(docs):
                begin = int(offsets[docs[first]])
                last = max(int(np.searchsorted(ends, begin + size, side="right")), first + 1)
                rows = slice(begin, int(ends[last - 1]))
                bounds = np.append(offsets[docs[first:last]], rows.stop) - begin
                yield start + docs[first:last], Ragged(self.vectors(segment, rows), bounds)
                first = last

    @cached_property
    def docids(self) -> dict[str, int]:
        """Docno -> docid, for all documents; made when first asked for."""
        return {docno: start + i for start, segment in self.parts() for i, docno in enumerate(segment.docnos)}

    def lookup(self, docnos: Sequence[str], *, missing: str = "error") -> npt.NDArray[np.int64]:
        """The docids of docnos, -1 for unknown ones where ``missing="drop"``.

        Raises:
            ValueError: If docnos are unknown; it names three of them.
        """
        found = np.array([self.docids.get(docno, -1) for docno in docnos], dtype=np.int64)
        if missing == "error" and (found < 0).any():
            unknown = list(dict.fromkeys(docnos[i] for i in np.flatnonzero(found < 0).tolist()))
            raise ValueError(
                f"{len(unknown)} docnos are not in the index {self.path}: {', '.join(map(repr, unknown[:3]))}"
                f"{' ...' if len(unknown) > 3 else ''}; expected docnos such as {self._examples()}. Index those "
                'documents, or leave them out with missing="drop".'
            )
        return found

    def cell_tokens(self, segment: Segment) -> CellTokens:
        """The tokens of a segment cell after cell; derived from it when first asked for."""
        assert self.codec is not None
        codec, name = self.codec, segment.folder.path.name
        key, sources = f"{cell_tokens.NAME}/{name}", small_files([name], self.manifest["codec"])
        return self.once(
            key,
            lambda: CellTokens(self.derived(key, sources, lambda out: cell_tokens.write(segment, codec, out)), codec),
        )

    @property
    def token_mean(self) -> Floats:
        """The mean of all token vectors, float32 ``(dim,)``; derived when first asked for."""
        name = token_mean.NAME
        return self.once(
            name,
            lambda: token_mean.read(
                self.derived(name, self.everything, lambda out: token_mean.write(self.blocks, self.dim, out))
            ),
        )

    def derived(
        self, name: str, sources: Sequence[str], write: derived.Write, made_with: Mapping[str, str] | None = None
    ) -> files.Opened:
        """A structure under ``derived/``, made from files that the manifest knows; see `derived.open_or_make`.

        Args:
            name: With its parameters.
            sources: The files.
            write: Makes it.
            made_with: What else it must have been made with, where its name does not say so.
        """
        source = {file: self.manifest["sha256"][file] for file in sources}
        return derived.open_or_make(self.path / DERIVED / name, {**source, **(made_with or {})}, write)

    @property
    def everything(self) -> list[str]:
        """The sources of what is derived from all documents."""
        return small_files(self.manifest["segments"], self.manifest["codec"])

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What is opened when first asked for, by one thread, and kept as long as the store."""
        with self._deriving:
            if key not in self._derived:
                self._derived[key] = make()
            return cast(T, self._derived[key])

    @cached_property
    def token_stats(self) -> TokenStats:
        """How often each token of the vocabulary occurs; counted when first asked for.

        Raises:
            ValueError: If the index has no token ids.
        """
        self.check_tok_ids("token frequencies")
        sources = small_files(self.manifest["segments"], None)
        return token_stats.read(
            self.derived(token_stats.NAME, sources, lambda out: token_stats.write(self.segments, out))
        )

    def check_tok_ids(self, what: str) -> None:
        """Raises a ValueError where something needs token ids and the index has none."""
        if not self.has_tok_ids:
            raise ValueError(
                f"The index {self.path} has no token ids; expected them for {what}. Index records with doc_tok_ids, as "
                "the encoders of this package give them: (encoder >> index).index(corpus)."
            )

    @cached_property
    def cell_sizes(self) -> npt.NDArray[np.int64]:
        """How many tokens each centroid has, in all segments, int64 ``(K,)``."""
        assert self.codec is not None
        sizes = np.zeros(len(self.codec.centroids.vectors), dtype=np.int64)
        for segment in self.segments:
            if segment.num_tokens:
                sizes += np.diff(self.cell_tokens(segment).offsets)
        return sizes

    @property
    def codec_bytes(self) -> dict[str, int]:
        """The sizes of the codec's files."""
        return {name: found["bytes"] for name, found in self._codec_folder.meta["files"].items()}

    def verify(self) -> None:
        """Reads everything and compares it with the checksums that were taken when it was written.

        Raises:
            ValueError: Naming every file that differs.
        """
        folders = [segment.folder for segment in self.segments]
        if self.manifest["codec"]:
            folders.append(self._codec_folder)
        damaged = [problem for folder in folders for problem in folder.damage()]
        if damaged:
            raise ValueError(f"{'; '.join(damaged)}. {files.ADVICE}")

    @property
    def _codec_folder(self) -> files.Opened:
        return files.Opened(self.path / CODECS / self.manifest["codec"], CODEC_META)

    def _examples(self) -> str:
        return ", ".join(repr(self.docno(i)) for i in range(min(3, len(self))))


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of an index, or None where no index was finished.

    Raises:
        ValueError: If it is damaged, or that of something else.
    """
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path / MANIFEST} is damaged ({error}); restore it from a copy or build again.") from error
    if manifest.get("format") != "lir" or manifest.get("type") != "multivec_index":
        raise ValueError(
            f"{path} holds a {manifest.get('type')}.{manifest.get('format')}; expected multivec_index.lir. "
            "Open it with pt.Artifact.load, or choose another path for the index."
        )
    return manifest  # type: ignore[no-any-return]


def spooled(path: Path) -> list[Path]:
    """The finished segments that an unfinished build left, in the order in which they were written."""
    folder = path / BUILD / SPOOL
    return sorted(entry for entry in folder.iterdir() if entry.name.isdigit()) if folder.is_dir() else []


def small_files(segments: Sequence[str], codec_name: str | None) -> list[str]:
    """The files that are compared with their checksums whenever an index is opened; they hold those of the others."""
    names = [f"{SEGMENTS}/{name}/{SEGMENT_META}" for name in segments]
    return [*names, *([f"{CODECS}/{codec_name}/{CODEC_META}"] if codec_name else [])]


def _check_small_files(path: Path, manifest: dict[str, Any]) -> None:
    for name, expected in manifest["sha256"].items():
        found = files.sha256(path / name) if (path / name).exists() else "nothing"
        if found != expected:
            raise ValueError(f"{path / name} is damaged: it has sha256 {found}; expected {expected}. {files.ADVICE}")


def _open(path: Path) -> tuple[dict[str, Any], list[Segment], Codec | None]:
    for attempt in range(5):
        manifest = read_manifest(path)
        if manifest is None:
            raise FileNotFoundError(_no_index(path))
        try:
            _check_small_files(path, manifest)
            segments = [Segment(path / SEGMENTS / name) for name in manifest["segments"]]
            return manifest, segments, Codec.load(path / CODECS / manifest["codec"]) if manifest["codec"] else None
        except ValueError:
            # A writer may have replaced the index between our two steps; then the manifest has changed as well.
            now = read_manifest(path)
            if attempt == 4 or (now is not None and now["number"] == manifest["number"]):
                raise
    raise AssertionError("unreachable")


def _no_index(path: Path) -> str:
    left = spooled(path)
    if not left:
        return f"There is no index at {path}; expected one. Build it: (encoder >> index).index(corpus)."
    stored = sum(len(Segment(entry)) for entry in left)
    return (
        f"The build of the index at {path} was interrupted with {stored} documents stored; expected a finished index. "
        "Go on: (index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus)."
    )
