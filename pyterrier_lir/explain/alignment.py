"""The alignment of a query with a document: for each query row the document row that MaxSim took.

============ ================= ======================================================================
column       dtype, shape      meaning
============ ================= ======================================================================
match_matrix float32 (n, m)    similarity of every query row with every document row
match_pos    int32 (n,)        the best document row; -1 for padding, weight 0, or an empty document
match_sim    float32 (n,)      its similarity, 0 where there is none
match_share  float32 (n,)      its share of the score, w_i s_i / sum of all
match_exact  bool (n,)         whether both rows are the same token of the vocabulary (else: semantic)
query_words  list of str (n)   the query's tokens
doc_words    list of str (m)   the document's tokens
doc_patches  int32 (m,)        the patch of a page that each document row is; -1 for other rows
============ ================= ======================================================================

Of equal similarities the first row counts.

Formal, Piwowarski, Clinchant: A White Box Analysis of ColBERT. ECIR 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.index.artifact import LirIndex


class Alignment(NamedTuple):
    """One query with one document; see the module for the meaning of each field."""

    match_matrix: Floats
    match_pos: Ints
    match_sim: Floats
    match_share: Floats
    match_exact: npt.NDArray[np.bool_]


WORDS = ("query_words", "doc_words")


def align(query: tuple[Floats, Ints, Floats], document: tuple[Floats, Ints]) -> Alignment:
    """Aligns a query (rows, token ids, weights) with a document (rows, token ids)."""
    embs, tok_ids, weights = query
    doc_embs, doc_ids = document
    if not len(embs) or not len(doc_embs):  # what has no rows may have no dimensions either
        none = np.zeros(len(embs), np.float32)
        matrix = np.zeros((len(embs), len(doc_embs)), np.float32)
        return Alignment(matrix, np.full(len(embs), -1, np.int32), none, none, np.zeros(len(embs), np.bool_))
    matrix = embs @ doc_embs.T
    alive = embs.any(axis=1) & (weights > 0)
    best = matrix.argmax(axis=1)
    sims = np.where(alive, matrix.max(axis=1), 0).astype(np.float32)
    parts = weights * sims
    total = parts.sum()
    shares = parts / total if total else np.zeros_like(parts)
    return Alignment(
        matrix, np.where(alive, best, -1).astype(np.int32), sims, shares, alive & (doc_ids[best] == tok_ids)
    )


class Explain(LirTransformer):
    """Adds to every row of a ranking how its score came about.

    Expected columns: ``qid``, ``query_embs``, ``query_tok_ids``, ``docno``; without an index also ``doc_embs`` and
    ``doc_tok_ids``, which do not stay; ``query_weights`` is honoured if it is there. Output: all rows and columns,
    and for n query rows and m document rows

    ================= =================== =====================================================================
    column            dtype, shape        meaning
    ================= =================== =====================================================================
    ``match_matrix``  float32 ``(n, m)``  similarity of every query row with every document row
    ``match_pos``     int32 ``(n,)``      the best document row; -1 for padding, weight 0, or an empty document
    ``match_sim``     float32 ``(n,)``    its similarity, 0 where there is none
    ``match_share``   float32 ``(n,)``    its share of the score, ``w_i s_i`` / the sum of all
    ``match_exact``   bool ``(n,)``       whether both rows are the same token of the vocabulary (else semantic)
    ``query_words``   list of n strings   the query's tokens
    ``doc_words``     list of m strings   the document's tokens
    ``doc_patches``   int32 ``(m,)``      the patch of a page that each document row is; -1 for other rows
    ================= =================== =====================================================================

    Of equal similarities the first row counts. The sum of ``w_i match_sim_i`` is ``index.maxsim()``'s score: exactly
    that of fp16 vectors, and of codes up to the rounding of the query to 8 bits.

    A row takes as much room as query rows times document rows: cut the ranking first.

    ``encoder.query_encoder() >> index.plaid() % 5 >> index.explain(encoder)``; from text ``... >> encoder.explain()``.

    Args:
        index_: Where the documents' vectors and token ids come from; None for columns.
        encoder: Knows the words of token ids; it must be the one that made the index, whose vocabulary is meant. None
            shows numbers.

    Raises:
        ValueError: If the index has no token ids, docnos are unknown, or an encoder or dimension is another one.

    .. cite.dblp:: conf/ecir/FormalPC21
    """

    LABEL = "Explain"

    def __init__(self, index_: LirIndex | None = None, encoder: Encoder | None = None) -> None:
        if encoder is not None and not hasattr(encoder, "tokens"):
            raise ValueError(
                f"encoder is {encoder!r}; expected the encoder that made the index: index.explain(encoder)."
            )
        self.index_ = index_
        self.encoder = encoder

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Aligns the query and the document of every row."""
        docs = () if self.index_ else (columns.DOC_EMBS, columns.DOC_TOK_IDS)
        frames.check_result_frame(inp, self, [columns.QUERY_TOK_IDS, *docs])
        inp = frames.with_query_embs(inp.reset_index(drop=True))
        documents = self._documents(inp) if len(inp) else []
        aligned, words = self._aligned(inp, documents)
        out = inp if self.index_ else inp.drop(columns=[*docs, columns.DOC_ENCODER], errors="ignore")
        for i, name in enumerate(Alignment._fields):
            out = out.assign(**{name: columns.object_column([alignment[i] for alignment in aligned])})
        out = out.assign(**{name: columns.object_column([pair[i] for pair in words]) for i, name in enumerate(WORDS)})
        patches = [columns.patch_numbers(tok_ids) for _, tok_ids in documents]
        return out.assign(doc_patches=columns.object_column(patches))

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are explained one by one: cut first, explain what is left."""
        return pt.RankCutoff(k) >> self

    def _aligned(
        self, inp: pd.DataFrame, documents: list[tuple[Floats, Any]]
    ) -> tuple[list[Alignment], list[tuple[list[str], list[str]]]]:
        weights = frames.cells(inp, columns.QUERY_WEIGHTS)
        aligned, words = [], []
        for *cells, document in zip(
            inp[columns.QUERY_EMBS], inp[columns.QUERY_TOK_IDS], weights, documents, strict=True
        ):
            embs, some_ids, row_weights = columns.as_aligned_query(*cells)
            tok_ids = columns.needed_ids(some_ids, columns.QUERY_TOK_IDS)
            aligned.append(align((embs, tok_ids, row_weights), document))
            words.append((self._words(tok_ids), self._words(columns.needed_ids(document[1], columns.DOC_TOK_IDS))))
        return aligned, words

    def _documents(self, inp: pd.DataFrame) -> list[tuple[Floats, Any]]:
        """Vectors and token ids of the document of each row, after checking that all encoders are one."""
        store = self.index_.store if self.index_ else None
        dim, encoder = (store.dim, store.encoder) if store else (None, frames.doc_encoder(inp))
        if self.encoder is not None and encoder is not None and self.encoder.fingerprint != encoder.split("[:")[0]:
            raise ValueError(
                f"{self!r}: the words are those of {self.encoder.fingerprint!r}, the documents are of {encoder!r}; "
                "expected the same encoder. Explain with the encoder that made the documents."
            )
        frames.queries(inp, dim, encoder=encoder, what=self)  # checks them
        if store is None:
            pairs = zip(inp[columns.DOC_EMBS], inp[columns.DOC_TOK_IDS], strict=True)
            return [columns.as_document(*pair) for pair in pairs]
        store.check_tok_ids("explanations")
        return [store.document(docid) for docid in store.lookup(inp["docno"].tolist())]

    def _words(self, tok_ids: Ints) -> list[str]:
        return self.encoder.tokens(tok_ids) if self.encoder else [f"#{tok_id}" for tok_id in tok_ids]


class TextExplain(LirTransformer):
    """Explains documents that come as text: encodes both sides, then does as `pyterrier_lir.explain.Explain`.

    Expected columns: ``qid``, ``query``, ``docno``, and the encoder's text fields; ``query_weights`` is honoured if it
    is there. Output: all rows and columns, ``query_embs`` (float32 ``(n, dim)``), ``query_tok_ids`` (int32 ``(n,)``),
    ``query_encoder``, and the eight columns of `pyterrier_lir.explain.Explain`: ``match_matrix`` (float32 ``(n, m)``),
    ``match_pos`` (int32 ``(n,)``), ``match_sim`` and ``match_share`` (float32 ``(n,)``), ``match_exact`` (bool
    ``(n,)``), ``query_words`` and ``doc_words`` (lists of n and m strings), ``doc_patches`` (int32 ``(m,)``). Of these
    rows `highlight` shows the text itself, by two more columns: ``doc_spans`` (int32 ``(m, 2)``), the first character
    of each document row's token and the one behind its last, (-1, -1) where it stands for none, and ``doc_text``, in
    which they count.

    Args:
        encoder: Encodes queries and documents, and knows the words.
    """

    LABEL = "Text Explain"

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes and aligns the query and the document of every row."""
        with frames.validated(inp, self) as v:
            v.result_frame(["query", *self.encoder.text_fields()])
        texts = self.encoder.document_texts(inp)
        distinct = list(dict.fromkeys(texts))
        found = self.encoder.locate_docs(distinct) if distinct else []
        located = dict(zip(distinct, found, strict=True))
        rows = [located[text] for text in texts]
        encoded = (
            self.encoder.query_encoder()
            .transform(inp)
            .assign(
                doc_embs=columns.object_column([row.embs for row in rows]),
                doc_tok_ids=columns.object_column([row.tok_ids for row in rows]),
                doc_encoder=self.encoder.fingerprint if rows else "",
            )
        )
        # as in `columns.as_document`, rows that are zero are padding
        spans = [row.spans[row.embs.any(axis=1)] for row in rows]
        return (
            Explain(encoder=self.encoder)
            .transform(encoded)
            .assign(doc_spans=columns.object_column(spans), doc_text=columns.object_column(texts))
        )

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are explained one by one: cut first, explain what is left."""
        return pt.RankCutoff(k) >> self


class PageExplain(TextExplain):
    """Explains pages that come as images: encodes both sides, then does as `pyterrier_lir.explain.Explain`.

    Expected columns: ``qid``, ``query``, ``docno``, and the encoder's image field; ``query_weights`` is honoured if it
    is there. Output: as of `TextExplain`, with ``doc_grid`` and without ``doc_spans`` and ``doc_text``.

    Args:
        encoder: Encodes queries and pages.
    """

    LABEL = "Page Explain"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes and aligns the query and the page of every row."""
        with frames.validated(inp, self) as v:
            v.result_frame(["query", *self.encoder.text_fields()])
        encoded = self.encoder.doc_encoder().transform(self.encoder.query_encoder().transform(inp))
        return Explain(encoder=self.encoder).transform(encoded)
