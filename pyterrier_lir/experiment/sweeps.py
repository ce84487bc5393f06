"""A method over a grid of its parameters: quality, time and work of every combination in one frame."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir import options
from pyterrier_lir.experiment.inputs import check_topics, encoded, judgements, parse_measures
from pyterrier_lir.experiment.measuring import measure
from pyterrier_lir.experiment.timing import WARM_UP

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

_log = logging.getLogger(__name__)

_COLUMNS = (
    "name", "error", "encode_ms", "retrieve_ms", "retrieve_ms_mean", "retrieve_ms_p95", "scored", "index_mb",
    "derived_mb", "bytes_per_doc",
)  # fmt: skip


@options.listed
def sweep(
    make: Callable[..., pt.Transformer],
    grid: Mapping[str, Sequence[Any]],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    eval_metrics: str | Any | Sequence[Any],
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
        it as it is. Combinations are measured one after another, so that no more than one ranking is in memory; let
        a few whose times are to be compared closely take turns in `experiment.measure`.

        Where one fails the others are measured all the same. Its row has NaN for measures and costs, and a column
        ``error`` says what happened, which is logged as well; the column is there only if one failed.

        Ctrl-C ends the sweep, and what is finished comes back: the other rows have the ``error`` ``KeyboardInterrupt``.

    Raises:
        ValueError: If the grid is empty or does not fit `make`, or what `experiment.measure` refuses.
        Exception: What the first combination raised, if all fail.
        KeyboardInterrupt: If Ctrl-C comes before one is finished.
    """
    measures = parse_measures(eval_metrics)
    values = _values(grid, [*_COLUMNS, *map(str, measures)])
    combinations = _combinations(make, values)
    pipelines = [make(**parameters) for parameters in combinations]
    topics = check_topics(topics, encoder, warm_up=warm_up)
    qrels = judgements(qrels, topics)
    topics = encoded(topics, encoder, warm_up=warm_up)
    varying = [key for key in values if len(values[key]) > 1] or list(values)
    names = [", ".join(f"{key}={parameters[key]}" for key in varying) for parameters in combinations]
    found: list[dict[str, Any]] = []
    failures: list[Exception] = []
    for name, pipeline in pt.tqdm(list(zip(names, pipelines, strict=True)), desc="sweep", unit="pipeline"):
        try:
            found.append(measure({name: pipeline}, topics, qrels, measures, warm_up=warm_up).results.iloc[0].to_dict())
        except Exception as error:  # whatever it is: what the others take hours for must not be lost
            _log.warning("%s failed, the sweep goes on: %s: %s", name, type(error).__name__, error, exc_info=True)
            failures.append(error)
            found.append({"error": f"{type(error).__name__}: {error}"})
        except KeyboardInterrupt:
            if len(failures) == len(found):
                raise
            left = len(names) - len(found)
            _log.warning("interrupted at %s: the last %d of %d pipelines are not measured", name, left, len(names))
            found += [{"error": "KeyboardInterrupt"}] * left
            break
    if len(failures) == len(found):
        raise failures[0]
    rows = [{"name": name, **p, **row} for name, p, row in zip(names, combinations, found, strict=True)]
    return _frame(rows, values)


def _frame(rows: list[dict[str, Any]], grid: Mapping[str, list[Any]]) -> pd.DataFrame:
    """The rows, columns in the same order whether the first failed or not; an error stands last."""
    found = pd.DataFrame(rows)
    done = next(row for row in rows if "error" not in row)
    found = found[[*done, *(column for column in found if column not in done)]]
    for key in (key for key in grid if None in grid[key]):  # else None would make fractions of whole numbers
        found[key] = pd.Series([row[key] for row in rows], dtype=object)
    return found


def _values(grid: Mapping[str, Sequence[Any]], taken: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each parameter; its name must not be that of another column."""
    if not isinstance(grid, Mapping):
        raise ValueError(f"the grid is {grid!r}; expected values by parameter. Pass {{'nprobe': [1, 2, 4]}}.")
    found = {}
    for name, values in grid.items():
        if name in taken:
            raise ValueError(
                f"the grid has the parameter {name!r}; expected another name, for a column has it already. "
                "Sweep a function that calls it otherwise: lambda other: ..."
            )
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise ValueError(f"the grid has {name}={values!r}; expected a list of values. Pass [{values!r}].")
        found[name] = list(values)
        twice = [value for i, value in enumerate(found[name]) if value in found[name][:i]]
        if twice:
            raise ValueError(f"the grid has {name}={twice[0]!r} more than once; expected each once. Leave one out.")
    if not found or not all(found.values()):
        raise ValueError(
            f"the grid is {found}; expected at least one value for at least one parameter. Pass {{'nprobe': [1, 2]}}."
        )
    return found


def _combinations(make: Callable[..., pt.Transformer], grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    if isinstance(make, pt.Transformer) or not callable(make):
        raise ValueError(
            f"{make!r} makes no pipelines; expected what does, with the grid's parameters. Pass index.plaid, without "
            "brackets, or a function."
        )
    combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    try:
        inspect.signature(make).bind(**combinations[0])
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise ValueError(
            f"the grid has the parameters {list(grid)}; expected those of {getattr(make, '__name__', make)}: {known}. "
            f"Pass {{{next(iter(inspect.signature(make).parameters), '...')!r}: [...]}}. ({error})"
        ) from error
    return combinations
