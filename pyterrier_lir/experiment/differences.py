"""Where two systems differ: one bar per query, sorted."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir.experiment.labels import INK, MUTED
from pyterrier_lir.experiment.significance import p_value
from pyterrier_lir.figures import new_figure
from pyterrier_lir.options import listed

if TYPE_CHECKING:
    import pandas as pd
    from ir_measures import Measure
    from matplotlib.figure import Figure

_UP, _DOWN = "#23814f", "#b3412f"

_CALL = 'difference_plot(perquery, "PLAID", "BM25", "nDCG@10").'
_APART = 100  # with more bars there are no gaps between them: they would be narrower than a pixel


@listed
def difference_plot(
    perquery: pd.DataFrame,
    system: str,
    baseline: str,
    measure: str | Measure = "nDCG@10",
    *,
    title: str | None = None,
    figsize: tuple[float, float] = (7.2, 3.2),
) -> Figure:
    """Draws a measure of one system minus that of another for every query, best first.

    Above the bars stand the wins, ties and losses of the system, the mean difference, and the p-value of the paired
    t-test, not corrected for other comparisons. A tie is an equal value.

    Args:
        perquery: ``experiment.measure(...).perquery``, ``perquery.csv``, or ``pt.Experiment(..., perquery=True)``.
        system: The name of the system.
        baseline: The name of the other.
        measure: The measure, or its name.
        title: Above the plot; None for both names.
        figsize: In inches.

    Returns:
        A figure of its own, not known to pyplot: ``figure.savefig("differences.png")``.

    Raises:
        ValueError: If it is not such a frame, has not this measure or these systems, has a query twice, or the systems
            share none.
    """
    values = differences(perquery, system, baseline, measure).to_numpy()
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    figure = new_figure(figsize)
    axes = figure.add_subplot()
    apart = len(values) <= _APART
    colours = np.where(values > 0, _UP, _DOWN)
    axes.bar(np.arange(len(values)), values, width=0.9 if apart else 1, color=colours, lw=0, antialiased=apart)
    axes.axhline(0, color=MUTED, lw=0.8)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.set_xticks([])
    axes.set_xlim(-0.6, len(values) - 0.4)
    largest = max(np.abs(values).max(), 1e-9)
    axes.set_ylim(-1.08 * largest, 1.08 * largest)
    axes.set_ylabel(f"difference in {measure}", color=INK, fontsize=10, parse_math=False)
    below = textwrap.fill(f"{len(values)} queries, best for {system} first", int(12 * figsize[0]))
    axes.set_xlabel(below, color=INK, fontsize=10, parse_math=False)
    heading = f"{wins} wins, {len(values) - wins - losses} ties, {losses} losses; mean {values.mean():+.3f}, "
    axes.set_title(heading + _chance(values), color=INK, fontsize=9, loc="left")
    above = title or textwrap.fill(f"{system} against {baseline}", int(10 * figsize[0]))
    figure.suptitle(above, color=INK, fontsize=11, fontweight="bold", x=0.01, ha="left", parse_math=False)
    return figure


def differences(perquery: pd.DataFrame, system: str, baseline: str, measure: str | Measure) -> pd.Series[Any]:
    """The measure of a system minus that of another by qid, largest first; of queries that both have.

    Raises:
        ValueError: If it is no frame by query, has not this measure or these systems, has a query twice, or the systems
            share none.
    """
    _check_columns(perquery)
    measure = str(measure)
    if "measure" in perquery.columns:  # as pt.Experiment has it
        known, column = list(perquery["measure"].astype(str).unique()), "value"
        rows = perquery[perquery["measure"].astype(str) == measure]
    else:
        known, column, rows = [c for c in perquery.columns if c not in ("name", "qid")], measure, perquery
    if measure not in known:
        raise ValueError(f"the measure is {measure!r}; expected one of {known}. {_CALL}")
    one, other = (_by_query(rows, name, list(perquery["name"].unique()))[column] for name in (system, baseline))
    found = (one - other).dropna().sort_values(ascending=False, kind="stable")
    if not len(found):
        raise ValueError(
            f"{system!r} and {baseline!r} share no query; expected values of both for the same queries. Measure them "
            "together: measure(systems, topics, qrels, measures).perquery."
        )
    return found


def _check_columns(perquery: pd.DataFrame) -> None:
    there = list(getattr(perquery, "columns", ()))
    wanted = ("name", "qid", "value") if "measure" in there else ("name", "qid")
    missing = [column for column in wanted if column not in there]
    if missing:
        raise ValueError(
            f"perquery, a {type(perquery).__name__}, has no column {missing[0]!r}, only {there}; expected a frame with "
            f"one row per system and query. Pass measure(...).perquery: {_CALL}"
        )


def _by_query(rows: pd.DataFrame, name: str, names: list[str]) -> pd.DataFrame:
    """The rows of a system by qid, each of which it may have once."""
    if name not in names:
        raise ValueError(f"the system {name!r} is not in the frame; expected one of {names}. {_CALL}")
    found = rows[rows["name"] == name].set_index("qid")
    twice = found.index[found.index.duplicated()]
    if len(twice):
        raise ValueError(
            f"the query {twice[0]!r} occurs more than once for the system {name!r}; expected one row per system and "
            "query. Give systems of different runs different names."
        )
    return found


def _chance(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    if not values.any():
        return "identical"
    if len(values) == 1:
        return "one query: no test"
    p = p_value(values)
    return "paired t-test p < 0.001" if p < 0.001 else f"paired t-test p = {p:.3f}"
