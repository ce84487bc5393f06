"""Rankings <-> PyTerrier frames: the only pandas arithmetic of the package."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns
from pyterrier_lir.columns import Floats

if TYPE_CHECKING:
    from pyterrier_lir.index.store import Store

RANKING = ("docno", "score", "rank")


class Query(NamedTuple):
    """One checked query, and the frame's rows that ask it."""

    embs: Floats
    weights: Floats | None
    rows: npt.NDArray[np.int64]


def check_query_frame(inp: pd.DataFrame, context: pt.Transformer) -> None:
    """Validates the input of a retriever: ``qid`` and ``query_embs``, no ``docno``.

    Raises:
        pt.validate.InputValidationError: With a hint at the call to make instead.
    """
    with validated(inp, context) as v:
        v.query_frame([columns.QUERY_EMBS])


def check_result_frame(inp: pd.DataFrame, context: pt.Transformer, extra: Sequence[str] = ()) -> None:
    """Validates the input of a re-ranker: ``qid``, ``docno``, ``query_embs`` and ``extra``."""
    with validated(inp, context) as v:
        v.result_frame([columns.QUERY_EMBS, *extra])


def check_columns(inp: pd.DataFrame, context: pt.Transformer, needed: Sequence[str]) -> None:
    """Validates the input of a stage that takes rows one by one, of whatever kind they are."""
    with validated(inp, context) as v:
        v.columns(includes=list(needed))


def ranks(inp: pd.DataFrame) -> npt.NDArray[Any]:
    """The column ``rank``.

    Raises:
        ValueError: If it holds something that is no number.
    """
    found = pd.to_numeric(inp["rank"], errors="coerce")
    if found.isna().any():
        odd = inp["rank"][found.isna()].iloc[0]
        raise ValueError(f"rank holds {odd!r}; expected numbers. Rank again: pt.model.add_ranks(frame).")
    return found.to_numpy()


@contextmanager
def validated(inp: pd.DataFrame, context: pt.Transformer) -> Iterator[Any]:
    """As `pt.validate.any`, whose errors list columns; here they also say what to do."""
    try:
        with pt.validate.any(inp, context=context) as v:
            yield v
    except pt.validate.InputValidationError as error:
        missing = {name for mode in error.modes for name in mode.missing_columns}
        advice = _advice(list(inp.columns), missing)
        error.args = (f"{error.args[0]} {advice}".rstrip(),)
        raise


def _advice(there: list[Any], missing: set[str]) -> str:
    """The call to make instead, for a frame with the columns ``there`` that lacks the ``missing`` ones."""
    if not all(isinstance(name, str) for name in there):
        return (
            'These are no records. Index [{"docno": "d1", "text": "..."}], frame.to_dict("records") or '
            'dataset.get_corpus_iter(); search with a frame of qid and query, or pipeline.search("one query").'
        )
    if not missing:
        return "The frame holds documents already: re-rank them with index.maxsim()."
    if columns.QUERY_EMBS in missing and "query" in there:
        return "Put encoder.query_encoder() before this stage."
    if columns.DOC_EMBS in missing:
        return "Put encoder.doc_encoder() or index.embs_loader() before this stage."
    if columns.QUERY_TOK_IDS in missing:
        return f"Encode the queries with an encoder that gives {columns.QUERY_TOK_IDS}: encoder.query_encoder()."
    if columns.DOC_TOK_IDS in missing:
        return (
            f"Encode the documents with an encoder that gives {columns.DOC_TOK_IDS}: encoder.doc_encoder(); "
            "index.embs_loader() adds them where the index was made from such."
        )
    return _advice_on_text(there, missing)


def _advice_on_text(there: list[str], missing: set[str]) -> str:
    """The same, where it is not embeddings that are missing."""
    fields = sorted(missing - {"qid", "query", "docno", "score", "rank", columns.QUERY_EMBS})
    others = [name for name in there if name not in ("qid", "docno")]
    if "query" in missing and "label" in there:
        return "These are judgements (qrels); search with topics: dataset.get_topics()."
    if "query" in missing and "qid" in there and others:
        return f'Call the column with the queries query: topics.rename(columns={{"{others[0]}": "query"}}).'
    if fields and {"query", "docno"} <= set(there):
        return (
            f"Load {' and '.join(fields)} before this stage, with dataset.text_loader() or pt.text.get_text; if it is "
            "the query that is to be encoded, write encoder.query_encoder()."
        )
    if fields and "docno" in there:
        return f"Name the columns with the text when you make the encoder: text_field={(others or ['body'])[0]!r}."
    if "docno" in missing and {"query", columns.QUERY_EMBS} & set(there) and "qid" in there:
        return "Put a stage that finds documents before this one, such as index.plaid() or any first stage of yours."
    if "docno" in missing and "text" in there:
        return 'Give every document a name: {"docno": str(record["id"]), "text": record["text"]}.'
    if "qid" in missing and "query" in there:
        return "Give every query a name: pt.new.queries(list_of_texts)."
    return "Queries have qid and query, documents have docno and text." if missing & {"query", "docno"} else ""


def distinct_docnos(docnos: Collection[str] | None) -> tuple[str, ...] | None:
    """The documents to search, each once; None for all. A single string is refused: it is a collection of letters."""
    if isinstance(docnos, str):
        raise ValueError(f"docnos is {docnos!r}; expected a list of docnos: docnos=[{docnos!r}].")
    if isinstance(docnos, pd.DataFrame) or not (docnos is None or isinstance(docnos, Iterable)):
        raise ValueError(
            f'docnos is a {type(docnos).__name__}; expected a list of docnos. Of a ranking: docnos=ranking["docno"].'
        )
    return None if docnos is None else tuple(dict.fromkeys(docnos))


def located(inp: pd.DataFrame, store: Store, missing: str) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The rows whose documents an index holds, and the docids of these; see `Store.lookup` for the others.

    They are `with_queries`, as a row that is left out may be the one that has the query.
    """
    inp = with_queries(inp)
    docids = store.lookup(inp["docno"].tolist(), missing=missing)
    if (docids >= 0).all():
        return inp.reset_index(drop=True), docids
    return inp[docids >= 0].reset_index(drop=True), docids[docids >= 0]


def queries(inp: pd.DataFrame, dim: int | None, *, encoder: str | None = None, what: object = "") -> list[Query]:
    """The distinct queries of a frame in order of appearance, each with the rows that ask it.

    Rows belong together when ``qid``, ``query_embs`` and ``query_weights`` agree, so that a row's score never
    depends on another row of the frame, but for one without a query: see `with_query_embs`.

    Args:
        inp: Has ``qid`` and ``query_embs``, perhaps ``query_weights`` and ``query_encoder``.
        dim: The dimension that is expected, if one is.
        encoder: Fingerprint of the encoder that made the documents, if known.
        what: Who asks, for the error.

    Raises:
        ValueError: If embeddings or weights are not as `columns.as_query` wants them, or the encoder differs.
    """
    inp = with_query_embs(inp)
    if columns.QUERY_ENCODER in inp.columns:
        for found in inp[columns.QUERY_ENCODER].dropna().unique():
            columns.check_encoder(found, encoder, what=what)
    weights = cells(inp, columns.QUERY_WEIGHTS)
    groups: dict[Any, list[tuple[Any, Any, list[int]]]] = {}
    ordered = []
    for row, (qid, embs, weight) in enumerate(zip(inp["qid"], inp[columns.QUERY_EMBS], weights, strict=True)):
        for known_embs, known_weight, rows in groups.setdefault(qid, []):
            if _equal(known_embs, embs) and _equal(known_weight, weight):
                rows.append(row)
                break
        else:
            group = (embs, weight, [row])
            groups[qid].append(group)
            ordered.append(group)
    return [Query(*columns.as_query(embs, weight, dim), np.array(rows)) for embs, weight, rows in ordered]


def cells(inp: pd.DataFrame, name: str) -> list[Any]:
    """The cells of a column, None where one is missing; as many None where there is no such column."""
    if name not in inp.columns:
        return [None] * len(inp)
    return [None if lost else cell for cell, lost in zip(inp[name].tolist(), _missing(inp, name), strict=True)]


def with_queries(inp: pd.DataFrame) -> pd.DataFrame:
    """The frame, in which a row that lacks its query has that of the first other row of its ``qid``.

    PyTerrier's ``+`` leaves the columns of its left side empty in rows that only its right side found, and ``|`` those
    that the other side lacks. ``query_embs`` come with their token ids, weights and encoder, as these belong together;
    a row with ``query_embs`` keeps what it has.
    """
    if "qid" not in inp.columns:
        return inp
    vectors = (columns.QUERY_EMBS, columns.QUERY_TOK_IDS, columns.QUERY_WEIGHTS, columns.QUERY_ENCODER)
    together = [vectors] if columns.QUERY_EMBS in inp.columns else [(name,) for name in vectors]
    for names in [("query",), ("instruction",), *together]:
        lost = _missing(inp, names[0])
        if names[0] in inp.columns and lost.any():
            qids, rows = inp["qid"].tolist(), np.arange(len(inp))
            first = {qids[row]: row for row in np.flatnonzero(~lost)[::-1]}
            rows[lost] = [first.get(qids[row], row) for row in np.flatnonzero(lost)]
            inp = inp.assign(**{name: inp[name].array.take(rows) for name in names if name in inp.columns})
    return inp


def with_query_embs(inp: pd.DataFrame) -> pd.DataFrame:
    """As `with_queries`, for stages that cannot do without ``query_embs``.

    Raises:
        ValueError: If no row of a ``qid`` has any.
    """
    if "qid" not in inp.columns or not _missing(inp, columns.QUERY_EMBS).any():
        return inp
    inp = with_queries(inp)
    for qid in inp["qid"][_missing(inp, columns.QUERY_EMBS)]:
        raise ValueError(
            f"the row of qid {qid!r} has no {columns.QUERY_EMBS}, nor has another row of that qid; expected a "
            "matrix (tokens, dim). Encode the query again, behind a fusion of rankings: encoder.query_encoder()."
        )
    return inp


def query_columns(inp: pd.DataFrame) -> list[str]:
    """The columns that describe the query and not a document, in the frame's order."""
    found = set(pt.model.query_columns(inp))
    return [name for name in inp.columns if name in found]


def doc_encoder(inp: pd.DataFrame) -> str | None:
    """The fingerprint in ``doc_encoder``, None where there is none.

    Raises:
        ValueError: If there are several.
    """
    if columns.DOC_ENCODER not in inp.columns:
        return None
    found = inp[columns.DOC_ENCODER].dropna().unique()
    if len(found) > 1:
        raise ValueError(
            f"{columns.DOC_ENCODER} holds {', '.join(map(repr, found[:3]))}; expected one encoder. "
            "Encode all documents with the encoder of the query."
        )
    return found[0] if len(found) else None


def retrieved(inp: pd.DataFrame, hits: Sequence[tuple[Sequence[str], npt.NDArray[np.floating[Any]]]]) -> pd.DataFrame:
    """The result of a retriever: every column of the query, repeated for its documents.

    Args:
        inp: One row per query; ``score`` and ``rank`` of an earlier stage are dropped.
        hits: For each row the docnos and scores, best first.
    """
    counts = [len(docnos) for docnos, _ in hits]
    rows = np.repeat(np.arange(len(hits)), counts)
    first = pt.model.FIRST_RANK
    # Column by column: assigning to a frame costs more than a whole search of a small index.
    out = {name: inp[name].array.take(rows) for name in inp.columns if name not in RANKING}
    out["docno"] = pd.array([docno for docnos, _ in hits for docno in docnos], dtype="str")
    out["score"] = np.concatenate([np.zeros(0), *(scores for _, scores in hits)])
    out["rank"] = np.concatenate([np.zeros(0, np.int64), *(np.arange(first, first + count) for count in counts)])
    return pd.DataFrame(out, copy=False)


def rescored(
    inp: pd.DataFrame,
    scores: npt.NDArray[np.floating[Any]],
    *,
    ties: npt.NDArray[np.integer[Any]] | None = None,
    drop: Sequence[str] = (),
) -> pd.DataFrame:
    """The result of a re-ranker: the rows it was given with new ``score`` and ``rank``, best first per query.

    Args:
        inp: Has ``qid``.
        scores: One per row; -inf ranks last.
        ties: Orders equal scores, ascending; by default the order of the rows.
        drop: Columns to leave out.
    """
    query, _ = pd.factorize(inp["qid"])
    order = np.lexsort((np.arange(len(inp)) if ties is None else ties, -scores, query))
    first = np.searchsorted(query[order], query[order])  # where the row's query begins
    # Column by column, as in `retrieved`.
    out = {name: inp[name].array.take(order) for name in inp.columns if name not in ("score", "rank", *drop)}
    out["score"] = scores[order].astype(np.float64)
    out["rank"] = np.arange(len(inp), dtype=np.int64) - first + pt.model.FIRST_RANK
    return pd.DataFrame(out, copy=False)


def _missing(inp: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    """Which cells of a column have no value; all of them, where there is no such column."""
    if name not in inp.columns:
        return np.ones(len(inp), np.bool_)
    return inp[name].isna().to_numpy(dtype=np.bool_)


def _equal(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and bool(np.array_equal(a, b)))
