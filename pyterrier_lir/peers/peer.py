"""What the peers share: a store is filled from an index once, and asked with the same query embeddings."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, frames
from pyterrier_lir.columns import Docids, Floats
from pyterrier_lir.index.files import write_synced
from pyterrier_lir.installing import pip_install
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.frames import Query
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store

FILLED = "filled.json"  # in the folder of a store, written last: what it was filled from
BLOCK = 1 << 16  # tokens that are sent to a store at a time


class Hits(NamedTuple):
    """What a store found: docids, and scores of which more is better."""

    docids: Docids
    scores: npt.NDArray[np.float64]


class Peer(LirTransformer):
    """A store of others, searched like a method of the index; a subclass says how it is filled and asked.

    Expected columns: ``qid``, ``query_embs``; ``query_weights`` are multiplied into the rows, ``query_encoder`` is
    honoured if it is there. Output: the columns of the query, and ``docno``, ``score``, ``rank``; documents without
    tokens give no results, and equal scores are in index order.

    The first search fills the store with the vectors that the index scores, those of ``index.get_corpus_iter()``. It is
    filled again when the index has changed.

    Args:
        index_: The index.
        num_results: Documents per query.
        folder: Where the store lies, to be used again by the next process; None for a temporary one.
        options: Of the subclass; those of the filling are noted beside the store.
    """

    PACKAGES: ClassVar[dict[str, str]] = {}  # module -> package
    FILLING: ClassVar[tuple[str, ...]] = ()  # arguments on which what is stored depends

    index_: LirIndex
    num_results: int
    folder: str | Path | None
    _opened: Opened | None

    def open(self, folder: Path, store: Store, *, new: bool) -> Any:
        """Opens the store in a folder, filled from the index first where it is new."""
        raise NotImplementedError

    def ask(self, opened: Any, rows: Floats) -> Hits:
        """The best documents for a query, float32 ``(n, dim)``."""
        raise NotImplementedError

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Retrieves for every query of the frame, one after the other."""
        frames.check_query_frame(inp, self)
        if not len(inp):
            return frames.retrieved(inp, [])
        store = self.index_.store
        hits: list[tuple[Sequence[str], npt.NDArray[Any]]] = [((), np.zeros(0))] * len(inp)
        for query in frames.queries(inp, store.dim, encoder=store.encoder, what=self):
            if not len(query.embs) or not store.num_filled(None):
                continue
            docids, scores = self.ask(self._store(store), _weighted(query))
            order = np.lexsort((docids, -scores))[: self.num_results]
            docnos = store.names(docids[order])
            for row in query.rows:
                hits[row] = docnos, scores[order]
        return frames.retrieved(inp, hits)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking."""
        return pt.inspect.transformer_apply_attributes(self, num_results=k) if 0 < k < self.num_results else None

    def close(self) -> None:
        """Lets go of the store, which is closed when nobody else of this process searches it."""
        self._opened = None

    def _begin(self, index_: LirIndex, num_results: int, folder: str | Path | None) -> None:
        arguments.check_counts(num_results=num_results)
        for module in self.PACKAGES:
            if importlib.util.find_spec(module) is None:
                raise ImportError(self._advice(f"{module} is not installed"))
        self.index_ = index_
        self.num_results = num_results
        self.folder = folder
        self._opened = None

    def _store(self, store: Store) -> Any:
        """The opened store; filled anew where there is none, or one of another state of the index."""
        source = {
            "index": store.manifest["sha256"], "class": type(self).__name__,
            **{name: getattr(self, name) for name in self.FILLING},
        }  # fmt: skip
        if self._opened is None or self._opened.source != source:
            self._opened = None  # first, as some stores can be opened only once
            with LOCK:
                opened = self._opened = self._shared(store, source)
        else:
            opened = self._opened
        return opened.handle

    def _shared(self, store: Store, source: dict[str, Any]) -> Opened:
        """What another transformer of this process has opened, or a store of our own."""
        key = str(Path(self.folder).absolute()) if self.folder else json.dumps([str(store.path), source])
        found = SHARED.get(key)
        if found is None:
            where = Path(self.folder or tempfile.mkdtemp(prefix="lir-peer-")).absolute()
            found = SHARED[key] = Opened(self._filled(where, store, source), source, where, self.folder is None)
        if found.source != source:
            raise ValueError(
                f"folder is {key}, which another transformer has open for another index or other options; expected a "
                "folder for each."
            )
        return found

    def _filled(self, where: Path, store: Store, source: dict[str, Any]) -> Any:
        found, content = where / FILLED, where / "store"
        try:
            if found.exists() and json.loads(found.read_text()) == source:
                return self.open(content, store, new=False)
            if where.exists() and {entry.name for entry in where.iterdir()} - {FILLED, "store"}:
                raise ValueError(
                    f"folder is {where}, which holds other things; expected a new one, or that of a store."
                )
            found.unlink(missing_ok=True)
            shutil.rmtree(content, ignore_errors=True)
            content.mkdir(parents=True)
            opened = self.open(content, store, new=True)
        except ImportError as error:
            raise ImportError(self._advice(f"that cannot be imported: {error}")) from error
        write_synced(found, json.dumps(source))
        return opened

    def _advice(self, what: str) -> str:
        command = pip_install(*self.PACKAGES.values())
        return f"{type(self).__name__} needs {' and '.join(self.PACKAGES)}; {what}. Run: {command}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # another process opens its own


class Opened:
    """An opened store, closed when the last one goes who searches it.

    Args:
        handle: What `Peer.open` gave.
        source: What it was filled from.
        where: Its folder.
        temporary: Whether the folder goes with it.
    """

    def __init__(self, handle: Any, source: dict[str, Any], where: Path, temporary: bool) -> None:
        self.handle = handle
        self.source = source
        self._end = weakref.finalize(self, _end, handle, where if temporary else None)


def _end(handle: Any, folder: Path | None) -> None:
    if hasattr(handle, "close"):
        handle.close()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


# Transformers that are equal, or differ in what they ask for only, share a store: it is filled once, and some can be
# opened only once.
SHARED: weakref.WeakValueDictionary[str, Opened] = weakref.WeakValueDictionary()
LOCK = RLock()


def documents(store: Store) -> Iterator[tuple[Docids, list[Floats]]]:
    """The documents that have tokens and are not deleted, in blocks: docids, and the vectors of each."""
    for docids, packed in store.blocks(BLOCK):
        live = np.ones(len(docids), bool) if store.live is None else store.live.has(docids)
        yield docids[live], [packed[i] for i in np.flatnonzero(live).tolist()]


def _weighted(query: Query) -> Floats:
    """``w max_j <q, d_j> = max_j <w q, d_j>`` for weights that are not negative."""
    return query.embs if query.weights is None else query.embs * query.weights[:, None]
