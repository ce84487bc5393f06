"""Collections of pages in a local folder, as ViDoRe's are laid out: images, queries, judgements.

Three layouts are known:

- Parquet in three parts, as ViDoRe's BEIR-style sets (versions 2 and 3) come: ``corpus*`` with an id and ``image``,
  ``queries*`` with an id and the query, ``qrels*`` with both ids and a score. The names of files or folders tell them
  apart.
- Parquet of questions, as ViDoRe's first version comes: ``query``, ``image`` and ``image_filename`` in each row. A page
  is a file name; a row without a query is a page only.
- Plain files: pictures in ``images``, whose names without suffix are docnos; ``queries.tsv`` with qid and query;
  ``qrels.txt`` in TREC's format.

Faysse et al.: ColPali: Efficient Document Retrieval with Vision Language Models. ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.installing import pip_install

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
ROWS = 16  # of a parquet file that are in memory at once: a page is a megabyte
# What the columns are called, in order of preference.
DOCNO = ("corpus-id", "corpus_id", "_id", "id", "docid", "image_filename")
QID = ("query-id", "query_id", "_id", "id")
QUERY = ("query", "text", "question")
LABEL = ("score", "relevance", "label")

Record = dict[str, Any]


class PageFiles(pt.datasets.Dataset):
    """A collection of pages from a folder; see `pyterrier_lir.datasets.page_files`.

    Documents have ``docno, image``, topics ``qid, query``, qrels ``qid, docno, label``. Images stay encoded until the
    encoder opens them, and pass as a stream.

    Args:
        folder: Where the files are.

    Raises:
        FileNotFoundError: If there is no such folder, or none of the layouts in it.
        ImportError: If there are parquet files, and pyarrow is not installed.

    .. cite.dblp:: journals/corr/abs-2407-01449
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder} is no folder; expected one with images, queries and judgements.")
        self._parquet = sorted(self.folder.rglob("*.parquet"))
        self._parts = {part: [path for path in self._parquet if self._is(path, part)] for part in _PARTS}
        self.layout = self._layout()

    def get_corpus_iter(self, *, verbose: bool = True) -> Iterable[Record]:
        """The pages, one by one."""
        records = {"parts": self._part_pages, "questions": self._question_pages, "files": self._file_pages}[
            self.layout
        ]()
        return pt.tqdm(records, desc=self.folder.name, unit=" pages") if verbose else records

    def get_topics(self, variant: str | None = None) -> pd.DataFrame:
        """The queries."""
        _check_variant(variant)
        if self.layout == "files":
            path = self.folder / "queries.tsv"
            return pd.read_csv(path, sep="\t", header=None, names=["qid", "query"], dtype=str, quoting=3)
        if self.layout == "parts":
            rows = _rows(self._parts["queries"], (QID, QUERY))
            return pd.DataFrame([(str(qid), query) for qid, query in rows], columns=["qid", "query"])
        return pd.DataFrame([(qid, query) for qid, query, _ in self._questions()], columns=["qid", "query"])

    def get_qrels(self, variant: str | None = None) -> pd.DataFrame:
        """The judgements."""
        _check_variant(variant)
        if self.layout == "files":
            return pt.io.read_qrels(str(self.folder / "qrels.txt"))
        if self.layout == "parts":
            rows = _rows(self._parts["qrels"], (QID, DOCNO, LABEL))
            pairs = [(str(qid), str(docno), int(label)) for qid, docno, label in rows]
        else:
            pairs = [(qid, docno, 1) for qid, _, docno in self._questions()]
        return pd.DataFrame(pairs, columns=["qid", "docno", "label"])

    def __repr__(self) -> str:
        return f"PageFiles({str(self.folder)!r})"

    def _is(self, path: Path, part: str) -> bool:
        return any(piece.lower().startswith(part) for piece in path.relative_to(self.folder).parts)

    def _layout(self) -> str:
        if all(self._parts.values()):
            return "parts"
        if self._parquet:
            return "questions"
        wanted = ("images", "queries.tsv", "qrels.txt")
        missing = [name for name in wanted if not (self.folder / name).exists()]
        if missing:
            raise FileNotFoundError(
                f"{self.folder} has no {', '.join(missing)}; expected images/, queries.tsv and qrels.txt, or parquet "
                "files named corpus, queries and qrels, or parquet files with query, image and image_filename."
            )
        return "files"

    def _file_pages(self) -> Iterator[Record]:
        for path in sorted((self.folder / "images").rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                docno = path.relative_to(self.folder / "images").with_suffix("").as_posix()
                yield {"docno": docno, "image": str(path)}

    def _part_pages(self) -> Iterator[Record]:
        for docno, image in _rows(self._parts["corpus"], (DOCNO, ("image",))):
            yield {"docno": str(docno), "image": image}

    def _question_pages(self) -> Iterator[Record]:
        seen = set()
        for docno, image in _rows(self._parquet, (("image_filename",), ("image",))):
            if docno not in seen:
                seen.add(docno)
                yield {"docno": str(docno), "image": image}

    def _questions(self) -> Iterator[tuple[str, str, str]]:
        for row, (query, docno) in enumerate(_rows(self._parquet, (QUERY, ("image_filename",)))):
            if query and query == query:
                yield str(row), query, str(docno)


_PARTS = ("corpus", "queries", "qrels")


def _rows(paths: list[Path], wanted: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Any, ...]]:
    """Some columns of parquet files, row by row; of each the first of its names that is there."""
    parquet = _pyarrow()
    for path in paths:
        with parquet.ParquetFile(path) as file:
            names = [_named(path, file.schema_arrow.names, options) for options in wanted]
            for batch in file.iter_batches(batch_size=ROWS, columns=names):
                yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _named(path: Path, there: list[str], options: tuple[str, ...]) -> str:
    found = next((name for name in options if name in there), None)
    if found is None:
        raise ValueError(f"{path} has the columns {', '.join(there)}; expected one called {' or '.join(options)}.")
    return found


def _pyarrow() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet files need the package pyarrow, which is not installed. Run: {pip_install('pyarrow')}"
        ) from error
    return parquet


def _check_variant(variant: str | None) -> None:
    if variant is not None:
        raise ValueError(f"the folder has no variant {variant!r}; expected none. Leave the variant out.")
