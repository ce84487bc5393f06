"""Qdrant in local mode: its multi-vectors with MAX_SIM, compared one by one in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pyterrier_lir.columns import Floats
from pyterrier_lir.peers.peer import Hits, Peer, documents

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store

NAME = "documents"


class Qdrant(Peer):
    """Searches a local Qdrant collection by exact MaxSim: ``sum_i max_j <q_i, d_j>``.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.

    Local mode is part of the client: no server, NumPy, in one process. Scores are those of ``index.exhaustive()`` of an
    index that kept its vectors (``keep_embs=True``), up to rounding.

    Args:
        index_: The index that it is filled from.
        num_results: Documents per query.
        folder: Where it lies; None for a temporary folder.

    Raises:
        ImportError: If qdrant-client is not installed.
        ValueError: If the query's encoder or dimension is not the index's, or the folder holds other things.
    """

    LABEL = "Qdrant"
    PACKAGES: ClassVar[dict[str, str]] = {"qdrant_client": "qdrant-client"}

    def __init__(self, index_: LirIndex, *, num_results: int = 1000, folder: str | Path | None = None) -> None:
        self._begin(index_, num_results, folder)

    def open(self, folder: Path, store: Store, *, new: bool) -> Any:
        """A client on the folder."""
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=str(folder))
        if new:
            several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
            vectors = models.VectorParams(size=store.dim, distance=models.Distance.DOT, multivector_config=several)
            client.create_collection(NAME, vectors_config=vectors)
            for docids, embs in documents(store):
                points = zip(docids.tolist(), embs, strict=True)
                client.upsert(NAME, [models.PointStruct(id=docid, vector=rows.tolist()) for docid, rows in points])
        return client

    def ask(self, opened: Any, rows: Floats) -> Hits:
        """One query."""
        found = opened.query_points(NAME, query=rows.tolist(), limit=self.num_results, with_payload=False).points
        return Hits(np.array([p.id for p in found], np.int64), np.array([p.score for p in found], np.float64))
