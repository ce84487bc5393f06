"""A little collection, everything that changes an index of it, and what an index is: its documents, bytes, rankings.

The documents are synthetic: unit vectors near some topics, with token ids. One thread each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import pyterrier_lir as lir
from pyterrier_lir.index.spool import spooled

DIM, DOCUMENTS, TOKENS = 32, 120, 12
Records = list[dict[str, Any]]
Work = Callable[[lir.LirIndex], Any]


def vectors(count: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Unit vectors near 200 topics."""
    rng = np.random.default_rng(seed)
    points = np.random.default_rng(0).standard_normal((200, dim))[rng.integers(0, 200, count)]
    points = points + 0.7 * rng.standard_normal((count, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def documents(prefix: str, count: int, seed: int, dim: int = DIM) -> Records:
    """Documents of 0 to `TOKENS` vectors."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, TOKENS + 1, count)
    return [
        {
            "docno": f"{prefix}{i}",
            "doc_embs": vectors(int(length), seed * 10_000 + i, dim),
            "doc_tok_ids": rng.integers(0, 50, int(length)),
        }
        for i, length in enumerate(lengths)
    ]


TOPICS = pd.DataFrame({"qid": ["1", "2", "3"], "query_embs": [vectors(n, 900_000 + n) for n in (4, 12, 32)]})
FIRST, NEW = documents("d", DOCUMENTS, 1), documents("new", DOCUMENTS // 2, 2)
CHANGED = [*documents("d", DOCUMENTS // 4, 3), *documents("fresh", DOCUMENTS // 4, 4)]
GONE = [record["docno"] for record in FIRST[::5]]
INDEXED = {"build": ("create", FIRST), "overwrite": ("overwrite", CHANGED), "add": ("append", NEW),
           "update": ("update", CHANGED)}  # fmt: skip


def index_all(index: lir.LirIndex, work: str, *, resume: bool) -> None:
    """Builds or adds, from the beginning or from where it was interrupted."""
    mode, records = INDEXED[work]
    if resume:
        records = index.unseen()(pd.DataFrame(records)).to_dict(orient="records")
    index.indexer(mode=mode, resume=resume, segment_mb=0.01, num_threads=1, verbose=False).index(records)


def searched(index: lir.LirIndex, method: str, **options: Any) -> dict[str, Any]:
    """A ranking of the topics, as plain values."""
    found: pd.DataFrame = getattr(index, method)(num_results=20, num_threads=1, **options)(TOPICS)
    return found.drop(columns="query_embs").to_dict(orient="list")


SEARCHES: dict[str, Work] = {
    "exhaustive": lambda index: searched(index, "exhaustive"),
    "plaid": lambda index: searched(index, "plaid"),
    "cells of WARP": lambda index: searched(index, "warp"),
    "encodings of MUVERA": lambda index: searched(index, "muvera", reps=4, k_sim=3),
    "LEMUR": lambda index: searched(index, "lemur", hidden=16, tokens=256, epochs=2),
    "corpus graph": lambda index: index.corpus_graph(k=8, rows=8).edges[:].tolist(),
}
DERIVED = tuple(SEARCHES)[2:]
WORK: dict[str, Work] = {
    **{work: (lambda index, work=work: index_all(index, work, resume=False)) for work in INDEXED},
    "delete": lambda index: index.delete(GONE),
    "compact": lambda index: index.compact(),
    **{name: SEARCHES[name] for name in DERIVED},
}


def state(path: Path) -> str:
    """A digest of segments and of all documents with what is scored of them; opens and verifies the index first."""
    index = lir.LirIndex(path)
    if not index.built:
        return "no index"
    index.verify()
    digest = hashlib.sha256(bytes([len(index.store.segments)]))
    for record in index.get_corpus_iter():
        digest.update(record["docno"].encode() + record["doc_embs"].tobytes() + record["doc_tok_ids"].tobytes())
    return digest.hexdigest()


def tree(path: Path) -> dict[str, str]:
    """Every file of an index and its hash, but locks, which hold nothing."""
    found = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.endswith(".lock"))
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def rankings(path: Path, names: Collection[str] = ("exhaustive", "plaid", "cells of WARP")) -> dict[str, Any]:
    """What methods find."""
    index = lir.LirIndex(path)
    return {name: SEARCHES[name](index) for name in names}


def looked_at(work: str) -> tuple[str, ...]:
    """What of an index is searched after some work."""
    return ("exhaustive", "plaid", work if work in DERIVED else "cells of WARP")


def originals(folder: Path) -> dict[str, Path]:
    """The index before each kind of work: none, or one of two segments with deletions."""
    index = lir.LirIndex(folder / "whole").indexer(num_threads=1, verbose=False).index(FIRST)
    index.add(documents("more", 25, 6), num_threads=1, verbose=False)
    index.delete(["more3", "d1"])
    (folder / "nothing").mkdir()
    return {work: folder / ("nothing" if work == "build" else "whole") for work in WORK}


def finish(path: Path, work: str) -> str:
    """Does the rest of the work, or all of it again; says which."""
    index = lir.LirIndex(path)
    if work in INDEXED and spooled(path):
        index_all(index, work, resume=True)
        return "resumed"
    WORK[work](index)
    return "repeated"
