"""BM25 without a Java machine: pyterrier-pisa, or bm25s where PISA has no wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir.arguments import check_counts
from pyterrier_lir.encode.base import clean
from pyterrier_lir.experiment.analysis import ANALYSERS, any_tokens, ascii_tokens
from pyterrier_lir.installing import pip_install
from pyterrier_lir.transformer import LirTransformer

K1, B = 0.9, 0.4  # PISA's and Anserini's defaults
_PACKAGES = {"pisa": "pyterrier_pisa", "bm25s": "bm25s"}
_DOCNOS = "docnos.json"
_ANALYSER = "analyser.txt"
_NOTHING = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)  # documents and scores of a query without hits
_NO_WORDS = "the corpus has no words to search for; expected some. Check its texts, or pass analyser='any'."
_WORD = re.compile("[A-Za-z0-9]")
_NOT_IN_DOCNOS = re.compile(r"[\s\ud800-\udfff]")


def bm25(
    corpus: Iterable[dict[str, Any]],
    path: str | Path,
    num_results: int = 1000,
    *,
    engine: str | None = None,
    analyser: str | None = None,
) -> pt.Transformer:
    """A BM25 retriever over a corpus; every column of the query stays in its output.

    Args:
        corpus: Documents with ``docno`` and ``text``; None and NaN are blank texts, a number is its digits. Not touched
            if there is an index at the path.
        path: The folder of the index. It is there only once the index is finished; if another process finishes one
            there first, that one is used.
        num_results: Documents per query.
        engine: ``"pisa"`` or ``"bm25s"``; None for the one that made the index, else the first that is installed.
        analyser: ``"english"``, or ``"any"`` for all other languages (``pyterrier_lir.experiment.analysis``); None for
            the one that made the index, else English.

    Raises:
        ImportError: If neither is installed.
        ValueError: If the engine or the analyser is unknown, the path holds something else, or the index was made with
            another one of these; if ``num_results`` is not at least 1; if the corpus is empty, has no words, or docnos
            with blanks or that are no text.
        RuntimeError: If PISA stops before the end of the corpus.
    """
    path = Path(path)
    check_counts(num_results=num_results)
    for name, value, known in (("engine", engine, list(_PACKAGES)), ("analyser", analyser, list(ANALYSERS))):
        if value not in (None, *known):
            raise ValueError(f"{name} is {value!r}; expected one of {known}, or None.")
    if not path.exists():
        _build(corpus, path, engine or installed_engine(), analyser or ANALYSERS[0])
    found = _engine(path)
    for name, value, there in (("engine", engine, found), ("analyser", analyser, _analyser(path))):
        if value not in (None, there):
            raise ValueError(
                f"{name} is {value!r}, but the index at {path} was made with {there!r}; expected the same. Delete the "
                "folder to have it made again, or give another one."
            )
    return (PisaBM25 if found == "pisa" else BM25S)(str(path), num_results=num_results)


def _build(corpus: Iterable[dict[str, Any]], path: Path, engine: str, analyser: str) -> None:
    """Lets an index appear when it is complete; one that another process has finished meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        unfinished = Path(folder, path.name)
        (_build_pisa if engine == "pisa" else _build_bm25s)(corpus, unfinished, analyser)
        (unfinished / _ANALYSER).write_text(analyser)
        try:
            unfinished.rename(path)
        except OSError:
            if not path.exists():
                raise


def _engine(path: Path) -> str:
    """The engine of the index at a path; refuses a file, and a folder of something else."""
    if (path / _DOCNOS).exists():
        return "bm25s"
    if not any((path / name).exists() for name in (_ANALYSER, "fwd.terms")):
        raise ValueError(
            f"{path} holds something else than an index of BM25; expected one, or a new path. Give another one."
        )
    return "pisa"


def _analyser(path: Path) -> str:
    """How the texts of the index at a path were cut into words."""
    return (path / _ANALYSER).read_text() if (path / _ANALYSER).exists() else ANALYSERS[0]


def installed_engine() -> str:
    """The first engine that is installed.

    Raises:
        ImportError: If none is.
    """
    for engine, package in _PACKAGES.items():
        if importlib.util.find_spec(package):
            return engine
    raise ImportError(
        "BM25 needs pyterrier-pisa or bm25s, and neither is installed. "
        f"Run: {pip_install('pyterrier-pisa')}; where it has no wheel: {pip_install('bm25s', 'PyStemmer')}"
    )


class _BM25(LirTransformer):
    LABEL = "BM25"

    def __init__(self, path: str, *, num_results: int = 1000) -> None:
        self.path = path
        self.num_results = num_results
        self._opened: Any = None

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Retrieves for every query of the frame; documents that share no word with it are left out."""
        pt.validate.query_frame(inp, ["query"], context=self)
        found = self._search([clean(query) for query in inp["query"]])
        rows = inp.iloc[found["row"]].reset_index(drop=True)
        return rows.assign(**{column: found[column] for column in ("docno", "score", "rank")})

    @abstractmethod
    def _search(self, queries: list[str]) -> pd.DataFrame:
        """The documents found, ``docno, score, rank``, and the ``row`` of their query."""

    def analyser(self) -> str:
        """How the index's texts were cut into words, and how queries are."""
        return _analyser(Path(self.path))

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Fewer results of the same ranking."""
        return type(self)(self.path, num_results=k) if 0 < k < self.num_results else None

    def __reduce__(self) -> Any:
        return _reopen, (type(self), self.path, self.num_results)  # another process opens its own


class PisaBM25(_BM25):
    """BM25 with PISA; in English stemmed by Porter2, without stop words (Terrier's list).

    Expected columns: ``qid``, ``query``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.
    """

    def _search(self, queries: list[str]) -> pd.DataFrame:
        analyser = self.analyser()
        if self._opened is None:
            self._opened = _open_pisa(self.path, analyser, self.num_results)
        spelt = queries if analyser == "english" else [ascii_tokens(query) for query in queries]
        # not the frame that was given: PISA would prefer a column query_toks in it
        return self._opened(pd.DataFrame({"qid": "", "query": spelt, "row": np.arange(len(queries))}))


class BM25S(_BM25):
    """BM25 with bm25s; in English stemmed by Porter2, without stop words (its own list). Equal scores: in index order.

    Expected columns: ``qid``, ``query``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.
    """

    def _search(self, queries: list[str]) -> pd.DataFrame:
        if self._opened is None:
            import bm25s

            docnos = np.array(json.loads(Path(self.path, _DOCNOS).read_text()), dtype=object)
            self._opened = bm25s.BM25.load(self.path), docnos
        retriever, docnos = self._opened
        found = [self._best(retriever, tokens) for tokens in _tokenize(queries, self.analyser())]
        counts = [len(ids) for ids, _ in found]
        ids, scores = map(np.concatenate, zip(_NOTHING, *found, strict=True))
        ranks = np.concatenate([np.arange(0), *map(np.arange, counts)])
        rows = np.repeat(np.arange(len(queries)), counts)
        return pd.DataFrame({"row": rows, "docno": docnos[ids], "score": scores, "rank": ranks})

    def _best(self, retriever: Any, tokens: list[str]) -> tuple[Any, Any]:
        known = [token for token in tokens if token in retriever.vocab_dict]
        if not known:
            return _NOTHING
        scores = retriever.get_scores(known)
        best = np.argsort(-scores, kind="stable")[: self.num_results]
        best = best[scores[best] > 0]
        return best, scores[best]


def _reopen(kind: type[_BM25], path: str, num_results: int) -> _BM25:
    return kind(path, num_results=num_results)


def _pisa(path: str, analyser: str) -> Any:
    import pyterrier_pisa

    plain = {} if analyser == "english" else {"stemmer": "none", "stops": pyterrier_pisa.PisaStopwords.none}
    return pyterrier_pisa.PisaIndex(path, text_field="text", **plain)


def _open_pisa(path: str, analyser: str, num_results: int) -> Any:
    with _quiet():
        return _pisa(path, analyser).bm25(k1=K1, b=B, num_results=num_results)


def _build_pisa(corpus: Iterable[dict[str, Any]], path: Path, analyser: str) -> None:
    """PISA reads the documents in a thread of its own, which dies in silence: errors are kept and raised here."""
    checked = ((document["docno"], document["text"]) for document in _checked(corpus))
    spelt = ((docno, text if analyser == "english" else ascii_tokens(text)) for docno, text in checked)
    start = _first_with_a_word(spelt)  # of a corpus without any, PISA ends the process
    errors: list[BaseException] = []
    unread: list[str] = []

    def documents() -> Iterator[dict[str, Any]]:
        try:
            for docno, text in chain(start, spelt):
                unread[:] = [docno]
                yield {"docno": docno, "text": text}
            unread.clear()
        except GeneratorExit:  # the thread died for reasons of its own
            raise
        except BaseException as error:  # raised again below, in the thread of the caller
            errors.append(error)

    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _pisa(str(path), analyser).index(documents())
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
    if unread:
        raise RuntimeError(
            f"PISA stopped at the document {unread[0]!r} and does not say why; expected that it reads all. "
            "Leave the document out, or pass engine='bm25s'."
        )
    _open_pisa(str(path), analyser, 1)  # adds what it searches in to the folder, before others see it


def _first_with_a_word(documents: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    """Reads documents until one has a word as PISA takes it, and that one."""
    read = []
    for docno, text in documents:
        read.append((docno, text))
        if _WORD.search(text):
            return read
    raise ValueError(_NO_WORDS)


def _build_bm25s(corpus: Iterable[dict[str, Any]], path: Path, analyser: str) -> None:
    import bm25s

    documents = list(_checked(corpus))
    tokens = _tokenize([document["text"] for document in documents], analyser)
    if not any(tokens):
        raise ValueError(_NO_WORDS)
    retriever = bm25s.BM25(method="lucene", k1=K1, b=B)
    retriever.index(tokens, show_progress=False)
    retriever.save(str(path))
    Path(path, _DOCNOS).write_text(json.dumps([document["docno"] for document in documents]))


def _checked(corpus: Iterable[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """``docno`` and ``text`` of the documents, as the engines can take them."""
    empty = True
    for document in corpus:
        missing = [field for field in ("docno", "text") if field not in document]
        if missing:
            raise ValueError(
                f"a document has the fields {list(document)}; expected docno and text. Rename yours: "
                f"{{..., {missing[0]!r}: ...}}."
            )
        docno = document["docno"]
        if not isinstance(docno, str) or not docno or _NOT_IN_DOCNOS.search(docno):
            raise ValueError(
                f"the docno {docno!r} is blank, has blanks or is no text; expected a text without blanks. Rename the "
                "document."
            )
        empty = False
        yield {"docno": docno, "text": clean(document["text"])}
    if empty:
        raise ValueError("the corpus has no documents; expected at least one. Check the iterator: it may be used up.")


def _tokenize(texts: list[str], analyser: str) -> list[list[str]]:
    if analyser != "english":
        return [any_tokens(text) for text in texts]
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)  # type: ignore


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps out what PISA's C++ code writes to the process's standard output and error."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
