"""LEMUR as a retriever: the query's vector meets those of the documents, which are stored under ``derived/``.

What is learned is in `lemur`, how vectors are searched in `vectors`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_lir import arguments, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.frames import Query
from pyterrier_lir.index.manifest import small_files
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.retrieve import lemur, vectors
from pyterrier_lir.retrieve.lemur import Features, Lemur, Regressed
from pyterrier_lir.retrieve.vector_retriever import Parts, VectorRetriever

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store


class LemurRetriever(VectorRetriever):
    """Retrieves by LEMUR: one learned vector for the query meets one for each document, by inner product.

    ``score(D) = <sum_i w_i F(q_i), v_D>`` estimates MaxSim by regression; features F and vectors v are learned from the
    index alone. ``>> index.maxsim()`` gives its candidates exact scores: ``index.lemur() % 200 >> index.maxsim()``.
    With as many candidates as documents that is the ranking of exhaustive search.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: the columns of the query, and ``docno``, ``score``, ``rank``; documents without tokens and queries without
    rows give no results. Equal scores are in index order.

    The first search learns, and regresses every document, under ``derived/``: a thousand passages take about ten
    seconds on one core. After the index has changed, ``"flat"`` regresses what is new, and features stay as long as the
    first segment does. A vector has ``size = dim + 1 + hidden`` values, 641 with 128 dimensions; see `LirIndex.muvera`
    for what each ``ann`` takes.

    Args:
        index_: The index.
        num_results: Documents per query, k.
        ann: How inner products are searched: ``"flat"``, exactly; ``"hnsw"``, ``"pq"`` and ``"ivfpq"`` by FAISS.
        hidden: Learned features, beside the token itself.
        tokens: Tokens of the index that are regressed on.
        epochs: How often the features are trained on these tokens; 0 for features as they begin.
        ridge: Of the regression, relative to the number of tokens.
        seed: Of all that is random.
        ef_search: Of ``"hnsw"``: length of the queue; at least k. None for 64 or k.
        nprobe: Of ``"ivfpq"``: clusters to search; None for 16.
        docnos: Search only these, whatever ``ann`` without leaving any out; None for all.
        num_threads: Threads on the processor; None for all cores. The vectors do not depend on it.
        stats: Adds ``lemur_encode_ms`` and ``lemur_search_ms`` to the rows of each query.

    Raises:
        ValueError: If the query's encoder or dimension is not the index's, or if docnos are unknown.
    """

    LABEL = "LEMUR"
    STATS = ("lemur_encode_ms", "lemur_search_ms")

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        ann: str = "flat",
        hidden: int = 512,
        tokens: int = 4096,
        epochs: int = 5,
        ridge: float = 1e-5,
        seed: int = 0,
        ef_search: int | None = None,
        nprobe: int | None = None,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> None:
        arguments.check_counts(num_results=num_results)
        arguments.check_optional_counts(ef_search=ef_search, nprobe=nprobe)
        arguments.check_flags(stats=stats)
        threads(num_threads)
        vectors.check_kind(ann, ef_search, nprobe)
        self.index_ = index_
        self.num_results = num_results
        self.ann = ann
        self.hidden = hidden
        self.tokens = tokens
        self.epochs = epochs
        self.ridge = ridge
        self.seed = seed
        self.ef_search = ef_search
        self.nprobe = nprobe
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.stats = stats
        Lemur.of(self).check()

    def encoded(self, store: Store, queries: Sequence[Query], num_threads: int) -> Floats:
        """Sums of the features of queries' rows."""
        features = self._features(store)
        return np.stack([features.query(query.embs, query.weights) for query in queries])

    @property
    def derived(self) -> tuple[str, ...]:
        """The features, and the vectors or what FAISS makes of them."""
        name = Lemur.of(self).name
        return f"lemur/features-{name}", f"lemur/{self.ann}-{name}"

    def _features(self, store: Store) -> Features:
        """What is learned, from the codec's segment that has tokens first."""
        name, _ = self.derived
        first = next(segment for _, segment in store.parts() if segment.num_tokens)

        def opened() -> Features:
            sources = small_files([first.folder.path.name], store.manifest["codec"])
            folder = store.derived(
                name, sources, lambda folder: lemur.write(lemur.learn(store, Lemur.of(self)), folder)
            )
            return lemur.read(folder, store.dim, self.hidden)

        return store.once(name, opened)

    def source(self, store: Store, parts: Parts, num_threads: int) -> tuple[Regressed, dict[str, str]]:
        """Vectors by regression, with the features that are learned."""
        learned = self._features(store)
        return Regressed(store, parts, learned, num_threads), {"features": learned.digest()}
