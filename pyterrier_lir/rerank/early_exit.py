"""Early exit: re-ranking goes down the first stage's list and stops when nothing good has come for a while.

The first k documents are scored. Then, in the order of the first stage, each document that is not better than the
k-th best so far counts, one that is sets the count back to 0; at ``beta`` it stops.

Martinico, Nardini, Rulli, Venturini: Multivector Reranking in the Era of Strong First-Stage Retrievers.
arXiv:2601.05200, 2026.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyterrier_lir import arguments, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.frames import Query
from pyterrier_lir.index import scoring
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex


class EarlyExitMaxSim(LirTransformer):
    """Re-ranks by MaxSim until ``beta`` documents in a row have not come among the best k.

    Expected columns: ``qid``, ``query_embs``, ``docno``, ``rank``; ``query_weights`` and ``query_encoder`` are
    honoured if they are there. Output: all rows and columns, with new ``score`` and ``rank``. Scores are those of
    ``index.maxsim()``; a row that was not scored has -inf, behind those that were and in the order in which it came.
    So does a row without vectors.

    Args:
        index_: The index.
        beta: Documents in a row without success after which it stops; infinity scores all. The paper has 2 to 4.
        k: Documents that will be looked at in the end; as many are scored in any case.
        missing: What to do with rows whose docno the index does not hold: ``"error"`` or ``"drop"``.
        num_threads: Threads on the processor; None for all cores. The scores do not depend on it.

    Raises:
        ValueError: If ``beta`` or k is less than 1, docnos are unknown, or the query's encoder or dimension is not the
            index's.

    Martinico, Nardini, Rulli, Venturini: Multivector Reranking in the Era of Strong First-Stage Retrievers.
    arXiv:2601.05200, 2026.
    """

    LABEL = "Early-Exit MaxSim"

    def __init__(
        self,
        index_: LirIndex,
        beta: int | float,
        *,
        k: int = 10,
        missing: str = "error",
        num_threads: int | None = None,
    ) -> None:
        if not isinstance(beta, float) or beta != np.inf:
            arguments.check_counts(beta=beta)
        arguments.check_counts(k=k)
        arguments.check_missing(missing)
        scoring.threads(num_threads)
        self.index_ = index_
        self.beta = beta
        self.k = k
        self.missing = missing
        self.num_threads = num_threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores rows of every query, in the order of their ranks."""
        frames.check_result_frame(inp, self, ["rank"])
        if not len(inp):
            return frames.rescored(inp, np.zeros(0))
        store = self.index_.store
        inp, docids = frames.located(inp, store, self.missing)
        scorer = scoring.Scorer(store, num_threads=self.num_threads, device="cpu")
        ranks, scores = frames.ranks(inp), np.full(len(inp), -np.inf, dtype=np.float32)
        for query in frames.queries(inp, store.dim, encoder=store.encoder, what=self):
            if len(query.embs):
                rows = query.rows[np.argsort(ranks[query.rows], kind="stable")]
                scores[rows] = self._scores(scorer, query, docids[rows])
        return frames.rescored(inp, scores, ties=np.where(np.isfinite(scores), docids, ranks))

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """The rows that are scored before it stops."""
        return {"scored": int(np.isfinite(self(inp)["score"]).sum())}

    def _scores(self, scorer: scoring.Scorer, query: Query, docids: npt.NDArray[np.int64]) -> Floats:
        prepared, scores = scorer.prepare(query), np.full(len(docids), -np.inf, dtype=np.float32)
        done = min(self.k, len(docids))
        scores[:done] = scorer.documents(prepared, docids[:done])
        best, failures = scores[:done].tolist(), 0
        heapq.heapify(best)
        while done < len(docids) and failures < self.beta:
            # so many more are scored whatever they come to, hence at once
            until = int(min(done + self.beta - failures, len(docids)))
            scores[done:until] = scorer.documents(prepared, docids[done:until])
            for score in scores[done:until].tolist():
                failures = 0 if score > best[0] else failures + 1
                heapq.heappushpop(best, score)
            done = until
        return scores
