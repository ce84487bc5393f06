"""`LirIndex`: the index on disk as a PyTerrier artifact, an indexer, and the factory of everything that searches it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_lir import columns, options
from pyterrier_lir.facts import facts_table, megabytes
from pyterrier_lir.index import change, files, fit, manifest, scoring
from pyterrier_lir.index.build import Parameters, abandon, build, interrupted
from pyterrier_lir.index.manifest import DERIVED
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.store import Store, spooled
from pyterrier_lir.transformer import DOCS, LirTransformer

if TYPE_CHECKING:
    import pandas as pd

    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.explain.alignment import Explain
    from pyterrier_lir.feedback.colbert_prf import ColbertPRF
    from pyterrier_lir.feedback.query_pruning import QueryPruning
    from pyterrier_lir.index.token_stats import TokenStats
    from pyterrier_lir.rerank.corpus_graph import CorpusGraph
    from pyterrier_lir.rerank.early_exit import EarlyExitMaxSim
    from pyterrier_lir.rerank.ladr import Graph, Ladr
    from pyterrier_lir.rerank.loader import EmbsLoader
    from pyterrier_lir.rerank.maxsim import IndexMaxSim
    from pyterrier_lir.retrieve.exhaustive import Exhaustive
    from pyterrier_lir.retrieve.muvera import MuveraRetriever
    from pyterrier_lir.retrieve.plaid import CentroidMaxSim, Plaid, PlaidCandidates
    from pyterrier_lir.retrieve.warp import Warp
    from pyterrier_lir.retrieve.xtr import Xtr, XtrScorer


@options.listed_by
@options.signed
class LirIndex(pt.Artifact, pt.Indexer):
    """A multi-vector index: build it once, search it with every method.

    ``(encoder >> index).index(corpus)`` builds it; ``encoder.query_encoder() >> index.exhaustive()`` searches it. The
    methods that make a transformer name its class, which says what the arguments mean: ``help(index.plaid())``.

    Args:
        path: The directory of the index, existing or not.

    Raises:
        ValueError: If ``path`` is no path.

    Example:
        >>> index = LirIndex.example()
        >>> len(index), index.docnos[:2]
        (5, ['apple', 'bread'])
    """

    ARTIFACT_TYPE = "multivec_index"
    ARTIFACT_FORMAT = "lir"
    ARTIFACT_PACKAGE_HINT = "pyterrier-lir"

    def __init__(self, path: str | Path) -> None:
        if not isinstance(path, (str, PathLike)):
            raise ValueError(f'path is {path!r}; expected the folder of the index: LirIndex("my.lir").')
        super().__init__(path)
        self._store: Store | None = None

    # --- building --------------------------------------------------------------------------------------------

    def index(self, iter: Iterable[dict[str, Any]] | pd.DataFrame, **kwargs: Any) -> LirIndex:
        """Builds the index with default options; see `indexer` for the options.

        The columns: `pyterrier_lir.index.artifact.LirIndexer.index`.
        """
        return self.indexer().index(iter, **kwargs)

    def indexer(
        self,
        *,
        mode: str = "create",
        resume: bool = False,
        nbits: int = 4,
        codec: str = "uniform",
        centroids: int | None = None,
        keep_embs: bool = False,
        seed: int = 0,
        segment_mb: float = 64,
        memory_mb: float = 512,
        num_threads: int | None = None,
        verbose: bool = True,
    ) -> LirIndexer:
        """The last stage of an indexing pipeline.

        Args:
            mode: ``"create"`` refuses an index that is built; ``"overwrite"`` replaces it when the new one is finished;
                ``"append"`` and ``"update"`` do what `add` and `update` do, behind an encoder.
            resume: Keep what an interrupted build stored; put `unseen` before the encoder.
            nbits: Bits per dimension of a compressed token: 1, 2, 4 or 8. 2 when the index must be small, 8 for an
                overlap of .99 with the exact ranking.
            codec: ``"uniform"``: equal steps in each dimension, of the least squared error. ``"quantile"``:
                ColBERTv2's one codebook for all dimensions, to compare with it and to export; it loses more.
            centroids: Number of centroids; None for the field's rule, ``2 ** floor(log2(16 sqrt(T)))`` for T tokens.
            keep_embs: Keep the vectors in fp16 as well, so that exact scores are exact.
            seed: Of sample and clustering.
            segment_mb: Megabytes of embeddings after which what was indexed is made durable; the index does not
                depend on it.
            memory_mb: Bounds the memory for blocks of tokens; the index does not depend on it.
            num_threads: Threads for training and compression; None for all cores. The index does not depend on it.
            verbose: Show progress bars.
        """
        return LirIndexer(
            self,
            mode=mode,
            resume=resume,
            nbits=nbits,
            codec=codec,
            centroids=centroids,
            keep_embs=keep_embs,
            seed=seed,
            segment_mb=segment_mb,
            memory_mb=memory_mb,
            num_threads=num_threads,
            verbose=verbose,
        )

    def add(
        self,
        iter: Iterable[dict[str, Any]] | pd.DataFrame,
        *,
        resume: bool = False,
        segment_mb: float = 64,
        memory_mb: float = 512,
        num_threads: int | None = None,
        verbose: bool = True,
    ) -> LirIndex:
        """Appends documents under the codec that the index has: ``(encoder >> index.indexer(mode="append"))`` does too.

        A search sees all of them or none. Documents keep their docids, new ones come behind. In any split into several
        calls the scores are the same; many small calls make searching slower, until `compact`.

        Args:
            iter: Records, or a frame, with ``docno`` and ``doc_embs``, as for `index`.
            resume: Go on with what an interrupted call stored.
            segment_mb: Megabytes of embeddings after which what came is made durable.
            memory_mb: Bounds the memory for blocks of tokens.
            num_threads: Threads; None for all cores. The index does not depend on it.
            verbose: Show progress bars.

        Raises:
            FileNotFoundError: If the index is not built yet.
            ValueError: If a docno is there already (see `update`), or a document does not fit to the index, which is
                then as it was.
        """
        return LirIndexer(
            self, mode="append", resume=resume, segment_mb=segment_mb, memory_mb=memory_mb, num_threads=num_threads,
            verbose=verbose,
        ).index(iter)  # fmt: skip

    def update(
        self,
        iter: Iterable[dict[str, Any]] | pd.DataFrame,
        *,
        resume: bool = False,
        segment_mb: float = 64,
        memory_mb: float = 512,
        num_threads: int | None = None,
        verbose: bool = True,
    ) -> LirIndex:
        """As `add`, but documents that are there already are replaced, in one step, and get new docids."""
        return LirIndexer(
            self, mode="update", resume=resume, segment_mb=segment_mb, memory_mb=memory_mb, num_threads=num_threads,
            verbose=verbose,
        ).index(iter)  # fmt: skip

    def delete(self, docnos: Collection[str], *, missing: str = "error") -> int:
        """Deletes documents; the others keep their docids, and the bytes stay until `compact`.

        Args:
            docnos: The documents.
            missing: What to do with docnos that the index does not hold: ``"error"`` or ``"drop"``.

        Returns:
            How many documents were deleted.

        Raises:
            ValueError: If docnos are unknown, or if no document would be left; then nothing is deleted.
        """
        if isinstance(docnos, str):
            raise ValueError(f"docnos is {docnos!r}; expected a list of docnos: index.delete([{docnos!r}]).")
        if missing not in ("error", "drop"):
            raise ValueError(f'missing is {missing!r}; expected "error" or "drop".')
        count = change.delete(self._directory, list(docnos), missing=missing)
        self.reopen()
        return count

    def compact(self, *, memory_mb: float = 512) -> LirIndex:
        """Writes one segment of all documents that are not deleted; docids change, scores do not.

        Args:
            memory_mb: Bounds the memory for blocks of tokens.

        Returns:
            The index, reopened.

        Raises:
            FileNotFoundError: If the index is not built yet.
            ValueError: If a file is damaged, in which case nothing is written, or another process writes to the index.
            OSError: If the folder cannot be written to, or the disk is full; the index is then as it was.
        """
        change.compact(self._directory, memory_mb=memory_mb)
        self.reopen()
        return self

    def abandon(self) -> None:
        """Drops what an interrupted build, `add` or `update` stored; the index itself stays as it is."""
        with manifest.only_writer(self._directory):
            abandon(self._directory)

    @classmethod
    def from_plaid(
        cls,
        folder: str | Path,
        path: str | Path,
        *,
        docnos: Sequence[str] | None = None,
        encoder: Encoder | str | None = None,
        verbose: bool = True,
    ) -> LirIndex:
        """Imports a PLAID index that Stanford's ColBERT or fast-plaid (PyLate) has written; nothing is encoded again.

        Every method searches it, and documents can be added. Vectors are those of the folder, centroids, codebook and
        levels, scaled back to unit length as these engines do.

        Args:
            folder: The folder with the centroids; in one of PyLate's that is ``fast_plaid_index``.
            path: Where the index will be.
            docnos: The names of the documents in their order there; None for those that `to_plaid` has noted, or else
                their numbers, ``"0"``, ``"1"``, ... PyLate keeps names in a database of pickled objects, which is not
                read.
            encoder: The encoder of the documents, or its fingerprint, with which queries are then compared; None if it
                is not known.
            verbose: Show a progress bar.

        Returns:
            The index, ready to be searched.

        Raises:
            ValueError: If the folder is of another kind or damaged, if ``docnos`` do not fit, or if there is an index
                at ``path``; nothing is left there then that could be taken for one.

        >>> index = LirIndex.from_plaid("colbertv2/plaid", "passages.lir")  # doctest: +SKIP
        """
        from pyterrier_lir.index import imports

        fingerprint = encoder if isinstance(encoder, str) or encoder is None else encoder.fingerprint
        index = cls(path)
        progress = partial(_progress, "chunk", verbose)
        imports.import_folder(Path(folder), index._directory, docnos=docnos, encoder=fingerprint, progress=progress)
        return index

    def unseen(self) -> Unseen:
        """Drops documents that are stored already: ``(index.unseen() >> encoder >> index.indexer(resume=True))``."""
        return Unseen(self)

    def index_inputs(self) -> list[list[str]]:
        """The columns that indexing needs, for PyTerrier's schematics."""
        return self.indexer().index_inputs()

    def to_plaid(self, folder: str | Path, *, checkpoint: str | None = None, verbose: bool = True) -> None:
        """Exports the index as a PLAID folder of Stanford's ColBERT, which that code and what builds on it can search.

        The folder decodes to the vectors that the index scores, centroids rounded to half precision. Documents are
        numbered in the order of `docnos`, which go to ``docnos.json``; deleted ones stay behind. It takes a codec with
        one codebook for all dimensions, since such a folder holds one: that of an imported index, or
        ``indexer(codec="quantile")``.

        Args:
            folder: Where it will be; it must not exist.
            checkpoint: The model of the documents, for Stanford's options; None to leave it out.
            verbose: Show a progress bar.

        Raises:
            ValueError: If the folder exists, or would decode to other vectors: with steps for each dimension
                (``codec="uniform"``), or where vectors keep their lengths.
        """
        from pyterrier_lir.index import exports

        progress = partial(_progress, "chunk", verbose)
        exports.export_folder(self.store, Path(folder), checkpoint=checkpoint, progress=progress)

    # --- searching -------------------------------------------------------------------------------------------

    def exhaustive(
        self,
        *,
        num_results: int = 1000,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        device: str = "cpu",
    ) -> Exhaustive:
        """Exact MaxSim over all documents, or those in ``docnos``.

        From ``qid, query_embs`` to ``docno, score, rank``. See `pyterrier_lir.retrieve.exhaustive.Exhaustive`.
        """
        from pyterrier_lir.retrieve.exhaustive import Exhaustive

        return Exhaustive(self, num_results=num_results, docnos=docnos, num_threads=num_threads, device=device)

    def plaid(
        self,
        *,
        num_results: int = 1000,
        nprobe: int | None = None,
        ndocs: int | None = None,
        threshold: float | None = None,
        threshold_quantile: float | None = None,
        min_docs: int | None = None,
        preset: str = "measured",
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> Plaid:
        """PLAID: candidates from cells, centroid interaction, exact scores.

        From ``qid, query_embs`` to ``docno, score, rank``. See `pyterrier_lir.retrieve.plaid.Plaid`.
        """
        from pyterrier_lir.retrieve.plaid import Plaid

        return Plaid(
            self,
            num_results=num_results,
            nprobe=nprobe,
            ndocs=ndocs,
            threshold=threshold,
            threshold_quantile=threshold_quantile,
            min_docs=min_docs,
            preset=preset,
            docnos=docnos,
            num_threads=num_threads,
            stats=stats,
        )

    def plaid_candidates(
        self,
        *,
        nprobe: int = 4,
        min_docs: int = 1,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
    ) -> PlaidCandidates:
        """PLAID's first stage: the documents of the best cells.

        From ``qid, query_embs`` to ``docno``, unordered. See `pyterrier_lir.retrieve.plaid.PlaidCandidates`.
        """
        from pyterrier_lir.retrieve.plaid import PlaidCandidates

        return PlaidCandidates(self, nprobe=nprobe, min_docs=min_docs, docnos=docnos, num_threads=num_threads)

    def centroid_maxsim(
        self,
        *,
        threshold: float | None = None,
        threshold_quantile: float | None = None,
        missing: str = "error",
        num_threads: int | None = None,
    ) -> CentroidMaxSim:
        """PLAID's centroid interaction as a re-ranker.

        From ``qid, query_embs, docno`` to ``score, rank``. See `pyterrier_lir.retrieve.plaid.CentroidMaxSim`.
        """
        from pyterrier_lir.retrieve.plaid import CentroidMaxSim

        return CentroidMaxSim(
            self,
            threshold=threshold,
            threshold_quantile=threshold_quantile,
            missing=missing,
            num_threads=num_threads,
        )

    def warp(
        self,
        *,
        num_results: int = 1000,
        nprobe: int | None = None,
        t_prime: int | None = None,
        bound: int | None = None,
        groups: int | None = None,
        min_docs: int | None = None,
        preset: str = "measured",
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> Warp:
        """WARP: all tokens of the probed cells, scored where they lie.

        From ``qid, query_embs`` to ``docno, score, rank``. See `pyterrier_lir.retrieve.warp.Warp`.
        """
        from pyterrier_lir.retrieve.warp import Warp

        return Warp(
            self,
            num_results=num_results,
            nprobe=nprobe,
            t_prime=t_prime,
            bound=bound,
            groups=groups,
            min_docs=min_docs,
            preset=preset,
            docnos=docnos,
            num_threads=num_threads,
            stats=stats,
        )

    def xtr(
        self,
        *,
        num_results: int = 1000,
        token_k: int = 10_000,
        impute: str | float = "kth",
        normalise: str = "mean",
        nprobe: int | None = None,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        stats: bool = False,
    ) -> Xtr:
        """XTR: documents scored by their retrieved tokens alone.

        From ``qid, query_embs`` to ``docno, score, rank``. See `pyterrier_lir.retrieve.xtr.Xtr`.
        """
        from pyterrier_lir.retrieve.xtr import Xtr

        return Xtr(
            self,
            num_results=num_results,
            token_k=token_k,
            impute=impute,
            normalise=normalise,
            nprobe=nprobe,
            docnos=docnos,
            num_threads=num_threads,
            stats=stats,
        )

    def xtr_scorer(
        self,
        *,
        token_k: int = 10_000,
        impute: str | float = "kth",
        normalise: str = "mean",
        missing: str = "error",
        num_threads: int | None = None,
    ) -> XtrScorer:
        """XTR as a re-ranker: the tokens of the given documents compete.

        From ``qid, query_embs, docno`` to ``score, rank``. See `pyterrier_lir.retrieve.xtr.XtrScorer`.
        """
        from pyterrier_lir.retrieve.xtr import XtrScorer

        return XtrScorer(
            self, token_k=token_k, impute=impute, normalise=normalise, missing=missing, num_threads=num_threads
        )

    def muvera(
        self,
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
    ) -> MuveraRetriever:
        """MUVERA: candidates by one long vector per document.

        From ``qid, query_embs`` to ``docno, score, rank``. See `pyterrier_lir.retrieve.muvera.MuveraRetriever`.
        """
        from pyterrier_lir.retrieve.muvera import MuveraRetriever

        return MuveraRetriever(
            self,
            num_results=num_results,
            ann=ann,
            k_sim=k_sim,
            d_proj=d_proj,
            reps=reps,
            final_dim=final_dim,
            fill_empty=fill_empty,
            projection=projection,
            center=center,
            seed=seed,
            ef_search=ef_search,
            nprobe=nprobe,
            docnos=docnos,
            num_threads=num_threads,
            stats=stats,
        )

    def maxsim(self, *, missing: str = "error", num_threads: int | None = None, device: str = "cpu") -> IndexMaxSim:
        """Re-ranks documents by exact MaxSim, their vectors read from the index.

        From ``qid, query_embs, docno`` to ``score, rank``. See `pyterrier_lir.rerank.maxsim.IndexMaxSim`.
        """
        from pyterrier_lir.rerank.maxsim import IndexMaxSim

        return IndexMaxSim(self, missing=missing, num_threads=num_threads, device=device)

    def embs_loader(self, *, missing: str = "error") -> EmbsLoader:
        """Adds the stored vectors to documents.

        From ``docno`` to ``doc_embs``, ``doc_tok_ids``, ``doc_encoder``. See `pyterrier_lir.rerank.loader.EmbsLoader`.
        """
        from pyterrier_lir.rerank.loader import EmbsLoader

        return EmbsLoader(self, missing=missing)

    def early_exit_maxsim(
        self, beta: float, *, k: int = 10, missing: str = "error", num_threads: int | None = None
    ) -> EarlyExitMaxSim:
        """Re-ranks until nothing good comes any more.

        From ``qid, query_embs, docno, rank`` to ``score, rank``. See `pyterrier_lir.rerank.early_exit.EarlyExitMaxSim`.
        """
        from pyterrier_lir.rerank.early_exit import EarlyExitMaxSim

        return EarlyExitMaxSim(self, beta, k=k, missing=missing, num_threads=num_threads)

    def corpus_graph(self, *, k: int = 16, rows: int = 32) -> CorpusGraph:
        """Each document's nearest documents, computed when first used.

        No transformer: `ladr` and GAR take it. See `pyterrier_lir.rerank.corpus_graph.CorpusGraph`.
        """
        from pyterrier_lir.rerank.corpus_graph import CorpusGraph

        return CorpusGraph(self, k=k, rows=rows)

    def ladr(
        self,
        graph: Graph,
        *,
        depth: int | None = 100,
        num_results: int = 1000,
        missing: str = "error",
        num_threads: int | None = None,
    ) -> Ladr:
        """Re-ranks documents together with their neighbours in a corpus graph.

        From ``qid, query_embs, docno`` to ``docno, score, rank``, new documents among them. See
        `pyterrier_lir.rerank.ladr.Ladr`.
        """
        from pyterrier_lir.rerank.ladr import Ladr

        return Ladr(self, graph, depth=depth, num_results=num_results, missing=missing, num_threads=num_threads)

    def colbert_prf(
        self,
        *,
        fb_docs: int = 3,
        clusters: int = 24,
        fb_embs: int = 10,
        beta: float = 1.0,
        seed: int = 0,
        return_docs: bool = False,
    ) -> ColbertPRF:
        """ColBERT-PRF: expands the query by what its best documents share.

        From ``qid, query_embs, docno, rank`` to a query with more ``query_embs`` and with ``query_weights``. See
        `pyterrier_lir.feedback.ColbertPRF`.
        """
        from pyterrier_lir.feedback.colbert_prf import ColbertPRF

        return ColbertPRF(
            self,
            fb_docs=fb_docs,
            clusters=clusters,
            fb_embs=fb_embs,
            beta=beta,
            seed=seed,
            return_docs=return_docs,
        )

    def query_pruning(self, *, keep: int) -> QueryPruning:
        """Searches with the rarest rows of a query only.

        From ``query_embs, query_tok_ids`` to ``query_weights``, 0 for the other rows. See
        `pyterrier_lir.feedback.QueryPruning`.
        """
        from pyterrier_lir.feedback.query_pruning import QueryPruning

        return QueryPruning(self, keep=keep)

    def explain(self, encoder: Encoder | None = None) -> Explain:
        """Says which tokens met, with the encoder's words.

        From ``qid, query_embs, query_tok_ids, docno`` to seven columns of matches. See `pyterrier_lir.explain.Explain`.
        """
        from pyterrier_lir.explain.alignment import Explain

        return Explain(self, encoder=encoder)

    def token_stats(self) -> TokenStats:
        """Document and collection frequencies of the tokens. See `pyterrier_lir.index.token_stats.TokenStats`."""
        return self.store.token_stats

    # --- reading ---------------------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether there is a finished index at the path."""
        return manifest.read(self._directory) is not None

    @property
    def store(self) -> Store:
        """The opened index; opened when first asked for, and kept until `reopen`.

        Raises:
            FileNotFoundError: If there is no finished index.
            ValueError: If it is damaged.
        """
        if self._store is None:
            self._store = Store(self._directory)
        return self._store

    def reopen(self) -> None:
        """Makes the next use see what is on disk now; until then a reader sees what it opened."""
        self._store = None

    def info(self) -> Info:
        """What the index holds: counts, options, and the size of every structure in bytes; prints as a table.

        Returns:
            A dictionary with the keys

            - ``documents``, ``deleted`` (which still take up room), ``tokens``, ``dim``, ``segments``;
            - ``encoder``, its fingerprint or None; ``centroids``, ``nbits``, ``keep_embs``, as it was built;
            - ``residual``, the mean distance of the tokens to their centroids when the codec was trained, and
              ``residual_added``, that of the tokens that were added since; None where it is not known;
            - ``advice``, a list of sentences that say when to compact or to rebuild;
            - ``bytes``, the size of every structure by its name; ``megabytes`` (10^6 bytes), ``bytes_per_token`` and
              ``bytes_per_document`` of them all. What methods derive, under ``derived/``, is not among them.

        Raises:
            FileNotFoundError: If the index is not built yet.
            ValueError: If it is damaged.
        """
        store, found = self.store, self.store.manifest
        total = sum(store.bytes.values())
        names = ("documents", "deleted", "tokens", "dim", "encoder", "centroids", "nbits", "keep_embs")
        return Info(
            {name: found[name] for name in names},
            segments=len(store.segments),
            **fit.residuals(store),
            advice=fit.advice(store),
            bytes=store.bytes,
            megabytes=total / 1e6,
            bytes_per_token=total / max(found["tokens"], 1),
            bytes_per_document=total / found["documents"],
        )

    def verify(self) -> None:
        """Compares all files with their checksums.

        Raises:
            FileNotFoundError: If the index is not built yet.
            ValueError: If files differ; it names them.
        """
        self.store.verify()

    def __len__(self) -> int:
        """The number of documents, without deleted ones."""
        return self.store.manifest["documents"]  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return True  # an index that is not built yet has no length

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return self.store.dim

    @property
    def docnos(self) -> list[str]:
        """All docnos in index order."""
        return list(self.store.docids)

    def get_corpus_iter(self, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Yields the documents ``start`` to ``stop`` as ``docno``, ``doc_embs`` and, where stored, ``doc_tok_ids``.

        The stream can be indexed again, reduced or not: ``index_b.index(index_a.get_corpus_iter())``.
        """
        store = self.store
        for docid in store.live_docids[start:stop].tolist():
            embs, tok_ids = store.document(docid)
            record: dict[str, Any] = {"docno": store.docno(docid), columns.DOC_EMBS: embs}
            if tok_ids is not None:
                record[columns.DOC_TOK_IDS] = tok_ids
            if store.encoder is not None:
                record[columns.DOC_ENCODER] = store.encoder
            yield record

    @classmethod
    def example(cls) -> LirIndex:
        """A little index in a temporary folder, encoded by ``ToyEncoder()``: for documentation and first steps."""
        from pyterrier_lir.encode.toy import ToyEncoder

        texts = {
            "apple": "an apple a day keeps the doctor away",
            "bread": "fresh bread needs flour water salt and yeast",
            "chess": "in chess the queen is the strongest piece",
            "dough": "let the bread dough rest for a day",
            "earth": "the earth turns around once a day",
        }
        index = cls(Path(tempfile.mkdtemp(prefix="lir-example-")) / "example.lir")
        corpus = [{"docno": docno, "text": text} for docno, text in texts.items()]
        return (ToyEncoder() >> index.indexer(verbose=False)).index(corpus)  # type: ignore[no-any-return]

    # --- a value ---------------------------------------------------------------------------------------------

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """An index is no retriever: it says which ones it has."""
        raise TypeError(
            f"{self!r} was called like a retriever; expected one of its methods. Search it with index.plaid(), "
            "index.warp() or index.exhaustive(), or re-rank documents with index.maxsim()."
        )

    def __rshift__(self, right: Any) -> Any:
        """An index is the last stage of a pipeline."""
        raise TypeError(
            f"{self!r} stands before {right!r}; expected it behind: (encoder >> index).index(corpus) to index, "
            "encoder >> index.plaid() to search."
        )

    def __repr__(self) -> str:
        return f"LirIndex({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts and sizes; of an index that is not built, the call that builds it."""
        return facts_table(repr(self), self._facts())

    def _facts(self) -> dict[str, object]:
        try:
            return self._built_facts() if self.built else self._unbuilt_facts()
        except (OSError, ValueError) as error:  # a notebook shows what is wrong, not a traceback
            return {"cannot be opened": error}

    def _unbuilt_facts(self) -> dict[str, object]:
        waiting = sum(len(Segment(entry)) for entry in spooled(self._directory))
        if not waiting:
            return {"not built": "(encoder >> index).index(corpus)"}
        resume = "(index.unseen() >> encoder >> index.indexer(resume=True)).index(corpus)"
        return {"interrupted": f"{waiting:,} documents are stored", "go on with": resume}

    def _built_facts(self) -> dict[str, object]:
        info = self.info()
        vectors = f"{info['nbits']} bits per dimension, {info['centroids']:,} centroids"
        per_token = f"{info['bytes_per_token']:,.0f} bytes per token"
        derived = sorted(path for path in (self._directory / DERIVED).glob("*") if path.is_dir())
        return {
            "documents": f"{info['documents']:,}" + (f" ({info['deleted']:,} deleted)" if info["deleted"] else ""),
            "tokens": f"{info['tokens']:,} of {info['dim']} dimensions",
            "encoder": info["encoder"] or "not recorded",
            "vectors": vectors + (", and as they came (fp16)" if info["keep_embs"] else ""),
            "size": f"{megabytes(sum(info['bytes'].values()))}, {per_token}",
            **{f"derived: {path.name}": megabytes(files.folder_size(path)) for path in derived},
            **({"advice": " ".join(info["advice"])} if info["advice"] else {}),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LirIndex) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[type[LirIndex], tuple[str]]:
        return LirIndex, (str(self.path),)  # another process opens its own memory maps

    @property
    def _directory(self) -> Path:
        return Path(str(self.path))

    def _key(self) -> str:
        return str(self._directory.resolve())


class Info(dict[str, Any]):
    """What `pyterrier_lir.LirIndex.info` gives: a dictionary that prints as a table."""

    def __str__(self) -> str:
        lines = [f"{name:<20} {_shown(value):>15}" for name, value in self.items() if name not in ("bytes", "advice")]
        sizes = [f"  {name:<18} {size:>15,}" for name, size in self["bytes"].items()]
        return "\n".join([*lines, *sizes, *self["advice"]])


def _shown(value: Any) -> str:
    return (
        f"{value:,.3f}"
        if isinstance(value, float) and value < 10
        else f"{value:,.1f}"
        if isinstance(value, float)
        else str(value)
    )


@options.signed
class LirIndexer(pt.Indexer):
    """The last stage of an indexing pipeline, with its options.

    Made by `pyterrier_lir.LirIndex.indexer`, which describes them.

    Raises:
        ValueError: If an option has no meaning, or is one of the build and ``mode`` is ``"append"`` or ``"update"``.
    """

    def __init__(
        self,
        index_: LirIndex,
        *,
        mode: str = "create",
        resume: bool = False,
        nbits: int = 4,
        codec: str = "uniform",
        centroids: int | None = None,
        keep_embs: bool = False,
        seed: int = 0,
        segment_mb: float = 64,
        memory_mb: float = 512,
        num_threads: int | None = None,
        verbose: bool = True,
    ) -> None:
        if mode not in ("create", "overwrite", "append", "update"):
            raise ValueError(f'mode is {mode!r}; expected "create", "overwrite", "append" or "update".')
        for name, value in (("segment_mb", segment_mb), ("memory_mb", memory_mb)):
            if not isinstance(value, Real) or not value > 0:
                raise ValueError(f"{name} is {value!r}; expected a number of megabytes > 0, such as {name}=512.")
        scoring.threads(num_threads)
        self.index_ = index_
        self.mode = mode
        self.resume = resume
        self.nbits = nbits
        self.codec = codec
        self.centroids = centroids
        self.keep_embs = keep_embs
        self.seed = seed
        self.segment_mb = segment_mb
        self.memory_mb = memory_mb
        self.num_threads = num_threads
        self.verbose = verbose
        if mode in ("append", "update") and self._parameters() != Parameters():
            raise ValueError(
                f'{self._parameters()} was given; expected no such option with mode="{mode}", as the index has been '
                "built with its own. Leave nbits, codec, centroids, keep_embs and seed out."
            )
        self._parameters()

    def index(self, iter: Iterable[dict[str, Any]] | pd.DataFrame, **kwargs: Any) -> LirIndex:
        """Indexes documents, read once, as a stream.

        Args:
            iter: Records or a frame, with ``docno`` (a string, each once) and ``doc_embs`` (float ``(m, dim)``), and
                perhaps ``doc_tok_ids`` (integer ``(m,)``, in all documents or in none) and ``doc_encoder``, the
                encoder's fingerprint, one for all. Other columns are ignored.
            kwargs: None; options belong to the indexer.

        Returns:
            The index, ready to be searched.

        Raises:
            ValueError: If it is built already, interrupted, or a document is unusable; nothing stored is lost.
            OSError: If the disk is full or cannot be written to; what was finished can be resumed.
        """
        if kwargs:
            raise ValueError(f"index() got {', '.join(kwargs)}; expected no options. Give them to index.indexer(...).")
        records = _records(iter)
        resources: dict[str, Any] = {
            "resume": self.resume,
            "segment_mb": self.segment_mb,
            "memory_mb": self.memory_mb,
            "num_threads": scoring.threads(self.num_threads),
            "progress": self._progress,
        }
        path, overwrite = self.index_._directory, self.mode == "overwrite"
        if self.mode in ("append", "update"):
            change.add(path, records, replace=self.mode == "update", **resources)
        else:
            build(path, records, self._parameters(), overwrite=overwrite, **resources)
        self.index_.reopen()
        return self.index_

    def _parameters(self) -> Parameters:
        return Parameters(
            nbits=self.nbits,
            codec=self.codec,
            centroids=self.centroids,
            keep_embs=self.keep_embs,
            seed=self.seed,
        )

    def index_inputs(self) -> list[list[str]]:
        """The columns that it needs, for PyTerrier's schematics."""
        return [["docno", columns.DOC_EMBS]]

    @property
    def schematic(self) -> dict[str, Any]:
        """The box in PyTerrier's schematics."""
        return {"label": "LIR Indexer", "help_url": DOCS}

    def __repr__(self) -> str:
        options = {a.name: a.value for a in pt.inspect.transformer_attributes(self) if a.value != a.init_default_value}
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items() if name != "index_")
        return f"{self.index_!r}.indexer({shown})"

    def _progress(self, items: Iterable[Any], stage: str, done: int, total: int | None) -> Iterable[Any]:
        return _progress("doc" if total is None else "segment", self.verbose, items, stage, done, total)


def _progress(
    unit: str, verbose: bool, items: Iterable[Any], stage: str, done: int, total: int | None
) -> Iterable[Any]:
    return pt.tqdm(items, desc=stage, unit=unit, initial=done, total=total, disable=not verbose)  # type: ignore


def _records(corpus: Any) -> Iterator[Any]:
    """The records of an iterable or a frame; of anything else it says how to come by them."""
    try:
        if isinstance(corpus, (str, PathLike, Mapping)):
            raise TypeError(f"{corpus!r:.100} is not iterable as records")
        yield from corpus.to_dict(orient="records") if hasattr(corpus, "to_dict") else corpus
    except TypeError as error:  # of the corpus itself, or of what an encoder before the index was given
        if "is not iterable" not in str(error):
            raise
        raise ValueError(
            f'The corpus cannot be read: {error}; expected records such as {{"docno": "d1", "text": "..."}}. Give a '
            'list of them, dataset.get_corpus_iter(), or frame.to_dict("records").'
        ) from error


class Unseen(LirTransformer):
    """Keeps the documents whose ``docno`` no finished segment of the index holds, built or interrupted.

    Expected columns: ``docno``. Output: the same columns, fewer rows.
    """

    LABEL = "Unseen"

    def __init__(self, index_: LirIndex) -> None:
        self.index_ = index_
        self._number: int | None = None  # of the manifest that was read
        self._spooled: list[Path] = []
        self._docnos: set[str] = set()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Looks at what is on disk now."""
        pt.validate.columns(inp, includes=["docno"], context=self)
        self._refresh()
        return inp[~inp["docno"].isin(self._docnos)].reset_index(drop=True)

    def _refresh(self) -> None:
        path = self.index_._directory
        found, left = manifest.read(path), spooled(path)
        number = found["number"] if found else None
        if number != self._number or left[: len(self._spooled)] != self._spooled:
            # What is to be updated is there and must come through.
            updating = interrupted(path).get("kind") == "update"
            self._docnos = set() if found is None or updating else set(Store(path).docids)
            self._number, self._spooled = number, []
        new = left[len(self._spooled) :]
        self._docnos.update(docno for entry in new for docno in Segment(entry).docnos)
        self._spooled = left
