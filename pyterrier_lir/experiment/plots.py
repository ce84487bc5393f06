"""The trade-off between time and quality, as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_lir.experiment.labels import INK, MUTED, SOFT, Bools, Floats, name_points
from pyterrier_lir.figures import new_figure
from pyterrier_lir.options import listed

if TYPE_CHECKING:
    import pandas as pd
    from ir_measures import Measure
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACCENT, _GRID = "#2f6fb0", "#e7e9ee"

_ALL_NAMED = 12  # with more points only those of the front are named

_AXES = {
    "retrieve_ms": "milliseconds per query, from encoded queries (median)",
    "retrieve_ms_p95": "milliseconds per query, from encoded queries (95th percentile)",
    "encode_ms": "milliseconds to encode a query (median)",
    "index_mb": "index, 10^6 bytes",
    "bytes_per_doc": "bytes of the index per document",
    "derived_mb": "derived beside the index, 10^6 bytes",
    "scored": "documents scored per query (mean)",
}


def pareto_front(results: pd.DataFrame, x: str | Measure = "retrieve_ms", y: str | Measure = "nDCG@10") -> Bools:
    """Marks the rows than which no other is both at most as slow and at least as good, and better in one of the two.

    A row without one of the two numbers is not marked.

    Args:
        results: One row per system.
        x: The column to keep small.
        y: The column to make large.

    Raises:
        ValueError: If a column is missing, or holds something else than numbers.

    Example:
        >>> import pandas as pd
        >>> pareto_front(pd.DataFrame({"ms": [1, 2, 3], "AP": [0.3, 0.2, 0.4]}), "ms", "AP").tolist()
        [True, False, True]
    """
    _check_columns(results, (str(x), str(y)), "pareto_front")
    xs, ys = _values(results, str(x)), _values(results, str(y))
    not_worse = (xs[:, None] <= xs) & (ys[:, None] >= ys)
    better = (xs[:, None] < xs) | (ys[:, None] > ys)
    front: Bools = ~(not_worse & better).any(axis=0) & np.isfinite(xs) & np.isfinite(ys)
    return front


@listed
def tradeoff_plot(
    results: pd.DataFrame,
    *,
    x: str | Measure = "retrieve_ms",
    y: str | Measure = "nDCG@10",
    label: str = "name",
    title: str | None = None,
    xlabel: str | None = None,
    figsize: tuple[float, float] = (7.2, 4.4),
) -> Figure:
    """Draws systems by cost (logarithmic, left is less) and quality (up is better), with their Pareto front.

    Up to 12 systems are all named; of more, only those of the front. A name that would cover something gives way to a
    number, and stands below the plot. So do the names of systems without one of the two numbers, which are not drawn.

    Args:
        results: One row per system, as ``results.csv``, `sweep` and ``experiment.measure(...).results`` have them.
        x: The column with a time or another cost, positive.
        y: The column with a measure, or the measure itself.
        label: The column with the systems' names.
        title: Above the plot.
        xlabel: Below the plot; None for a description of the column.
        figsize: In inches; it grows for names below the plot.

    Returns:
        A figure of its own, not known to pyplot: ``figure.savefig("tradeoff.png")``.

    Raises:
        ValueError: If a column is missing, no system has both numbers, one is not a finite number, or a cost is not
            positive.
    """
    x, y = str(x), str(y)
    shown = _shown(results, x, y, label)
    xs, ys, front = _values(shown, x), _values(shown, y), pareto_front(shown, x, y)
    figure = new_figure(figsize)
    axes = figure.add_subplot()
    _style(axes, xlabel or _AXES.get(x, x), y, title)
    _limits(axes, xs, ys)
    best = np.flatnonzero(front)[np.argsort(xs[front], kind="stable")]
    axes.step(xs[best], ys[best], where="post", color=_ACCENT, lw=1.3, alpha=0.55, zorder=2)
    axes.scatter(xs[~front], ys[~front], s=42, color="white", edgecolor=MUTED, lw=1.4, zorder=3)
    axes.scatter(xs[best], ys[best], s=46, color=_ACCENT, edgecolor="white", lw=0.8, zorder=4)
    without = _left_out(results, x, y, label)
    if without:
        lines = textwrap.fill(without, int(15 * figsize[0]), max_lines=3, placeholder=" ...")
        figure.supxlabel(lines, x=0.01, ha="left", fontsize=8, color=SOFT, parse_math=False)
    name_points(axes, xs, ys, [str(name) for name in shown[label]], front | (len(xs) <= _ALL_NAMED), front)
    return figure


def _shown(results: pd.DataFrame, x: str, y: str, label: str) -> pd.DataFrame:
    """The systems that have both numbers, after a check."""
    _check_columns(results, (x, y, label), "tradeoff_plot")
    if not len(results):
        raise ValueError("the results have no rows; expected one per system. Pass measure(...).results.")
    _check_values(results, x, label, positive=True)
    _check_values(results, y, label, positive=False)
    shown = results[results[x].notna() & results[y].notna()]
    if not len(shown):
        raise ValueError(
            f"no system has both {x} and {y}; expected at least one. Name columns that have values: "
            'tradeoff_plot(results, x="retrieve_ms", y="nDCG@10").'
        )
    return shown


def _check_columns(results: pd.DataFrame, columns: Sequence[str], function: str) -> None:
    there = list(getattr(results, "columns", ()))
    missing = [column for column in columns if column not in there]
    if missing:
        raise ValueError(
            f"the results, a {type(results).__name__}, have no column {missing[0]!r}, only {there}; expected a frame "
            "with one row per system. Pass measure(...).results, or name the columns: "
            f'{function}(results, x="mrt", y="nDCG@10").'
        )


def _check_values(results: pd.DataFrame, column: str, label: str, *, positive: bool) -> None:
    """Missing values are no mistake: not every system has every cost."""
    there = results[results[column].notna()]
    for name, value in zip(there[label], there[column], strict=True):
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not np.isfinite(value) or (positive and value <= 0):
            wanted = "a positive number, for the axis is logarithmic" if positive else "a finite number"
            raise ValueError(
                f"{column} of {name!r} is {value!r}; expected {wanted}. Name another column, or leave the system out: "
                f"tradeoff_plot(results[results[{label!r}] != {name!r}])."
            )


def _left_out(results: pd.DataFrame, x: str, y: str, label: str) -> str:
    missing = {column: results[label][results[column].isna()] for column in (x, y)}
    parts = [f"without {column}: {', '.join(map(str, names))}" for column, names in missing.items() if len(names)]
    return f"not shown, {'; '.join(parts)}" if parts else ""


def _values(results: pd.DataFrame, column: str) -> Floats:
    try:
        return results[column].to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the column {column!r} is no numbers but {results[column].dtype}, such as {results[column].iloc[0]!r}; "
            f"expected numbers, or text that is numbers. Name another column: one of {list(results.columns)}."
        ) from error


def _style(axes: Axes, xlabel: str, ylabel: str, title: str | None) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=_GRID, lw=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel(xlabel, color=INK, fontsize=10, parse_math=False)
    axes.set_ylabel(ylabel, color=INK, fontsize=10, parse_math=False)
    if title:
        axes.set_title(title, color=INK, fontsize=11, loc="left", fontweight="bold", parse_math=False)


def _limits(axes: Axes, xs: Floats, ys: Floats) -> None:
    """Room around the points for their labels; at least a factor of two in time."""
    from matplotlib.ticker import LogLocator

    low, high = np.log10(xs.min()), np.log10(xs.max())
    room = max(0.22 * (high - low), 0.25)
    axes.set_xlim(10 ** (low - room), 10 ** (high + room))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high - low < 2 else (1.0,)))
    room = max(0.18 * (ys.max() - ys.min()), 0.01)
    axes.set_ylim(ys.min() - room, ys.max() + room)
