"""Files of Anserini and Pyserini: JSONL vectors and topics. Their runs are TREC's, which ``pt.io`` reads and writes.

A JSONL file has an object a line: ``id``, perhaps ``contents``, and ``vector``: an object of terms and weights for
impact indexes (SPLADE), a list of numbers for dense ones.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

_KEYS = ("id", "docid", "_id")


def read_vectors(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yields the documents of a JSONL file, or of all in a folder in the order of their names, one at a time.

    Args:
        path: ``.jsonl``, ``.json`` or either with ``.gz``; or a folder of such.

    Yields:
        ``docno``; ``text``, where there are contents; and ``toks``, a dictionary from term to weight, which PISA's and
        Terrier's indexers take, or ``doc_vec``, float32 ``(size,)``, which pyterrier_dr's FlexIndex takes.

    Raises:
        FileNotFoundError: If there is no such file, or the folder holds none.
        ValueError: If a line is no such object.
    """
    path = Path(path)
    # A name that begins with a dot is that of a file which is not finished.
    files = sorted(file for kind in _KINDS for file in path.glob(f"[!.]*{kind}")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path} holds no file that ends in {', '.join(_KINDS)}; expected Pyserini's vectors.")
    for file in files:
        with _opened(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _record(line, f"{file}, line {number}")


def write_vectors(records: Iterable[Mapping[str, Any]], path: str | Path) -> int:
    """Writes documents as Pyserini reads them (``--pretokenized --impact``, or ``JsonVectorCollection``); streams.

    Args:
        records: With ``docno``, ``toks`` or ``doc_vec``, and perhaps ``text``.
        path: ``.jsonl`` or ``.jsonl.gz``. It appears when all of it is written; until then its name begins with a dot.

    Returns:
        How many documents were written.

    Raises:
        ValueError: If a record has neither or both of ``toks`` and ``doc_vec``.
    """
    path = Path(path)
    count, unfinished = 0, path.with_name(f".{path.name}")
    try:
        with _opened(unfinished, "wt") as file:
            for record in records:
                file.write(_line(record))
                count += 1
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def read_topics(path: str | Path) -> pd.DataFrame:
    """Reads topics from lines of a name, a tab and a query, as Anserini's ``TsvString`` and ``TsvInt`` have them.

    TREC's own markup: ``pt.io.read_topics``, which tokenises; here a query stays as it is.

    Raises:
        ValueError: If a line has no tab.
    """
    rows = []
    with _opened(Path(path)) as file:
        for number, line in enumerate(file, start=1):
            qid, tab, query = line.rstrip("\n").partition("\t")
            if not tab:
                raise ValueError(
                    f"{path}, line {number}: {line.strip()!r:.80} has no tab; expected a name and a query."
                )
            rows.append((qid, query))
    return pd.DataFrame(rows, columns=["qid", "query"], dtype="str")


def write_topics(topics: pd.DataFrame, path: str | Path) -> None:
    """Writes ``qid`` and ``query`` as lines with a tab between; line breaks and tabs in a query become blanks."""
    with _opened(Path(path), "wt") as file:
        for qid, query in zip(topics["qid"], topics["query"], strict=True):
            file.write(f"{qid}\t{' '.join(str(query).split())}\n")


_KINDS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


def _opened(path: Path, mode: str = "rt") -> TextIO:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, mode, encoding="utf-8")  # type: ignore[no-any-return]


def _line(record: Mapping[str, Any]) -> str:
    kinds = [name for name in ("toks", "doc_vec") if record.get(name) is not None]
    if len(kinds) != 1:
        raise ValueError(
            f"{record.get('docno')!r} has {' and '.join(kinds) or 'neither toks nor doc_vec'}; expected one of "
            "toks and doc_vec."
        )
    value = record[kinds[0]]
    vector = (
        {term: float(weight) for term, weight in value.items()}
        if kinds[0] == "toks"
        else np.asarray(value, np.float32).tolist()
    )
    line = {"id": str(record["docno"]), "contents": record.get("text") or "", "vector": vector}
    return json.dumps(line, ensure_ascii=False) + "\n"


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        docno = next(found[key] for key in _KEYS if key in found)
        vector = found["vector"]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ValueError(
            f"{where}: {line.strip()!r:.80} is no vector; expected an object with id and vector."
        ) from error
    text = {"text": found["contents"]} if found.get("contents") else {}
    if isinstance(vector, dict):
        return {"docno": str(docno), **text, "toks": vector}
    return {"docno": str(docno), **text, "doc_vec": np.array(vector, np.float32)}
