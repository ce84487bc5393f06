"""Figures that a notebook shows, whether pyplot was imported or not."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160


def new_figure(figsize: tuple[float, float]) -> Figure:
    """An empty figure of a size in inches, not known to pyplot: ``figure.savefig("plot.png")``.

    A plain one shows itself only once `matplotlib.pyplot` is imported, which tells IPython how.
    """
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            page = io.BytesIO()
            self.savefig(page, format="png")
            width, height = (int(96 * inches) for inches in self.get_size_inches())  # CSS has 96 pixels to the inch
            return page.getvalue(), {"width": width, "height": height}

    return Shown(figsize=figsize, dpi=DPI, layout="constrained", facecolor="white")
