"""What reformulations share that only change the weights of query rows."""

from __future__ import annotations

import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.transformer import LirTransformer


class Reweighter(LirTransformer):
    """A transformer of ``query_weights``, before retrieval or after it; a subclass fills in `reweight`."""

    def reweight(self, embs: Floats, tok_ids: Ints, weights: Floats) -> Floats:
        """The new weights of a query's rows, float32 ``(n,)``.

        Args:
            embs: float32 ``(n, dim)``.
            tok_ids: int32 ``(n,)``.
            weights: float32 ``(n,)``.
        """
        raise NotImplementedError

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Weighs the rows of every query; equal cells once."""
        frames.check_columns(inp, self, [columns.QUERY_EMBS, columns.QUERY_TOK_IDS])
        inp = frames.with_query_embs(inp.reset_index(drop=True))
        names = (columns.QUERY_EMBS, columns.QUERY_TOK_IDS, columns.QUERY_WEIGHTS)
        # A list, which keeps the cells alive: a column of Arrow makes new ones, and ids of dead ones come again.
        queries = list(zip(*(frames.cells(inp, name) for name in names), strict=True))
        known: dict[tuple[int, ...], Floats] = {}  # the rows of a ranking share the cells of their query
        new = []
        for cells in queries:
            key = tuple(map(id, cells))
            if key not in known:
                embs, tok_ids, weights = columns.as_aligned_query(*cells)
                known[key] = self.reweight(embs, columns.needed_ids(tok_ids, columns.QUERY_TOK_IDS), weights)
            new.append(known[key])
        return inp.assign(**{columns.QUERY_WEIGHTS: columns.object_column(new)})

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are weighted one by one: cut first."""
        return pt.RankCutoff(k) >> self
