"""Alignments of many queries with many documents, so small that a page can hold them.

Of a document only what is around a match is kept, once for all queries that met it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir.explain.heatmap import explained
from pyterrier_lir.explain.highlight import Piece, pieces

CONTEXT = 12  # tokens on both sides of a match
GAP = " … "
_ROWS = 256  # that are explained at a time: a row holds as many numbers as query tokens times document tokens


class Matches(NamedTuple):
    """What met what.

    Attributes:
        tokens: The tokens of each query, by qid.
        found: By qid and docno, for each token of the query: the part of the document that it met (-1 for none), their
            similarity, its share of the score in percent, and 1 where both are the same token of the vocabulary.
        parts: The parts of each document, by docno: joined, they are its text or its tokens, with gaps.
    """

    tokens: dict[str, list[str]]
    found: dict[tuple[str, str], list[list[float]]]
    parts: dict[str, list[str]]


def matches(rows: pd.DataFrame, explain: pt.Transformer) -> Matches:
    """Explains rows and keeps what is to be shown.

    Args:
        rows: ``qid, query, docno`` and whatever the explaining pipeline needs besides.
        explain: Such as ``encoder.query_encoder() >> index.explain(encoder)``.

    Raises:
        ValueError: If the pipeline does not explain.
    """
    tokens: dict[str, list[str]] = {}
    cut: dict[str, list[Piece]] = {}
    met: dict[tuple[str, str], list[Any]] = {}
    for start in pt.tqdm(range(0, len(rows), _ROWS), desc="aligning", unit="batch"):
        for _, row in explain(rows.iloc[start : start + _ROWS].reset_index(drop=True)).iterrows():
            words, pos, *_ = met[row["qid"], row["docno"]] = _row(row)
            tokens[row["qid"]] = words
            cut.setdefault(row["docno"], pieces(row))
    places: dict[str, set[int]] = defaultdict(set)
    for (_, docno), (_, pos, *_) in met.items():
        places[docno] |= set(pos.tolist())
    parts, numbers = {}, {}
    for docno, whole in cut.items():
        parts[docno], numbers[docno] = _parts(whole, places[docno])
    found = {
        (qid, docno): [
            [numbers[docno].get(int(pos), -1), round(float(sim), 2), round(100 * float(share), 1), int(exact)]
            for pos, sim, share, exact in zip(*columns, strict=True)
        ]
        for (qid, docno), (_, *columns) in met.items()
    }
    return Matches(tokens, found, parts)


def _row(row: pd.Series[Any]) -> list[Any]:
    return explained(row, "query_words", "match_pos", "match_sim", "match_share", "match_exact")


def _parts(whole: list[Piece], met: set[int]) -> tuple[list[str], dict[int, int]]:
    """The parts of a document, and the number of the part in which each document row that was met is.

    Example:
        >>> _parts([Piece("", "fresh", (0,)), Piece(" ", "bread", (1,)), Piece(" ", "rolls", (2,))], {1})
        (['fresh', ' bread', ' rolls'], {1: 1})
    """
    marked = np.array([any(row in met for row in piece.rows) for piece in whole])
    near = np.convolve(marked, np.ones(2 * CONTEXT + 1), mode="same") > 0 if len(whole) > 2 * CONTEXT else marked | True
    parts: list[str] = []
    numbers: dict[int, int] = {}
    joins = False  # whether what comes next goes on with the last part
    for piece, is_marked, is_near in zip(whole, marked, near, strict=True):
        if is_marked:
            if piece.gap.strip():  # a part that was met begins with blanks at most
                parts.append(piece.gap)
            numbers |= dict.fromkeys(piece.rows, len(parts))
            parts.append((piece.gap if piece.gap.isspace() else "") + piece.text)
            joins = False
        elif is_near and joins:
            parts[-1] += piece.gap + piece.text
        elif is_near:
            parts.append(piece.gap + piece.text)
            joins = True
        elif not parts or parts[-1] != GAP:
            parts.append(GAP)
            joins = False
    return parts, numbers
