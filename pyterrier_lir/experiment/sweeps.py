"""A method over a grid of its parameters: quality, time and work of every combination in one frame."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.experiment.measuring import measure, parse_measures, prepared
from pyterrier_lir.experiment.timing import WARM_UP

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder


def sweep(
    make: Callable[..., pt.Transformer],
    grid: Mapping[str, Sequence[Any]],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    eval_metrics: str | Sequence[Any],
    *,
    encoder: Encoder | None = None,
    warm_up: int = WARM_UP,
) -> pd.DataFrame:
    """Measures a pipeline for every combination of parameters.

    Every query is encoded once and shared by all combinations, and answered alone, so that times are those of single
    queries. `make` may build over different indexes, so that what changes an index can be swept as well::

        grid = {"nprobe": [1, 2, 4], "ndocs": [128, 512], "num_results": [10]}
        lir.sweep(index.plaid, grid, topics, qrels, [nDCG @ 10], encoder=encoder)
        grid = {"factor": [1, 2, 3]}
        lir.sweep(lambda factor: pooled[factor].warp(), grid, topics, qrels, [nDCG @ 10], encoder=encoder)

    Args:
        make: Gives the pipeline for some parameters: ``index.plaid``, or a function.
        grid: The values of each parameter. The last one changes fastest.
        topics: ``qid, query``; with ``query_embs`` no encoder is needed.
        qrels: ``qid, docno, label``.
        eval_metrics: Measures of ir_measures, or their names.
        encoder: Encodes the queries.
        warm_up: Queries that each pipeline answers before its times are taken.

    Returns:
        One row per combination, in the order of the grid: ``name`` (such as ``nprobe=1, ndocs=128``, of what varies), a
        column for each parameter, then the measures and costs as `experiment.measure` has them. `tradeoff_plot` takes
        it as it is.

    Raises:
        ValueError: If the grid is empty or does not fit `make`, a measure is unknown, there are no topics, or the
            pipelines need embeddings.
    """
    measures = parse_measures(eval_metrics)
    combinations = _combinations(make, grid)
    pipelines = [make(**parameters) for parameters in combinations]
    topics = prepared(topics, encoder, warm_up=warm_up)
    varying = [key for key, values in grid.items() if len(values) > 1] or list(grid)
    rows = []
    for parameters, pipeline in pt.tqdm(list(zip(combinations, pipelines, strict=True)), desc="sweep", unit="pipeline"):
        name = ", ".join(f"{key}={parameters[key]}" for key in varying)
        found = measure({name: pipeline}, topics, qrels, measures, warm_up=warm_up).results.iloc[0].to_dict()
        rows.append({"name": found.pop("name"), **parameters, **found})
    return pd.DataFrame(rows)


def _combinations(make: Callable[..., pt.Transformer], grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    if not grid or not all(len(values) for values in grid.values()):
        raise ValueError(f"the grid is {dict(grid)}; expected at least one value for at least one parameter.")
    for name, values in grid.items():
        if name == "name":
            raise ValueError("the grid has the parameter 'name'; expected another, for a column has that name already.")
        if isinstance(values, str):
            raise ValueError(f"the grid has {name}={values!r}; expected a list of values, such as [{values!r}].")
    combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    try:
        inspect.signature(make).bind(**combinations[0])
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise ValueError(
            f"the grid has the parameters {list(grid)}; expected those of {getattr(make, '__name__', make)}: {known}. "
            f"({error})"
        ) from error
    return combinations
