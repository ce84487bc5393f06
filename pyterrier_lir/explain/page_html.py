"""A page with its similarity maps as HTML: the map of the token that is clicked lies on the page."""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir.explain.heatmap import explained
from pyterrier_lir.explain.highlight import Highlight
from pyterrier_lir.explain.page_map import COLOUR, chosen_tokens, overlays, page_similarities
from pyterrier_lir.pages.images import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

VISIBLE = 0.05  # a patch that is clearer is not written
RGB = ",".join(map(str, COLOUR))
STYLE = """
#NAME input {display: none} #NAME svg g {display: none}
#NAME label {cursor: pointer; padding: 0.1em 0.35em; display: inline-block; border-radius: 3px}
#NAME input:checked + label {background: rgba(RGB,0.25)}
#NAME svg {display: block; border: 1px solid #bbb; margin-top: 0.4em}
""".replace("RGB", RGB)


def page_html(row: Mapping[str, Any], image: Any, *, grid: Sequence[int] | None = None, width: int = 480) -> Highlight:
    """Writes a page below the query's tokens and their shares of the score; a click on a token shows its map.

    At first the token with the largest share is shown.

    Args:
        row: A row of ``index.explain(encoder)`` or ``encoder.explain()``: ``frame.iloc[0]``, or a dictionary.
        image: The page, as `pyterrier_lir.pages.open_image` opens it; it is written into the HTML.
        grid: As for `pyterrier_lir.explain.page_similarities`.
        width: Of the page, in pixels of the screen.

    Returns:
        HTML without a script; a notebook shows it, ``Path("page.html").write_text(found)`` keeps it.

    Raises:
        ValueError: As `pyterrier_lir.explain.page_map`.
    """
    page = open_image(image)
    maps = page_similarities(row, grid)
    words, pos, patches, shares = explained(row, "query_words", "match_pos", "doc_patches", "match_share")
    first = max(chosen_tokens(row), key=lambda i: shares[i])
    name = f"lir{hashlib.sha256(maps.tobytes() + page.tobytes()).hexdigest()[:8]}"  # several may stand on one page
    buttons = (_button(f"{name}-{i}", name, words[i], shares[i], i == first) for i in range(len(words)))
    best = np.where(pos >= 0, patches[pos], -1)
    layers = (
        f'<g class="{name}-{i}">{_rectangles(colours, int(best[i]))}</g>' for i, colours in enumerate(overlays(maps))
    )
    shown = ", ".join(f"#{name}-{i}:checked ~ svg g.{name}-{i}" for i in range(len(words)))
    style = f"{STYLE.replace('NAME', name)}{shown} {{display: inline !important}}"
    body = _svg(page, maps.shape[1:], width, layers)
    return Highlight(f'<div id="{name}"><style>{style}</style>{"".join(buttons)}{body}</div>')


def _button(own: str, group: str, word: str, share: float, checked: bool) -> str:
    state = " checked" if checked else ""
    label = f"{html.escape(word)} <small>{share:.0%}</small>"
    return f'<input type="radio" name="{group}" id="{own}"{state}><label for="{own}">{label}</label>'


def _svg(page: Image, grid: tuple[int, ...], width: int, layers: Iterable[str]) -> str:
    """The page, a patch wide and high for each unit, and the layers on it."""
    rows, across = grid
    height = round(width * page.height / page.width)
    picture = f'<image href="{_data(page)}" width="{across}" height="{rows}" preserveAspectRatio="none"/>'
    box = f'width="{width}" height="{height}" viewBox="0 0 {across} {rows}" preserveAspectRatio="none"'
    return f"<svg {box}>{picture}{''.join(layers)}</svg>"


def _rectangles(colours: npt.NDArray[np.float32], best: int) -> str:
    """The visible patches of a map, and a frame around the one that MaxSim took."""
    parts = []
    for down, right in np.argwhere(colours[..., 3] > VISIBLE):
        fill = f"rgba({RGB},{colours[down, right, 3]:.2f})"
        parts.append(f'<rect x="{right}" y="{down}" width="1" height="1" fill="{fill}"/>')
    if best >= 0:
        down, right = divmod(best, colours.shape[1])
        frame = 'fill="none" stroke="#1d3557" stroke-width="0.15"'
        parts.append(f'<rect x="{right}" y="{down}" width="1" height="1" {frame}/>')
    return "".join(parts)


def _data(page: Image) -> str:
    data = io.BytesIO()
    page.save(data, format="png")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
