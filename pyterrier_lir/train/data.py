"""Training data: the rows of PyTerrier's rankings, with ``text`` and ``label``; from them, examples for a loss.

A row is a document of a query: relevant where ``label`` is above 0, else a negative. A transformer that re-ranks such
rows is a teacher: the ``score`` that it gives is what distillation learns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyterrier as pt

COLUMNS = ("qid", "query", "docno", "text", "label")

Examples = dict[str, list[Any]]  # "query", "positive", "negative_1", ..., and "label": the teacher's scores, where used


def mine(
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    corpus: Iterable[Mapping[str, Any]],
    retriever: pt.Transformer,
    *,
    text_field: str | tuple[str, ...] = "text",
) -> pd.DataFrame:
    """Training data from topics and judgements: relevant documents, and negatives that a retriever finds.

    A negative is a document that is retrieved for a query and not judged relevant to it; some may be relevant all the
    same, so a teacher's scores help. For distillation let a re-ranker score the rows: ``data = teacher(data)``.

    Args:
        topics: ``qid, query``. Queries without a relevant document in the corpus are left out.
        qrels: ``qid, docno, label``; above 0 is relevant.
        corpus: Documents with ``docno`` and the text fields, read once as a stream.
        retriever: From topics to documents, such as ``bm25 % 100``.
        text_field: The field or fields of a document's text; several are joined by a blank.

    Returns:
        ``qid, query, docno, text, label``: for each query its relevant documents, label 1, then its negatives in the
        retriever's order, label 0.

    Raises:
        ValueError: If no query has a relevant document in the corpus.
    """
    positive = qrels.loc[qrels["label"] > 0, ["qid", "docno"]].drop_duplicates().assign(label=1)
    positive = topics[["qid", "query"]].merge(positive, on="qid")
    asked = topics[topics["qid"].isin(positive["qid"])]
    retrieved = retriever(asked).sort_values(["qid", "rank"], kind="stable") if len(asked) else positive[:0]
    negative = retrieved[["qid", "query", "docno"]].merge(positive[["qid", "docno", "label"]], how="left")
    negative = negative[negative["label"].isna()].assign(label=0)
    rows = pd.concat([positive, negative], ignore_index=True)
    fields = (text_field,) if isinstance(text_field, str) else tuple(text_field)
    rows["text"] = rows["docno"].map(_texts(corpus, set(rows["docno"]), fields))
    rows = rows[rows["text"].fillna("").str.strip() != ""]
    rows = rows[rows["qid"].isin(rows.loc[rows["label"] > 0, "qid"])]
    check_positives(rows)
    order = {qid: place for place, qid in enumerate(topics["qid"])}
    return rows.sort_values("qid", key=lambda qids: qids.map(order), kind="stable")[list(COLUMNS)].reset_index(
        drop=True
    )


def examples(data: pd.DataFrame, *, negatives: int, scores: bool, seed: int) -> Examples:
    """One example for each relevant document: the query, the document, and negatives of the query drawn at random.

    Args:
        data: Rows of `COLUMNS`, and ``score`` where scores are asked for.
        negatives: How many for each example; where a query has fewer, they repeat, and where it has none, they are
            those of other queries, unless scores are asked for.
        scores: Whether ``label`` lists the teacher's scores of the example's documents, the positive first.
        seed: Of the draw.

    Raises:
        ValueError: If a column is missing, there is no positive, a query has no negative, or a score is not finite.
    """
    rows = [
        [chosen["query"].iloc[0], *chosen["text"], *([chosen["score"].astype(float).tolist()] if scores else [])]
        for chosen in map(data.iloc.__getitem__, draw(data, negatives=negatives, scores=scores, seed=seed))
    ]
    names = ["query", "positive", *(f"negative_{i + 1}" for i in range(negatives)), *(["label"] if scores else [])]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def draw(data: pd.DataFrame, *, negatives: int, scores: bool, seed: int) -> list[list[int]]:
    """The row numbers of each example: a positive, then negatives. See `examples`."""
    check_columns(data, scores=scores)
    check_positives(data)
    rng = np.random.default_rng(seed)
    drawn: list[list[int]] = []
    lonely: list[str] = []
    relevant = (data["label"] > 0).to_numpy()
    for qid, rows in data.groupby("qid", sort=False).indices.items():
        bad = rows[~relevant[rows]]
        if negatives and not len(bad) and not scores:  # a teacher has not scored others' documents for this query
            own = data["docno"].isin(data["docno"].iloc[rows]).to_numpy()
            bad = np.flatnonzero(~relevant & ~own)
        if negatives and not len(bad):
            lonely.append(str(qid))
            continue
        for positive in rows[relevant[rows]].tolist():
            chosen = rng.choice(bad, negatives, replace=len(bad) < negatives) if negatives else bad[:0]
            drawn.append([positive, *chosen.tolist()])
    if lonely:
        raise ValueError(
            f"{len(lonely)} queries have no negative ({', '.join(lonely[:3])}); expected at least one document with "
            "label 0 for each. Retrieve more documents when mining, or train with negatives=0."
        )
    return drawn


def check_columns(data: pd.DataFrame, *, scores: bool) -> None:
    """Refuses data without the columns that training reads, or with scores that are no numbers."""
    wanted = [*COLUMNS, *(["score"] if scores else [])]
    missing = [name for name in wanted if name not in data.columns]
    if missing:
        remedy = "Score it with a teacher: data = teacher(data)." if missing == ["score"] else "See lir.train.mine."
        raise ValueError(f"the training data has no {', '.join(missing)}; expected {', '.join(wanted)}. {remedy}")
    if scores and not np.isfinite(data["score"].astype(float)).all():
        row = data[~np.isfinite(data["score"].astype(float))].iloc[0]
        raise ValueError(
            f"the teacher's score of document {row['docno']!r} for query {row['qid']!r} is {row['score']}; expected a "
            "finite number. Leave the row out."
        )


def check_positives(data: pd.DataFrame) -> None:
    """Refuses data without a relevant document."""
    if not (data["label"] > 0).any():
        raise ValueError(
            f"the training data has no positive: none of {len(data)} documents has a label above 0; expected at least "
            "one. Do qids and docnos of the judgements match those of topics and corpus?"
        )


def checksum(data: pd.DataFrame) -> str:
    """Of all that training reads."""
    columns = [name for name in (*COLUMNS, "score") if name in data.columns]
    rows = data[columns].to_csv(index=False, float_format="%.9g")
    return hashlib.sha256(rows.encode()).hexdigest()


def _texts(corpus: Iterable[Mapping[str, Any]], wanted: set[str], fields: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for document in corpus:
        if str(document["docno"]) in wanted:
            parts = (document.get(field) for field in fields)
            found[str(document["docno"])] = " ".join(part.strip() for part in parts if isinstance(part, str) and part)
    return found
