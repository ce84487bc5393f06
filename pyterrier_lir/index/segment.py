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

from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.index import files
from pyterrier_lir.ragged import Ragged

META = "segment.json"


class SegmentWriter:
    """Streams documents into a new segment; nothing is kept in memory but the counts.

    Args:
        path: Where the finished segment will appear.
        dim: Dimensions of a token vector.
        encoder: Fingerprint of the encoder, if known.
        tok_ids: Whether every document brings token ids.
    """

    def __init__(self, path: Path, *, dim: int, encoder: str | None, tok_ids: bool) -> None:
        self.path = path
        self.dim = dim
        self.tok_ids = tok_ids
        self.documents = 0
        self.tokens = 0
        self._docno_bytes = 0
        self._folder = files.Directory(path, META, {"dim": dim, "encoder": encoder, "tok_ids": tok_ids})
        for name in ("tokens.f16", "docnos.utf8", *(["tok_ids.i32"] if tok_ids else [])):
            self._folder.file(name)  # also where all documents are empty
        for name in ("offsets.i64", "docnos.i64"):
            self._folder.file(name).write(np.int64(0).tobytes())

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
        write = {
            "tokens.f16": np.ascontiguousarray(embs, dtype="<f2").tobytes(),
            "offsets.i64": np.int64(self.tokens).tobytes(),
            "docnos.utf8": name,
            "docnos.i64": np.int64(self._docno_bytes).tobytes(),
        }
        if self.tok_ids:
            write["tok_ids.i32"] = np.ascontiguousarray(tok_ids, dtype="<i4").tobytes()
        for file, data in write.items():
            self._folder.file(file).write(data)

    def finish(self) -> None:
        """Syncs the files and lets the segment appear under its name."""
        self._folder.meta |= {"documents": self.documents, "tokens": self.tokens}
        self._folder.finish()

    def abandon(self) -> None:
        """Removes what was written."""
        self._folder.abandon()


class Segment:
    """A finished segment, opened by memory map.

    Raises:
        ValueError: If a file is missing or has another size than the segment's meta says.
    """

    def __init__(self, path: Path) -> None:
        folder = files.Opened(path, META)
        self.folder = folder
        self.dim: int = folder.meta["dim"]
        self.encoder: str | None = folder.meta["encoder"]
        self.tokens_total: int = folder.meta["tokens"]
        self.tokens = folder.map("tokens.f16", "<f2").reshape(self.tokens_total, self.dim)
        self.offsets: npt.NDArray[np.int64] = folder.map("offsets.i64", "<i8")
        self._docnos = Ragged(folder.map("docnos.utf8", "u1"), folder.map("docnos.i64", "<i8"))
        self.tok_ids = folder.map("tok_ids.i32", "<i4") if folder.meta["tok_ids"] else None

    def __len__(self) -> int:
        return self.folder.meta["documents"]  # type: ignore[no-any-return]

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
