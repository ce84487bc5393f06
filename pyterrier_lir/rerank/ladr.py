"""LADR: a cheap first stage gives the seeds, a corpus graph what it overlooked.

- *proactive*: the neighbours of all seeds are scored, once.
- *adaptive*: again and again the neighbours of the ``depth`` best documents so far, until there are no new ones.

Kulkarni, MacAvaney, Goharian, Frieder: Lexically-Accelerated Dense Retrieval. SIGIR 2023.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, frames, kernels
from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.frames import Query
from pyterrier_lir.index import scoring
from pyterrier_lir.rerank.corpus_graph import CorpusGraph
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex


class Graph(Protocol):
    """What a corpus graph must do: ours, or one of pyterrier-adaptive."""

    def neighbours(self, document: str, /) -> Iterable[str]:
        """The docnos near a docno."""


class Ladr(LirTransformer):
    """Re-ranks documents by MaxSim together with their neighbours in a corpus graph; each is scored once.

    Expected columns: ``qid``, ``query_embs``, ``docno``: the seeds; ``query_weights`` and ``query_encoder`` are
    honoured if they are there. Output: the columns of the query, and ``docno``, ``score``, ``rank``; what the input
    says of documents goes, as it is not known of the new ones. Scores are those of ``index.maxsim()``; equal ones are
    in index order; documents without vectors do not come out.

    Args:
        index_: The index.
        graph: ``index.corpus_graph(k=16)``, or a ``CorpusGraph`` of pyterrier-adaptive.
        depth: Documents whose neighbours are scored in each round, until nothing is new (adaptive); None for one round
            with all seeds (proactive).
        num_results: Documents per query.
        missing: What to do with documents that the index does not hold: ``"error"`` or ``"drop"``.
        num_threads: Threads on the processor; None for all cores. The scores do not depend on it.

    Raises:
        ValueError: If the graph has no neighbours, docnos are unknown, or the query's encoder or dimension is not the
            index's.

    .. cite.dblp:: conf/sigir/KulkarniMGF23
    """

    LABEL = "LADR"

    def __init__(
        self,
        index_: LirIndex,
        graph: Graph,
        *,
        depth: int | None = 100,
        num_results: int = 1000,
        missing: str = "error",
        num_threads: int | None = None,
    ) -> None:
        if not hasattr(graph, "neighbours"):
            raise ValueError(f"graph is {graph!r}; expected a corpus graph: index.ladr(index.corpus_graph(k=16)).")
        arguments.check_counts(num_results=num_results)
        arguments.check_optional_counts(depth=depth)
        arguments.check_missing(missing)
        scoring.threads(num_threads)
        self.index_ = index_
        self.graph = graph
        self.depth = depth
        self.num_results = num_results
        self.missing = missing
        self.num_threads = num_threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores seeds and neighbours of every query."""
        frames.check_result_frame(inp, self)
        asked = inp[frames.query_columns(inp)]
        if not len(inp):
            return frames.retrieved(asked, [])
        store = self.index_.store
        rows, docids = frames.located(inp, store, self.missing)
        scorer = scoring.Scorer(store, num_threads=self.num_threads, device="cpu")
        queries = frames.queries(rows, store.dim, encoder=store.encoder, what=self)
        found = [self._search(scorer, query, np.unique(docids[query.rows])) for query in queries]
        firsts = [query.rows[0] for query in queries]
        hits = [(store.names(docs), scores) for docs, scores in found]
        return frames.retrieved(rows[asked.columns].iloc[firsts].reset_index(drop=True), hits)

    @property
    def derived(self) -> tuple[str, ...]:
        """The graph, where it is the index's."""
        return (self.graph.name,) if isinstance(self.graph, CorpusGraph) else ()

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Seeds and neighbours: what comes out where nothing is cut."""
        whole = pt.inspect.transformer_apply_attributes(self, num_results=len(self.index_.store))
        return {"scored": len(whole(inp))}

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking."""
        return pt.inspect.transformer_apply_attributes(self, num_results=k) if 0 < k < self.num_results else None

    def _search(self, scorer: scoring.Scorer, query: Query, seeds: Docids) -> tuple[Docids, Floats]:
        """The best documents, best first, and their scores."""
        if not len(query.embs):
            return seeds[:0], np.zeros(0, np.float32)
        prepared = scorer.prepare(query)
        docids, scores = seeds, scorer.documents(prepared, seeds)
        asked: set[int] = set()  # whose neighbours are scored
        while True:
            front = docids if self.depth is None else docids[kernels.top_k(scores, self.depth)]
            new = self._neighbours(front, asked)
            new = np.setdiff1d(new, docids)
            if not len(new):
                break
            scores = np.concatenate([scores, scorer.documents(prepared, new)])
            docids = np.concatenate([docids, new])
            scores, docids = scores[np.argsort(docids)], np.sort(docids)
            if self.depth is None:
                break
        top = kernels.top_k(scores, self.num_results)
        return docids[top], scores[top]

    def _neighbours(self, docids: Docids, asked: set[int]) -> Docids:
        fresh = docids[[docid not in asked for docid in docids.tolist()]]
        asked.update(fresh.tolist())
        store = self.index_.store
        near = [str(docno) for name in store.names(fresh) for docno in self.graph.neighbours(name)]
        found = store.lookup(list(dict.fromkeys(near)), missing=self.missing)
        return found[found >= 0]
