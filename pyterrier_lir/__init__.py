"""Late-interaction (multi-vector, ColBERT-style) retrieval as PyTerrier pipelines."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module that defines it. Resolved on first use (PEP 562), so that `import pyterrier_lir`
# loads neither torch nor any other heavy library.
_HOMES = {
    "LateChunking": "encode.late_chunking",
    "LateInteractionEncoder": "encode.late_interaction",
    "LirIndex": "index.artifact",
    "MaxSim": "rerank.maxsim",
    "Muvera": "retrieve.muvera",
    "PageEncoder": "encode.pages",
    "PlaidFolder": "index.plaid_folder",
    "SearchTool": "agents.search_tool",
    "TokenPooling": "reduce.pooling",
    "TokenPruning": "reduce.pruning",
    "ToyEncoder": "encode.toy",
    "ToyPageEncoder": "encode.toy_pages",
    "Truncate": "reduce.truncate",
    "heatmap": "explain.heatmap",
    "sweep": "experiment.sweeps",
    "tradeoff_plot": "experiment.plots",
}

__all__ = [
    "LateChunking",
    "LateInteractionEncoder",
    "LirIndex",
    "MaxSim",
    "Muvera",
    "PageEncoder",
    "PlaidFolder",
    "SearchTool",
    "TokenPooling",
    "TokenPruning",
    "ToyEncoder",
    "ToyPageEncoder",
    "Truncate",
    "__version__",
    "heatmap",
    "sweep",
    "tradeoff_plot",
]

if TYPE_CHECKING:
    from pyterrier_lir.agents.search_tool import SearchTool
    from pyterrier_lir.encode.late_chunking import LateChunking
    from pyterrier_lir.encode.late_interaction import LateInteractionEncoder
    from pyterrier_lir.encode.pages import PageEncoder
    from pyterrier_lir.encode.toy import ToyEncoder
    from pyterrier_lir.encode.toy_pages import ToyPageEncoder
    from pyterrier_lir.experiment.plots import tradeoff_plot
    from pyterrier_lir.experiment.sweeps import sweep
    from pyterrier_lir.explain.heatmap import heatmap
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.plaid_folder import PlaidFolder
    from pyterrier_lir.reduce.pooling import TokenPooling
    from pyterrier_lir.reduce.pruning import TokenPruning
    from pyterrier_lir.reduce.truncate import Truncate
    from pyterrier_lir.rerank.maxsim import MaxSim
    from pyterrier_lir.retrieve.muvera import Muvera

# The rest by room: `lir.feedback.ColbertPRF`.
_ROOMS = (
    "adapters", "agents", "datasets", "distributed", "experiment", "explain", "feedback", "pages", "peers", "reduce",
    "rerank", "serve", "train",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; expected one of {', '.join(__dir__())}. What searches "
            "an index is its method: index.plaid(), index.warp(), index.maxsim() ..."
        )
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
