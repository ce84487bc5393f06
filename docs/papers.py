"""Writes the page of papers from `docs/papers.tsv`: `python docs/papers.py`."""

from __future__ import annotations

import csv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "pyterrier_lir" / "pt_docs" / "papers.rst"
HEAD = """\
Papers
======

What of a paper runs here, in one line, and the kit in ``benchmarks/reproduce/`` that runs its table. In the code ``q``
is ``encoder.query_encoder()``, ``index`` a ``lir.LirIndex``, ``bm25`` any first stage, ``texts`` a dictionary of
documents' texts, ``llm`` and ``translate`` functions from text to text. This page is made from ``docs/papers.tsv`` by
``python docs/papers.py``.

.. list-table::
   :header-rows: 1
   :widths: 30 26 34 10

"""


def rows() -> list[dict[str, str]]:
    """The rows of the table: ``paper``, ``what runs here``, ``code``, ``kit``."""
    with (ROOT / "docs" / "papers.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def page() -> str:
    """The page as it is to be."""
    table = rows()
    cells = [list(table[0]), *([row["paper"], row["what runs here"], f"``{row['code']}``", _kit(row)] for row in table)]
    text = ""
    for first, *others in cells:
        text += f"   * - {first}\n" + "".join(f"     - {cell}".rstrip() + "\n" for cell in others)
    return HEAD + text


def _kit(row: dict[str, str]) -> str:
    return f"``{row['kit']}``" if row["kit"] else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
