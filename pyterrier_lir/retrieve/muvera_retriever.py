"""MUVERA as a retriever: the query's encoding meets those of the documents, which are stored under ``derived/``.

The encoding is in `fde`, what is stored in `encodings`, how it is searched in `vectors`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_lir import arguments, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.frames import Query
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.retrieve import vectors
from pyterrier_lir.retrieve.encodings import Encodings
from pyterrier_lir.retrieve.fde import Fde, FdeEncoder, shift
from pyterrier_lir.retrieve.retriever import Scores
from pyterrier_lir.retrieve.vector_retriever import Parts, VectorRetriever

if TYPE_CHECKING:
    from pyterrier_lir.index import files
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store


class MuveraRetriever(VectorRetriever):
    """Retrieves by MUVERA: encodes the query, and looks for the largest inner products with encoded documents.

    ``score(D) = <F(Q), F(D)> / reps + sum_i w_i <q_i, c>`` estimates MaxSim, on average from below: rows of a query
    meet the mean of a cell, not the best vector in it. The last term makes up for centring. As a ranking of its own it
    is poor; ``>> index.maxsim()`` gives its candidates exact scores: ``index.muvera() % 200 >> index.maxsim()``. With
    as many candidates as documents that is the ranking of exhaustive search.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` and ``query_encoder`` are honoured if they are there.
    Output: the columns of the query, and ``docno``, ``score``, ``rank``; documents without tokens and queries without
    rows give no results. Equal scores are in index order.

    The first search encodes the stored vectors under ``derived/``, a block at a time, at thousands of documents a
    second; so does the first one with other parameters. After the index has changed, ``"flat"`` encodes what is new;
    the others are made again, but not for deletions, which they pass over. An encoding has ``size = reps *
    2 ** k_sim * min(d_proj, dim)`` values, or ``final_dim``: 10,240 by default.

    =========== ================== ========== =======================================================================
    ``ann``     bytes per document by default
    =========== ================== ========== =======================================================================
    ``"flat"``  2 size             20,480     exact search, read by memory map
    ``"hnsw"``  2 size + about 260 20,740     a graph, in memory; built on one thread, so that equal indexes give
                                              equal bytes, which takes a second or two for a thousand documents
    ``"pq"``    size / 8           1,280      PQ-256-8, 8 values in a byte; in memory, as 1024 size bytes of codebooks
    ``"ivfpq"`` size / 8 + 8       1,288      the same, in the nearest of up to 256 clusters
    =========== ================== ========== =======================================================================

    Codebooks are trained on up to 5,120 documents, whose encodings are in memory then; that takes about a minute.

    Args:
        index_: The index.
        num_results: Documents per query, k.
        ann: How inner products are searched, as above. All but ``"flat"`` are done by FAISS, approximately.
        k_sim: Hyperplanes of a repetition, which cut space into ``2 ** k_sim`` cells.
        d_proj: Dimensions of a cell's block; None, or at least those of the vectors, for no projection.
        reps: Repetitions.
        final_dim: Values of the encoding after a final projection; None for none.
        fill_empty: Whether empty cells of documents are filled with the nearest vector.
        projection: ``"dense"``, random signs; ``"sparse"``, one sign per dimension.
        center: Whether the mean of the index's centroids is subtracted from documents; many models put all vectors to
            one side of the origin, where hyperplanes divide few of them.
        seed: Of all that is random.
        ef_search: Of ``"hnsw"``: length of the queue; at least k. None for 64 or k.
        nprobe: Of ``"ivfpq"``: clusters to search; None for 16.
        docnos: Search only these, whatever ``ann`` without leaving any out; None for all.
        num_threads: Threads on the processor; None for all cores. FAISS searches one query on one thread.
        stats: Adds ``muvera_encode_ms`` and ``muvera_search_ms`` to the rows of each query.

    Raises:
        ValueError: If the query's encoder or dimension is not the index's, or if docnos are unknown.

    .. cite.dblp:: conf/nips/JayaramDHLM24
    """

    LABEL = "MUVERA"
    STATS = ("muvera_encode_ms", "muvera_search_ms")

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        ann: str = "flat",
        k_sim: int = 5,
        d_proj: int | None = 16,
        reps: int = 20,
        final_dim: int | None = None,
        fill_empty: bool = True,
        projection: str = "dense",
        center: bool = True,
        seed: int = 0,
        ef_search: int | None = None,
        nprobe: int | None = None,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> None:
        arguments.check_counts(num_results=num_results)
        arguments.check_optional_counts(ef_search=ef_search, nprobe=nprobe)
        arguments.check_flags(center=center, stats=stats)
        threads(num_threads)
        vectors.check_kind(ann, ef_search, nprobe)
        self.index_ = index_
        self.num_results = num_results
        self.ann = ann
        self.k_sim = k_sim
        self.d_proj = d_proj
        self.reps = reps
        self.final_dim = final_dim
        self.fill_empty = fill_empty
        self.projection = projection
        self.center = center
        self.seed = seed
        self.ef_search = ef_search
        self.nprobe = nprobe
        self.docnos = frames.distinct_docnos(docnos)
        self.num_threads = num_threads
        self.stats = stats
        Fde.of(self).check()

    def encoded(self, store: Store, queries: Sequence[Query], num_threads: int) -> Floats:
        """Fixed dimensional encodings of queries."""
        return self._encoder(store, num_threads).queries([(query.embs, query.weights) for query in queries])

    def scores(self, store: Store, query: Query, products: Floats) -> Scores:
        """The mean over repetitions, and what centring took."""
        scores: Scores = products / np.float32(self.reps) + np.float32(shift(query, self._subtracted(store)))
        return scores

    @property
    def derived(self) -> tuple[str, ...]:
        """The encodings, or what FAISS makes of them."""
        return (f"muvera/{self.ann}-{Fde.of(self).name}{'-centred' if self.center else ''}",)

    # Not _center, which PyTerrier would take for the argument center when it copies the transformer.
    def _subtracted(self, store: Store) -> Floats | None:
        return store.center if self.center else None

    def _encoder(self, store: Store, num_threads: int) -> FdeEncoder:
        return FdeEncoder(Fde.of(self), store.dim, self._subtracted(store), num_threads)

    def source(self, store: Store, parts: Parts, num_threads: int) -> tuple[Encodings, dict[str, str]]:
        """Encodings, with the matrices that are drawn."""
        encoder = self._encoder(store, num_threads)
        return Encodings(store, parts, encoder), {"matrices": encoder.matrices.digest()}

    def note(self, folder: files.Directory) -> None:
        """NumPy may have drawn the matrices differently in another version."""
        folder.meta["numpy"] = np.__version__
