"""ONE INDEX, MANY MACHINES: encode and build on a Ray cluster, search over shards."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {"ShardError": "shards", "Shards": "shards", "encode_and_build": "building"}

__all__ = ["ShardError", "Shards", "encode_and_build"]

if TYPE_CHECKING:
    from pyterrier_lir.distributed.building import encode_and_build
    from pyterrier_lir.distributed.shards import ShardError, Shards


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
