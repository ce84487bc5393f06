"""AGENT -> SEARCH -> SNIPPETS: a pipeline as a tool for language models, what they cost, and how they are judged."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "BudgetError": "search_tool",
    "QueryRewrite": "query_rewrite",
    "SearchTool": "search_tool",
    "Session": "evaluation",
    "best_passage": "snippets",
    "evaluate": "evaluation",
    "mcp_server": "protocol",
}

__all__ = ["BudgetError", "QueryRewrite", "SearchTool", "Session", "best_passage", "evaluate", "mcp_server"]

if TYPE_CHECKING:
    from pyterrier_lir.agents.evaluation import Session, evaluate
    from pyterrier_lir.agents.protocol import mcp_server
    from pyterrier_lir.agents.query_rewrite import QueryRewrite
    from pyterrier_lir.agents.search_tool import BudgetError, SearchTool
    from pyterrier_lir.agents.snippets import best_passage


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; expected one of {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
