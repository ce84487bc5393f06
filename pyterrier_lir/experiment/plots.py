"""The trade-off between time and quality, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir.figures import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bools = np.ndarray[Any, np.dtype[np.bool_]]

INK, MUTED, _ACCENT, _GRID = "#1f2430", "#8a91a0", "#2f6fb0", "#e7e9ee"

_AXES = {
    "retrieve_ms": "milliseconds per query, from encoded queries (median)",
    "retrieve_ms_p95": "milliseconds per query, from encoded queries (95th percentile)",
    "encode_ms": "milliseconds to encode a query (median)",
    "index_mb": "index, 10^6 bytes",
    "bytes_per_doc": "bytes of the index per document",
    "plaid_scored": "documents scored exactly per query (mean)",
}

# Where a label may stand, best place first: offset in points, and how it is aligned there.
_PLACES: tuple[tuple[float, float, str, str], ...] = tuple(
    (dx * scale, dy * scale, ha, va)
    for scale in (1, 2.2, 3.6, 5)
    for dx, dy, ha, va in (
        (8, 0, "left", "center"), (0, 9, "center", "bottom"), (0, -9, "center", "top"), (-8, 0, "right", "center"),
        (7, 7, "left", "bottom"), (7, -7, "left", "top"), (-7, 7, "right", "bottom"), (-7, -7, "right", "top"),
    )
)  # fmt: skip


def pareto_front(results: pd.DataFrame, x: str = "retrieve_ms", y: str = "nDCG@10") -> Bools:
    """Marks the rows than which no other is both at most as slow and at least as good, and better in one of the two.

    Args:
        results: One row per system.
        x: The column to keep small.
        y: The column to make large.

    Example:
        >>> import pandas as pd
        >>> pareto_front(pd.DataFrame({"ms": [1, 2, 3], "AP": [0.3, 0.2, 0.4]}), "ms", "AP").tolist()
        [True, False, True]
    """
    xs, ys = results[x].to_numpy(dtype=float), results[y].to_numpy(dtype=float)
    not_worse = (xs[:, None] <= xs) & (ys[:, None] >= ys)
    better = (xs[:, None] < xs) | (ys[:, None] > ys)
    front: Bools = ~(not_worse & better).any(axis=0) & np.isfinite(xs) & np.isfinite(ys)
    return front


def tradeoff_plot(
    results: pd.DataFrame,
    *,
    x: str = "retrieve_ms",
    y: str = "nDCG@10",
    label: str = "name",
    title: str | None = None,
    xlabel: str | None = None,
    figsize: tuple[float, float] = (7.2, 4.4),
) -> Figure:
    """Draws systems by cost (logarithmic, left is less) and quality (up is better), with their Pareto front.

    Args:
        results: One row per system, as ``results.csv``, `sweep` and ``experiment.measure(...).results`` have them.
        x: The column with a time or another cost, positive.
        y: The column with a measure.
        label: The column with the systems' names.
        title: Above the plot.
        xlabel: Below the plot; None for a description of the column.
        figsize: In inches.

    Returns:
        A figure of its own, not known to pyplot: ``figure.savefig("tradeoff.png")``.

    Raises:
        ValueError: If a column is missing, there are no rows, or a time is not positive.
    """
    _check(results, x, y, label)
    figure = new_figure(figsize)
    axes = figure.add_subplot()
    front = pareto_front(results, x, y)
    _style(axes, xlabel or _AXES.get(x, x), y, title)
    _limits(axes, results[x], results[y])
    best = results[front].sort_values(x)
    axes.step(best[x], best[y], where="post", color=_ACCENT, lw=1.3, alpha=0.55, zorder=2)
    axes.scatter(results[x][~front], results[y][~front], s=42, color="white", edgecolor=MUTED, lw=1.4, zorder=3)
    axes.scatter(best[x], best[y], s=46, color=_ACCENT, edgecolor="white", lw=0.8, zorder=4)
    _label(axes, results[x].tolist(), results[y].tolist(), [str(name) for name in results[label]], front)
    return figure


def _check(results: pd.DataFrame, x: str, y: str, label: str) -> None:
    there = list(getattr(results, "columns", ()))
    missing = [column for column in (x, y, label) if column not in there]
    if missing:
        raise ValueError(
            f"the results, a {type(results).__name__}, have no column {missing[0]!r}, only {there}; expected a frame "
            'with one row per system. Name its columns: tradeoff_plot(results, x="mrt", y="nDCG@10").'
        )
    if not len(results):
        raise ValueError("the results have no rows; expected one per system.")
    if not (results[x] > 0).all():
        raise ValueError(f"{x} holds {results[x].min()}; expected positive times, for the axis is logarithmic.")


def _style(axes: Axes, xlabel: str, ylabel: str, title: str | None) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=_GRID, lw=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel(xlabel, color=INK, fontsize=10)
    axes.set_ylabel(ylabel, color=INK, fontsize=10)
    if title:
        axes.set_title(title, color=INK, fontsize=11, loc="left", fontweight="bold")


def _limits(axes: Axes, xs: pd.Series[float], ys: pd.Series[float]) -> None:
    """Room around the points for their labels; at least a factor of two in time."""
    from matplotlib.ticker import LogLocator

    low, high = np.log10(xs.min()), np.log10(xs.max())
    room = max(0.22 * (high - low), 0.25)
    axes.set_xlim(10 ** (low - room), 10 ** (high + room))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high - low < 2 else (1.0,)))
    room = max(0.18 * (ys.max() - ys.min()), 0.01)
    axes.set_ylim(ys.min() - room, ys.max() + room)


def _label(axes: Axes, xs: Sequence[float], ys: Sequence[float], names: Sequence[str], front: Bools) -> None:
    """Puts each name where it covers neither a point nor another name; a far one gets a line to its point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()  # fixes the lay-out, so that extents are final
    renderer = canvas.get_renderer()
    points = axes.transData.transform(np.column_stack([xs, ys]))
    radius = 5 * axes.figure.dpi / 72
    taken = [(px - radius, py - radius, px + radius, py + radius) for px, py in points]
    taken += _steps(points[front])
    frame = axes.get_window_extent(renderer).extents
    for x, y, name, best in sorted(zip(xs, ys, names, front, strict=True), key=lambda item: (-item[1], item[0])):
        costs = []
        for i, (dx, dy, ha, va) in enumerate(_PLACES):
            text = axes.annotate(
                name, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=9, zorder=5,
                color=INK if best else "#5b6270",
                arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.7, "shrinkB": 4} if i >= 8 else None,
            )  # fmt: skip
            text.set_in_layout(False)
            text.update_positions(renderer)
            box = tuple(Text.get_window_extent(text, renderer).extents)  # of the words, without the line
            costs.append((sum(_overlap(box, other) for other in taken) + 4 * _outside(box, frame), i, text, box))
            if costs[-1][0] == 0:
                break
        _, _, keep, box = min(costs, key=lambda cost: cost[:2])
        for _, _, text, _ in costs:
            if text is not keep:
                text.remove()
        taken.append((box[0], box[1], box[2], box[3]))


def _steps(points: np.ndarray[Any, np.dtype[np.float64]]) -> list[tuple[float, float, float, float]]:
    """The boxes that the line through the front fills."""
    ordered = points[np.argsort(points[:, 0])]
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(ordered):
        boxes += [(x0, y0 - 1, x1, y0 + 1), (x1 - 1, min(y0, y1), x1 + 1, max(y0, y1))]
    return boxes


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return float(width * height) if width > 0 and height > 0 else 0.0


def _outside(box: Sequence[float], frame: Sequence[float]) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(max(0.0, area - _overlap(box, frame)))
