"""EXPERIMENT -> TABLES, PLOTS: one dataset, one encoder, many systems; measures with significance, honest times."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Outcome": "run",
    "bm25": "first_stage",
    "open_collection": "collection",
    "parse_systems": "systems",
    "pareto_front": "plots",
    "run_experiment": "run",
    "tradeoff_plot": "plots",
}

__all__ = [
    "Outcome", "bm25", "open_collection", "pareto_front", "parse_systems", "run_experiment", "tradeoff_plot",
]  # fmt: skip

if TYPE_CHECKING:
    from pyterrier_lir.experiment.collection import open_collection
    from pyterrier_lir.experiment.first_stage import bm25
    from pyterrier_lir.experiment.plots import pareto_front, tradeoff_plot
    from pyterrier_lir.experiment.run import Outcome, run_experiment
    from pyterrier_lir.experiment.systems import parse_systems


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
