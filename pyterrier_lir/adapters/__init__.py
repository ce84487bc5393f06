"""PIPELINE -> RETRIEVER OF ANOTHER FRAMEWORK, and files of other tools: thin, and loaded when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "dspy_retriever": "dspy",
    "langchain_retriever": "langchain",
    "llamaindex_retriever": "llamaindex",
    "read_topics": "pyserini",
    "read_vectors": "pyserini",
    "write_topics": "pyserini",
    "write_vectors": "pyserini",
}

__all__ = [
    "dspy_retriever", "langchain_retriever", "llamaindex_retriever", "read_topics", "read_vectors", "write_topics",
    "write_vectors",
]  # fmt: skip

if TYPE_CHECKING:
    from pyterrier_lir.adapters.dspy import dspy_retriever
    from pyterrier_lir.adapters.langchain import langchain_retriever
    from pyterrier_lir.adapters.llamaindex import llamaindex_retriever
    from pyterrier_lir.adapters.pyserini import read_topics, read_vectors, write_topics, write_vectors


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; expected one of {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
