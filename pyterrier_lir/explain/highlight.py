"""A document's text with what the query met in it, as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Piece(NamedTuple):
    """A part of the document: its text, the document rows that stand for it, and what is before it."""

    gap: str
    text: str
    rows: tuple[int, ...]


def highlight(row: Mapping[str, Any]) -> Highlight:
    """Writes a document, each token on a ground that is the deeper the more of the score it brought.

    Blue is a semantic match, green an exact one; a tool-tip names the query's tokens and their shares. A row of
    ``encoder.explain()`` shows the text as it stands, in any script: letters with their marks and emoji of several
    parts are coloured whole, and the browser sets the direction. A row of ``index.explain(encoder)`` shows tokens, as
    the index has no texts.

    Args:
        row: A row of ``index.explain(encoder)`` or ``encoder.explain()``: ``frame.iloc[0]``, or a dictionary.

    Returns:
        An HTML paragraph; a notebook shows it.

    Raises:
        ValueError: If the row was not explained.
    """
    query_words, pos, shares, exact = explained(row, "query_words", "match_pos", "match_share", "match_exact")
    strongest = max(float(shares.max()), 1e-9) if len(shares) else 1.0
    parts = []
    for piece in pieces(row):
        met = np.flatnonzero(np.isin(pos, piece.rows))
        share = float(shares[met].sum())
        text = html.escape(piece.text)
        if share > 0:
            tip = ", ".join(f"{query_words[i]} {shares[i]:.0%}" for i in met)
            colour = "46, 139, 87" if exact[met].any() else "47, 111, 176"
            style = f"background: rgba({colour}, {0.15 + 0.85 * min(1.0, share / strongest):.2f}); border-radius: 2px"
            text = f'<span style="{style}" title="{html.escape(tip)}">{text}</span>'
        parts.append(html.escape(piece.gap) + text)
    return Highlight(f'<p dir="auto">{"".join(parts).strip()}</p>')


def pieces(row: Mapping[str, Any]) -> list[Piece]:
    """The document of an explained row, cut at its tokens: its text where the row has it, else the tokens.

    Args:
        row: A row of ``index.explain(encoder)`` or ``encoder.explain()``.

    Raises:
        ValueError: If the row was not explained.
    """
    (words,) = explained(row, "doc_words")
    spans = row["doc_spans"] if "doc_spans" in row else np.zeros((0, 2), np.int32)
    known = len(spans) == len(words) and bool((spans >= 0).any())
    return list(_pieces_of_text(row["doc_text"], spans) if known else _pieces_of_words(words))


def _pieces_of_text(text: str, spans: Any) -> Iterator[Piece]:
    """Cuts a text at its tokens, widened to whole characters as readers see them; what is between them has no rows."""
    borders = _characters(text)
    widened = [(borders[start][0], borders[end - 1][1], j) for j, (start, end) in enumerate(spans) if start >= 0]
    merged: list[tuple[int, int, tuple[int, ...]]] = []
    for start, end, j in sorted(widened):
        # tokens that share a character, such as the bytes of an emoji; a blank's goes with what follows it
        if merged and (start < merged[-1][1] or start == merged[-1][0]):
            before = merged.pop()
            merged.append((before[0], max(before[1], end), (*before[2], j)))
        else:
            merged.append((start, end, (j,)))
    last = 0
    for start, end, rows in merged:
        yield Piece(text[last:start], text[start:end], rows)
        last = end
    yield Piece(text[last:], "", ())


def _characters(text: str) -> list[tuple[int, int]]:
    """For each code point the beginning and the end of the character that it is a part of."""
    import regex  # transformers brings it; it knows which code points readers take for one character

    borders: list[tuple[int, int]] = []
    for match in regex.finditer(r"\X", text):
        borders += [match.span()] * (match.end() - match.start())
    return borders


def _pieces_of_words(words: Sequence[str]) -> Iterator[Piece]:
    """Each word piece as it is read, and the blank before it, if there is one."""
    marked = any(word.startswith(STARTS) for word in words)
    for j, word in enumerate(words):
        if marked:
            gap, text = (" ", word[1:]) if word.startswith(STARTS) else ("", word)
        else:
            gap, text = ("", word[2:]) if word.startswith(CONTINUES) and len(word) > 2 else (" ", word)
        yield Piece(gap, text, (j,))
