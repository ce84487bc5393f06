"""A few facts about an object as a small HTML table, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Mapping
from numbers import Integral

_TABLE = "border-collapse: collapse; border: none; margin: 0.3em 0"
_CELL = "border: none; padding: 0.1em 1em 0.1em 0; text-align: left; vertical-align: top"


def facts_table(title: str, facts: Mapping[str, object]) -> str:
    """Names on the left, values on the right; numbers with separators, everything escaped.

    It sets no colours, so that it reads on a light and on a dark page.

    Example:
        >>> "<td" in facts_table("An index", {"tokens": 12345}) and "12,345" in facts_table("", {"tokens": 12345})
        True
    """
    rows = "".join(
        f'<tr style="background: none"><td style="{_CELL}; opacity: 0.65">{html.escape(name)}</td>'
        f'<td style="{_CELL}">{html.escape(_shown(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f'<div><b>{html.escape(title)}</b><table style="{_TABLE}"><tbody>{rows}</tbody></table></div>'


def megabytes(size: float) -> str:
    """A number of bytes as it is read."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, Integral) and not isinstance(value, bool) else str(value)
