"""OTHER STORES, THE SAME QUERIES: each is filled from an index and searched as one more system of an experiment."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "DuckDB": "duckdb", "FastPlaid": "fast_plaid", "LanceDB": "lancedb", "Milvus": "milvus", "Qdrant": "qdrant",
    "XtrWarp": "xtr_warp",
}  # fmt: skip

__all__ = ["DuckDB", "FastPlaid", "LanceDB", "Milvus", "Qdrant", "XtrWarp"]

if TYPE_CHECKING:
    from pyterrier_lir.peers.duckdb import DuckDB
    from pyterrier_lir.peers.fast_plaid import FastPlaid
    from pyterrier_lir.peers.lancedb import LanceDB
    from pyterrier_lir.peers.milvus import Milvus
    from pyterrier_lir.peers.qdrant import Qdrant
    from pyterrier_lir.peers.xtr_warp import XtrWarp


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; expected one of {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
