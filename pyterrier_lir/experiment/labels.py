"""Where the names of points stand: beside their point, inside the frame, over nothing else that is drawn.

A name that finds no such place gives way to a number, and stands in a list below the plot.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float64]]  # points (n, 2), or boxes (n, 4): left, bottom, right, top; in pixels

INK, SOFT, MUTED = "#1f2430", "#5b6270", "#8a91a0"

_WIDTH = 28  # characters of a line
_DOT, _MARGIN = 5.0, 1.5  # points: half a dot, and what is left free around a name
# Where a name may stand, best place first: offset in points, and which part of the name is put there (0 left or bottom,
# 1 right or top). All but the first `_NEAR` get a line to their point.
_BESIDE = ((8, 0, 0, 0.5), (0, 9, 0.5, 0), (0, -9, 0.5, 1), (-8, 0, 1, 0.5), (7, 7, 0, 0), (7, -7, 0, 1), (-7, 7, 1, 0),
           (-7, -7, 1, 1))  # fmt: skip
_NEAR = len(_BESIDE)
_AROUND = tuple(
    (radius * np.cos(angle), radius * np.sin(angle), *anchors)
    for radius in (16, 24, 34, 46, 60, 76, 94)
    for angle in np.arange(0, 2 * np.pi, np.pi / 8)
    for anchors in [((0.5 - np.cos(angle) / 2).round(3), (0.5 - np.sin(angle) / 2).round(3))]
)
_PLACES = np.array(_BESIDE + _AROUND)
_PER_INCH = 15  # characters of the list below


class _Drawn(NamedTuple):
    """What is in the plot already: points, and boxes of their dots, the line through the front, and the frame."""

    points: Floats
    dots: Floats
    front: Floats
    frame: Floats
    pixels: float  # in a point of typography


class _Spot(NamedTuple):
    """Where a name stands: the place, its box, the boxes of its line, and whether nothing else is there."""

    place: int
    box: Floats
    line: Floats
    free: bool


def name_points(axes: Axes, xs: Floats, ys: Floats, names: Sequence[str], named: Bools, front: Bools) -> None:
    """Writes the names of points into a plot whose limits are set, or below it.

    Args:
        axes: The plot, in a figure whose lay-out is constrained.
        xs: Where the points are, in data.
        ys: The same.
        names: Of all points; long ones are broken into lines.
        named: The points whose name is written.
        front: The points that a step line joins; it is not to be covered either.
    """
    figure: Figure = axes.figure  # type: ignore[assignment]
    order = sorted(map(int, np.flatnonzero(named)), key=lambda i: (-ys[i], xs[i]))
    texts = {i: _text(axes, xs[i], ys[i], names[i], INK if front[i] else SOFT) for i in order}
    numbers: dict[int, int] = {}
    while True:
        spots = _arranged(axes, xs, ys, front, texts, numbers)
        crowded = [i for i in order if not spots[i].free and i not in numbers]
        if not crowded:
            break
        numbers = {i: n for n, i in enumerate([i for i in order if i in numbers or i in crowded], start=1)}
        for i, number in numbers.items():
            texts[i].set_text(str(number))
        _list_below(figure, [names[i] for i in numbers])  # leaves less room for the plot: once more
    for i, spot in spots.items():
        dx, dy, right, top = _PLACES[spot.place]
        width, height = (spot.box[2:] - spot.box[:2]) * 72 / figure.dpi
        texts[i].set(position=(dx - right * width, dy - top * height), ha="left", va="bottom")
        texts[i].set_multialignment("left" if right < 0.3 else "right" if right > 0.7 else "center")
        texts[i].arrow_patch.set_visible(spot.place >= _NEAR)  # type: ignore[union-attr]


def _text(axes: Axes, x: float, y: float, name: str, colour: str) -> Annotation:
    text = axes.annotate(
        textwrap.fill(name, _WIDTH), (x, y), (0, 0), textcoords="offset points", parse_math=False, fontsize=9,
        color=colour, zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.7, "shrinkA": 0, "shrinkB": 4},
    )  # fmt: skip
    text.set_in_layout(False)
    return text


def _list_below(figure: Figure, names: Sequence[str]) -> None:
    """The names by their numbers, in columns, for which the figure grows."""
    from matplotlib.lines import Line2D

    note, grown = figure.get_supxlabel(), 0
    for legend in figure.legends:
        note, grown = legend.get_title().get_text(), legend.rows  # type: ignore[attr-defined]
        legend.remove()
    figure.supxlabel("")  # both would stand at the same place
    width, height = figure.get_size_inches()
    shown = [textwrap.shorten(name, int(_PER_INCH * width) - 6, placeholder=" ...") for name in names]
    columns = max(1, int(_PER_INCH * width / (max(map(len, shown)) + 6)))
    dots = [
        Line2D([], [], ls="", marker=f"${n}$", color=INK, mew=0, ms=5 + 3 * (n > 9)) for n in range(1, len(shown) + 1)
    ]
    legend = figure.legend(
        dots, shown, loc="outside lower left", ncols=columns, frameon=False, fontsize=8, labelcolor=SOFT,
        handletextpad=0.2, borderpad=0.2, labelspacing=0.35, title=note or None, title_fontsize=8, alignment="left",
    )  # fmt: skip
    legend.get_title().set_color(SOFT)
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_parse_math(False)
    legend.rows = -(-len(shown) // columns)  # type: ignore[attr-defined]
    figure.set_size_inches(width, height + 0.16 * (legend.rows - grown))  # type: ignore[attr-defined]


def _arranged(
    axes: Axes, xs: Floats, ys: Floats, front: Bools, texts: dict[int, Annotation], numbers: dict[int, int]
) -> dict[int, _Spot]:
    """A place for every name; of four orders, from each side of the plot, the one in which most find a free one.

    Numbers come first: whatever their lines would cross stands elsewhere, or is numbered in the next round.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()  # fixes the lay-out, so that extents are final
    renderer = canvas.get_renderer()
    pixels = axes.figure.dpi / 72
    points = axes.transData.transform(np.column_stack([xs, ys]))
    dots = np.hstack([points - _DOT * pixels, points + _DOT * pixels])
    steps = np.vstack([np.empty((0, 4)), *_steps(points[front], pixels)])
    drawn = _Drawn(points, dots, steps, np.array(axes.get_window_extent(renderer).extents), pixels)
    # of the words, without the line
    sizes = {i: np.array(Text.get_window_extent(text, renderer).size) for i, text in texts.items()}
    tried = []
    for axis, sign in ((1, -1), (1, 1), (0, 1), (0, -1)):
        sides = sign * points[:, axis]
        order = sorted(texts, key=lambda i: (i not in numbers, not front[i], sides[i], -points[i, 1], points[i, 0]))
        tried.append(_in_order(order, sizes, drawn))
        if all(spot.free for spot in tried[-1].values()):
            break
    return max(tried, key=lambda spots: sum(spot.free for spot in spots.values()))


def _in_order(order: Sequence[int], sizes: dict[int, Floats], drawn: _Drawn) -> dict[int, _Spot]:
    written = lines = np.empty((0, 4))
    spots = {}
    for i in order:
        spots[i] = _spot(i, sizes[i], drawn, written, lines)
        written, lines = np.vstack([written, spots[i].box]), np.vstack([lines, spots[i].line])
    return spots


def _spot(i: int, size: Floats, drawn: _Drawn, written: Floats, lines: Floats) -> _Spot:
    """The first free place; a line that crosses the front's is as bad as twenty places further on.

    Where no place is free: one that covers least.
    """
    point, dot, pixels = drawn.points[i], drawn.dots[i], drawn.pixels
    corners = point + pixels * _PLACES[:, :2] - size * _PLACES[:, 2:]
    boxes = np.hstack([corners, corners + size])
    covered = _shared(_padded(boxes, _MARGIN * pixels), np.vstack([drawn.dots, drawn.front, written, lines])).sum(
        axis=1
    )
    covered += 10 * (size.prod() - _shared(boxes, drawn.frame[None])[:, 0]).round()  # outside
    # Of points at one place the lines begin together: only what is further away can be crossed.
    apart = lines[~_shared(lines, _padded(dot, 4 * pixels)[None]).any(axis=1)]
    others = np.vstack([drawn.dots[(drawn.dots != dot).any(axis=1)], _padded(written, _MARGIN * pixels), apart])
    least = covered.min()
    found = []
    for place in map(int, np.flatnonzero(covered == least)):
        line = _line(point, boxes[place], dot, pixels) if place >= _NEAR else np.empty((0, 4))
        crossed = float(_shared(line, others).sum())
        found.append((crossed, place + 20 * bool(_shared(line, drawn.front).any()), place, line))
        if not crossed and found[-1][1] == place:  # none of the others can be better
            break
    crossed, _, best, line = min(found, key=lambda one: one[:2])
    return _Spot(best, boxes[best], line, bool(least <= 0 and not crossed))


def _line(point: Floats, box: Floats, dot: Floats, pixels: float) -> Floats:
    """The line from a point to its name as little boxes, without those on either."""
    middle = (box[:2] + box[2:]) / 2
    steps = np.linspace(0, 1, max(2, int(np.hypot(*(middle - point)) / (2 * pixels))))[:, None]
    centres = point + steps * (middle - point)
    parts = np.hstack([centres - pixels, centres + pixels])
    return parts[_shared(parts, np.stack([box, dot])).sum(axis=1) == 0]


def _steps(points: Floats, pixels: float) -> Iterator[Floats]:
    """The boxes that the line through the front fills."""
    for (x0, y0), (x1, y1) in pairwise(points[np.argsort(points[:, 0], kind="stable")]):
        yield np.array([
            [x0, y0 - pixels, x1, y0 + pixels],
            [x1 - pixels, min(y0, y1), x1 + pixels, max(y0, y1)],
        ])  # fmt: skip


def _padded(boxes: Floats, margin: float) -> Floats:
    padded: Floats = boxes + margin * np.array([-1, -1, 1, 1])
    return padded


def _shared(boxes: Floats, others: Floats) -> Floats:
    """The areas that each box shares with each of the others, in square pixels."""
    boxes = boxes[:, None]
    sides = np.minimum(boxes[..., 2:], others[:, 2:]) - np.maximum(boxes[..., :2], others[:, :2])
    areas: Floats = sides.clip(min=0).prod(axis=2)
    return areas
