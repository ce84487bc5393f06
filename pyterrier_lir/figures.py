"""Figures that a notebook shows, whether pyplot was imported or not."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160


def new_figure(figsize: tuple[float, float]) -> Figure:
    """An empty figure of a size in inches, not known to pyplot: ``figure.savefig("plot.png")``.

    A plain one shows itself only once `matplotlib.pyplot` is imported, which tells IPython how.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, dpi=DPI, layout="constrained", facecolor="white")
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]  # unlike a class made here, it pickles
    return figure


def _png(figure: Figure) -> tuple[bytes, dict[str, int]]:
    page = io.BytesIO()
    figure.savefig(page, format="png")
    width, height = (int(96 * inches) for inches in figure.get_size_inches())  # CSS has 96 pixels to the inch
    return page.getvalue(), {"width": width, "height": height}
