"""A collection of pages, drawn from the running Python's own documentation; queries and judgements by construction.

======= =================================================================== ========================
kind    a page shows                                                        a query that finds it
======= =================================================================== ========================
text    a docstring without its one-line summary, as in ``lir:pydoc``       that summary
table   what a module or class defines: names, and the summary of each      the owner's own summary
plot    the same names, and how many words each docstring has, as bars      the owner's own summary
======= =================================================================== ========================

An owner's summary stands on neither of its pages. Everything is chosen by a hash of names, as in ``lir:pydoc``.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import pyterrier as pt

from pyterrier_lir.datasets import docstrings
from pyterrier_lir.pages.render import PlotPage, TablePage, TextPage

MIN_MEMBERS, MAX_MEMBERS = 4, 12  # rows of a table, bars of a plot
MAX_OWNERS = 100

Page = TextPage | TablePage | PlotPage


class PageCollection(NamedTuple):
    """Pages by docno, what each says in words, queries by qid, and the pages that each query finds."""

    pages: dict[str, Page]
    texts: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, tuple[str, ...]]


@functools.cache
def page_collection() -> PageCollection:
    """The pages of this Python; read once per process, drawn when they are opened."""
    return build(docstrings.collection(), docstrings.of_this_python())


def build(chosen: docstrings.Collection, found: Iterable[docstrings.Docstring]) -> PageCollection:
    """Makes pages of documents, and of what modules and classes define.

    Args:
        chosen: Documents and queries about them.
        found: All docstrings, among them those of owners and of what they define.
    """
    pages: dict[str, Page] = {docno: TextPage(text) for docno, text in chosen.documents.items()}
    texts, queries = dict(chosen.documents), dict(chosen.queries)
    relevant: dict[str, tuple[str, ...]] = {qid: (qid,) for qid in queries}
    by_name = {docstring.name: docstring for docstring in found}
    for owner, members in _owners(by_name):
        short = {member.name.rpartition(".")[2]: member for member in members}
        table = TablePage(tuple((name, member.summary) for name, member in short.items()))
        words = tuple((name, float(len(member.body.split()))) for name, member in short.items())
        pages |= {f"table:{owner.name}": table, f"plot:{owner.name}": PlotPage(words, "words of the docstring")}
        texts[f"table:{owner.name}"] = "\n".join(f"{name} {text}" for name, text in table.rows)
        texts[f"plot:{owner.name}"] = " ".join(short)
        queries[owner.name] = owner.summary
        relevant[owner.name] = (*relevant.get(owner.name, ()), f"table:{owner.name}", f"plot:{owner.name}")
    return PageCollection(pages, texts, queries, relevant)


def _owners(
    by_name: Mapping[str, docstrings.Docstring],
) -> list[tuple[docstrings.Docstring, list[docstrings.Docstring]]]:
    """Modules and classes whose summary is a question that nobody else asks, and the first of what they define."""
    members: dict[str, list[docstrings.Docstring]] = {}
    for name, docstring in by_name.items():
        if docstring.summary:
            members.setdefault(name.rpartition(".")[0], []).append(docstring)
    times = Counter(docstring.summary for docstring in by_name.values())
    owners = [
        by_name[name]
        for name, defined in members.items()
        if name in by_name and len(defined) >= MIN_MEMBERS and docstrings.is_question(by_name[name].summary)
    ]
    unique = [owner for owner in owners if times[owner.summary] == 1]
    drawn = sorted(unique, key=lambda owner: docstrings.draw(owner.name))[:MAX_OWNERS]
    return [(owner, members[owner.name][:MAX_MEMBERS]) for owner in sorted(drawn)]


class DocstringPages(pt.datasets.Dataset):
    """Pages drawn from docstrings; see `pyterrier_lir.datasets.visual`.

    Topics have ``qid, query``, qrels ``qid, docno, label``, documents ``docno, image, kind, text``: the image is drawn
    when an encoder opens it, the text is what the page says, for comparison with search in text.
    """

    def get_corpus_iter(self, *, verbose: bool = True) -> Iterable[dict[str, Any]]:
        """The pages: those of text in the order of their docnos, then tables and plots."""
        collection = page_collection()
        records = (
            {"docno": docno, "image": page, "kind": _kind(page), "text": collection.texts[docno]}
            for docno, page in collection.pages.items()
        )
        shown = pt.tqdm(records, desc="lir:pages", total=len(collection.pages)) if verbose else records
        return pt.utils.GeneratorLen(iter(shown), len(collection.pages))

    def get_corpus_lang(self) -> str:
        """English."""
        return "en"

    def get_topics(self, variant: str | None = None) -> pd.DataFrame:
        """One-line summaries."""
        _check_variant(variant)
        queries = page_collection().queries
        return pd.DataFrame({"qid": list(queries), "query": list(queries.values())})

    def get_topics_lang(self) -> str:
        """English."""
        return "en"

    def get_qrels(self, variant: str | None = None) -> pd.DataFrame:
        """One relevant page of text, or a table and a plot, or all three."""
        _check_variant(variant)
        pairs = [(qid, docno, 1) for qid, docnos in page_collection().relevant.items() for docno in docnos]
        return pd.DataFrame(pairs, columns=["qid", "docno", "label"])

    def _describe_component(self, component: str) -> bool | None:
        return True if component in ("topics", "qrels", "corpus") else None

    def __repr__(self) -> str:
        return "DocstringPages()"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


def _kind(page: Page) -> str:
    return {TextPage: "text", TablePage: "table", PlotPage: "plot"}[type(page)]


def _check_variant(variant: str | None) -> None:
    if variant is not None:
        raise ValueError(f"lir:pages has no variant {variant!r}; expected none. Leave the variant out.")
