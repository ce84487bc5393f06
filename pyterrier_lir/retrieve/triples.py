"""Scored tokens, and the documents that they make: what XTR and WARP share."""

from __future__ import annotations

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
    """Tokens of a segment that were scored; those of row i are ``row_offsets[i]:row_offsets[i + 1]``."""

    row_offsets: npt.NDArray[np.int64]
    docs: npt.NDArray[np.int32]
    scores: Scores


Parts = list[tuple[int, Triples]]  # by segment, with the docid of its first document


def scan(
    store: Store, coded: CodedQuery, cells: npt.NDArray[np.int32], cell_scores: Scores, *, normalise: bool
) -> Parts:
    """All tokens in each row's cells, by segment, with the docid of the segment's first document."""
    return [
        (start, Triples(*coded.scan(store.cell_tokens(segment), cells, cell_scores, normalise=normalise)))
        for start, segment in store.parts()
        if segment.num_tokens
    ]


def reduce(store: Store, triples: Parts, imputed: Scores, num_threads: int) -> tuple[Docids, Scores]:
    """Documents with a triple, ascending, and their scores: see `kernels.score_triples`."""
    docids, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for start, part in triples:
        segment, _ = store.locate(start)
        found, sums = kernels.score_triples(*part, imputed, len(segment), num_threads=num_threads)
        docids.append(found + start)
        scores.append(sums)
    return np.concatenate(docids), np.concatenate(scores)
