"""Text, tables and plots as pictures of pages: for the embedded collection of pages, and for the toy that reads it.

Text stands in a grid, one character to a cell of `CELL` pixels, in the typewriter face that matplotlib brings. A page
has `LINES` lines of `COLUMNS` characters; what does not fit is left out.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

CELL = (8, 16)  # pixels of a character, width and height
COLUMNS, LINES = 64, 32
FONT_SIZE = 13
DPI = 100  # of plots: 5.12 inches are the width of a page


@dataclass(frozen=True)
class TextPage:
    """A page of text, drawn when it is opened.

    Attributes:
        text: Paragraphs are kept, lines are broken where the page ends.
    """

    text: str

    def open(self) -> Image:
        """Draws the page."""
        return draw_lines(wrapped(self.text))


@dataclass(frozen=True)
class TablePage:
    """A page with a table of two columns, drawn when it is opened.

    Attributes:
        rows: What stands on the left, and on the right.
    """

    rows: tuple[tuple[str, str], ...]

    def open(self) -> Image:
        """Draws the table, with a rule between its rows."""
        from PIL import ImageDraw

        left = min(max(len(name) for name, _ in self.rows), COLUMNS // 2 - 2)
        lines, rules = [], []
        for name, text in self.rows:
            broken = textwrap.wrap(text, COLUMNS - left - 3) or [""]
            lines += [f"{name[:left] if i == 0 else '':{left}} | {part}" for i, part in enumerate(broken)]
            rules.append(len(lines))
        image = draw_lines(lines)
        pen = ImageDraw.Draw(image)
        for line in rules:
            pen.line([(0, line * CELL[1] - 1), (image.width, line * CELL[1] - 1)], fill=180)
        return image


@dataclass(frozen=True)
class PlotPage:
    """A page with a bar chart by matplotlib, drawn when it is opened.

    Attributes:
        bars: Names, and lengths of their bars.
        label: Under the axis.
    """

    bars: tuple[tuple[str, float], ...]
    label: str

    def open(self) -> Image:
        """Draws the chart."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image

        size = COLUMNS * CELL[0] / DPI, LINES * CELL[1] / DPI
        figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        names, lengths = zip(*self.bars, strict=True)
        axes.barh(range(len(names)), lengths, color="#4878a8")
        axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel(self.label)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def wrapped(text: str) -> list[str]:
    """The lines of a text, none longer than a page is wide."""
    return [
        part for line in text.splitlines() for part in textwrap.wrap(line, COLUMNS, replace_whitespace=True) or [""]
    ]


def draw_lines(lines: Sequence[str], columns: int = COLUMNS, height: int = LINES) -> Image:
    """Draws lines of text, black on white, every character in a cell of its own; grey, mode ``"L"``."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (columns * CELL[0], height * CELL[1]), 255)
    pen, font = ImageDraw.Draw(image), _font()
    for down, line in enumerate(lines[:height]):
        for right, character in enumerate(line[:columns]):
            if not character.isspace():
                pen.text((right * CELL[0], down * CELL[1]), character, fill=0, font=font)
    return image


@functools.cache
def _font() -> Any:
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")
    return ImageFont.truetype(str(path), FONT_SIZE)
