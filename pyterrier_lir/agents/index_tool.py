"""An index and a file of texts as a search tool: what ``python -m pyterrier_lir mcp`` serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_lir.agents.search_tool import SearchTool
from pyterrier_lir.index.artifact import LirIndex

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

PASSAGE = "%p"


def index_tool(index: LirIndex, encoder: Encoder, texts: dict[str, str], **options: Any) -> SearchTool:
    """Searches an index with PLAID and shows the snippets that fit best; of passages, the best of each document.

    Args:
        index: A built one.
        encoder: The encoder that made it.
        texts: The documents' texts by docno.
        options: As of `SearchTool`.

    Raises:
        FileNotFoundError: If the index is not built yet.
    """
    pipeline = encoder.query_encoder() >> index.plaid(num_results=100)
    if any(PASSAGE in docno for docno in index.docnos[:1]):
        pipeline = pipeline >> pt.text.max_passage()
    return SearchTool(pipeline, texts, encoder=encoder, **options)


def read_texts(path: str | Path, fields: tuple[str, ...] = ("title", "text")) -> dict[str, str]:
    """The texts of a JSONL file by docno: one object a line, with ``docno`` and text fields, joined by a blank.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no such object.
    """
    texts = {}
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                docno = record["docno"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}: {line.strip()!r:.80} is no document; expected an object with docno and "
                    f"{' or '.join(fields)}, one a line."
                ) from error
            texts[str(docno)] = " ".join(str(record[field]) for field in fields if record.get(field))
    return texts
