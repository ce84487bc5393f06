"""Milvus Lite: tokens in a collection, the best of them for each row of the query, and MaxSim of their documents.

Milvus itself has lists of embeddings with MAX_SIM; its embedded edition (milvus-lite 3.2) refuses to index them. So
this is the recipe that Milvus gives for ColBERT's vectors: a row for each token, a search for each row of the query,
and the documents that were met scored by all of their tokens.
"""

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

NAME = "tokens"
MOST = 16_384  # rows that Milvus gives back at a time


class Milvus(Peer):
    """Searches the tokens of a Milvus Lite collection, then scores the documents that were met by MaxSim.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.

    With ``token_k`` = number of tokens every document is met, and the ranking is that of ``index.exhaustive()`` of an
    index that kept its vectors, up to rounding; a document none of whose tokens is among the best is no result.

    Args:
        index_: The index that it is filled from.
        num_results: Documents per query.
        token_k: Tokens found for each row of the query, at most 16,384.
        folder: Where it lies; None for a temporary folder.

    Raises:
        ImportError: If pymilvus or milvus-lite is not installed.
        ValueError: If the query's encoder or dimension is not the index's, or the folder holds other things.
    """

    LABEL = "Milvus Lite"
    PACKAGES: ClassVar[dict[str, str]] = {"pymilvus": "pymilvus", "milvus_lite": "milvus-lite"}

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        token_k: int = 1000,
        folder: str | Path | None = None,
    ) -> None:
        arguments.check_counts(token_k=token_k)
        if token_k > MOST:
            raise ValueError(f"token_k is {token_k}; expected at most {MOST}, which Milvus gives back at a time.")
        self._begin(index_, num_results, folder)
        self.token_k = token_k

    def open(self, folder: Path, store: Store, *, new: bool) -> Any:
        """A client on the database in the folder."""
        from pymilvus import DataType, MilvusClient

        # Left to itself the client pings so often that the embedded server hangs up, loudly.
        client = MilvusClient(str(folder / "tokens.db"), grpc_options={"grpc.keepalive_time_ms": 300_000})
        if new:
            schema = client.create_schema(auto_id=True)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("docid", DataType.INT64)
            schema.add_field("vec", DataType.FLOAT_VECTOR, dim=store.dim)
            flat = client.prepare_index_params()
            flat.add_index("vec", index_type="FLAT", metric_type="IP")
            client.create_collection(NAME, schema=schema, index_params=flat)
            for docids, embs in documents(store):
                owners = np.repeat(docids, [*map(len, embs)]).tolist()
                rows = zip(owners, np.concatenate(embs).tolist(), strict=True)
                client.insert(NAME, [{"docid": docid, "vec": vec} for docid, vec in rows])
        client.load_collection(NAME)
        return client

    def ask(self, opened: Any, rows: Floats) -> Hits:
        """One query: candidates from the tokens of each row, then MaxSim over all tokens of these."""
        met = opened.search(NAME, data=rows.tolist(), limit=self.token_k, output_fields=["docid"])
        docids = np.unique([hit["entity"]["docid"] for row in met for hit in row]).astype(np.int64)
        best = np.full((len(rows), len(docids)), -np.inf)
        tokens = opened.query_iterator(
            NAME, filter=f"docid in {docids.tolist()}", output_fields=["docid", "vec"], batch_size=MOST
        )
        while found := tokens.next():
            places = np.searchsorted(docids, [row["docid"] for row in found])
            products = rows @ np.array([row["vec"] for row in found], dtype=np.float32).T
            np.maximum.at(best.T, places, products.T)
        tokens.close()
        return Hits(docids, best.sum(axis=0))
