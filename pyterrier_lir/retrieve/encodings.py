"""The documents of an index as MUVERA's vectors, made a block at a time when `vectors` stores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.ragged import Ragged

if TYPE_CHECKING:
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.retrieve.fde import FdeEncoder

TOKENS = 1 << 16  # in memory at once while an index is encoded,
MEGABYTES = 64  # and so much of encodings


class Encodings:
    """The encodings of the documents of some segments that have tokens, made when they are read."""

    def __init__(self, store: Store, parts: Sequence[tuple[int, Segment]], encoder: FdeEncoder) -> None:
        self._store, self._parts, self._encoder = store, parts, encoder
        self.size = encoder.size
        filled = [start + np.flatnonzero(np.diff(segment.offsets)) for start, segment in parts]
        self.docids: Docids = np.concatenate(filled).astype(np.int64)

    def blocks(self) -> Iterator[tuple[Docids, Floats]]:
        """Docids and encodings, about as many as `MEGABYTES` hold at once."""
        count = max(int(MEGABYTES * 1e6) // (4 * self.size), 1)
        for docids, documents in self._store.blocks(TOKENS, self._parts):
            for first in range(0, len(docids), count):
                offsets = documents.offsets[first : first + count + 1]
                part = Ragged(documents.values[offsets[0] : offsets[-1]], offsets - offsets[0])
                yield docids[first : first + count], self._encoder.documents(part)

    def some(self, docids: Docids) -> Floats:
        """The encodings of a few documents."""
        found = np.zeros((len(docids), self.size), dtype=np.float32)
        count = 256  # documents whose vectors are in memory at once
        for first in range(0, len(docids), count):
            documents = [self._store.document(docid)[0] for docid in docids[first : first + count].tolist()]
            found[first : first + count] = self._encoder.documents(Ragged.from_list(documents))
        return found
