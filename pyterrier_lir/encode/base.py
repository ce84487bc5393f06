"""What every encoder offers to PyTerrier: dispatch on columns, its query half, its document half, its scorer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.encode.instructions import INSTRUCTION, joined
from pyterrier_lir.facts import facts_table
from pyterrier_lir.transformer import LirTransformer


class Encoded(NamedTuple):
    """One encoded text: its rows, float32 ``(n, dim)``, and the vocabulary id of each row, int32 ``(n,)``."""

    embs: Floats
    tok_ids: Ints


class Located(NamedTuple):
    """One encoded text whose rows know where they stand in it.

    Attributes:
        embs: float32 ``(n, dim)``, as of `Encoded`.
        tok_ids: int32 ``(n,)``, as of `Encoded`.
        spans: int32 ``(n, 2)``: the first character of each row's token in the text, and the one behind its last, which
            are equal for a token that is a blank; (-1, -1) for rows that stand for no part of it, such as [CLS] and
            markers.
    """

    embs: Floats
    tok_ids: Ints
    spans: Ints

    def take(self, rows: Any) -> Located:
        """Some of the rows: a slice, a mask, or their numbers."""
        return Located(self.embs[rows], self.tok_ids[rows], self.spans[rows])


class Encoder(LirTransformer):
    """Base of the encoders: a subclass says how texts become matrices, this class fits that into pipelines.

    As a transformer it dispatches on the columns that it is given:

    ============================== =============================================================
    input columns                  output
    ============================== =============================================================
    ``qid, query``                 adds ``query_embs, query_tok_ids, query_encoder``; a column ``instruction``, if
                                   there is one, is encoded with the query, as the checkpoint asks
    ``docno, text``                adds ``doc_embs, doc_tok_ids, doc_encoder``
    ``qid, query, docno, text``    ``score`` and ``rank``, as `text_scorer`
    ============================== =============================================================

    After a stage that returns documents, `query_encoder` adds the query's embeddings to every row.

    Attributes:
        batch_size: Texts in one forward pass.
        text_field: The column or columns with a document's text; several are joined by a blank.
    """

    batch_size: int
    text_field: str | tuple[str, ...]

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Short name of everything that the embeddings depend on; the same for both halves of an encoder."""

    @abstractmethod
    def encode_queries(self, texts: Sequence[str]) -> list[Encoded]:
        """Encodes query texts, in their order; a blank text has no rows."""

    @abstractmethod
    def encode_docs(self, texts: Sequence[str]) -> list[Encoded]:
        """Encodes document texts, in their order; a blank text has no rows."""

    def locate_docs(self, texts: Sequence[str]) -> list[Located]:
        """As `encode_docs`, with the characters that each row stands for; here it is not known of any."""
        return [Located(*row, np.full((len(row.embs), 2), -1, np.int32)) for row in self.encode_docs(texts)]

    def token_spans(self, text: str) -> Ints:
        """The characters of each token of a text, none cut off and no special ones: int32 ``(n, 2)``."""
        raise ValueError(
            f"{self!r} does not say which characters its tokens stand for; expected an encoder with token_spans, such "
            "as LateInteractionEncoder."
        )

    def capacity(self) -> int | None:
        """How many tokens of a document's text are encoded at most; None where there is no limit."""
        return None

    def tokens(self, ids: Ints) -> list[str]:
        """The token of each vocabulary id; its number, where the encoder knows no words."""
        return [f"#{i}" for i in ids]

    def query_encoder(self) -> QueryEncoder:
        """Adds ``query_embs``, ``query_tok_ids``, ``query_encoder`` to rows with a ``query``, also after retrieval."""
        return QueryEncoder(self)

    def doc_encoder(self) -> DocEncoder:
        """Adds ``doc_embs``, ``doc_tok_ids`` and ``doc_encoder`` to rows with the text fields."""
        return DocEncoder(self)

    def text_scorer(self, *, num_threads: int | None = None) -> pt.Transformer:
        """Re-ranks ``qid, query, docno, text`` by MaxSim of freshly encoded texts. See `rerank.text.TextScorer`."""
        from pyterrier_lir.rerank.text import TextScorer

        return TextScorer(self, num_threads=num_threads)

    def explain(self) -> pt.Transformer:
        """Says which tokens of ``query`` and ``text`` met. See `explain.alignment.TextExplain`."""
        from pyterrier_lir.explain.alignment import TextExplain

        return TextExplain(self)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes queries or documents, or scores documents, by the columns that are there (see the class)."""
        with frames.validated(inp, self) as v:
            v.query_frame(["query"], mode="query_encoder")
            v.document_frame(list(self.text_fields()), mode="doc_encoder")
            v.result_frame(["query", *self.text_fields()], mode="text_scorer")
        return getattr(self, v.mode)().transform(inp)

    def query_texts(self, frame: pd.DataFrame) -> list[str]:
        """The query of each row as it is encoded: with its ``instruction``, where there is one."""
        queries = [clean(text) for text in frame["query"]]
        if INSTRUCTION not in frame.columns:
            return queries
        pairs = zip(map(clean, frame[INSTRUCTION]), queries, strict=True)
        return [self.instructed(instruction, query) if instruction else query for instruction, query in pairs]

    def instructed(self, instruction: str, query: str) -> str:
        """A query with its instruction: ``"{instruction} {query}"``, unless an encoder says otherwise."""
        return joined(instruction, query)

    def document_texts(self, frame: pd.DataFrame) -> list[str]:
        """The text of each row: the text fields, joined by a blank; missing or empty fields leave no blank."""
        fields = [frame[field].tolist() for field in self.text_fields()]
        return [join_fields(parts) for parts in zip(*fields, strict=True)]

    def text_fields(self) -> tuple[str, ...]:
        """The columns that make up a document's text.

        Raises:
            ValueError: If `text_field` names none.
        """
        given = [self.text_field] if isinstance(self.text_field, str) else self.text_field
        if not isinstance(given, (list, tuple)) or not given or not all(isinstance(name, str) for name in given):
            raise ValueError(
                f"text_field is {given!r}; expected a column, or several. Pass text_field=('title', 'text')."
            )
        return tuple(given)

    def facts(self) -> dict[str, object]:
        """What a notebook shows of the encoder. Loads nothing."""
        return {"fingerprint": self.fingerprint}

    def _repr_html_(self) -> str:
        return facts_table(repr(self), self.facts() | {"text of a document": " + ".join(self.text_fields())})


class QueryEncoder(LirTransformer):
    """Adds the query's embeddings to every row; equal queries are encoded once.

    After retrieval the queries of the last frame are remembered: adaptive re-rankers such as pyterrier-adaptive's GAR
    send a query's documents in many frames, and with nothing but its text.

    Expected columns: ``query``; ``instruction`` is honoured if it is there, and blank where a query has none. Adds
    ``query_embs``, ``query_tok_ids``, ``query_encoder``. A row whose ``query`` is missing, as ``+`` leaves it
    where only its right side found the document, gets that of the other rows of its ``qid``.
    """

    LABEL = "Query Encoder"

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.batch_size = encoder.batch_size
        self._remembered: dict[str, Encoded] = {}

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes each distinct query of the frame."""
        with frames.validated(inp, self) as v:
            v.query_frame(["query"])
            v.result_frame(["query"])
        inp = frames.with_queries(inp)
        texts = self.encoder.query_texts(inp)
        known = self._remembered if "docno" in inp.columns else {}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        encoded = known | dict(zip(new, self.encoder.encode_queries(new) if new else [], strict=True))
        if "docno" in inp.columns and texts:
            self._remembered = {text: encoded[text] for text in dict.fromkeys(texts)}
        return _with_embeddings(inp, [encoded[text] for text in texts], "query", self.encoder)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_remembered": {}}

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are encoded one by one: cut first, encode what is left."""
        return pt.RankCutoff(k) >> self


class DocEncoder(LirTransformer):
    """Adds the document's embeddings to every row.

    Expected columns: the encoder's text fields. Adds ``doc_embs``, ``doc_tok_ids``, ``doc_encoder``.
    """

    LABEL = "Document Encoder"

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.batch_size = encoder.batch_size

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the document of each row; equal texts are encoded once."""
        frames.check_columns(inp, self, self.encoder.text_fields())
        texts = self.encoder.document_texts(inp)
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        encoded = self.encoder.encode_docs(list(distinct)) if distinct else []
        return _with_embeddings(inp, [encoded[distinct[text]] for text in texts], "doc", self.encoder)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are encoded one by one: cut first, encode what is left."""
        return pt.RankCutoff(k) >> self


def _with_embeddings(inp: pd.DataFrame, rows: list[Encoded], side: str, encoder: Encoder) -> pd.DataFrame:
    # the fingerprint of an unloaded model is only worth computing where there are rows to label
    return inp.reset_index(drop=True).assign(**{
        f"{side}_embs": columns.object_column([row.embs for row in rows]),
        f"{side}_tok_ids": columns.object_column([row.tok_ids for row in rows]),
        f"{side}_encoder": encoder.fingerprint if rows else "",
    })  # fmt: skip


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list, as a column of a frame counts by labels; refuses a single string, a sequence of letters."""
    if isinstance(texts, str):
        raise ValueError(f"texts is {texts!r:.60}; expected a list of texts: [{texts!r:.60}].")
    return list(texts)


def _encodable(text: str) -> str:
    """A text with question marks for halves of surrogate pairs, which JSON may hold and tokenizers refuse."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def join_fields(fields: Iterable[Any]) -> str:
    """The fields of a text, joined by a blank; missing or empty ones leave none."""
    return " ".join(part for part in map(clean, fields) if part)


def clean(text: Any) -> str:
    """A text as it is encoded: None and NaN (a missing field) are blank, a number is its digits."""
    if isinstance(text, str):
        return _encodable(text).strip()
    if text is None or isinstance(text, Number):
        return "" if text is None or text != text else str(text)
    if text is pd.NA or text is pd.NaT:
        return ""
    raise ValueError(
        f"A text is {text!r:.60}, of the type {type(text).__name__}; expected a string. Join its parts: "
        '" ".join(parts).'
    )
