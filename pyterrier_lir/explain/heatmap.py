"""A heat map of the similarities of a query with a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir.figures import new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

CELL = 0.22  # inches


def heatmap(row: Mapping[str, Any], *, title: str | None = None, figsize: tuple[float, float] | None = None) -> Figure:
    """Draws all similarities of an explained row, query tokens downwards, and marks those that MaxSim took.

    Args:
        row: A row of ``index.explain()`` or ``encoder.explain()``: ``frame.iloc[0]``, or a dictionary.
        title: Above the picture; None for query, docno and score.
        figsize: In inches; None for a size that fits the number of tokens.

    Returns:
        A figure of its own, not known to pyplot; a notebook shows it, ``figure.savefig("match.png")`` keeps it.

    Raises:
        ValueError: If the row was not explained, or its document is empty.
    """
    matrix, pos, query_words, doc_words = explained(row, "match_matrix", "match_pos", "query_words", "doc_words")
    if not matrix.size:
        raise ValueError(
            f"the similarities have the shape {matrix.shape}; expected a query and a document with tokens."
        )
    size = figsize or (2.5 + CELL * len(doc_words), 1.5 + CELL * len(query_words))
    figure = new_figure(size)
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="Blues", aspect="auto", vmin=min(0, matrix.min()), vmax=max(1, matrix.max()))
    rows = np.flatnonzero(pos >= 0)
    axes.scatter(pos[rows], rows, s=9, color="#d1495b")
    axes.set_xticks(range(len(doc_words)), doc_words, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(query_words)), query_words, fontsize=7, parse_math=False)
    axes.set_title(_title(row) if title is None else title, fontsize=8, parse_math=False)
    figure.colorbar(image, ax=axes, label="similarity")
    return figure


def explained(row: Mapping[str, Any], *names: str) -> list[Any]:
    """Some columns of an explained row.

    Raises:
        ValueError: If it has them not.
    """
    if getattr(row, "ndim", 1) != 1:
        raise ValueError(f"a frame of {len(row)} rows was given; expected one of them: explained.iloc[0].")
    missing = [name for name in names if name not in row]
    if missing:
        raise ValueError(
            f"the row has no {missing[0]}, only {list(row.keys())}; expected an explained one: "
            "(pipeline % 5 >> index.explain(encoder))(topics).iloc[0]."
        )
    return [row[name] for name in names]


def _title(row: Mapping[str, Any]) -> str:
    score = f"{row['score']:.2f}" if "score" in row else None
    return "   ".join(str(part) for part in (row.get("query"), row.get("docno"), score) if part is not None)
