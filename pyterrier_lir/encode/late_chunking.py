"""Late chunking: a document is encoded whole, then its token vectors are cut into passages.

Passages are ranges of characters, windows are ranges of characters, and every row of the encoder says for which
characters it stands: that is all that has to be compared. A document that is longer than the model is encoded in
windows that overlap; a token's row is taken from the window that reaches further beyond it on both sides.

Günther, Mohr, Williams, Wang, Xiao: Late Chunking. 2024, algorithms 1 and 2. Conti et al.: Context is Gold to find the
Gold Passage: Evaluating and Training Contextual Document Embeddings. EMNLP 2025, which applies it to late interaction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.columns import Ints
from pyterrier_lir.encode.base import Encoder, Located
from pyterrier_lir.encode.windows import Window, windows_of, word_start
from pyterrier_lir.transformer import LirTransformer

UNITS = ("tokens", "words")
SPANS = "chunk_spans"
_WORD = re.compile(r"\S+")


class LateChunking(LirTransformer):
    r"""Encodes documents whole and cuts their token vectors into passages, each of which knows the whole.

    ============================== ==============================================================================
    input columns                  output: one row per passage
    ============================== ==============================================================================
    ``docno``                      ``docno`` of the passage: ``d1%p0``, ``d1%p1``, ... as of ``pt.text.sliding``,
                                   so that ``pt.text.max_passage()`` finds the documents again
    the encoder's text fields      the text of the passage; of several fields the last has it, the others are blank
    ``chunk_spans`` (optional)     left out
    \                               ``chunk_start``, ``chunk_end``: int, the passage's characters in the text
    \                               ``doc_embs, doc_tok_ids, doc_encoder``, as of ``encoder.doc_encoder()``
    ============================== ==============================================================================

    A passage begins every ``stride`` units, or a little earlier, so that no word is cut; the last one may be shorter,
    and no text is left out. Where there is a column ``chunk_spans``, its lists of (start, end) say which characters are
    passages instead: sentences, sections. The rows that stand for no text ([CLS], the marker, [SEP]) are part of every
    passage, as if it had been encoded by itself; with one passage for the whole text the rows are those of
    ``encoder.doc_encoder()``.

    A text of more tokens than the model takes is encoded in windows of ``window`` tokens, of which each repeats the
    last ``overlap`` tokens of that before; a row comes from the window in which its token is further from the edge.

    ``(lir.LateChunking(encoder, length=128) >> index).index(corpus)``, then
    ``encoder.query_encoder() >> index.plaid(num_results=100) >> pt.text.max_passage()``.

    Args:
        encoder: Encodes the documents; it must know where its tokens stand (``locate_docs``).
        length: Units of a passage.
        stride: Units from one passage's beginning to the next; None for ``length``, so that none overlap.
        unit: ``"tokens"`` of the encoder, or ``"words"`` between blanks, as ``pt.text.sliding`` counts.
        window: Tokens of a window; None for as many as the encoder takes.
        overlap: Tokens that two windows share; None for a quarter of a window.

    Raises:
        ValueError: If a number has no meaning, or the encoder does not know where its tokens stand.
    """

    LABEL = "Late Chunking"

    def __init__(
        self,
        encoder: Encoder,
        *,
        length: int = 128,
        stride: int | None = None,
        unit: str = "tokens",
        window: int | None = None,
        overlap: int | None = None,
    ) -> None:
        if not isinstance(encoder, Encoder):
            raise ValueError(f"encoder is {encoder!r:.60}; expected an encoder. Pass lir.LateInteractionEncoder(...).")
        arguments.check_counts(length=length)
        arguments.check_optional_counts(stride=stride, window=window)
        arguments.check_optional_counts(0, overlap=overlap)
        arguments.check_choice("unit", unit, UNITS)
        if stride is not None and stride > length:
            raise ValueError(f"stride is {stride}, length {length}; expected at most {length}, or text is left out.")
        self.encoder = encoder
        self.length = length
        self.stride = stride
        self.unit = unit
        self.window = window
        self.overlap = overlap
        self.batch_size = encoder.batch_size

    def passages(self) -> Passages:
        """The same passages as texts, not encoded: ``chunking.passages() >> encoder`` knows no context."""
        return Passages(self)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the documents of the frame and cuts them."""
        frames.check_columns(inp, self, ["docno", *self.encoder.text_fields()])
        texts = self.encoder.document_texts(inp)
        spans = self.spans(inp, texts)
        documents = _in_windows(self.encoder, texts, self.window, self.overlap) if len(inp) else []
        cut = [_cut(documents[i], start, end) for i, chunks in enumerate(spans) for start, end in chunks]
        out = _passage_rows(inp, texts, spans, self.encoder.text_fields())
        return out.assign(
            doc_embs=columns.object_column([row.embs for row in cut]),
            doc_tok_ids=columns.object_column([row.tok_ids for row in cut]),
            doc_encoder=self.encoder.fingerprint if cut else "",
        )

    def spans(self, inp: pd.DataFrame, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters of the passages of each text as it is encoded; a text without any has one, which is empty."""
        wanted = inp[SPANS] if SPANS in inp.columns else [None] * len(inp)
        found = []
        for given, text, whole in zip(wanted, texts, _wholes(inp, texts, self.encoder.text_fields()), strict=True):
            missing = pd.api.types.is_scalar(given) and pd.isna(given)
            found.append((self._sliding(text) if missing else _checked(given, text, whole)) or [(0, len(text))])
        return found

    def _sliding(self, text: str) -> list[tuple[int, int]]:
        if self.unit == "words":
            units = np.array([match.span() for match in _WORD.finditer(text)], np.int32).reshape(-1, 2)
        else:
            units = self.encoder.token_spans(text)
        count, stride = len(units), self.stride or self.length
        starts = (i for i in range(0, count, stride) if i == 0 or i + self.length - stride < count)
        ranges = ((word_start(text, units, i), _border(text, units, i + self.length)) for i in starts)
        # a word of more tokens than a passage has makes ranges empty, or repeats them
        distinct = dict.fromkeys((first, last) for first, last in ranges if first < last)
        return [(int(units[first, 0]), int(units[first:last, 1].max())) for first, last in distinct]


class Passages(LirTransformer):
    """Cuts texts as `LateChunking` does, and does not encode them.

    Expected columns: ``docno`` and the encoder's text fields. Output: one row per passage, with the columns of
    `LateChunking` but those of embeddings.

    Args:
        chunking: Says where passages begin and end.
    """

    LABEL = "Passages"

    def __init__(self, chunking: LateChunking) -> None:
        self.chunking = chunking

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Cuts the documents of the frame."""
        encoder = self.chunking.encoder
        frames.check_columns(inp, self, ["docno", *encoder.text_fields()])
        texts = encoder.document_texts(inp)
        return _passage_rows(inp, texts, self.chunking.spans(inp, texts), encoder.text_fields())


def whole_documents(encoder: Encoder, texts: Sequence[str]) -> list[Located]:
    """Encodes texts of any length whole: `Encoder.locate_docs`, in windows where they are long.

    Raises:
        ValueError: If the encoder does not know where its tokens stand.
    """
    documents = _in_windows(encoder, texts, None, None)
    return [_cut(document, 0, len(text)) for document, text in zip(documents, texts, strict=True)]


def _in_windows(
    encoder: Encoder, texts: Sequence[str], size: int | None, overlap: int | None
) -> list[list[tuple[Window, Located]]]:
    """The windows of each text, encoded in common batches, with spans that count in the text."""
    windows = [windows_of(text, encoder, size, overlap) for text in texts]
    pieces = [text[w.start : w.end] for text, of_text in zip(texts, windows, strict=True) for w in of_text]
    located = iter(encoder.locate_docs(pieces))
    documents = [[(window, _moved(next(located), window.start)) for window in of_text] for of_text in windows]
    for text, document in zip(texts, documents, strict=True):
        if not any((row.spans >= 0).any() for _, row in document):
            encoder.token_spans(text)  # raises where the encoder never knows; else all tokens are skipped
    return documents


def _border(text: str, units: Ints, unit: int) -> int:
    return word_start(text, units, unit) if unit < len(units) else len(units)


def _moved(row: Located, start: int) -> Located:
    return row._replace(spans=np.where(row.spans < 0, -1, row.spans + start).astype(np.int32))


def _cut(document: list[tuple[Window, Located]], start: int, end: int) -> Located:
    """The rows of a passage: its tokens', each from its window, and around them those that stand for no text."""
    middle = (start + end) // 2
    home = next((row for window, row in document if middle < window.last), document[-1][1])
    text_rows = np.flatnonzero(home.spans[:, 0] >= 0)
    before = slice(0, text_rows[0] if len(text_rows) else len(home.spans))
    after = slice(text_rows[-1] + 1 if len(text_rows) else len(home.spans), None)
    parts = [home.take(before)]
    for window, row in document:
        at = row.spans[:, 0]
        used = (at >= max(start, window.first)) & (at < min(end, window.last))
        parts.append(row.take(used))
    parts.append(home.take(after))
    return Located(
        np.concatenate([part.embs for part in parts]),
        np.concatenate([part.tok_ids for part in parts]),
        np.concatenate([part.spans for part in parts]),
    )


def _wholes(inp: pd.DataFrame, texts: Sequence[str], fields: tuple[str, ...]) -> list[str]:
    """The texts in which characters count: a single field as it is, with the blanks around it; several as joined."""
    if len(fields) > 1:
        return list(texts)
    return [whole if isinstance(whole, str) else text for whole, text in zip(inp[fields[0]], texts, strict=True)]


def _before(whole: str) -> int:
    """How many blanks stand before a text, which are not encoded."""
    return len(whole) - len(whole.lstrip())


def _checked(given: Any, text: str, whole: str) -> list[tuple[int, int]]:
    spans = [(int(start), int(end)) for start, end in given]
    for start, end in spans:
        if not 0 <= start <= end <= len(whole):
            raise ValueError(
                f"{SPANS} holds {(start, end)} for a text of {len(whole)} characters; expected (start, end) within it. "
                "Of several text fields, characters count in the fields joined by a blank."
            )
    moved = np.clip(np.array(spans, np.int64).reshape(-1, 2) - _before(whole), 0, len(text))
    return [(start, end) for start, end in moved.tolist()]


def _passage_rows(
    inp: pd.DataFrame, texts: Sequence[str], spans: list[list[tuple[int, int]]], fields: tuple[str, ...]
) -> pd.DataFrame:
    """A frame with a row per passage: its docno, its text, its characters; other columns are the document's."""
    rows = np.repeat(np.arange(len(inp)), [len(chunks) for chunks in spans])
    flat = [(texts[i], *chunk) for i, chunks in enumerate(spans) for chunk in chunks]
    numbers = [number for chunks in spans for number in range(len(chunks))]
    docnos = inp["docno"].tolist()
    before = np.array([_before(whole) for whole in _wholes(inp, texts, fields)], np.int64)[rows]
    out = inp.drop(columns=SPANS, errors="ignore").iloc[rows].reset_index(drop=True)
    texts_of = {field: [""] * len(flat) for field in fields[:-1]}
    return out.assign(
        docno=pd.array([f"{docnos[i]}%p{number}" for i, number in zip(rows, numbers, strict=True)], dtype="str"),
        **texts_of,
        **{fields[-1]: pd.array([text[start:end] for text, start, end in flat], dtype="str")},
        chunk_start=before + np.array([start for _, start, _ in flat], np.int64),
        chunk_end=before + np.array([end for _, _, end in flat], np.int64),
    )
