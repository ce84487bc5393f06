"""`LirIndex`: the index on disk as a PyTerrier artifact, an indexer, and the factory of everything that searches it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_lir import columns
from pyterrier_lir.index.build import build
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.store import SEGMENTS, Store, finished_segments, read_manifest
from pyterrier_lir.transformer import DOCS, LirTransformer

if TYPE_CHECKING:
    import pandas as pd

    from pyterrier_lir.rerank.loader import EmbsLoader
    from pyterrier_lir.rerank.maxsim import IndexMaxSim
    from pyterrier_lir.retrieve.exhaustive import Exhaustive


class LirIndex(pt.Artifact, pt.Indexer):
    """A multi-vector index: build it once, search it with every method.

    Args:
        path: The directory of the index, existing or not.

    Example:
        >>> index = LirIndex.example()
        >>> len(index), index.docnos[:2]
        (5, ['apple', 'bread'])

    ``(encoder >> index).index(corpus)`` builds it; ``encoder.query_encoder() >> index.exhaustive()`` searches it.
    """

    ARTIFACT_TYPE = "multivec_index"
    ARTIFACT_FORMAT = "lir"
    ARTIFACT_PACKAGE_HINT = "pyterrier-lir"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._store: Store | None = None

    # --- building --------------------------------------------------------------------------------------------

    def index(self, iter: Iterable[dict[str, Any]] | pd.DataFrame, **kwargs: Any) -> LirIndex:
        """Builds the index with default options; see `LirIndexer.index`, and `indexer` for the options."""
        return self.indexer().index(iter, **kwargs)

    def indexer(
        self, *, mode: str = "create", resume: bool = False, segment_mb: float = 64, verbose: bool = True
    ) -> LirIndexer:
        """The last stage of an indexing pipeline.

        Args:
            mode: ``"create"`` refuses an index that is built; ``"overwrite"`` replaces it when the new one is finished.
            resume: Keep what an interrupted build stored; put `unseen` before the encoder.
            segment_mb: Megabytes of embeddings after which what was indexed is made durable.
            verbose: Show a progress bar.
        """
        return LirIndexer(self, mode=mode, resume=resume, segment_mb=segment_mb, verbose=verbose)

    def unseen(self) -> Unseen:
        """Drops documents that are stored already: ``(index.unseen() >> encoder >> index.indexer(resume=True))``."""
        return Unseen(self)

    def index_inputs(self) -> list[list[str]]:
        """The columns that indexing needs, for PyTerrier's schematics."""
        return self.indexer().index_inputs()

    # --- searching -------------------------------------------------------------------------------------------

    def exhaustive(
        self,
        *,
        num_results: int = 1000,
        docnos: Collection[str] | None = None,
        num_threads: int | None = None,
        device: str = "cpu",
    ) -> Exhaustive:
        """Exact MaxSim over all documents, or those in ``docnos``. See `retrieve.exhaustive.Exhaustive`."""
        from pyterrier_lir.retrieve.exhaustive import Exhaustive

        return Exhaustive(self, num_results=num_results, docnos=docnos, num_threads=num_threads, device=device)

    def maxsim(self, *, missing: str = "error", num_threads: int | None = None, device: str = "cpu") -> IndexMaxSim:
        """Re-ranks documents by exact MaxSim, their vectors read from the index. See `rerank.maxsim.IndexMaxSim`."""
        from pyterrier_lir.rerank.maxsim import IndexMaxSim

        return IndexMaxSim(self, missing=missing, num_threads=num_threads, device=device)

    def embs_loader(self, *, missing: str = "error") -> EmbsLoader:
        """Adds ``doc_embs`` (and ``doc_tok_ids``) to rows with a ``docno``. See `rerank.loader.EmbsLoader`."""
        from pyterrier_lir.rerank.loader import EmbsLoader

        return EmbsLoader(self, missing=missing)

    # --- reading ---------------------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether there is a finished index at the path."""
        return read_manifest(Path(self.path)) is not None  # type: ignore[arg-type]

    @property
    def store(self) -> Store:
        """The opened index; opened when first asked for, and kept until `reopen`.

        Raises:
            FileNotFoundError: If there is no finished index.
            ValueError: If it is damaged.
        """
        if self._store is None:
            self._store = Store(Path(self.path))  # type: ignore[arg-type]
        return self._store

    def reopen(self) -> None:
        """Makes the next use see what is on disk now; until then a reader sees what it opened."""
        self._store = None

    def verify(self) -> None:
        """Compares all files with their checksums; raises a ValueError that names those that differ."""
        self.store.verify()

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.store)

    def __bool__(self) -> bool:
        return True  # an index that is not built yet has no length

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return self.store.dim

    @property
    def docnos(self) -> list[str]:
        """All docnos in index order."""
        return [docno for segment in self.store.segments for docno in segment.docnos]

    def get_corpus_iter(self, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Yields the documents ``start`` to ``stop`` as ``docno``, ``doc_embs`` and, where stored, ``doc_tok_ids``.

        The stream can be indexed again, reduced or not: ``index_b.index(index_a.get_corpus_iter())``.
        """
        store = self.store
        for docid in range(len(store))[start:stop]:
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
            f"{self!r} was called like a retriever; expected one of its methods. Search it with index.exhaustive(), or "
            "re-rank documents with index.maxsim()."
        )

    def __repr__(self) -> str:
        return f"LirIndex({str(self.path)!r})"

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


class LirIndexer(pt.Indexer):
    """The last stage of an indexing pipeline, with its options. Made by `LirIndex.indexer`."""

    def __init__(
        self,
        index_: LirIndex,
        *,
        mode: str = "create",
        resume: bool = False,
        segment_mb: float = 64,
        verbose: bool = True,
    ) -> None:
        if mode not in ("create", "overwrite"):
            raise ValueError(f'mode is {mode!r}; expected "create" or "overwrite".')
        if not segment_mb > 0:
            raise ValueError(f"segment_mb is {segment_mb}; expected megabytes > 0 (64 is the default).")
        self.index_ = index_
        self.mode = mode
        self.resume = resume
        self.segment_mb = segment_mb
        self.verbose = verbose

    def index(self, iter: Iterable[dict[str, Any]] | pd.DataFrame, **kwargs: Any) -> LirIndex:
        """Indexes records, or a frame, with ``docno`` and ``doc_embs``; see `index.build.build` for the rest.

        Returns:
            The index, ready to be searched.

        Raises:
            ValueError: If it is built already, interrupted, or a document is unusable; nothing stored is lost.
            OSError: If the disk is full or cannot be written to; what was finished can be resumed.
        """
        if kwargs:
            raise ValueError(f"index() got {', '.join(kwargs)}; expected no options. Give them to index.indexer(...).")
        records: Iterable[Any] = iter.to_dict(orient="records") if hasattr(iter, "to_dict") else iter
        build(
            self.index_._directory, records, mode=self.mode, resume=self.resume, segment_mb=self.segment_mb,
            progress=self._progress,
        )  # fmt: skip
        self.index_.reopen()
        return self.index_

    def index_inputs(self) -> list[list[str]]:
        """The columns that it needs, for PyTerrier's schematics."""
        return [["docno", columns.DOC_EMBS]]

    @property
    def schematic(self) -> dict[str, Any]:
        """The box in PyTerrier's schematics."""
        return {"label": "LIR Indexer", "help_url": DOCS}

    def __repr__(self) -> str:
        return f"{self.index_!r}.indexer(mode={self.mode!r}, resume={self.resume}, segment_mb={self.segment_mb})"

    def _progress(self, records: Iterator[dict[str, Any]], stored: int) -> Iterable[dict[str, Any]]:
        return pt.tqdm(records, desc="Indexing", unit="doc", initial=stored, disable=not self.verbose)  # type: ignore


class Unseen(LirTransformer):
    """Keeps the documents whose ``docno`` no finished segment of the index holds, built or interrupted.

    Expected columns: ``docno``. Output: the same columns, fewer rows.
    """

    LABEL = "Unseen"

    def __init__(self, index_: LirIndex) -> None:
        self.index_ = index_
        self._names: list[str] = []
        self._docnos: set[str] = set()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Looks at what is on disk now."""
        pt.validate.columns(inp, includes=["docno"], context=self)
        self._refresh()
        return inp[~inp["docno"].isin(self._docnos)].reset_index(drop=True)

    def _refresh(self) -> None:
        path = self.index_._directory
        names = finished_segments(path)
        if names == self._names:
            return
        new = [name for name in names if name not in self._names]
        if len(names) != len(self._names) + len(new):  # some went: the index was replaced
            self._docnos, new = set(), names
        self._docnos.update(docno for name in new for docno in Segment(path / SEGMENTS / name).docnos)
        self._names = names
