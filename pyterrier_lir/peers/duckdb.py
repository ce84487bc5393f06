"""DuckDB: MaxSim in one line of SQL over a table of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from pyterrier_lir.columns import Floats
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.peers.peer import Hits, Peer, documents

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store

BEST = """
SELECT docid, sum(best) AS score FROM (
    SELECT docid, i, max(array_inner_product(vec, CAST(row AS FLOAT[{dim}]))) AS best
    FROM tokens, query GROUP BY docid, i
) GROUP BY docid ORDER BY score DESC, docid LIMIT {k}
"""


class DuckDB(Peer):
    """Searches a DuckDB table of tokens by exact MaxSim in SQL: ``sum_i max_j <q_i, d_j>``.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.

    The plainest store there is, as a floor to compare with: every query reads every vector. DuckDB's VSS extension has
    an HNSW over single vectors, which is of no use here. Scores are those of ``index.exhaustive()`` of an index that
    kept its vectors, up to rounding.

    Args:
        index_: The index that it is filled from.
        num_results: Documents per query.
        num_threads: Threads; None for all cores. The ranking does not depend on it.
        folder: Where it lies; None for a temporary folder.

    Raises:
        ImportError: If duckdb is not installed.
        ValueError: If the query's encoder or dimension is not the index's, or the folder holds other things.
    """

    LABEL = "DuckDB"
    PACKAGES: ClassVar[dict[str, str]] = {"duckdb": "duckdb"}

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        num_threads: int | None = None,
        folder: str | Path | None = None,
    ) -> None:
        threads(num_threads)
        self._begin(index_, num_results, folder)
        self.num_threads = num_threads

    def open(self, folder: Path, store: Store, *, new: bool) -> Any:
        """A connection to the database in the folder."""
        import duckdb

        connection = duckdb.connect(str(folder / "tokens.duckdb"), config={"threads": threads(self.num_threads)})
        if new:
            connection.execute(f"CREATE TABLE tokens (docid BIGINT, vec FLOAT[{store.dim}])")
            for docids, embs in documents(store):
                rows = pd.DataFrame({"docid": np.repeat(docids, [*map(len, embs)]), "vec": [*np.concatenate(embs)]})
                connection.register("rows", rows)
                connection.execute(f"INSERT INTO tokens SELECT docid, CAST(vec AS FLOAT[{store.dim}]) FROM rows")
                connection.unregister("rows")
        return connection

    def ask(self, opened: Any, rows: Floats) -> Hits:
        """One query."""
        opened.register("query", pd.DataFrame({"i": range(len(rows)), "row": list(rows)}))
        found = opened.execute(BEST.format(dim=rows.shape[1], k=self.num_results)).fetchnumpy()
        return Hits(np.asarray(found["docid"], np.int64), np.asarray(found["score"], np.float64))
