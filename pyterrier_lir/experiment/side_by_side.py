"""The rankings of any two systems beside each other, query by query: the data and the markup of that part of a report.

`side_by_side.js` reads the data and fills the markup. What it shows of a query are the documents that some system has
within the depth; of these the rank by every system is known, however deep.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.experiment.matches import Matches, matches

if TYPE_CHECKING:
    from pyterrier_lir.agents.texts import Texts

DEPTH, ALIGNED = 10, 3
SNIPPET = 200  # characters of a text that are shown
RELEVANT = 20  # ranks of relevant documents that are kept
_FIELDS = ("title", "text")


def page_data(
    rankings: Mapping[str, pd.DataFrame],
    values: Mapping[str, pd.DataFrame],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    *,
    pair: tuple[str, str],
    texts: Texts = None,
    explain: pt.Transformer | None = None,
    depth: int = DEPTH,
    aligned: int = ALIGNED,
) -> dict[str, Any]:
    """What the page's script reads.

    Args:
        rankings: ``qid, docno, score, rank`` by system.
        values: Of every measure a frame with the queries as rows and the systems as columns.
        topics: ``qid, query``, and what ``explain`` needs besides.
        qrels: ``qid, docno, label``.
        pair: The systems that are shown first.
        texts: By docno; or a transformer that adds ``text``.
        explain: From queries with documents to explained rows.
        depth: Documents of a ranking that are shown.
        aligned: Documents at its top whose alignment is shown.

    Returns:
        ``systems, measures, pair, depth, aligned``, ``docs`` (docno, snippet, and the parts of its text where it was
        aligned), and for every query ``qid, query``; ``docs``, places in the list of documents; for each of these its
        ``labels`` (None: not judged), by system its ``ranks`` (0: not found) and its ``scores`` within the depth (None:
        below), and its ``matches`` with the ``tokens`` of the query; ``relevant``, how many documents have a label of
        at least 1, and by system which ``reached`` ranks they have; by measure and system the ``values``.
    """
    topics = topics.astype({"qid": str}).reset_index(drop=True)
    qrels = qrels.astype({"qid": str, "docno": str}).drop_duplicates(["qid", "docno"])
    placed = {name: _placed(ranking) for name, ranking in rankings.items()}
    shown = _first(placed, topics, depth)
    loaded = _loaded(shown, texts)
    found = None if explain is None else matches(_rows(_first(placed, topics, aligned), topics, loaded), explain)
    for name, ranking in placed.items():
        own = ranking.rename(columns={"place": f"rank {name}", "score": f"score {name}"})
        shown = shown.merge(own, on=["qid", "docno"], how="left")
    shown = shown.merge(qrels[["qid", "docno", "label"]], on=["qid", "docno"], how="left")
    docnos = shown["docno"].unique().tolist()
    numbers = {docno: i for i, docno in enumerate(docnos)}
    of_query = dict(iter(shown.groupby("qid", sort=False)))
    reached = _reached(placed, qrels)
    queries = []
    for qid, query in zip(topics["qid"], topics["query"], strict=True):
        about = _about(of_query.get(qid, shown[:0]), list(rankings), numbers, depth, found)
        about |= {"relevant": int(((qrels["qid"] == qid) & (qrels["label"] > 0)).sum())}
        about |= {"reached": [reached[name].get(qid, []) for name in rankings]}
        about |= {"values": [[_number(frame, qid, name) for name in rankings] for frame in values.values()]}
        queries.append({"qid": qid, "query": str(query), **about})
    return {
        "systems": list(rankings), "measures": list(values), "pair": [list(rankings).index(name) for name in pair],
        "depth": depth, "aligned": aligned if found else 0, "docs": _documents(docnos, loaded, found),
        "queries": queries,
    }  # fmt: skip


def as_json(data: Mapping[str, Any]) -> str:
    r"""The data as they may stand within a script element: nothing in them can end it, or begin a comment.

    Example:
        >>> as_json({"docno": "</script>"})
        '{"docno":"\\u003c/script>"}'
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def markup(data: Mapping[str, Any]) -> str:
    """The elements that the script fills, and what was left out, in words."""
    names, measures = (
        "".join(f"<option value={i}>{escape(name)}" for i, name in enumerate(data[kind]))
        for kind in ("systems", "measures")
    )
    return (
        f"<p class=soft>{_what_is_shown(data)}</p><noscript><p>Rankings are shown by a script in this page; allow "
        "JavaScript to see them.</p></noscript>"
        f"<div id=side hidden><form id=choice><label>System A<select id=a>{names}</select></label>"
        f"<label>System B<select id=b>{names}</select></label>"
        f"<label>Measure<select id=measure>{measures}</select></label>"
        "<label>Order<select id=order><option value=apart>largest difference<option value=b>best for B"
        "<option value=a>best for A<option value=given>as in the topics</select></label>"
        '<label>Find<input id=find type=search placeholder="in queries and ids" autocomplete=off></label></form>'
        '<div id=queries aria-label="Queries"></div><h3 id=asked dir=auto aria-live=polite></h3>'
        "<section id=query></section></div>"
    )


def _what_is_shown(data: Mapping[str, Any]) -> str:
    depth, aligned = data["depth"], data["aligned"]
    words = [
        f"Choose a query. Shown are the first {depth} documents of each ranking; where a document stands by the other "
        "system is said however deep it is.",
    ]
    if any(snippet for _, snippet, *_ in data["docs"]):
        words.append(f"Texts are cut after {SNIPPET} characters.")
    if aligned:
        words.append(
            f"The first {aligned} documents of each ranking show what the query met by MaxSim, whichever system ranked "
            "them: <span class=exact>the same token</span>, <span class=near>a similar one</span>, the deeper the more "
            "of the score it brought; open one for token by token. Text far from every match is left out (…)."
        )
    return " ".join(words)


def _placed(ranking: pd.DataFrame) -> pd.DataFrame:
    """``qid, docno, score`` and ``place``, counted from 1."""
    found = ranking[["qid", "docno", "score", "rank"]].astype({"qid": str, "docno": str})
    found = found.sort_values(["qid", "rank"], kind="stable").drop_duplicates(["qid", "docno"])
    return found.assign(place=found.groupby("qid").cumcount() + 1)[["qid", "docno", "score", "place"]]


def _first(placed: Mapping[str, pd.DataFrame], topics: pd.DataFrame, depth: int) -> pd.DataFrame:
    """``qid, docno`` of the documents that some system has among its first ones."""
    tops = pd.concat([ranking[ranking["place"] <= depth] for ranking in placed.values()])
    tops = tops[tops["qid"].isin(topics["qid"])]
    return tops[["qid", "docno"]].drop_duplicates().reset_index(drop=True)


def _loaded(shown: pd.DataFrame, texts: Texts) -> pd.DataFrame | None:
    """``docno`` and the fields of the text, once for each document."""
    if texts is None:
        return None
    documents = shown[["docno"]].drop_duplicates().reset_index(drop=True)
    if not isinstance(texts, pt.Transformer):
        return documents.assign(text=[texts.get(docno, "") for docno in documents["docno"]])
    found = texts(documents)
    fields = [field for field in _FIELDS if field in found.columns]
    if "docno" not in found.columns or not fields:
        raise ValueError(
            f"texts gives the columns {list(found.columns)}; expected docno and text. Pass "
            "texts=dataset.text_loader(), or a dictionary from docno to text."
        )
    return found.drop_duplicates("docno").reset_index(drop=True)


def _rows(pairs: pd.DataFrame, topics: pd.DataFrame, loaded: pd.DataFrame | None) -> pd.DataFrame:
    """Queries with documents, as a ranking; topics may have a ``title`` or ``text`` of their own."""
    if loaded is not None:
        topics = topics.drop(columns=loaded.columns.union(_FIELDS).difference(["qid", "query"]), errors="ignore")
    rows = pairs.merge(topics, on="qid", how="left").assign(score=0.0)
    rows["rank"] = rows.groupby("qid").cumcount()
    return rows if loaded is None else rows.merge(loaded, on="docno", how="left")


def _reached(placed: Mapping[str, pd.DataFrame], qrels: pd.DataFrame) -> dict[str, dict[str, list[int]]]:
    """By system and qid the places of relevant documents, best first."""
    relevant = qrels.loc[qrels["label"] > 0, ["qid", "docno"]]
    found = {}
    for name, ranking in placed.items():
        places = ranking.merge(relevant, on=["qid", "docno"]).sort_values("place").groupby("qid")["place"]
        found[name] = {str(qid): group.head(RELEVANT).tolist() for qid, group in places}
    return found


def _about(
    rows: pd.DataFrame, systems: Sequence[str], numbers: Mapping[str, int], depth: int, found: Matches | None
) -> dict[str, Any]:
    """One query: its documents by every system."""
    about: dict[str, Any] = {
        "docs": [numbers[docno] for docno in rows["docno"]],
        "labels": [None if pd.isna(label) else int(label) for label in rows["label"]],
        "ranks": [rows[f"rank {name}"].fillna(0).astype(int).tolist() for name in systems],
        "scores": [
            [_score(score) if place <= depth else None for score, place in zip(*columns, strict=True)]
            for columns in ((rows[f"score {name}"], rows[f"rank {name}"]) for name in systems)
        ],
    }
    pairs = list(zip(rows["qid"], rows["docno"], strict=True))
    if found and pairs:
        about |= {"tokens": found.tokens.get(pairs[0][0], []), "matches": [found.found.get(pair) for pair in pairs]}
    return about


def _score(score: float) -> float | str:
    """Six digits; JSON has no infinity."""
    return float(f"{score:.6g}") if math.isfinite(score) else str(float(score))


def _number(frame: pd.DataFrame, qid: str, name: str) -> float | None:
    value = frame[name].get(qid)
    return None if value is None or pd.isna(value) else round(float(value), 4)


def _documents(docnos: Sequence[str], loaded: pd.DataFrame | None, found: Matches | None) -> list[list[Any]]:
    snippets: dict[str, str] = {}
    if loaded is not None:
        fields = [loaded[field] for field in _FIELDS if field in loaded.columns]
        texts = (" ".join(part for part in row if isinstance(part, str)) for row in zip(*fields, strict=True))
        snippets = dict(zip(loaded["docno"], map(_snippet, texts), strict=True))
    parts = found.parts if found else {}
    return [[docno, snippets.get(docno, ""), *([parts[docno]] if docno in parts else [])] for docno in docnos]


def _snippet(text: str) -> str:
    text = " ".join(text[: 4 * SNIPPET].split())
    if len(text) <= SNIPPET:
        return text
    cut = text[:SNIPPET]
    return (cut.rsplit(" ", 1)[0] if " " in cut[SNIPPET // 2 :] else cut) + " …"
