"""The opened index: its live segments as one list of documents. A store never changes; a change makes another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Docids, Floats, Ints
from pyterrier_lir.index import cell_tokens, derived, files, manifest, token_stats
from pyterrier_lir.index.cell_tokens import CellTokens
from pyterrier_lir.index.codec import Codec, Encoded
from pyterrier_lir.index.manifest import CODECS, DERIVED, SEGMENTS, small_files
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import spooled
from pyterrier_lir.index.subset import Subset
from pyterrier_lir.index.token_stats import TokenStats
from pyterrier_lir.ragged import Ragged

T = TypeVar("T")


class Store:
    """What the manifest of an index names, opened by memory map.

    Documents have docids ``0 .. len(store) - 1`` in the order in which they were indexed. Those of deleted documents
    are not given again, so that the others keep theirs.

    Args:
        path: The index directory.

    Raises:
        FileNotFoundError: If there is no built index.
        ValueError: If a file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest, self.segments, self.codec, self.deleted = _open(path)
        self.dim: int = self.manifest["dim"]
        self.encoder: str | None = self.manifest["encoder"]
        self._deriving = RLock()  # what is derived may need something else that is
        self._derived: dict[str, Any] = {}
        self.starts = list(accumulate((len(segment) for segment in self.segments), initial=0))

    def __len__(self) -> int:
        """The number of docids, those of deleted documents among them."""
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

    def num_filled(self, subset: Subset | None) -> int:
        """How many documents have tokens, of all or of some."""
        return self._all_filled if subset is None else subset.num_filled

    @cached_property
    def filled(self) -> npt.NDArray[np.bool_]:
        """Which documents have tokens, bool ``(N,)``."""
        return np.concatenate([np.zeros(0, bool), *(np.diff(segment.offsets) > 0 for segment in self.segments)])

    @cached_property
    def _all_filled(self) -> int:
        return int(self.filled.sum())

    def subset(self, docnos: Sequence[str] | None) -> Subset | None:
        """What a search is confined to: the documents of that name, or all that are not deleted; None for no limit.

        Raises:
            ValueError: If docnos are unknown.
        """
        if docnos is None:
            return self.live
        return self.some(self.lookup(docnos))

    def some(self, docids: Docids) -> Subset:
        """The documents with these docids."""
        mask = np.zeros(len(self), dtype=bool)
        mask[docids] = True
        return Subset(mask, int(self.filled[mask].sum()), named=True)

    @cached_property
    def live(self) -> Subset | None:
        """The documents that are not deleted; None where none is."""
        if not len(self.deleted):
            return None
        mask = np.ones(len(self), dtype=bool)
        mask[self.deleted] = False
        return Subset(mask, int(self.filled[mask].sum()), named=False)

    @property
    def live_docids(self) -> Docids:
        """The docids of documents that are not deleted, ascending."""
        return np.arange(len(self)) if self.live is None else np.flatnonzero(self.live.mask)

    def docno(self, docid: int) -> str:
        """The docno of a docid."""
        segment, i = self.locate(docid)
        return segment.docno(i)

    def names(self, docids: npt.NDArray[np.int64]) -> list[str]:
        """The docnos of docids.

        Raises:
            ValueError: If there is no such document; damaged files may name any.
        """
        if len(docids) and not 0 <= docids.min() <= docids.max() < len(self):
            raise ValueError(
                f"docids lie in {docids.min()} to {docids.max()}, but {self.path} has {len(self)}. {files.ADVICE}"
            )
        asked = docids.tolist()
        names = {docid: self.docno(docid) for docid in set(asked)}  # queries of a frame share documents
        return [names[docid] for docid in asked]

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
        if not segment.num_tokens or self.codec is None or segment.codes is None or segment.residuals is None:
            return np.zeros((0, self.dim), dtype=np.float32)  # only empty documents
        inv_norms = None if segment.inv_norms is None else segment.inv_norms[rows]
        return self.codec.decode(Encoded(segment.codes[rows].astype(np.int32), segment.residuals[rows], inv_norms))

    def blocks(self, size: int, parts: Iterable[tuple[int, Segment]] | None = None) -> Iterator[tuple[Docids, Ragged]]:
        """The docids of documents with tokens, deleted or not, and their vectors.

        Args:
            size: About how many tokens a block has at most.
            parts: The segments, with the docids of their first documents; None for all.
        """
        for start, segment in self.parts() if parts is None else parts:
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
        """Docno -> docid, for all documents that are not deleted; made when first asked for."""
        gone = set(self.deleted.tolist())
        named = ((docno, start + i) for start, segment in self.parts() for i, docno in enumerate(segment.docnos))
        return {docno: docid for docno, docid in named if docid not in gone}

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

    @cached_property
    def cell_tokens(self) -> list[tuple[int, int, CellTokens]]:
        """All tokens cell after cell, in parts: each one's first docid, its number of documents, and the tokens.

        Derived from runs of segments when first asked for, each under the name of its first segment.
        """
        filled = [(start, segment) for start, segment in self.parts() if segment.num_tokens]
        with self._deriving:
            runs = cell_tokens.runs([segment.num_tokens for _, segment in filled])
            return [self._cell_tokens_of(filled[run.start : run.stop]) for run in runs]

    def _cell_tokens_of(self, run: list[tuple[int, Segment]]) -> tuple[int, int, CellTokens]:
        assert self.codec is not None
        codec, first, (last, end) = self.codec, run[0][0], run[-1]
        segments = self.segments[self.starts.index(first) : self.segments.index(end) + 1]
        names = [segment.folder.path.name for segment in segments]
        key, sources = f"{cell_tokens.NAME}/{names[0]}", small_files(names, self.manifest["codec"])
        folder = self.derived(key, sources, lambda out: cell_tokens.write(segments, codec, out))
        derived.remove(self.path / DERIVED / cell_tokens.NAME / name for name in names[1:])  # they are in this one now
        return first, last + len(end) - first, CellTokens(folder, codec)

    @cached_property
    def center(self) -> Floats:
        """The mean of all centroids, float32 ``(dim,)``: about where token vectors lie, the same after every change."""
        if self.codec is None:
            return np.zeros(self.dim, np.float32)
        mean: Floats = self.codec.centroids.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

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
            ValueError: If the index has no token ids, or none of a vocabulary: its rows are patches of pages.
        """
        self.check_tok_ids("token frequencies")
        deletions = self.manifest["deletions"]
        sources = [*small_files(self.manifest["segments"], None), *([deletions] if deletions else [])]
        parts = [(segment, self.deleted_in(start, segment)) for start, segment in self.parts()]
        made = self.derived(token_stats.NAME, sources, lambda out: token_stats.write(parts, out))
        return token_stats.read(made, self.manifest["tokens"])

    def deleted_in(self, start: int, segment: Segment) -> Docids:
        """The deleted documents of a segment, as numbers there."""
        lo, hi = np.searchsorted(self.deleted, (start, start + len(segment)))
        return self.deleted[lo:hi] - start

    def check_tok_ids(self, what: str) -> None:
        """Raises a ValueError where something needs token ids and the index has none."""
        if not self.has_tok_ids:
            raise ValueError(
                f"The index {self.path} has no token ids; expected them for {what}. Index records with doc_tok_ids, as "
                "the encoders of this package give them: (encoder >> index).index(corpus)."
            )

    @cached_property
    def cell_sizes(self) -> npt.NDArray[np.int64]:
        """How many tokens each centroid has, in all segments, int64 ``(K,)``; without those of deleted documents."""
        assert self.codec is not None
        sizes = np.zeros(len(self.codec.centroids.vectors), dtype=np.int64)
        for _start, _count, tokens in self.cell_tokens:
            sizes += np.diff(tokens.offsets)
        for start, segment in self.parts():
            if segment.num_tokens and segment.codes is not None:
                for doc in self.deleted_in(start, segment).tolist():
                    codes = segment.codes[segment.offsets[doc] : segment.offsets[doc + 1]]
                    self.codec.check_codes(codes)
                    np.subtract.at(sizes, codes, 1)
        return sizes

    @cached_property
    def bytes(self) -> dict[str, int]:
        """The sizes of the files, those of one name in several segments added up."""
        sizes: dict[str, int] = {}
        for folder in self._folders:
            for name, found in folder.meta["files"].items():
                sizes[name] = sizes.get(name, 0) + found["bytes"]
        return sizes

    def verify(self) -> None:
        """Reads everything and compares it with the checksums that were taken when it was written.

        Raises:
            ValueError: Naming every file that differs.
        """
        damaged = [problem for folder in self._folders for problem in folder.damage()]
        if damaged:
            raise ValueError(f"{'; '.join(damaged)}. {files.ADVICE}")

    @property
    def _folders(self) -> list[files.Opened]:
        codec = None if self.codec is None else self.codec.folder
        return [*(segment.folder for segment in self.segments), *([codec] if codec else [])]

    def _examples(self) -> str:
        return ", ".join(repr(self.docno(docid)) for docid in self.live_docids[:3].tolist())


def _open(path: Path) -> tuple[dict[str, Any], list[Segment], Codec | None, Docids]:
    found = manifest.read(path)
    while True:
        if found is None:
            raise FileNotFoundError(_no_index(path))
        try:
            manifest.check_small_files(path, found)
            segments = [Segment(path / SEGMENTS / name) for name in found["segments"]]
            codec = Codec.load(path / CODECS / found["codec"]) if found["codec"] else None
            deleted = manifest.read_deleted(path, found)
            _check(path, found, segments, codec, deleted)
            return found, segments, codec, deleted
        except (ValueError, FileNotFoundError):
            # A writer may have replaced the manifest and removed what it named before; then there is another one.
            now = manifest.read(path)
            if now is not None and now["number"] == found["number"]:
                raise
            found = now


def _has_files(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())


def _check(path: Path, found: dict[str, Any], segments: list[Segment], codec: Codec | None, deleted: Docids) -> None:
    """Raises a ValueError unless the parts of an index fit together, wherever each of them comes from."""
    docids = sum(map(len, segments))
    tokens = sum(segment.num_tokens for segment in segments)
    filled = [segment for segment in segments if segment.num_tokens]
    for what, wrong in {
        "documents": found["documents"] != docids - len(deleted) or (len(deleted) and deleted[-1] >= docids),
        "tokens": found["tokens"] > tokens,
        "dim": any(segment.dim != found["dim"] for segment in filled) or (codec and codec.dim != found["dim"]),
        "codec": filled and codec is None,
        "centroids": codec and len(codec.centroids.vectors) != found["centroids"],
        "nbits": codec and codec.nbits != found["nbits"],
        "tok_ids": found["tok_ids"] and any(segment.tok_ids is None for segment in filled),
        "keep_embs": found["keep_embs"] and any(segment.tokens is None for segment in filled),
    }.items():
        if wrong:
            raise ValueError(
                f"{path / manifest.MANIFEST} says {what} {found[what]!r}; expected what its segments and its codec "
                f"hold. {files.ADVICE}"
            )
    for segment in segments:
        if "residual_norms" not in segment.folder.meta:  # as in a spool
            raise ValueError(f"{segment.folder.path} says no residual_norms; expected a count. {files.ADVICE}")
    for segment in filled:
        fits = codec and segment.residuals is not None and segment.cell_offsets is not None and (
            segment.residuals.shape[1] == -(-codec.dim * codec.nbits // 8)
            and len(segment.cell_offsets) == len(codec.centroids.vectors) + 1
            and (segment.inv_norms is None) == (codec.inv_norm_range is None)
        )  # fmt: skip
        if not fits:
            raise ValueError(f"{segment.folder.path} was not made by the codec of {path}. {files.ADVICE}")


def _no_index(path: Path) -> str:
    left = spooled(path)
    if not left:
        there = ", but a file" if path.is_file() else ", but a folder of something else" if _has_files(path) else ""
        return (
            f"There is no index at {path}{there}; expected one. Build it: (encoder >> index).index(corpus), or check "
            "the path."
        )
    stored = sum(len(Segment(entry)) for entry in left)
    return (
        f"The build of the index at {path} was interrupted with {stored} documents stored; expected a finished index. "
        "Go on: (index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus)."
    )
