"""Every ranking evaluated once, by `pt.Experiment`; means and comparisons are made of what each query has."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyterrier as pt

_log = logging.getLogger(__name__)


def evaluate(
    rankings: Mapping[str, pd.DataFrame], topics: pd.DataFrame, qrels: pd.DataFrame, measures: Sequence[Any]
) -> pd.DataFrame:
    """The measures of every system and query.

    Returns:
        ``name, qid`` and a column for each measure, in the order of the systems and topics. NaN where a query has no
        value: it has no judgement, or the measure is not defined for it.
    """
    tidy = pt.Experiment(dict(rankings), topics, qrels, list(measures), perquery=True)
    wide = tidy.pivot(index=["name", "qid"], columns="measure", values="value")
    every = pd.MultiIndex.from_product([list(rankings), topics["qid"]], names=["name", "qid"])
    return wide.reindex(index=every, columns=list(map(str, measures))).rename_axis(columns=None).reset_index()


def averaged(perquery: pd.DataFrame, measures: Sequence[Any]) -> pd.DataFrame:
    """``name`` and the measures over the queries that have a value: means, or sums where ir_measures sums."""
    rows = []
    for name, values in perquery.groupby("name", sort=False):
        rows.append({"name": name, **{str(measure): _over_queries(values, measure) for measure in measures}})
    _warn_of_unequal_queries(perquery, list(map(str, measures)))
    return pd.DataFrame(rows)


def _over_queries(values: pd.DataFrame, measure: Any) -> float:
    total = measure.aggregator()
    for value in values[str(measure)].dropna():
        total.add(value)
    return float(total.result())


def _warn_of_unequal_queries(perquery: pd.DataFrame, measures: Sequence[str]) -> None:
    for measure in measures:
        lacking = perquery[perquery[measure].isna()].groupby("qid")["name"].agg(list)
        some = lacking[lacking.map(len) < perquery["name"].nunique()]
        if len(some):
            _log.warning(
                "%s has no value for %s for query %r (and %d more such queries): means are over the others, not over "
                "the same queries for all systems", measure, ", ".join(some.iloc[0]), some.index[0], len(some) - 1,
            )  # fmt: skip
