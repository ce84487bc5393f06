"""LanceDB: its multi-vector column, scanned or, with an index, in the cells of an IVF-PQ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.columns import Floats
from pyterrier_lir.peers.peer import Hits, Peer, documents

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store

NAME = "documents"


class LanceDB(Peer):
    """Searches a LanceDB table: ``sum_i max_j <q_i, d_j>``, exactly, or through its IVF-PQ.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.

    LanceDB reports a distance, ``n`` minus MaxSim for n rows; the score here is MaxSim. Without an index scores are
    those of ``index.exhaustive()`` of an index that kept its vectors, up to rounding.

    Args:
        index_: The index that it is filled from.
        num_results: Documents per query.
        partitions: Cells of an IVF-PQ over all tokens, by cosine, which LanceDB asks 256 tokens for at least; None for
            a scan of everything.
        nprobes: Cells probed for each row of the query, where there are partitions; None for LanceDB's choice.
        folder: Where it lies; None for a temporary folder.

    Raises:
        ImportError: If lancedb is not installed.
        ValueError: If the query's encoder or dimension is not the index's, or the folder holds other things.
    """

    LABEL = "LanceDB"
    PACKAGES: ClassVar[dict[str, str]] = {"lancedb": "lancedb"}
    FILLING = ("partitions",)

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        partitions: int | None = None,
        nprobes: int | None = None,
        folder: str | Path | None = None,
    ) -> None:
        arguments.check_optional_counts(partitions=partitions, nprobes=nprobes)
        if nprobes is not None and partitions is None:
            raise ValueError(f"nprobes is {nprobes} without partitions; expected both, or neither for a scan.")
        self._begin(index_, num_results, folder)
        self.partitions = partitions
        self.nprobes = nprobes

    def open(self, folder: Path, store: Store, *, new: bool) -> Any:
        """The table in the folder."""
        import lancedb
        import pyarrow as pa

        database = lancedb.connect(str(folder))
        if not new:
            return database.open_table(NAME)
        matrix = pa.list_(pa.list_(pa.float32(), store.dim))
        table = database.create_table(NAME, schema=pa.schema([("docid", pa.int64()), ("embs", matrix)]))
        for docids, embs in documents(store):
            rows = [{"docid": docid, "embs": list(embs)} for docid, embs in zip(docids.tolist(), embs, strict=True)]
            table.add(rows)
        if self.partitions is not None:  # the index knows cosine alone, which is the product of unit vectors
            table.create_index(metric="cosine", vector_column_name="embs", num_partitions=self.partitions)
        return table

    def ask(self, opened: Any, rows: Floats) -> Hits:
        """One query."""
        search = opened.search(rows if len(rows) > 1 else rows[0], vector_column_name="embs")
        search = search.distance_type("dot" if self.partitions is None else "cosine").limit(self.num_results)
        if self.nprobes is not None:
            search = search.nprobes(self.nprobes)
        found = search.select(["docid", "_distance"]).to_arrow()
        distances = found["_distance"].to_numpy().astype(np.float64)
        return Hits(found["docid"].to_numpy().astype(np.int64), len(rows) - distances)
