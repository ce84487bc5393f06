"""`Unseen`: the documents that an index has not stored yet, so that nothing is encoded twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyterrier as pt

from pyterrier_lir.index import manifest
from pyterrier_lir.index.build import interrupted
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import spooled
from pyterrier_lir.index.store import Store
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    import pandas as pd

    from pyterrier_lir.index.artifact import LirIndex


class Unseen(LirTransformer):
    """Keeps the documents whose ``docno`` no finished segment of the index holds, built or interrupted.

    Expected columns: ``docno``. Output: the same columns, fewer rows.

    Where documents are cut into passages on the way, it takes one before that, which knows whose passages are stored,
    and one behind it, for those of the document at which a build was interrupted: ``index.unseen(passages=True) >>
    lir.LateChunking(encoder) >> index.unseen() >> index.indexer(resume=True)``.

    Args:
        passages: Whether the index holds passages (``d1%p0``) of the documents that come in (``d1``).
    """

    LABEL = "Unseen"

    def __init__(self, index_: LirIndex, *, passages: bool = False) -> None:
        self.index_ = index_
        self.passages = passages
        self._number: int | None = None  # of the manifest that was read
        self._spooled: list[Path] = []
        self._docnos: set[str] = set()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Looks at what is on disk now."""
        pt.validate.columns(inp, includes=["docno"], context=self)
        self._refresh()
        return inp[~inp["docno"].isin(self._whole() if self.passages else self._docnos)].reset_index(drop=True)

    def _whole(self) -> set[str]:
        """The documents of which all passages are stored: passages come in order, so all but the last one's."""
        stored = {_document(docno) for docno in self._docnos}
        last = Segment(self._spooled[-1]).docnos if self._spooled else []
        return stored - {_document(docno) for docno in last[-1:]}

    def _refresh(self) -> None:
        path = self.index_._directory
        found, left = manifest.read(path), spooled(path)
        number = found["number"] if found else None
        if number != self._number or left[: len(self._spooled)] != self._spooled:
            # What is to be updated is there and must come through.
            updating = interrupted(path).get("kind") == "update"
            self._docnos = set() if found is None or updating else set(Store(path).docids)
            self._number, self._spooled = number, []
        new = left[len(self._spooled) :]
        self._docnos.update(docno for entry in new for docno in Segment(entry).docnos)
        self._spooled = left


def _document(docno: str) -> str:
    """The document of a passage, as PyTerrier names them."""
    return docno.rsplit("%p", 1)[0]
