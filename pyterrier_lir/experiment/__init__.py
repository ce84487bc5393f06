"""EXPERIMENT -> TABLES, PLOTS: one dataset, one encoder, many systems; measures with significance, honest times."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Measured": "measuring",
    "Outcome": "run",
    "bm25": "first_stage",
    "difference_plot": "differences",
    "estimate": "estimating",
    "measure": "measuring",
    "open_collection": "collection",
    "p_mrr": "instructions",
    "pareto_front": "plots",
    "parse_systems": "systems",
    "report": "reporting",
    "run_experiment": "run",
    "sweep": "sweeps",
    "table": "tables",
    "tradeoff_plot": "plots",
}

__all__ = [
    "Measured", "Outcome", "bm25", "difference_plot", "estimate", "measure", "open_collection", "p_mrr", "pareto_front",
    "parse_systems", "report", "run_experiment", "sweep", "table", "tradeoff_plot",
]  # fmt: skip

if TYPE_CHECKING:
    from pyterrier_lir.experiment.collection import open_collection
    from pyterrier_lir.experiment.differences import difference_plot
    from pyterrier_lir.experiment.estimating import estimate
    from pyterrier_lir.experiment.first_stage import bm25
    from pyterrier_lir.experiment.instructions import p_mrr
    from pyterrier_lir.experiment.measuring import Measured, measure
    from pyterrier_lir.experiment.plots import pareto_front, tradeoff_plot
    from pyterrier_lir.experiment.reporting import report
    from pyterrier_lir.experiment.run import Outcome, run_experiment
    from pyterrier_lir.experiment.sweeps import sweep
    from pyterrier_lir.experiment.systems import parse_systems
    from pyterrier_lir.experiment.tables import table


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
