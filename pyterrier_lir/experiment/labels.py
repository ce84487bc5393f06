"""Where the names of points stand: beside their point, inside the frame, over nothing else that is drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float64]]  # points (n, 2), or boxes (n, 4): left, bottom, right, top; in pixels

INK, SOFT, MUTED = "#1f2430", "#5b6270", "#8a91a0"

_WIDTH = 28  # characters of a line
# Where a name may stand, best place first: offset in points, and which part of the name is put there (0 left or bottom,
# 1 right or top). All but the first `_NEAR` get a line to their point.
_NEAR = 8
_PLACES: tuple[tuple[float, float, float, float], ...] = tuple(
    (dx * scale, dy * scale, ha, va)
    for scale in (1, 2.2, 3.6, 5, 7, 10)
    for dx, dy, ha, va in (
        (8, 0, 0, 0.5), (0, 9, 0.5, 0), (0, -9, 0.5, 1), (-8, 0, 1, 0.5),
        (7, 7, 0, 0), (7, -7, 0, 1), (-7, 7, 1, 0), (-7, -7, 1, 1),
        (16, 4, 0, 0.5), (16, -4, 0, 0.5), (-16, 4, 1, 0.5), (-16, -4, 1, 0.5),
    )
    if scale > 1 or abs(dx) < 16
)  # fmt: skip
_HORIZONTAL, _VERTICAL = {0: "left", 0.5: "center", 1: "right"}, {0: "bottom", 0.5: "center", 1: "top"}


def name_points(axes: Axes, xs: Floats, ys: Floats, names: Sequence[str], named: Bools, front: Bools) -> None:
    """Writes the names of points into a plot whose limits are set.

    Args:
        axes: The plot.
        xs: Where the points are, in data.
        ys: The same.
        names: Of all points; long ones are broken into lines.
        named: The points whose name is written.
        front: The points that a step line joins; it is not to be covered either.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()  # fixes the lay-out, so that extents are final
    renderer = canvas.get_renderer()
    points = axes.transData.transform(np.column_stack([xs, ys]))
    pixels = axes.figure.dpi / 72
    dots = np.hstack([points - 5 * pixels, points + 5 * pixels])
    drawn, written = np.vstack([dots, *_steps(points[front])]), np.empty((0, 4))
    frame = np.array(axes.get_window_extent(renderer).extents)
    for i in sorted(map(int, np.flatnonzero(named)), key=lambda i: (-ys[i], xs[i])):
        text = axes.annotate(
            textwrap.fill(names[i], _WIDTH), (xs[i], ys[i]), (0, 0), textcoords="offset points", parse_math=False,
            fontsize=9, color=INK if front[i] else SOFT, zorder=5,
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.7, "shrinkB": 4},
        )  # fmt: skip
        text.set_in_layout(False)
        size = np.array(Text.get_window_extent(text, renderer).size)  # of the words, without the line
        place, boxes = _best(points[i], size, dots[i], pixels, frame, written, drawn)
        dx, dy, ha, va = _PLACES[place]
        text.set(position=(dx, dy), ha=_HORIZONTAL[ha], va=_VERTICAL[va])
        text.arrow_patch.set_visible(place >= _NEAR)  # type: ignore[union-attr]
        written = np.vstack([written, boxes])


def _best(
    point: Floats, size: Floats, dot: Floats, pixels: float, frame: Floats, written: Floats, drawn: Floats
) -> tuple[int, Floats]:
    """The place where a name leaves the frame least and then covers least; names and lines count ten times.

    Returns:
        The place, and the boxes of the name and of its line.
    """
    costs, found = [], []
    for i, (dx, dy, ha, va) in enumerate(_PLACES):
        corner = point + pixels * np.array([dx, dy]) - size * [ha, va]
        box = np.concatenate([corner, corner + size])[None]
        boxes = np.vstack([box, _line(point, box[0], dot)]) if i >= _NEAR else box
        outside = round(size.prod() - _overlap(box, frame[None]))
        costs.append((outside, 10 * _overlap(boxes, written) + _overlap(boxes, drawn), i))
        found.append(boxes)
        if costs[-1][:2] == (0, 0):
            break
    best = min(costs)[-1]
    return best, found[best]


def _line(point: Floats, box: Floats, dot: Floats) -> Floats:
    """The line from a point to its name as little boxes, without those on either."""
    middle = (box[:2] + box[2:]) / 2
    steps = np.linspace(0, 1, max(2, int(np.hypot(*(middle - point)) / 3)))[:, None]
    centres = point + steps * (middle - point)
    parts = np.hstack([centres - 3, centres + 3])
    return parts[_shared(parts, np.stack([box, dot])).sum(axis=1) == 0]


def _steps(points: Floats) -> Iterator[Floats]:
    """The boxes that the line through the front fills."""
    for (x0, y0), (x1, y1) in pairwise(points[np.argsort(points[:, 0])]):
        yield np.array([[x0, y0 - 1, x1, y0 + 1], [x1 - 1, min(y0, y1), x1 + 1, max(y0, y1)]])


def _overlap(boxes: Floats, others: Floats) -> float:
    """The area that boxes share with others, in square pixels."""
    return float(_shared(boxes, others).sum())


def _shared(boxes: Floats, others: Floats) -> Floats:
    """The areas that each box shares with each of the others."""
    boxes = boxes[:, None]
    sides = np.minimum(boxes[..., 2:], others[:, 2:]) - np.maximum(boxes[..., :2], others[:, :2])
    areas: Floats = sides.clip(min=0).prod(axis=2)
    return areas
