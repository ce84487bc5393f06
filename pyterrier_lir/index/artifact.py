"""`LirIndex`: the index on disk as a PyTerrier artifact, and the factory of everything that searches it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pyterrier as pt

from pyterrier_lir import columns, options
from pyterrier_lir.explain.alignment import Explain
from pyterrier_lir.facts import facts_table
from pyterrier_lir.feedback.colbert_prf import ColbertPRF
from pyterrier_lir.feedback.query_pruning import QueryPruning
from pyterrier_lir.index import build, change, derived, exports, imports, manifest
from pyterrier_lir.index.indexer import LirIndexer, Resources, progress_bar
from pyterrier_lir.index.info import Info, built_facts, info, unbuilt_facts
from pyterrier_lir.index.makes import makes
from pyterrier_lir.index.store import Store
from pyterrier_lir.index.unseen import Unseen
from pyterrier_lir.rerank.corpus_graph import CorpusGraph
from pyterrier_lir.rerank.early_exit import EarlyExitMaxSim
from pyterrier_lir.rerank.ladr import Ladr
from pyterrier_lir.rerank.loader import EmbsLoader
from pyterrier_lir.rerank.maxsim import IndexMaxSim
from pyterrier_lir.retrieve.exhaustive import Exhaustive
from pyterrier_lir.retrieve.lemur_retriever import LemurRetriever
from pyterrier_lir.retrieve.muvera_retriever import MuveraRetriever
from pyterrier_lir.retrieve.plaid import Plaid
from pyterrier_lir.retrieve.plaid_stages import CentroidMaxSim, PlaidCandidates
from pyterrier_lir.retrieve.warp import Warp
from pyterrier_lir.retrieve.xtr import Xtr, XtrScorer

if TYPE_CHECKING:
    import pandas as pd

    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.index.token_stats import TokenStats


@options.listed_by
@options.signed
class LirIndex(pt.Artifact, pt.Indexer):
    """A multi-vector index: build it once, search it with every method.

    ``(encoder >> index).index(corpus)`` builds it; ``encoder.query_encoder() >> index.exhaustive()`` searches it. The
    methods that make a transformer have the options of its class, which says what they mean: ``help(index.plaid())``.

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

    indexer = makes(LirIndexer)
    unseen = makes(Unseen)

    def index(self, iter: Iterable[dict[str, Any]] | pd.DataFrame, **kwargs: Any) -> LirIndex:
        """Builds the index with default options; see `indexer` for the options.

        The columns: `pyterrier_lir.index.indexer.LirIndexer.index`.
        """
        return self.indexer().index(iter, **kwargs)

    def index_inputs(self) -> list[list[str]]:
        """The columns that indexing needs, for PyTerrier's schematics."""
        return self.indexer().index_inputs()

    def abandon(self) -> None:
        """Drops what an interrupted build, `add` or `update` stored; the index itself stays as it is."""
        with manifest.only_writer(self._directory):
            build.abandon(self._directory)

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
        fingerprint = encoder if isinstance(encoder, str) or encoder is None else encoder.fingerprint
        index = cls(path)
        progress = progress_bar("chunk", verbose)
        imports.import_folder(Path(folder), index._directory, docnos=docnos, encoder=fingerprint, progress=progress)
        return index

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
        progress = progress_bar("chunk", verbose)
        exports.export_folder(self.store, Path(folder), checkpoint=checkpoint, progress=progress)

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

    # --- changing --------------------------------------------------------------------------------------------

    @options.taken_from(LirIndexer, Resources)
    def add(self, iter: Iterable[dict[str, Any]] | pd.DataFrame, **resources: Unpack[Resources]) -> LirIndex:
        """Appends documents under the codec that the index has: ``(encoder >> index.indexer(mode="append"))`` does too.

        A search sees all of them or none. Documents keep their docids, new ones come behind. In any split into several
        calls the scores are the same; many small calls make searching slower, until `compact`.

        Args:
            iter: Records, or a frame, with ``docno`` and ``doc_embs``, as for `index`.
            resources: ``resume``, to go on with what an interrupted call stored, ``segment_mb``, ``memory_mb``,
                ``num_threads`` and ``verbose``, as of `pyterrier_lir.index.indexer.LirIndexer`.

        Raises:
            FileNotFoundError: If the index is not built yet.
            ValueError: If a docno is there already (see `update`), or a document does not fit to the index, which is
                then as it was.
        """
        return LirIndexer(self, mode="append", **resources).index(iter)

    @options.taken_from(LirIndexer, Resources)
    def update(self, iter: Iterable[dict[str, Any]] | pd.DataFrame, **resources: Unpack[Resources]) -> LirIndex:
        """As `add`, but documents that are there already are replaced, in one step, and get new docids."""
        return LirIndexer(self, mode="update", **resources).index(iter)

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
        count = change.delete(self._directory, docnos, missing=missing)
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

    # --- searching -------------------------------------------------------------------------------------------

    exhaustive = makes(Exhaustive)
    plaid = makes(Plaid)
    plaid_candidates = makes(PlaidCandidates)
    centroid_maxsim = makes(CentroidMaxSim)
    warp = makes(Warp)
    xtr = makes(Xtr)
    xtr_scorer = makes(XtrScorer)
    muvera = makes(MuveraRetriever)
    lemur = makes(LemurRetriever)
    maxsim = makes(IndexMaxSim)
    early_exit_maxsim = makes(EarlyExitMaxSim)
    corpus_graph = makes(CorpusGraph)
    ladr = makes(Ladr)
    embs_loader = makes(EmbsLoader)
    colbert_prf = makes(ColbertPRF)
    query_pruning = makes(QueryPruning)
    explain = makes(Explain)

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
        return info(self.store)

    def verify(self) -> None:
        """Compares all files with their checksums, those of what methods have derived too.

        Raises:
            FileNotFoundError: If the index is not built yet.
            ValueError: If files differ; it names them.
        """
        self.store.verify()
        derived.verify(self._directory / manifest.DERIVED)

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

    def token_stats(self) -> TokenStats:
        """Document and collection frequencies of the tokens. See `pyterrier_lir.index.token_stats.TokenStats`."""
        return self.store.token_stats

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

    # --- a value ---------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"LirIndex({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts and sizes; of an index that is not built, the call that builds it."""
        try:
            facts = built_facts(self.store) if self.built else unbuilt_facts(self._directory)
        except (OSError, ValueError) as error:  # a notebook shows what is wrong, not a traceback
            facts = {"cannot be opened": error}
        return facts_table(repr(self), facts)

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
