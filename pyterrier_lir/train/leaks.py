"""Refuses training data that hold queries of a test or development set."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def without(data: pd.DataFrame, topics: pd.DataFrame) -> pd.DataFrame:
    """The training data without the queries of a test set, by qid or by text (without case and blanks).

    Args:
        data: Has ``qid`` and ``query``; topics will do as well.
        topics: ``qid, query`` of the test set.

    >>> train = pd.DataFrame([["1", "Late  interaction"], ["2", "tokens"]], columns=["qid", "query"])
    >>> without(train, pd.DataFrame([["7", "late interaction"]], columns=["qid", "query"]))["qid"].tolist()
    ['2']
    """
    return data[~_same(data, topics)].reset_index(drop=True)


def check(data: Iterable[pd.DataFrame], topics: pd.DataFrame, what: str) -> None:
    """Compares qids and texts, these without case and blanks.

    Args:
        data: Training data, with ``qid`` and ``query``.
        topics: Queries that must not be among them.
        what: What they are, for the error: ``"test"`` or ``"development"``.

    Raises:
        ValueError: If queries are in both, which it names.
    """
    queries = pd.concat([frame[["qid", "query"]].drop_duplicates() for frame in data])
    leaked = topics[_same(topics, queries)]
    if len(leaked):
        named = ", ".join(
            f"{qid} ({query[:40]!r})" for qid, query in zip(leaked["qid"][:3], leaked["query"][:3], strict=True)
        )
        raise ValueError(
            f"{len(leaked)} {what} queries are in the training data, by qid or text: {named}; expected none, or the "
            "figures mean nothing. Take them out: data = lir.train.without(data, topics); or, where equal qids are an "
            "accident, pass allow_leaks=True."
        )


def _same(frame: pd.DataFrame, topics: pd.DataFrame) -> pd.Series:
    """Which rows have a qid or a text of the topics."""
    by_qid: pd.Series = frame["qid"].astype(str).isin(topics["qid"].astype(str))
    return by_qid | _plain(frame["query"]).isin(_plain(topics["query"]))


def _plain(queries: pd.Series) -> pd.Series:
    plain: pd.Series = queries.astype(str).str.lower().str.split().str.join(" ")
    return plain
