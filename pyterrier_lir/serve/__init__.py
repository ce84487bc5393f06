"""AN INDEX -> HTTP: a small server to search one index, and a page that shows which tokens met."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {"Settings": "app", "create_app": "app"}

__all__ = ["Settings", "create_app"]

if TYPE_CHECKING:
    from pyterrier_lir.serve.app import Settings, create_app


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
