"""What all reductions share: documents of a frame, or of an indexing pipeline, one by one."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.transformer import LirTransformer


class Reducer(LirTransformer):
    """A transformer of ``doc_embs``, and of ``doc_tok_ids`` where they are there; a subclass fills in `reduce`."""

    NEEDED: ClassVar[tuple[str, ...]] = (columns.DOC_EMBS,)

    def reduce(self, embs: Floats, tok_ids: Ints | None, *beside: Any) -> tuple[Floats, Ints | None]:
        """Reduces one document.

        Args:
            embs: float32 ``(m, dim)``, without padding, m > 0.
            tok_ids: int32 ``(m,)``, if they are known.
            *beside: The document's cells of the columns that `beside` names.
        """
        raise NotImplementedError

    def needed(self) -> tuple[str, ...]:
        """The columns without which it cannot work."""
        return self.NEEDED

    def beside(self) -> tuple[str, ...]:
        """Other columns that it reads of a document, and leaves as they are."""
        return ()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Reduces the document of every row."""
        frames.check_columns(inp, self, [*self.needed(), *self.beside()])
        known = columns.DOC_TOK_IDS in inp.columns
        ids = inp[columns.DOC_TOK_IDS] if known else [None] * len(inp)
        others = [inp[name] for name in self.beside()]
        cells = zip(inp[columns.DOC_EMBS], ids, *others, strict=True)
        reduced = [self._reduce(*columns.as_document(embs, tok_ids), *beside) for embs, tok_ids, *beside in cells]
        changed = {columns.DOC_EMBS: columns.object_column([embs for embs, _ in reduced])}
        if known:
            changed[columns.DOC_TOK_IDS] = columns.object_column([tok_ids for _, tok_ids in reduced])
        return inp.reset_index(drop=True).assign(**changed)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are reduced one by one: cut first, reduce what is left."""
        return pt.RankCutoff(k) >> self

    def _reduce(self, embs: Floats, tok_ids: Ints | None, *beside: Any) -> tuple[Floats, Ints | None]:
        return self.reduce(embs, tok_ids, *beside) if len(embs) else (embs, tok_ids)
