"""EXAMPLES -> CHECKPOINT: late-interaction models, trained over sentence-transformers; `lir.train(...)` does it.

The loop, the optimiser and most losses are those of sentence-transformers. What is here: data from topics, judgements
and retrievers (`data`), recipes as values (`losses`, `schedule`), a curve of measures while it trains (`dev`), going on
after a kill (`resume`), a card (`card`), and models whose documents are a few learned vectors or whose interaction is
learned.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Clusters": "pooling",
    "ConstantSpace": "pooling",
    "Contrastive": "losses",
    "Dev": "dev",
    "Hierarchical": "pooling",
    "KLDivergence": "losses",
    "MarginMSE": "losses",
    "Matryoshka": "losses",
    "Schedule": "schedule",
    "Trained": "trainer",
    "Xtr": "losses",
    "fit_lite": "lite",
    "mine": "data",
    "without": "leaks",
}

__all__ = [
    "Clusters", "ConstantSpace", "Contrastive", "Dev", "Hierarchical", "KLDivergence", "MarginMSE", "Matryoshka",
    "Schedule", "Trained", "Xtr", "fit_lite", "mine", "without",
]  # fmt: skip

if TYPE_CHECKING:
    from pyterrier_lir.train.data import mine
    from pyterrier_lir.train.dev import Dev
    from pyterrier_lir.train.leaks import without
    from pyterrier_lir.train.lite import fit_lite
    from pyterrier_lir.train.losses import Contrastive, KLDivergence, MarginMSE, Matryoshka, Xtr
    from pyterrier_lir.train.pooling import Clusters, ConstantSpace, Hierarchical
    from pyterrier_lir.train.schedule import Schedule
    from pyterrier_lir.train.trainer import Trained


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; expected one of {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


class _Room(types.ModuleType):
    """The room can be called, so that `lir.train(...)` trains and `lir.train.Contrastive` is a recipe of it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Trained:
        """See `pyterrier_lir.train.trainer.train`."""
        from pyterrier_lir.train.trainer import train

        return train(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
