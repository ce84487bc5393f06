"""Words for BM25, in any script.

``english`` is what the engines do by themselves: Porter's stems without stop words, of Latin letters (PISA drops every
other letter). ``any`` knows no language: words between blanks as they stand, and where a script sets no blanks
(Chinese, Japanese, Thai, Lao, Khmer, Burmese) pairs of neighbouring characters, as Lucene's CJKAnalyzer has them.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import Any

ANALYSERS = ("english", "any")
_SCRIPTS = (
    "".join(rf"\p{{{name}}}" for name in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")) + "ー"
)  # the sign of long vowels, which belongs to no script


def any_tokens(text: str) -> list[str]:
    """The tokens of a text: folded words, pairs of characters of scripts without blanks, and pictographs.

    A character is what a reader takes for one: a letter with its marks, an emoji of several code points. A run of one
    character is its own token.

    Example:
        >>> any_tokens("Naïve 東京都 🙂")
        ['naïve', '東京', '京都', '🙂']
    """
    patterns = _patterns()
    tokens: list[str] = []
    for run in patterns["run"].findall(unicodedata.normalize("NFKC", text).casefold()):
        if patterns["unspaced"].match(run):
            characters = patterns["character"].findall(run)
            tokens += [a + b for a, b in pairwise(characters)] if len(characters) > 1 else characters
        else:
            tokens.append(run)
    return tokens


def ascii_tokens(text: str) -> str:
    """The same, each spelt as the numbers of its characters, for engines that know Latin letters only (PISA).

    Example:
        >>> ascii_tokens("東京 ok")
        'x006771004eac x00006f00006b'
    """
    return " ".join("x" + "".join(f"{ord(letter):06x}" for letter in token) for token in any_tokens(text))


@lru_cache
def _patterns() -> dict[str, Any]:
    import regex  # transformers brings it; unlike re it knows scripts

    unspaced = rf"[{_SCRIPTS}][{_SCRIPTS}\p{{M}}]*"
    word = rf"(?:(?![{_SCRIPTS}])[\p{{L}}\p{{N}}\p{{M}}])+"
    pictograph = r"(?=\p{Extended_Pictographic}|\p{Regional_Indicator})\X"
    return {
        "run": regex.compile(f"{unspaced}|{pictograph}|{word}"),
        "unspaced": regex.compile(unspaced),
        "character": regex.compile(r"\X"),
    }
