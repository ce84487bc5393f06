"""One immutable piece of an index on disk: some documents, their token vectors, docnos and token ids.

================= ===================== =============================================================
file              dtype, shape          content
================= ===================== =============================================================
offsets.i64       int64 (N + 1,)        document i owns the tokens offsets[i]:offsets[i + 1]
docnos.utf8       uint8 (B,)            the docnos after each other
docnos.i64        int64 (N + 1,)        docno i is docnos.utf8[docnos.i64[i]:docnos.i64[i + 1]]
tok_ids.i32       int32 (T,)            vocabulary ids of the tokens (only where the encoder gave them)
tokens.f16        float16 (T, dim)      the token vectors (only with keep_embs)
codes.u16|i32     (T,)                  the centroid of each token
residuals.u8      uint8 (T, W)          the packed levels of each token's residual
inv_norms.u8      uint8 (T,)            1 / norm of each decompressed token (only for unit vectors)
doc_codes.u16|i32 (D,)                  the distinct centroids of each document
doc_codes.i64     int64 (N + 1,)        document i owns doc_codes[doc_codes.i64[i]:doc_codes.i64[i + 1]]
cell_docs.i32     int32 (D,)            the documents of each centroid, ascending
cell_docs.i64     int64 (K + 1,)        centroid c owns cell_docs[cell_docs.i64[c]:cell_docs.i64[c + 1]]
segment.json                            counts, dim, encoder, and the size and sha256 of every file
================= ===================== =============================================================

All numbers are little-endian. While an index is built its documents wait in segments that hold vectors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Ints
from pyterrier_lir.index import files
from pyterrier_lir.ragged import Ragged

META = "segment.json"


class SegmentWriter:
    """Streams documents into a new segment of vectors; nothing is kept in memory but the counts.

    Args:
        path: Where the finished segment will appear.
        dim: Dimensions of a token vector.
        encoder: Fingerprint of the encoder, if known.
        tok_ids: Whether every document brings token ids.
        note: What the segment's meta says besides.
    """

    def __init__(
        self, path: Path, *, dim: int, encoder: str | None, tok_ids: bool, note: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        self.dim = dim
        self.tok_ids = tok_ids
        self.documents = 0
        self.tokens = 0
        self._docno_bytes = 0
        self._off_unit = 0.0
        meta = {"dim": dim, "encoder": encoder, "tok_ids": tok_ids, **(note or {})}
        self._folder = files.Directory(path, META, meta)
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
        if len(embs):
            norms = np.linalg.norm(embs.astype(np.float32), axis=1)
            self._off_unit = max(self._off_unit, float(np.abs(norms - 1).max()))
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
        self._folder.meta |= {"documents": self.documents, "tokens": self.tokens, "off_unit": self._off_unit}
        self._folder.finish()

    def abandon(self) -> None:
        """Removes what was written."""
        self._folder.abandon()


class Segment:
    """A finished segment, opened by memory map. What it does not hold is None.

    Raises:
        ValueError: If a file is missing or has another size than the segment's meta says.
    """

    def __init__(self, path: Path) -> None:
        folder = files.Opened(path, META)
        self.folder = folder
        _check_meta(folder)
        self.dim: int = folder.meta["dim"]
        self.encoder: str | None = folder.meta["encoder"]
        self.num_tokens: int = folder.meta["tokens"]
        self.offsets: npt.NDArray[np.int64] = folder.map("offsets.i64", "<i8")
        self.docnos_utf8 = Ragged(folder.map("docnos.utf8", "u1"), folder.map("docnos.i64", "<i8"))
        self.tok_ids = self._optional("tok_ids.i32")
        tokens = self._optional("tokens.f16")
        self.tokens = None if tokens is None else tokens.reshape(self.num_tokens, self.dim)
        self.codes = self._codes("codes")
        residuals = self._optional("residuals.u8")
        self.residuals = (
            None if residuals is None else residuals.reshape(self.num_tokens, len(residuals) // max(self.num_tokens, 1))
        )
        self.inv_norms = self._optional("inv_norms.u8")
        self.doc_codes, self.doc_code_offsets = self._codes("doc_codes"), self._optional("doc_codes.i64")
        self.cell_docs, self.cell_offsets = self._optional("cell_docs.i32"), self._optional("cell_docs.i64")
        self._check()

    def __len__(self) -> int:
        return self.folder.meta["documents"]  # type: ignore[no-any-return]

    def docno(self, i: int) -> str:
        """The docno of the segment's i-th document."""
        return self._text(self.docnos_utf8[i].tobytes())

    @cached_property
    def docnos(self) -> list[str]:
        """All docnos in index order."""
        blob = bytes(self.docnos_utf8.values)
        if (np.diff(self.docnos_utf8.offsets) < 0).any():
            self._refuse("docnos.i64", "numbers that do not decrease")
        ends = self.docnos_utf8.offsets.tolist()
        return [self._text(blob[a:b]) for a, b in pairwise(ends)]

    def _text(self, docno: bytes) -> str:
        try:
            return docno.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.folder.path / 'docnos.utf8'} is damaged: {error}. {files.ADVICE}") from error

    def _check(self) -> None:
        """Compares the lengths of all arrays; their contents are read where they are used."""
        documents, tokens = len(self), self.num_tokens
        letters, names = len(self.docnos_utf8.values), self.docnos_utf8.offsets
        for name, offsets, end in (
            ("offsets.i64", self.offsets, tokens),
            ("docnos.i64", names, letters),
            ("doc_codes.i64", self.doc_code_offsets, 0 if self.doc_codes is None else len(self.doc_codes)),
        ):
            if offsets is not None and (len(offsets) != documents + 1 or offsets[0] != 0 or offsets[-1] != end):
                self._refuse(name, f"{documents} documents, from 0 to {end}")
        for name, array in (("tok_ids.i32", self.tok_ids), ("codes", self.codes), ("inv_norms.u8", self.inv_norms)):
            if array is not None and len(array) != tokens:
                self._refuse(name, f"{tokens} tokens")
        coded = (self.codes, self.residuals, self.doc_codes, self.doc_code_offsets, self.cell_docs, self.cell_offsets)
        if tokens and self.tokens is None and self.codes is None:
            self._refuse("codes", f"{tokens} tokens")
        if tokens and len({array is None for array in coded}) > 1:
            self._refuse("codes", "codes, residuals, doc_codes and cell_docs, or none of them")

    def _refuse(self, name: str, expected: str) -> None:
        raise ValueError(f"{self.folder.path / name} does not fit; expected {expected}. {files.ADVICE}")

    def _optional(self, name: str) -> npt.NDArray[Any] | None:
        dtype = {"u8": "u1", "f16": "<f2", "u16": "<u2", "i32": "<i4", "i64": "<i8"}[name.rsplit(".", 1)[1]]
        return self.folder.map(name, dtype) if name in self.folder else None

    def _codes(self, name: str) -> npt.NDArray[Any] | None:
        return self._optional(f"{name}.i32") if f"{name}.i32" in self.folder else self._optional(f"{name}.u16")


def _check_meta(folder: files.Opened) -> None:
    """Raises a ValueError unless a segment's meta says what it must."""
    meta = folder.meta
    for name in ("dim", "documents", "tokens"):
        if type(meta.get(name)) is not int or not 0 <= meta[name] < 1 << 48:
            raise ValueError(f"{folder.path / META} says {name} {meta.get(name)!r}; expected a count. {files.ADVICE}")
    if type(meta.get("residual_norms", 0)) is not int:
        raise ValueError(f"{folder.path / META} says no sum of residual_norms; expected a count. {files.ADVICE}")
    if type(meta.get("encoder", 0)) not in (str, type(None)):
        raise ValueError(f"{folder.path / META} says no encoder; expected its name or null. {files.ADVICE}")
