"""The index behind a server, as it is now: opened again whenever its manifest has been replaced."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pyterrier_lir.index.artifact import LirIndex
from pyterrier_lir.index.manifest import MANIFEST

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

METHODS = ("exhaustive", "plaid", "warp", "xtr")
Answer = dict[str, Any]


class Reader:
    """Searches and explains; a search sees one state of the index, and says which.

    Args:
        path: The folder of the index.
        encoder: The encoder of its documents.
        method: One of `METHODS`.

    Raises:
        FileNotFoundError: If the index is not built.
        ValueError: If it is damaged, or its documents were encoded by another encoder.
    """

    def __init__(self, path: str | Path, encoder: Encoder, method: str) -> None:
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
        self.path = Path(path)
        self.encoder = encoder
        self.method = method
        self._encoding, self._opening = Lock(), Lock()  # tokenizers and models are not made for several threads
        self._index, self._stamp = LirIndex(path), self._now()
        found = self.index().store.encoder
        if found is not None and found != encoder.fingerprint:
            raise ValueError(
                f"The documents of {path} were encoded by {found!r}, but the model is {encoder.fingerprint!r}; "
                "expected the same. Give the model of the index: --model, and --dim where the index was made with it; "
                "other options (lengths, prompts, language) need Python: serve.create_app(path, encoder)."
            )

    def index(self) -> LirIndex:
        """The index as it is on disk now. Whoever holds an older one goes on reading what that was."""
        with self._opening:
            stamp = self._now()
            if stamp != self._stamp:
                opened = LirIndex(self.path)
                opened.store  # noqa: B018 - opens, so that an error leaves what was open before
                self._index, self._stamp = opened, stamp
            return self._index

    def search(self, query: str, k: int) -> Answer:
        """The k best documents."""
        frame = self._encoded(query)
        index = self.index()
        found = getattr(index, self.method)(num_results=k, num_threads=1)(frame)
        columns = zip(found["docno"], found["score"], found["rank"], strict=True)
        return {
            "query": query,
            "manifest": index.store.manifest["number"],
            "results": [{"docno": docno, "score": score, "rank": rank} for docno, score, rank in columns],
        }

    def explain(self, query: str, docno: str) -> Answer:
        """Which token of the document each token of the query met.

        Raises:
            KeyError: If the index holds no such document.
            ValueError: If it has no token ids.
        """
        frame = self._encoded(query)
        index = self.index()
        if index.store.lookup([docno], missing="drop")[0] < 0:
            raise KeyError(docno)
        scored = index.maxsim(num_threads=1)(frame.assign(docno=docno, score=0.0, rank=0))
        with self._encoding:
            row = index.explain(self.encoder)(scored).iloc[0]
        parts = (row[name] for name in ("query_words", "match_pos", "match_sim", "match_share", "match_exact"))
        return {
            "query": query,
            "docno": docno,
            "manifest": index.store.manifest["number"],
            "score": float(row["score"]) if row["score"] > -np.inf else None,  # JSON knows no infinity
            "doc_words": list(row["doc_words"]),
            "matches": [
                {
                    "word": word,
                    "position": int(at),
                    "similarity": float(sim),
                    "share": float(share),
                    "exact": bool(same),
                }
                for word, at, sim, share, same in zip(*parts, strict=True)
            ],
        }

    def health(self) -> Answer:
        """What is open."""
        index = self.index()
        return {
            "status": "ok",
            "documents": len(index),
            "manifest": index.store.manifest["number"],
            "encoder": self.encoder.fingerprint,
            "method": self.method,
        }

    def _encoded(self, query: str) -> pd.DataFrame:
        with self._encoding:
            return self.encoder.query_encoder()(pd.DataFrame({"qid": ["1"], "query": [query]}))

    def _now(self) -> tuple[int, int] | None:
        """What tells one manifest from the next: they are renamed into place, so that each is a file of its own."""
        try:
            found = (self.path / MANIFEST).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
