"""What the approximate retrievers share: queries of a frame to rankings, over the threads, with what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from pyterrier_lir import frames
from pyterrier_lir.columns import Docids
from pyterrier_lir.frames import Query
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset
    from pyterrier_lir.kernels.searcher import Results

Scores = npt.NDArray[np.float32]


class Found(NamedTuple):
    """The results of one query, best first, and what they cost: the values of the retriever's ``STATS``.

    ``docnos`` are None where the store knows the names of the docids.
    """

    docids: Docids
    scores: Scores
    stats: Sequence[float]
    docnos: Sequence[str] | None = None


class Retriever(LirTransformer):
    """A retriever: a method that fills in `retrieve` for one query. It has these arguments, and others of its own."""

    STATS: ClassVar[tuple[str, ...]] = ()  # columns that stats=True adds
    SCORED: ClassVar[str] = ""  # the one of them that counts documents scored from their tokens

    index_: LirIndex
    num_results: int
    docnos: tuple[str, ...] | None
    num_threads: int | None
    stats: bool

    def retrieve(self, store: Store, query: Query, wanted: Subset | None, num_threads: int) -> Found:
        """Finds documents.

        Args:
            store: The opened index, with at least one token.
            query: With at least one row.
            wanted: Documents to search; None for all.
            num_threads: Threads; the result does not depend on it.
        """
        raise NotImplementedError

    def retrieve_all(self, store: Store, queries: Sequence[Query], wanted: Subset | None) -> list[Found]:
        """The same for several queries; a method that the kernels do in one call does it here."""
        return in_parallel(lambda query, n: self.retrieve(store, query, wanted, n), queries, self.num_threads)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Retrieves for every query of the frame; several queries share the threads."""
        frames.check_query_frame(inp, self)
        if not len(inp):
            return frames.retrieved(inp.assign(**{name: [] for name in self.STATS} if self.stats else {}), [])
        store = self.index_.store
        queries = frames.queries(inp, store.dim, encoder=store.encoder, what=self)
        wanted = store.subset(self.docnos)
        asked = [query for query in queries if len(query.embs) and store.num_filled(None)]
        found = self.retrieve_all(store, asked, wanted) if asked else []
        hits: list[tuple[Sequence[str], npt.NDArray[Any]]] = [((), np.zeros(0))] * len(inp)
        stats = np.zeros((len(inp), len(self.STATS)))
        unnamed = [np.zeros(0, np.int64), *(one.docids for one in found if one.docnos is None)]
        names = iter(store.names(np.concatenate(unnamed)) if len(unnamed) > 1 else [])
        for query, result in zip(asked, found, strict=True):
            docnos = list(islice(names, len(result.docids))) if result.docnos is None else result.docnos
            for row in query.rows:
                hits[row] = docnos, result.scores
                stats[row] = result.stats
        if self.stats:
            inp = inp.assign(**dict(zip(self.STATS, stats.T, strict=True)))
        return frames.retrieved(inp, hits)

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """What ``stats=True`` counts, without its times; of queries that have results."""
        names = [name for name in self.STATS if not name.endswith("_ms")]
        if not names:
            return {}
        counted = pt.inspect.transformer_apply_attributes(self, stats=True)(inp).drop_duplicates("qid")
        sums: dict[str, float] = counted[names].sum().to_dict()
        return {"scored": sums[self.SCORED], **sums}


def found_by(results: Results) -> list[Found]:
    """The results of several queries, one by one."""
    bounds = list(pairwise(results.offsets.tolist()))
    return [
        Found(results.docids[a:b], results.scores[a:b], stats)
        for (a, b), stats in zip(bounds, results.stats.tolist(), strict=True)
    ]


def in_parallel(
    search: Callable[[Query, int], Found], queries: Sequence[Query], num_threads: int | None
) -> list[Found]:
    """One query uses all threads; of several, each uses one."""
    count = threads(num_threads)
    if len(queries) <= 1 or count == 1:
        return [search(query, count) for query in queries]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda query: search(query, 1), queries))
