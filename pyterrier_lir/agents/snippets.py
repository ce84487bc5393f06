"""The part of a text that a query met: the range of characters with the largest MaxSim.

The text is encoded whole, so every token of a snippet is read in its context, as in late chunking; a range is then
scored by the rows of its tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.encode.late_chunking import whole_documents

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder


class Snippet(NamedTuple):
    """Characters ``start`` to ``end`` of a text."""

    text: str
    start: int
    end: int


def best_passage(encoder: Encoder, query: str, texts: Sequence[str], *, size: int = 400) -> list[Snippet]:
    """For each text the range of at most ``size`` characters that MaxSim scores best; the first of equal ones.

    ``max over ranges R of sum_i max_{j in R} <q_i, d_j>``. A range begins and ends with a token that has a row; what
    stands around it is added as far as ``size`` allows, evenly, and up to blanks. A text of ``size`` characters or
    fewer is its own snippet; so is the beginning of one in which the encoder finds nothing.

    Args:
        encoder: Encodes the query and the texts, and knows where its tokens stand.
        query: With its instruction, if it has one.
        texts: Of any length; they are encoded in windows where they exceed the model's.
        size: Characters of a snippet.

    Raises:
        ValueError: If ``size`` is less than 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1, as a number of characters.")
    long = [i for i, text in enumerate(texts) if len(text) > size]
    snippets = [Snippet(text, 0, len(text)) for text in texts]
    embs = encoder.encode_queries([query])[0].embs if long else None
    located = whole_documents(encoder, [texts[i] for i in long]) if long else []
    for i, row in zip(long, located, strict=True):
        placed = row.spans[:, 0] >= 0
        start, end = 0, 0
        if embs is not None and len(embs) and placed.any():
            start, end = _best_range(embs @ row.embs[placed].T, row.spans[placed], size)
        snippets[i] = _widened(texts[i], start, end, size)
    return snippets


def _best_range(similarities: Floats, spans: Ints, size: int) -> tuple[int, int]:
    best, chosen = -np.inf, (0, 0)
    last = np.searchsorted(spans[:, 1], spans[:, 0] + size, side="right")  # rows that fit behind each row
    for first, stop in enumerate(np.maximum(last, np.arange(1, len(spans) + 1)).tolist()):
        score = float(similarities[:, first:stop].max(axis=1).sum())
        if score > best + 1e-6:
            best, chosen = score, (int(spans[first, 0]), int(spans[stop - 1, 1]))
    return chosen


def _widened(text: str, start: int, end: int, size: int) -> Snippet:
    """Adds what fits on both sides, and cuts what was added at blanks, so that words are whole."""
    end = min(end, start + size)
    spare = size - (end - start)
    first = max(0, min(start - spare // 2, len(text) - size))
    last = min(len(text), first + size)
    if first > 0 and not text[first - 1].isspace():
        blank = next((i for i in range(first, start) if text[i].isspace()), None)
        first = first if blank is None else blank
    if last < len(text) and not text[last].isspace():
        blank = next((i for i in range(last - 1, end - 1, -1) if text[i].isspace()), None)
        last = last if blank is None else blank
    piece = text[first:last]
    first += len(piece) - len(piece.lstrip())
    return Snippet(piece.strip(), first, first + len(piece.strip()))
