"""Refuses training data that hold queries of a test or development set."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def check(data: Iterable[pd.DataFrame], topics: pd.DataFrame, what: str) -> None:
    """Compares qids and texts, these without case and blanks.

    Args:
        data: Training data, with ``qid`` and ``query``.
        topics: Queries that must not be among them.
        what: What they are, for the error: ``"test"`` or ``"development"``.

    Raises:
        ValueError: If queries are in both, which it names.
    """
    qids, texts = set(), set()
    for frame in data:
        qids |= set(frame["qid"].astype(str))
        texts |= set(_plain(frame["query"]))
    same = topics["qid"].astype(str).isin(qids) | _plain(topics["query"]).isin(texts)
    if same.any():
        leaked = topics[same]
        named = ", ".join(
            f"{qid} ({query[:40]!r})" for qid, query in zip(leaked["qid"][:3], leaked["query"][:3], strict=True)
        )
        raise ValueError(
            f"{len(leaked)} {what} queries are in the training data, by qid or text: {named}; expected none, or the "
            "figures mean nothing. Take them out, or, where equal qids are an accident or you know better, pass "
            "allow_leaks=True."
        )


def _plain(queries: pd.Series) -> pd.Series:
    plain: pd.Series = queries.astype(str).str.lower().str.split().str.join(" ")
    return plain
