"""What a pipeline costs besides time: the documents it scores, and the space of its indexes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.index.files import folder_size
from pyterrier_lir.index.manifest import DERIVED
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex


def counts(system: Any, topics: pd.DataFrame) -> dict[str, float]:
    """What the stages of a system count, such as documents scored: means over all topics; stages add up.

    It is asked of each stage (`LirTransformer.work`) on what the stages before it give. What comes behind the last
    stage that counts is not run.
    """
    totals: dict[str, float] = defaultdict(float)
    _count(system, topics, totals)
    return {name: total / len(topics) for name, total in totals.items()}


def sizes(system: Any) -> dict[str, float]:
    """``index_mb``, ``derived_mb`` and ``bytes_per_doc`` of what a system reads; nothing where it has no index."""
    used = list(_used(system))
    if not used:
        return {}
    indexes = {index.path: index for index, _ in used}.values()
    folders = {Path(str(index.path)) / DERIVED / name for index, names in used for name in names}
    own = sum(index.info()["megabytes"] for index in indexes)
    derived = sum(map(folder_size, folders)) / 1e6
    documents = max(len(index) for index in indexes)
    return {"index_mb": own, "derived_mb": derived, "bytes_per_doc": 1e6 * (own + derived) / documents}


def _count(system: Any, inp: pd.DataFrame, totals: dict[str, float]) -> None:
    if isinstance(system, pt.Compose):
        stages = list(system)
        counting = [i for i, stage in enumerate(stages) if _counts(stage)]
        for i in range(max(counting, default=-1) + 1):
            _count(stages[i], inp, totals)
            if i < counting[-1]:
                inp = stages[i](inp)
    elif isinstance(system, LirTransformer):
        for name, total in system.work(inp).items():
            totals[name] += total
    else:
        for part in _operands(system):
            _count(part, inp, totals)


def _counts(system: Any) -> bool:
    if isinstance(system, LirTransformer):
        return type(system).work is not LirTransformer.work
    return any(map(_counts, _operands(system)))


def _operands(system: Any) -> list[Any]:
    """The pipelines that one of PyTerrier's operators joins: each gets the input of the whole."""
    return _parts(system) if type(system).__module__ == pt.Compose.__module__ else []


def _parts(system: Any) -> list[Any]:
    if not isinstance(system, pt.Transformer):
        return []
    found = pt.inspect.subtransformers(system).values()
    return [one for part in found for one in (part if isinstance(part, (list, tuple)) else [part])]


def _used(system: Any) -> Iterator[tuple[LirIndex, tuple[str, ...]]]:
    """The indexes in a system, with what is used of their derived structures."""
    index = getattr(system, "index_", None)
    if index is not None and hasattr(index, "info"):
        yield index, system.derived
    for part in _parts(system):
        yield from _used(part)
