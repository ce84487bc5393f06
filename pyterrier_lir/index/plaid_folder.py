"""A PLAID index of another engine as an artifact, so that ``pt.Artifact.load`` knows it for what it is.

PyTerrier asks `recognise` about every folder without metadata of its own; it looks at nothing but names of files. The
artifact does one thing: it imports the index. Opening it does not, since that takes room and time, and needs to be told
the documents' names and a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyterrier as pt

from pyterrier_lir.index.foreign import kind_of

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.index.artifact import LirIndex


class PlaidFolder(pt.Artifact):
    """A PLAID index that Stanford's ColBERT or fast-plaid has written. It can be imported, and is then searched.

    ``pt.Artifact.load(path)`` gives it, and ``pt.Artifact.load(path).to_lir("passages.lir")`` a `LirIndex`.
    """

    ARTIFACT_TYPE = "multivec_index"
    ARTIFACT_FORMAT = "plaid"
    ARTIFACT_PACKAGE_HINT = "pyterrier-lir"

    def __init__(self, path: str | Path) -> None:
        """Names a folder; nothing is read before it is imported.

        Args:
            path: The folder with the centroids.
        """
        super().__init__(path)

    def to_lir(
        self,
        path: str | Path,
        *,
        docnos: Sequence[str] | None = None,
        encoder: Encoder | str | None = None,
        verbose: bool = True,
    ) -> LirIndex:
        """Imports the index to ``path``; see `pyterrier_lir.LirIndex.from_plaid`, which says what the arguments are.

        Returns:
            The index, ready to be searched.
        """
        from pyterrier_lir.index.artifact import LirIndex

        return LirIndex.from_plaid(str(self.path), path, docnos=docnos, encoder=encoder, verbose=verbose)

    def __repr__(self) -> str:
        return f"PlaidFolder({str(self.path)!r})"


def recognise(path: str, listing: Sequence[str]) -> dict[str, str] | None:
    """What PyTerrier should load a folder as, None if it is no PLAID index.

    Args:
        path: The folder.
        listing: The names of what it holds.
    """
    if kind_of(listing) is None:
        return None
    cls = PlaidFolder
    return {"type": cls.ARTIFACT_TYPE, "format": cls.ARTIFACT_FORMAT, "package_hint": cls.ARTIFACT_PACKAGE_HINT}
