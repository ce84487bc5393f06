"""MUVERA: each multi-vector becomes one long vector, whose inner products estimate MaxSim.

1. *Cells*: k random hyperplanes cut space into ``B = 2 ** k`` cells (SimHash). Vectors that are close to each other
   tend to lie in the same cell, so a query's vector mostly meets its best match there.
2. *Blocks*: a query's block for a cell is the sum of its vectors in the cell, a document's block the mean, or, if the
   cell is empty, the vector whose cell is nearest by Hamming distance. The product of two blocks is then the sum over
   the query's vectors of their similarity to the mean of the document's vectors nearby: at most MaxSim.
3. *Projection*: each block is projected from d to ``d_proj`` dimensions by random signs, which keeps inner products on
   average. All of this is repeated R times; the blocks after each other are the encoding, of ``R * B * d_proj`` values,
   or, after a final projection (a count sketch), of ``final_dim``.

With F the encodings, ``<F(Q), F(D)> / R`` estimates ``MaxSim(Q, D)``. Without projections and with fill it is never
larger. The estimate is low, but ranks well enough for a first stage; the exact scores of what it finds decide.

*Centring*. Vectors of many models lie to one side of the origin, where few hyperplanes divide them: most cells are
empty, and all documents look the same. Subtracting a vector c from documents moves all scores of a query alike:

    MaxSim(Q, D - c) = MaxSim(Q, D) - sum_i w_i <q_i, c>

So with a centre, documents are encoded as D - c; the *cell* of a query's vector is that of q - c, because near vectors
must be moved alike to share cells, but its *value* remains q, because with q - c the scores of a query would move by an
amount that depends on the document.

Jayaram, Dhulipala, Hadian, Lee, Mirrokni: MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings. NeurIPS 2024.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames, kernels
from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.frames import Query
from pyterrier_lir.index.artifact import LirIndex
from pyterrier_lir.index.manifest import small_files
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.ragged import Ragged
from pyterrier_lir.retrieve import vectors
from pyterrier_lir.retrieve.retriever import Found, Retriever, Scores
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.index import files
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset

TOKENS = 1 << 16  # in memory at once while an index is encoded,
MEGABYTES = 64  # and so much of encodings

# --- the encoding ------------------------------------------------------------------------------------------------


class Fde(NamedTuple):
    """The parameters of an encoding; see `Muvera`."""

    k_sim: int
    d_proj: int | None
    reps: int
    final_dim: int | None
    fill_empty: bool
    projection: str
    seed: int

    @classmethod
    def of(cls, transformer: Muvera | MuveraRetriever) -> Fde:
        """The parameters of a transformer."""
        return cls(*(getattr(transformer, name) for name in cls._fields))

    def check(self) -> None:
        """Raises a ValueError that names a parameter that cannot be."""
        frames.check_counts(k_sim=self.k_sim, d_proj=self.d_proj, reps=self.reps, final_dim=self.final_dim)
        if self.k_sim > 20:
            raise ValueError(f"k_sim is {self.k_sim}; expected at most 20, which is a million cells.")
        if self.projection not in ("dense", "sparse"):
            raise ValueError(f'projection is {self.projection!r}; expected "dense" or "sparse".')
        if self.projection == "sparse" and self.d_proj is None:
            raise ValueError(
                'projection is "sparse", but d_proj is None; expected d_proj as well. Leave projection out.'
            )
        if not isinstance(self.seed, Integral) or self.seed < 0:
            raise ValueError(f"seed is {self.seed!r}; expected a whole number of at least 0.")

    @property
    def name(self) -> str:
        """Short, and different for different parameters."""
        projection = "none" if self.d_proj is None else f"{self.projection}{self.d_proj}"
        final = "" if self.final_dim is None else f"-final{self.final_dim}"
        return f"k{self.k_sim}-{projection}-r{self.reps}{final}{'-fill' if self.fill_empty else ''}-seed{self.seed}"

    def block(self, dim: int) -> int:
        """Values of a cell's block."""
        return dim if self.d_proj is None else min(self.d_proj, dim)

    def size(self, dim: int) -> int:
        """Values of an encoding of vectors of ``dim`` dimensions."""
        return self.final_dim or self.reps * self.block(dim) << self.k_sim


class Matrices(NamedTuple):
    """What is drawn at random; see `kernels.encode_fde`."""

    planes: npt.NDArray[np.float32]
    projections: npt.NDArray[np.float32] | None
    places: npt.NDArray[np.int32] | None
    signs: npt.NDArray[np.float32] | None

    def digest(self) -> str:
        """Tells whether the same were drawn: NumPy may draw others from the same seed in another version."""
        parts = [array.tobytes() for array in self if array is not None]
        return hashlib.sha256(b"".join(parts)).hexdigest()


@lru_cache(maxsize=8)
def draw(fde: Fde, dim: int) -> Matrices:
    """The matrices of an encoding; each repetition has a random stream of its own, spawned from the seed."""
    repetitions, final = np.random.SeedSequence(fde.seed).spawn(2)
    block = fde.block(dim)
    planes, projections = [], []
    for rng in map(np.random.default_rng, repetitions.spawn(fde.reps)):
        planes.append(rng.standard_normal((fde.k_sim, dim), dtype=np.float32))
        if block < dim:
            projections.append((_dense if fde.projection == "dense" else _sparse)(rng, block, dim))
    places = signs = None
    if fde.final_dim is not None:
        rng = np.random.default_rng(final)
        count = fde.reps * block << fde.k_sim
        places = rng.integers(0, fde.final_dim, count, dtype=np.int32)
        signs = _signs(rng, (count,))
    return Matrices(np.stack(planes), np.stack(projections) if projections else None, places, signs)


def _dense(rng: np.random.Generator, block: int, dim: int) -> Floats:
    """Random signs, scaled so that inner products are kept on average."""
    return _signs(rng, (block, dim)) / np.float32(np.sqrt(block))


def _sparse(rng: np.random.Generator, block: int, dim: int) -> Floats:
    """A count sketch: every dimension is added, with a random sign, to one of the block."""
    matrix = np.zeros((block, dim), dtype=np.float32)
    matrix[rng.integers(0, block, dim), np.arange(dim)] = _signs(rng, (dim,))
    return matrix


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.choice(np.array([-1, 1], dtype=np.float32), shape)


class FdeEncoder:
    """Encodes queries and documents.

    Args:
        fde: The parameters.
        dim: Dimensions of a token vector.
        center: What is subtracted, float32 ``(dim,)``; None for nothing.
        num_threads: Threads among which texts are shared; an encoding does not depend on it.
    """

    def __init__(self, fde: Fde, dim: int, center: Floats | None, num_threads: int) -> None:
        self.fde = fde
        self.dim = dim
        self.size = fde.size(dim)
        self.matrices = draw(fde, dim)
        self.center = center
        self.num_threads = num_threads

    def queries(self, queries: Sequence[tuple[Floats, Floats | None]]) -> Floats:
        """Sums, each row times its weight; float32 ``(N, size)``."""
        planes = self.matrices.planes
        # <g, q - c> > 0 is <g, q> > <g, c>
        thresholds = np.zeros(planes.shape[:2], np.float32) if self.center is None else planes @ self.center
        rows = Ragged.from_list([embs for embs, _ in queries])
        weights = Ragged.from_list([np.ones(len(embs), np.float32) if w is None else w for embs, w in queries])
        return self._encode(rows, thresholds, mean=False, fill=False, weights=weights.values.reshape(-1))

    def documents(self, documents: Ragged) -> Floats:
        """Means, empty cells filled; float32 ``(N, size)``."""
        if self.center is not None:
            documents = Ragged(documents.values.reshape(-1, self.dim) - self.center, documents.offsets)
        thresholds = np.zeros(self.matrices.planes.shape[:2], np.float32)
        return self._encode(documents, thresholds, mean=True, fill=self.fde.fill_empty)

    def shift(self, query: Query) -> float:
        """What centring takes from all scores of a query: ``sum_i w_i <q_i, c>``."""
        if self.center is None:
            return 0.0
        products = query.embs @ self.center
        return float(products.sum() if query.weights is None else products @ query.weights)

    def _encode(self, rows: Ragged, thresholds: Floats, **kind: Any) -> Floats:
        planes, projections, places, signs = self.matrices
        values, final_dim = rows.values.reshape(-1, self.dim), self.fde.final_dim
        return kernels.encode_fde(
            values, rows.offsets, planes, thresholds, projections, places, signs, final_dim,
            num_threads=self.num_threads, **kind,
        )  # fmt: skip


# --- as columns --------------------------------------------------------------------------------------------------


class Muvera(LirTransformer):
    """Encodes multi-vectors as single ones: ``query_embs -> query_vec`` and ``doc_embs -> doc_vec``.

    With them any engine for single vectors carries late interaction, by inner product:
    ``encoder >> lir.Muvera() >> FlexIndex(...)`` indexes, ``encoder >> lir.Muvera() >> flex.faiss_hnsw_retriever()``
    finds candidates, and ``>> index.maxsim()`` gives them exact scores. For an index of this package
    `LirIndex.muvera` does all of this by itself.

    ``<query_vec, doc_vec> / reps`` estimates ``MaxSim``; with a centre c it estimates ``MaxSim - sum_i w_i <q_i, c>``,
    which is less by the same for all documents of a query. Documents are centred, values and cells; of queries the
    cells are, not the values. Both sides need the same arguments.

    Expected columns: ``query_embs``, with ``query_weights`` honoured if it is there, or ``doc_embs``, or both. Adds
    ``query_vec`` or ``doc_vec``, float32 ``(reps * 2 ** k_sim * d_proj,)`` or ``(final_dim,)``; zeros where there are
    no vectors. Values are the same on all machines with a fused multiply-add, whatever the frame and the threads.

    Args:
        k_sim: Hyperplanes of a repetition, which cut space into ``2 ** k_sim`` cells.
        d_proj: Dimensions of a cell's block; None, or at least those of the vectors, for no projection.
        reps: Repetitions, R.
        final_dim: Values of the encoding after a final projection; None for none.
        fill_empty: Whether empty cells of documents are filled with the nearest vector.
        projection: ``"dense"``, random signs; ``"sparse"``, one sign per dimension.
        center: Subtracted from documents: a vector, or a `LirIndex` for the mean of its centroids; None for
            nothing. It pays where the vectors have a mean that is not small.
        seed: Of all that is random.
        num_threads: Threads on the processor; None for all cores.

    Raises:
        ValueError: If a parameter has no meaning, a cell is no matrix of finite numbers, or the centre has another
            dimension.

    Example:
        >>> frame = pd.DataFrame([{"docno": "a", "doc_embs": np.eye(3, 32, dtype=np.float32)}])
        >>> Muvera(k_sim=3, d_proj=8, reps=20)(frame)["doc_vec"][0].shape
        (1280,)

    .. cite.dblp:: conf/nips/JayaramDHLM24
    """

    LABEL = "MUVERA Encoder"

    def __init__(
        self,
        *,
        k_sim: int = 5,
        d_proj: int | None = 16,
        reps: int = 20,
        final_dim: int | None = None,
        fill_empty: bool = True,
        projection: str = "dense",
        center: Sequence[float] | Floats | LirIndex | None = None,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        self.k_sim = k_sim
        self.d_proj = d_proj
        self.reps = reps
        self.final_dim = final_dim
        self.fill_empty = fill_empty
        self.projection = projection
        self.center = center if center is None or isinstance(center, LirIndex) else _as_tuple(center)
        self.seed = seed
        self.num_threads = num_threads
        Fde.of(self).check()
        threads(num_threads)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the sides that are there."""
        with frames.validated(inp, self) as v:
            v.query_frame([columns.QUERY_EMBS])
            v.document_frame([columns.DOC_EMBS])
            v.columns(includes=[columns.QUERY_EMBS])
            v.columns(includes=[columns.DOC_EMBS])
        sides = (
            (columns.QUERY_EMBS, columns.QUERY_VEC, self._queries),
            (columns.DOC_EMBS, columns.DOC_VEC, self._documents),
        )
        added = {
            vec: columns.object_column(encode(inp) if len(inp) else [])
            for embs, vec, encode in sides
            if embs in inp.columns
        }
        return inp.reset_index(drop=True).assign(**added)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are encoded one by one: cut first, encode what is left."""
        return pt.RankCutoff(k) >> self

    def _queries(self, inp: pd.DataFrame) -> list[Floats]:
        weights = inp[columns.QUERY_WEIGHTS] if columns.QUERY_WEIGHTS in inp.columns else [None] * len(inp)
        pairs = zip(inp[columns.QUERY_EMBS], weights, strict=True)
        queries = [columns.as_query(embs, weight) for embs, weight in pairs]
        return list(self._encoder([embs for embs, _ in queries], columns.QUERY_EMBS).queries(queries))

    def _documents(self, inp: pd.DataFrame) -> list[Floats]:
        documents = [columns.as_document(embs)[0] for embs in inp[columns.DOC_EMBS]]
        return list(self._encoder(documents, columns.DOC_EMBS).documents(Ragged.from_list(documents)))

    def _encoder(self, matrices: Sequence[Floats], column: str) -> FdeEncoder:
        center = self.center.store.center if isinstance(self.center, LirIndex) else self.center
        dims = {matrix.shape[1] for matrix in matrices if len(matrix)}
        if len(dims) > 1:
            raise ValueError(
                f"{column} has matrices of {' and '.join(map(str, sorted(dims)))} dimensions; expected the same for "
                "all. Encode them with one encoder."
            )
        known = len(center) if center is not None else None
        dim = dims.pop() if dims else known or self.d_proj or 1
        if known not in (None, dim):
            raise ValueError(
                f"center has {known} dimensions, {column} has {dim}; expected the same. Take the centre from vectors "
                "of the same encoder."
            )
        vector = None if center is None else np.asarray(center, dtype=np.float32)
        return FdeEncoder(Fde.of(self), dim, vector, threads(self.num_threads))


def _as_tuple(center: Any) -> tuple[float, ...]:
    """A centre as a value that can be compared and hashed."""
    vector = np.asarray(center, dtype=np.float32)
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise ValueError(
            f"center has shape {vector.shape}; expected a vector of finite numbers, as long as a token vector. Give "
            "the mean of the token vectors, or a LirIndex to take it from."
        )
    return tuple(vector.tolist())


# --- as a retriever ----------------------------------------------------------------------------------------------


class Encodings:
    """The encodings of the documents of some segments that have tokens, made when they are read."""

    def __init__(self, store: Store, parts: Sequence[tuple[int, Segment]], encoder: FdeEncoder) -> None:
        self._store, self._parts, self._encoder = store, parts, encoder
        self.size = encoder.size
        filled = [start + np.flatnonzero(np.diff(segment.offsets)) for start, segment in parts]
        self.docids: Docids = np.concatenate(filled).astype(np.int64)

    def blocks(self) -> Iterator[tuple[Docids, Floats]]:
        """Docids and encodings, about as many as `MEGABYTES` hold at once."""
        count = max(int(MEGABYTES * 1e6) // (4 * self.size), 1)
        for docids, documents in self._store.blocks(TOKENS, self._parts):
            for first in range(0, len(docids), count):
                offsets = documents.offsets[first : first + count + 1]
                part = Ragged(documents.values[offsets[0] : offsets[-1]], offsets - offsets[0])
                yield docids[first : first + count], self._encoder.documents(part)

    def some(self, docids: Docids) -> Floats:
        """The encodings of a few documents."""
        found = np.zeros((len(docids), self.size), dtype=np.float32)
        count = 256  # documents whose vectors are in memory at once
        for first in range(0, len(docids), count):
            documents = [self._store.document(docid)[0] for docid in docids[first : first + count].tolist()]
            found[first : first + count] = self._encoder.documents(Ragged.from_list(documents))
        return found


class MuveraRetriever(Retriever):
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
        ValueError: If the query's encoder or dimension is not the index's, if docnos are unknown, or if ``size`` is no
            multiple of 8 where 8 values are to be a byte.

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
        frames.check_counts(num_results=num_results, ef_search=ef_search, nprobe=nprobe)
        threads(num_threads)
        if ann not in vectors.KINDS:
            raise ValueError(f"ann is {ann!r}; expected one of {', '.join(map(repr, vectors.KINDS))}.")
        for name, value, kind in (("ef_search", ef_search, "hnsw"), ("nprobe", nprobe, "ivfpq")):
            if value is not None and ann != kind:
                raise ValueError(f'{name} is {value}, but ann is {ann!r}; expected ann="{kind}". Leave {name} out.')
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

    def retrieve(self, store: Store, query: Query, wanted: Subset | None, num_threads: int) -> Found:
        """Encodes one query and searches for it."""
        parts = self._vectors(store)
        clock = [time.perf_counter()]
        encoder = self._encoder(store, num_threads)
        (encoded,) = encoder.queries([(query.embs, query.weights)])
        clock.append(time.perf_counter())
        effort = self.ef_search or self.nprobe
        hits = [part.search(encoded, self.num_results, wanted, effort, num_threads) for part in parts]
        docids = np.concatenate([found for found, _ in hits])
        products: Scores = np.concatenate([scores for _, scores in hits])
        if len(hits) > 1:
            top = kernels.top_k(products, self.num_results)
            docids, products = docids[top], products[top]
        clock.append(time.perf_counter())
        scores = products / np.float32(self.reps) + np.float32(encoder.shift(query))
        return Found(docids, scores, (1000 * np.diff(clock)).tolist())

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking; not from FAISS, which for fewer may choose other equal scores."""
        if self.ann != "flat" or k >= self.num_results:
            return None
        return pt.inspect.transformer_apply_attributes(self, num_results=k)

    @property
    def derived(self) -> tuple[str, ...]:
        """The encodings, or what FAISS makes of them."""
        return (f"muvera/{self.ann}-{Fde.of(self).name}{'-centred' if self.center else ''}",)

    def _encoder(self, store: Store, num_threads: int) -> FdeEncoder:
        return FdeEncoder(Fde.of(self), store.dim, store.center if self.center else None, num_threads)

    def _vectors(self, store: Store) -> list[vectors.Flat | vectors.Faiss]:
        """What is searched: ``"flat"`` is a list for each segment, so that only new ones are encoded."""
        (name,) = self.derived
        parts = [part for part in store.parts() if part[1].num_tokens]
        if self.ann != "flat":
            return [self._derived(store, name, parts)]
        return [self._derived(store, f"{name}/{part[1].folder.path.name}", [part]) for part in parts]

    def _derived(self, store: Store, name: str, parts: Sequence[tuple[int, Segment]]) -> vectors.Flat | vectors.Faiss:
        count = threads(self.num_threads)

        def opened() -> vectors.Flat | vectors.Faiss:
            encoder = self._encoder(store, count)
            source = Encodings(store, parts, encoder)

            def write(folder: files.Directory) -> None:
                folder.meta["numpy"] = np.__version__  # which may have drawn the matrices differently
                vectors.write(self.ann, source, folder, seed=self.seed, num_threads=count)

            sources = small_files([segment.folder.path.name for _, segment in parts], store.manifest["codec"])
            made_with = {"matrices": encoder.matrices.digest()}
            return vectors.read(self.ann, source, store.derived(name, sources, write, made_with))

        return store.once(name, opened)
