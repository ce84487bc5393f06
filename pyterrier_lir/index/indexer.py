"""`LirIndexer`: the last stage of an indexing pipeline, which builds an index or adds to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict

import pyterrier as pt

from pyterrier_lir import arguments, columns, options
from pyterrier_lir.index import change, scoring
from pyterrier_lir.index.build import Parameters, build, check_megabytes
from pyterrier_lir.index.kmeans import Progress
from pyterrier_lir.transformer import DOCS

if TYPE_CHECKING:
    import pandas as pd

    from pyterrier_lir.index.artifact import LirIndex


class Resources(TypedDict, total=False):
    """The options of `LirIndexer` that any indexing has, be it a build or a change."""

    resume: bool
    segment_mb: float
    memory_mb: float
    num_threads: int | None
    verbose: bool


@options.signed
class LirIndexer(pt.Indexer):
    """The last stage of an indexing pipeline, with its options; made by `pyterrier_lir.LirIndex.indexer`.

    Args:
        index_: The index.
        mode: ``"create"`` refuses an index that is built; ``"overwrite"`` replaces it when the new one is finished;
            ``"append"`` and ``"update"`` do what `LirIndex.add` and `LirIndex.update` do, behind an encoder.
        resume: Keep what an interrupted build stored; put `LirIndex.unseen` before the encoder.
        nbits: Bits per dimension of a compressed token: 1, 2, 4 or 8. 2 when the index must be small, 8 for an
            overlap of .99 with the exact ranking.
        codec: ``"uniform"``: equal steps in each dimension, of the least squared error. ``"quantile"``:
            ColBERTv2's one codebook for all dimensions, to compare with it and to export; it loses more.
        centroids: Number of centroids; None for the field's rule, ``2 ** floor(log2(16 sqrt(T)))`` for T tokens.
        keep_embs: Keep the vectors in fp16 as well, so that exact scores are exact.
        seed: Of sample and clustering.
        device: ``"cpu"``, or ``"cuda"`` to cluster with torch on a GPU. Centroids are then others, and as good: the
            bytes of an index are the same for the same device only.
        segment_mb: Megabytes of embeddings after which what was indexed is made durable; the index does not
            depend on it.
        memory_mb: Bounds the memory for blocks of tokens; the index does not depend on it.
        num_threads: Threads for training and compression; None for all cores. The index does not depend on it.
        verbose: Show progress bars.

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
        device: str = "cpu",
        segment_mb: float = 64,
        memory_mb: float = 512,
        num_threads: int | None = None,
        verbose: bool = True,
    ) -> None:
        if mode not in ("create", "overwrite", "append", "update"):
            raise ValueError(f'mode is {mode!r}; expected "create", "overwrite", "append" or "update".')
        check_megabytes(segment_mb=segment_mb, memory_mb=memory_mb)
        scoring.threads(num_threads)
        arguments.check_flags(resume=resume)
        self.index_ = index_
        self.mode = mode
        self.resume = resume
        self.nbits = nbits
        self.codec = codec
        self.centroids = centroids
        self.keep_embs = keep_embs
        self.seed = seed
        self.device = device
        self.segment_mb = segment_mb
        self.memory_mb = memory_mb
        self.num_threads = num_threads
        self.verbose = verbose
        if mode in ("append", "update") and self._parameters() != Parameters():
            raise ValueError(
                f'{self._parameters()} was given; expected no such option with mode="{mode}", as the index has been '
                "built with its own. Leave nbits, codec, centroids, keep_embs, seed and device out."
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
            "progress": progress_bar("segment", self.verbose),
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
            device=self.device,
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


def progress_bar(unit: str, verbose: bool) -> Progress:
    """The bar of a long work, which counts in documents or in the given unit where there is a total."""

    def progress(items: Iterable[Any], stage: str, done: int, total: int | None) -> Iterable[Any]:
        shown = "doc" if total is None else unit
        return pt.tqdm(items, desc=stage, unit=shown, initial=done, total=total, disable=not verbose)  # type: ignore

    return progress


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
