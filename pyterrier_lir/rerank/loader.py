"""Loads the stored vectors of documents into a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex


class EmbsLoader(LirTransformer):
    """Adds ``doc_embs``, float32 ``(m, dim)``, and where the index has them ``doc_tok_ids`` and ``doc_encoder``.

    Expected columns: ``docno``.

    Args:
        index_: The index.
        missing: What to do with rows whose docno the index does not hold: ``"error"`` or ``"drop"``.

    Raises:
        ValueError: If docnos are unknown; it names three.
    """

    LABEL = "Embeddings Loader"

    def __init__(self, index_: LirIndex, *, missing: str = "error") -> None:
        arguments.check_missing(missing)
        self.index_ = index_
        self.missing = missing

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Reads the vectors of every row."""
        frames.check_columns(inp, self, ["docno"])
        if not len(inp):
            return inp.assign(**{name: pd.Series(dtype=object) for name in self._added()})
        store = self.index_.store
        inp, docids = frames.located(inp, store, self.missing)
        documents = [store.document(docid) for docid in docids]
        added = {columns.DOC_EMBS: columns.object_column([embs for embs, _ in documents])}
        if store.has_tok_ids:
            added[columns.DOC_TOK_IDS] = columns.object_column([tok_ids for _, tok_ids in documents])
        out = inp.assign(**added)
        return out if store.encoder is None else out.assign(**{columns.DOC_ENCODER: store.encoder})

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are loaded one by one: cut first, load what is left."""
        return pt.RankCutoff(k) >> self

    def _added(self) -> list[str]:
        if not self.index_.built:  # pipelines may be drawn before the index is built
            return [columns.DOC_EMBS]
        store = self.index_.store
        names = [(columns.DOC_EMBS, True), (columns.DOC_TOK_IDS, store.has_tok_ids)]
        return [name for name, there in [*names, (columns.DOC_ENCODER, store.encoder is not None)] if there]
