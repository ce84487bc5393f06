"""A document's text with what the query met in it, as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir.explain.heatmap import explained

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTS = ("Ġ", "▁")  # at the beginning of a word, in byte-pair and in unigram vocabularies
CONTINUES = "##"  # within a word, in WordPiece vocabularies


class Highlight(str):
    """HTML as a string; a notebook shows it."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<HTML of {len(self):,} characters>"


def highlight(row: Mapping[str, Any]) -> Highlight:
    """Writes a document's tokens, each on a ground that is the deeper the more of the score it brought.

    Blue is a semantic match, green an exact one; a tool-tip names the query's tokens and their shares.

    Args:
        row: A row of ``index.explain(encoder)`` or ``encoder.explain()``: ``frame.iloc[0]``, or a dictionary.

    Returns:
        An HTML paragraph; a notebook shows it.

    Raises:
        ValueError: If the row was not explained.
    """
    names = ("query_words", "doc_words", "match_pos", "match_share", "match_exact")
    query_words, doc_words, pos, shares, exact = explained(row, *names)
    parts = []
    for j, (gap, word) in enumerate(_spaced(doc_words)):
        met = np.flatnonzero(pos == j)
        share = float(shares[met].sum())
        text = html.escape(word)
        if share > 0:
            tip = ", ".join(f"{query_words[i]} {shares[i]:.0%}" for i in met)
            colour = "46, 139, 87" if exact[met].any() else "47, 111, 176"
            alpha = 0.15 + 0.85 * min(1.0, share / max(float(shares.max()), 1e-9))
            style = f"background: rgba({colour}, {alpha:.2f}); border-radius: 2px"
            text = f'<span style="{style}" title="{html.escape(tip)}">{text}</span>'
        parts.append(gap + text)
    return Highlight(f"<p>{''.join(parts).strip()}</p>")


def _spaced(words: Sequence[str]) -> list[tuple[str, str]]:
    """Each word piece as it is read, and the blank before it, if there is one."""
    marked = any(word.startswith(STARTS) for word in words)
    spaced = []
    for word in words:
        if marked:
            spaced.append((" ", word[1:]) if word.startswith(STARTS) else ("", word))
        else:
            spaced.append(("", word[2:]) if word.startswith(CONTINUES) and len(word) > 2 else (" ", word))
    return spaced
