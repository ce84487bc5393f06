"""Approximate search for the largest inner products with FAISS: a graph of neighbours, or product quantisation.

The table in `vectors` says what each kind keeps. An index is trained on a sample, filled block by block, and checked
when it is read, as FAISS believes whatever it reads.

Douze et al.: The Faiss library. CoRR abs/2401.08281, 2024.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir import kernels
from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.index import files
from pyterrier_lir.index.subset import Subset

if TYPE_CHECKING:
    from pyterrier_lir.retrieve.vectors import Hits, Source

SUBVECTOR = 8  # values that product quantisation codes in a byte, PQ-256-8; zeros fill the last ones up
NEIGHBOURS = 32  # of a document in the graph; twice as many in its lowest layer
CONSTRUCTION = 100  # length of the queue while the graph is built
SAMPLE = 5120  # documents that codebooks are trained on, 20 for each of the 256 entries
ITERATIONS = 10  # of k-means


def write(kind: str, source: Source, folder: files.Directory, *, seed: int, num_threads: int) -> None:
    """Trains an index, adds all vectors block by block, and writes it; a graph is always built on one thread."""
    import faiss

    with _threads(1):  # the k-means of a codebook is too small to be shared
        index = _trained(kind, source, np.random.default_rng(seed))
    with _threads(1 if kind == "hnsw" else num_threads):
        for _, vectors in source.blocks():
            index.add(_filled(vectors, index.d))
    folder.meta["faiss"] = faiss.__version__
    faiss.write_index(index, faiss.PyCallbackIOWriter(folder.file("index.faiss").write))


class FaissVectors:
    """An index of FAISS."""

    def __init__(self, kind: str, folder: files.Opened, size: int) -> None:
        import faiss

        self.folder = folder
        self.kind = kind
        self.docids: Docids = folder.map("docids.i64", "<i8")
        content = io.BytesIO(folder.whole("index.faiss").data)  # FAISS believes whatever it reads
        try:
            self.index = faiss.read_index(faiss.PyCallbackIOReader(content.read))
        except (RuntimeError, MemoryError) as error:  # what is forged may ask for any amount of memory
            raise ValueError(
                f"{folder.path / 'index.faiss'} cannot be read ({error}); expected what this package writes. Remove "
                f"the folder {folder.path}, so that it is made again."
            ) from error
        _check_faiss(kind, self.index, _whole_size(kind, size), len(self.docids), folder)
        if self.kind == "ivfpq":
            self.index.make_direct_map()

    def search(
        self, queries: Floats, k: int, wanted: Subset | None, effort: int | None, num_threads: int
    ) -> Iterator[Hits]:
        """As `vectors.Flat.search`, approximately: among equal products at the end of the list, FAISS chooses.

        Documents that a user has named are all looked at, through what the index keeps of their vectors.

        Args:
            queries: float32 ``(n, size)``; one by one, as FAISS may round differently for several.
            k: How many.
            wanted: Documents to look at; None for all.
            effort: Length of the queue (at least k) or number of clusters; None for the defaults, 64 and 16.
            num_threads: Threads; FAISS searches for one query on one.
        """
        for query in _filled(queries, self.index.d):
            yield self._search(query, k, wanted, effort, num_threads)

    def _search(self, query: Floats, k: int, wanted: Subset | None, effort: int | None, num_threads: int) -> Hits:
        if wanted is not None and wanted.named:
            rows = np.flatnonzero(wanted.has(self.docids))
            products = self._products(query, rows)
            top = kernels.top_k(products, k)
            return self.docids[rows[top]], products[top]
        with _threads(num_threads):
            count = k if wanted is None else k + int((~wanted.mask[self.docids]).sum())  # the deleted may come first
            found, rows = self.index.search(
                query[None], min(count, len(self.docids)), params=self._effort(effort, count)
            )
        keep = rows[0] >= 0
        if wanted is not None:
            keep[keep] = wanted.mask[self.docids[rows[0][keep]]]
        products, rows = found[0][keep], rows[0][keep]
        order = np.lexsort((rows, -products))[:k]
        return self.docids[rows[order]], products[order]

    def _effort(self, effort: int | None, count: int) -> Any:
        import faiss

        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(effort or 64, count))
        return faiss.SearchParametersIVF(nprobe=effort or 16) if self.kind == "ivfpq" else None

    def _products(self, query: Floats, rows: Docids) -> Floats:
        products = np.zeros(len(rows), dtype=np.float32)
        block = max((1 << 24) // len(query), 1)  # 64 MB of vectors
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            products[start : start + block] = self.index.reconstruct_batch(part) @ query
        return products


def _trained(kind: str, source: Source, rng: np.random.Generator) -> Any:
    """An empty index, its codebooks trained."""
    import faiss

    size, metric = _whole_size(kind, source.size), faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        index = faiss.IndexHNSWSQ(size, faiss.ScalarQuantizer.QT_fp16, NEIGHBOURS, metric)
        index.hnsw.efConstruction = CONSTRUCTION
        return index
    rows = np.sort(rng.choice(len(source.docids), min(SAMPLE, len(source.docids)), replace=False))
    sample = _filled(source.some(source.docids[rows]), size)
    if kind == "pq":
        index = faiss.IndexPQ(size, size // SUBVECTOR, 8, metric)
    else:
        clusters = int(np.clip(4 * np.sqrt(len(source.docids)), 1, max(len(sample) // 20, 1)))
        index = faiss.IndexIVFPQ(faiss.IndexFlatIP(size), size, clusters, size // SUBVECTOR, 8, metric)
        index.cp.niter, index.cp.min_points_per_centroid = ITERATIONS, 1
    index.pq.cp.niter, index.pq.cp.min_points_per_centroid = ITERATIONS, 1
    index.train(np.resize(sample, (max(len(sample), 256), size)))  # a few documents, again and again, fill a codebook
    return index


def _whole_size(kind: str, size: int) -> int:
    """The values of a vector as FAISS takes it: whole parts, where they are coded part by part."""
    return size if kind == "hnsw" else size + -size % SUBVECTOR


def _filled(vectors: Floats, size: int) -> Floats:
    """Vectors with zeros behind them, which change no product."""
    missing = size - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors


def _check_faiss(kind: str, index: Any, size: int, count: int, folder: files.Opened) -> None:
    """Raises a ValueError unless FAISS has read an index that it can search without leaving its memory.

    A checksum tells that a file is what its sender wrote, not that it is what FAISS would write.
    """
    import faiss

    expected = {"hnsw": faiss.IndexHNSWSQ, "pq": faiss.IndexPQ, "ivfpq": faiss.IndexIVFPQ}[kind]
    fits = type(index) is expected and (index.d, index.ntotal) == (size, count)
    fits = fits and index.metric_type == faiss.METRIC_INNER_PRODUCT
    if fits and kind == "hnsw":
        fits = _sound_graph(index, size, count)
    elif fits:
        shape = (index.pq.d, index.pq.M, index.pq.nbits, index.pq.centroids.size(), index.code_size)
        fits = shape == (size, size // SUBVECTOR, 8, 256 * size, size // SUBVECTOR)
        fits = fits and (index.codes.size() == count * index.code_size if kind == "pq" else _sound_lists(index, count))
    if not fits:
        raise ValueError(
            f"{folder.path / 'index.faiss'} is no {kind} index of {count} vectors of {size} values; expected what this "
            f"package writes. Remove the folder {folder.path}, so that it is made again."
        )


def _sound_graph(index: Any, size: int, count: int) -> bool:
    """Whether all links of a graph lead to vectors that are there, on a level that they have."""
    import faiss

    graph, storage = index.hnsw, faiss.downcast_index(index.storage)
    if type(storage) is not faiss.IndexScalarQuantizer or (storage.d, storage.ntotal) != (size, count):
        return False
    if storage.sq.qtype != faiss.ScalarQuantizer.QT_fp16 or storage.metric_type != faiss.METRIC_INNER_PRODUCT:
        return False
    if (storage.sq.d, storage.code_size, storage.sq.code_size) != (size, 2 * size, 2 * size):
        return False
    if storage.codes.size() != count * storage.code_size:
        return False
    levels, offsets, links, first = (
        faiss.vector_to_array(values)
        for values in (graph.levels, graph.offsets, graph.neighbors, graph.cum_nneighbor_per_level)
    )
    if len(levels) != count or len(offsets) != count + 1 or count == 0 or len(first) < 2:
        return count == 0
    expected = NEIGHBOURS * np.array([0, *range(2, len(first) + 1)])  # twice as many on the lowest level
    if (first != expected).any() or (levels < 1).any() or (levels >= len(first)).any():
        return False
    entry = graph.entry_point
    if not 0 <= entry < count or graph.max_level != levels[entry] - 1 or graph.max_level != levels.max() - 1:
        return False
    if (offsets != np.concatenate([[0], np.cumsum(first[levels])])).any() or len(links) != offsets[-1]:
        return False
    if len(links) and not -1 <= links.min() <= links.max() < count:
        return False
    # A link of level l must lead to a vector that has level l.
    level = np.concatenate([np.repeat(np.arange(n), np.diff(first[: n + 1])) for n in levels.tolist()])
    return bool((levels[links[links >= 0]] > level[links >= 0]).all())


def _sound_lists(index: Any, count: int) -> bool:
    """Whether an inverted file holds each vector once, in lists of the length that they say."""
    import faiss

    quantizer, lists = faiss.downcast_index(index.quantizer), index.invlists
    if type(quantizer) is not faiss.IndexFlatIP or (quantizer.d, quantizer.ntotal) != (index.d, index.nlist):
        return False
    if quantizer.codes.size() != quantizer.ntotal * 4 * quantizer.d or not index.by_residual:
        return False
    if (lists.nlist, lists.code_size) != (index.nlist, index.code_size):
        return False
    ids = [faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)) for i in range(index.nlist)]
    return bool(np.array_equal(np.sort(np.concatenate([np.zeros(0, np.int64), *ids])), np.arange(count)))


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    """Sets the number of threads that FAISS uses when it is called from this one, for a while."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(num_threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
