"""Scored tokens, and the documents that they make: what XTR and WARP share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Docids
from pyterrier_lir.index.scoring import CodedQuery
from pyterrier_lir.retrieve.retriever import Scores

if TYPE_CHECKING:
    from pyterrier_lir.index.store import Store


class Triples(NamedTuple):
    """Tokens that were scored; those of row i are ``row_offsets[i]:row_offsets[i + 1]``."""

    row_offsets: npt.NDArray[np.int64]
    docs: npt.NDArray[np.int32]
    scores: Scores


class Part(NamedTuple):
    """What was scored of neighbouring documents: the first one's docid, how many there are, and their tokens."""

    first: int
    size: int
    triples: Triples

    def scored(self, scores: Scores) -> Part:
        """The same tokens with other scores."""
        return self._replace(triples=self.triples._replace(scores=scores))


def scan(
    store: Store, coded: CodedQuery, cells: npt.NDArray[np.int32], cell_scores: Scores, *, normalise: bool
) -> list[Part]:
    """All tokens in each row's cells, by part of `Store.cell_tokens`."""
    return [
        Part(first, size, Triples(*coded.scan(tokens, cells, cell_scores, normalise=normalise)))
        for first, size, tokens in store.cell_tokens
    ]


def reduce(parts: Sequence[Part], imputed: Scores, num_threads: int) -> tuple[Docids, Scores]:
    """Documents with a triple, ascending, and their scores: see `kernels.score_triples`."""
    docids, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for first, size, triples in parts:
        found, sums = kernels.score_triples(*triples, imputed, size, num_threads=num_threads)
        docids.append(found + first)
        scores.append(sums)
    return np.concatenate(docids), np.concatenate(scores)
