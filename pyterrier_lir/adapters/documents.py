"""What the retrievers of all frameworks give: documents with text, score and the rest of their row."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyterrier as pt

from pyterrier_lir.agents.texts import Texts, best_with_texts
from pyterrier_lir.arguments import check_counts

# What describes the query, or is of no use outside of a pipeline.
_INNER = ("qid", "query", "text", "docid", "docno", "score", "rank")


class Document(NamedTuple):
    """One document that was found.

    Attributes:
        docno: Its name.
        text: Its text.
        score: The pipeline's.
        metadata: The other columns that hold text or numbers, and ``docno``, ``score`` and ``rank`` (from 1).
    """

    docno: str
    text: str
    score: float
    metadata: dict[str, Any]


def documents(pipeline: pt.Transformer, texts: Texts, query: str, k: int) -> list[Document]:
    """The ``k`` best documents for a query, best first; `best_with_texts` says what is raised."""
    check_counts(k=k)
    frame = best_with_texts(pipeline, texts, query, k)
    others = [name for name in frame.columns if name not in _INNER and not name.startswith("query_")]
    found = []
    for rank, row in enumerate(frame.to_dict("records"), start=1):
        plain = {name: row[name] for name in others if isinstance(row[name], (str, int, float))}
        docno, score = str(row["docno"]), float(row["score"])
        found.append(Document(docno, row["text"], score, {**plain, "docno": docno, "score": score, "rank": rank}))
    return found
