"""`Unseen`: the documents that an index has not stored yet, so that nothing is encoded twice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyterrier as pt

from pyterrier_lir import arguments
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

    While an index is being replaced or updated, and after that was interrupted, only what was stored anew counts:
    documents that are to be replaced come through.

    Expected columns: ``docno``. Output: the same columns, fewer rows.

    Where documents are cut into passages on the way, it takes one before that, which knows whose passages are stored,
    and one behind it, for those of the document at which a build was interrupted: ``index.unseen(passages=True) >>
    lir.LateChunking(encoder) >> index.unseen() >> index.indexer(resume=True)``.

    Args:
        passages: Whether the index holds passages (``d1%p0``) of the documents that come in (``d1``).
    """

    LABEL = "Unseen"

    def __init__(self, index_: LirIndex, *, passages: bool = False) -> None:
        arguments.check_flags(passages=passages)
        self.index_ = index_
        self.passages = passages
        self._number: int | None = None  # of the manifest whose documents count
        self._spooled: list[Path] = []
        self._stored: set[str] = set()  # docnos, or those of the documents whose passages are stored
        self._last: str | None = None  # the document of which passages may be missing, as they come in order

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Looks at what is on disk now."""
        pt.validate.columns(inp, includes=["docno"], context=self)
        self._refresh()
        # Not isin(), which makes an array of all that is stored for every few documents that come.
        new = [docno not in self._stored or docno == self._last for docno in inp["docno"].tolist()]
        return inp[np.array(new, dtype=bool)].reset_index(drop=True)

    def _refresh(self) -> None:
        path = self.index_._directory
        found, left = manifest.read(path), spooled(path)
        # What is to be replaced or updated is there and must come through.
        counts = interrupted(path).get("kind", "append") == "append"
        number = found["number"] if found and counts else None
        if number != self._number or left[: len(self._spooled)] != self._spooled:
            self._stored, self._last = set(), None
            self._number, self._spooled = number, []
            self._note([] if number is None else Store(path).docids)
        for entry in left[len(self._spooled) :]:
            docnos = Segment(entry).docnos
            self._note(docnos)
            if self.passages and docnos:
                self._last = _document(docnos[-1])
        self._spooled = left

    def _note(self, docnos: Iterable[str]) -> None:
        self._stored.update(map(_document, docnos) if self.passages else docnos)


def _document(docno: str) -> str:
    """The document of a passage, as PyTerrier names them."""
    return docno.rsplit("%p", 1)[0]
