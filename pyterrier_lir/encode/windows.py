"""Windows over a text that is longer than an encoder takes: they overlap, and are cut before words."""

from __future__ import annotations

from typing import NamedTuple

from pyterrier_lir.columns import Ints
from pyterrier_lir.encode.base import Encoder


class Window(NamedTuple):
    """Characters of a document that are encoded at once, and those of them whose rows are used."""

    start: int
    end: int
    first: int
    last: int


def windows_of(text: str, encoder: Encoder, size: int | None, overlap: int | None) -> list[Window]:
    """The windows of a text: as long as ``size`` tokens allow, cut before words where there are any.

    Raises:
        ValueError: If ``size`` is more than the encoder takes, or ``overlap`` does not let windows advance.
    """
    most = encoder.capacity()
    if size is not None and most is not None and size > most:
        raise ValueError(f"window is {size}, but {encoder!r} takes {most} tokens of a text; give at most {most}.")
    size = size or most
    shared = size // 4 if size and overlap is None else overlap or 0
    if size and shared >= size:
        raise ValueError(f"overlap is {shared}, a window {size} tokens; expected fewer, so that windows advance.")
    tokens = encoder.token_spans(text) if size else None
    if tokens is None or size is None or len(tokens) <= size:
        return [Window(0, len(text), 0, len(text))]
    windows: list[Window] = []
    first, begin = 0, 0
    while True:
        end = _fitting(text, tokens, begin, size, encoder)
        start = int(tokens[begin, 0]) if begin else 0
        if end >= len(tokens):
            return [*windows, Window(start, len(text), first, len(text))]
        following = max(begin + 1, word_start(text, tokens, end - shared))
        border = int(tokens[word_start(text, tokens, (following + end) // 2, least=following), 0])
        windows.append(Window(start, int(tokens[end - 1, 1]), first, border))
        first, begin = border, following


def _fitting(text: str, tokens: Ints, begin: int, size: int, encoder: Encoder) -> int:
    """The last token of a window that begins with token ``begin``: alone, a piece may have more tokens than within."""
    end = min(begin + size, len(tokens))
    while (over := len(encoder.token_spans(text[tokens[begin, 0] : tokens[end - 1, 1]])) - size) > 0:
        end = max(begin + 1, end - over)
    return end


def word_start(text: str, tokens: Ints, token: int, *, least: int = 0) -> int:
    """The last token up to ``token`` that begins a word, if one of the 32 before it does."""
    for candidate in range(min(token, len(tokens) - 1), max(least, token - 32) - 1, -1):
        if candidate == 0 or text[tokens[candidate, 0] - 1].isspace():
            return candidate
    return min(token, len(tokens) - 1)
