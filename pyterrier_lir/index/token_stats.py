"""How often the tokens of the vocabulary occur in a collection.

========== ================ ==========================================
file       dtype, shape     content
========== ================ ==========================================
ids.i32    int32 (V,)       the token ids that occur, ascending
df.i64     int64 (V,)       documents with the token
cf.i64     int64 (V,)       occurrences of the token
========== ================ ==========================================

Derived from an index when first asked for. Ids below 0 (rows that a checkpoint pooled itself) are no tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from pyterrier_lir.columns import Docids, Floats, Ints
from pyterrier_lir.index import files
from pyterrier_lir.index.segment import Segment

NAME = "token_stats"
BLOCK = 1 << 20  # tokens in memory at once
DOCS = 1000  # documents that `TokenStats.count` takes at once

Counts = npt.NDArray[np.int64]
Block = tuple[npt.NDArray[np.integer], Counts]  # token ids, and the document of each


@dataclass(frozen=True, eq=False)
class TokenStats:
    """Document and collection frequencies of tokens.

    Attributes:
        num_docs: Documents with at least one token.
        ids: The tokens that occur, int32 ``(V,)``, ascending.
        df: Documents with each, int64 ``(V,)``.
        cf: Occurrences of each, int64 ``(V,)``.

    Example:
        >>> stats = TokenStats.count([[7, 7, 9], [9]])
        >>> stats.document_frequency([7, 8, 9]).tolist(), stats.collection_frequency([7, 8, 9]).tolist()
        ([1, 0, 2], [2, 0, 2])
        >>> stats.idf([7, 9])  # ln(3 / 2), ln(3 / 3)
        array([0.4054651, 0.       ], dtype=float32)
    """

    num_docs: int
    ids: Ints
    df: Counts
    cf: Counts

    @classmethod
    def count(cls, documents: Iterable[npt.ArrayLike]) -> TokenStats:
        """Counts the token ids of documents, one array for each; read once, as a stream."""
        return _tally(_stack(documents))

    def document_frequency(self, tok_ids: npt.ArrayLike) -> Counts:
        """In how many documents each token occurs."""
        return self._look_up(self.df, tok_ids)

    def collection_frequency(self, tok_ids: npt.ArrayLike) -> Counts:
        """How often each token occurs."""
        return self._look_up(self.cf, tok_ids)

    def idf(self, tok_ids: npt.ArrayLike) -> Floats:
        """``ln((N + 1) / (df + 1))`` of each token, float32: 0 for one that is in all documents, such as [CLS]."""
        idf: Floats = np.log((self.num_docs + 1) / (self.document_frequency(tok_ids) + 1)).astype(np.float32)
        return idf

    def most_frequent(self, count: int) -> Ints:
        """The tokens with the lowest idf; of equal ones those that occur more often, then the lower id."""
        return self.ids[np.lexsort((self.ids, -self.cf, -self.df))[:count]]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TokenStats)
            and self.num_docs == other.num_docs
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("ids", "df", "cf"))
        )

    def __hash__(self) -> int:
        return hash((self.num_docs, len(self.ids), int(self.cf.sum())))

    def __repr__(self) -> str:
        return f"TokenStats(<{len(self.ids)} tokens in {self.num_docs} documents>)"

    def _look_up(self, values: Counts, tok_ids: npt.ArrayLike) -> Counts:
        wanted = np.asarray(tok_ids, dtype=np.int64)
        if not len(self.ids):
            return np.zeros(wanted.shape, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[at] == wanted, values[at], 0)


def write(parts: Iterable[tuple[Segment, Docids]], folder: files.Directory) -> None:
    """Counts the tokens of all segments, without those of deleted documents."""
    stats = _tally(block for segment, deleted in parts for block in _blocks(segment, deleted))
    folder.meta["num_docs"] = stats.num_docs
    for name, values in (("ids.i32", stats.ids), ("df.i64", stats.df), ("cf.i64", stats.cf)):
        folder.file(name).write(values.tobytes())


def read(folder: files.Opened, tokens: int) -> TokenStats:
    """What `write` wrote.

    Args:
        folder: Where it is.
        tokens: How many rows the index has.

    Raises:
        ValueError: If it is damaged, or none of the rows is a token of a vocabulary.
    """
    num_docs, ids = folder.meta.get("num_docs"), folder.map("ids.i32", "<i4")
    df, cf = folder.map("df.i64", "<i8"), folder.map("cf.i64", "<i8")
    if type(num_docs) is not int or not len(ids) == len(df) == len(cf):
        raise ValueError(
            f"{folder.path} is damaged; expected num_docs, and a df and a cf for each token. Remove the folder, so "
            "that it is made again."
        )
    if tokens and not len(ids):
        raise ValueError(
            f"The index of {folder.path} has no tokens of a vocabulary, only patches of pages or pooled rows; expected "
            "words, whose frequencies are asked for. Leave out what needs them."
        )
    return TokenStats(num_docs, ids, df, cf)


def _tally(blocks: Iterable[Block]) -> TokenStats:
    ids, df, cf, num_docs = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    for tok_ids, docs in blocks:
        known = tok_ids >= 0
        pairs, times = np.unique(docs[known] << 32 | tok_ids[known].astype(np.int64), return_counts=True)
        num_docs += len(np.unique(pairs >> 32))
        ids, place = np.unique(np.concatenate([ids, pairs & 0xFFFFFFFF]), return_inverse=True)
        df = _summed(place, np.concatenate([df, np.ones_like(times)]), len(ids))
        cf = _summed(place, np.concatenate([cf, times]), len(ids))
    return TokenStats(num_docs, ids.astype(np.int32), df, cf)


def _summed(places: npt.NDArray[np.integer], values: Counts, size: int) -> Counts:
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, places, values)
    return sums


def _blocks(segment: Segment, deleted: Docids) -> Iterator[Block]:
    """Whole documents of a segment, about `BLOCK` tokens at a time."""
    assert segment.tok_ids is not None
    offsets, first = segment.offsets, 0
    while first < len(segment):
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + BLOCK, side="right")) - 1)
        docs = np.repeat(np.arange(first, last), np.diff(offsets[first : last + 1]))
        keep = ~np.isin(docs, deleted)
        yield segment.tok_ids[offsets[first] : offsets[last]][keep], docs[keep]
        first = last


def _stack(documents: Iterable[npt.ArrayLike]) -> Iterator[Block]:
    stream = (np.asarray(document, dtype=np.int64) for document in documents)
    while some := list(islice(stream, DOCS)):
        yield np.concatenate(some), np.repeat(np.arange(len(some)), [len(document) for document in some])
