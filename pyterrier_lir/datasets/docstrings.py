"""A test collection out of the running Python's own documentation.

A document is the docstring of a module, class, function or method of the standard library, without its one-line
summary. A query is such a summary, and the document that it was taken from is its one relevant document: known-item
search. The docstrings are read from the library's source with `ast`: no module is imported and nothing is run.

The collection is the same on the same Python. Whatever has to be chosen (which documents, which queries) is chosen by
a hash of the docstring's qualified name, so that another Python version exchanges only what its library changed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import logging
import os
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

_log = logging.getLogger(__name__)

MAX_DOCUMENTS = 2000
MAX_QUERIES = 200
MIN_WORDS, MAX_WORDS = 20, 200  # of a document; without the short ones there is nothing to find
MIN_QUERY_WORDS = 5

# Tests and the applications that come along with the library, and what is installed beside it.
_SKIPPED = frozenset({
    "__pycache__", "_pyrepl", "dist-packages", "ensurepip", "idlelib", "lib-dynload", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "turtledemo",
})  # fmt: skip

# Prose that ends as a sentence does. Code (brackets, operators, backticks) is no query that anybody would ask.
_SENTENCE = re.compile(r"[A-Z][A-Za-z0-9 ,;:'\"/.-]*\.")


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Docstring(NamedTuple):
    """One docstring: its owner's qualified name, its one-line summary (blank if it has none), and the rest."""

    name: str
    summary: str
    body: str


class Collection(NamedTuple):
    """Documents by docno, queries by qid. A query's qid is the docno of its one relevant document."""

    documents: dict[str, str]
    queries: dict[str, str]


@functools.cache
def collection() -> Collection:
    """The collection of this Python; read once per process, in about two seconds.

    Raises:
        FileNotFoundError: If this Python comes without its library's source.
    """
    return build(of_this_python())


@functools.cache
def of_this_python() -> tuple[Docstring, ...]:
    """All docstrings of the standard library; read once per process.

    Raises:
        FileNotFoundError: If this Python comes without its library's source.
    """
    root = Path(sysconfig.get_path("stdlib"))
    if not (root / "argparse.py").is_file():
        raise FileNotFoundError(
            f"{root} holds no source of the standard library; expected files such as argparse.py. "
            "Use a Python that ships its library as source, or another dataset (e.g. --dataset irds:vaswani)."
        )
    return tuple(read_docstrings(root))


def build(docstrings: Iterable[Docstring]) -> Collection:
    """Chooses documents and queries.

    Equal bodies are one document, the one whose name comes first. A query is a plain sentence of at least
    `MIN_QUERY_WORDS` words that no other docstring has for its summary and that no document still contains.
    """
    distinct = list({(d.summary, d.body): d for d in sorted(docstrings, reverse=True)}.values())[::-1]
    times = Counter(_key(d.summary) for d in distinct)
    by_body: dict[str, Docstring] = {}
    for docstring in distinct:
        if MIN_WORDS <= len(docstring.body.split()) <= MAX_WORDS:
            by_body.setdefault(_key(docstring.body), docstring)
    chosen = sorted(by_body.values(), key=lambda d: draw(d.name))[:MAX_DOCUMENTS]
    texts = "\n".join(_key(d.body) for d in chosen)
    unique = (d for d in chosen if is_question(d.summary) and times[_key(d.summary)] == 1)
    asked = islice((d for d in unique if _key(d.summary) not in texts), MAX_QUERIES)
    return Collection({d.name: d.body for d in sorted(chosen)}, {d.name: d.summary for d in sorted(asked)})


def is_question(summary: str) -> bool:
    """Whether the summary is a plain sentence, long enough to say what is looked for."""
    return len(summary.split()) >= MIN_QUERY_WORDS and _SENTENCE.fullmatch(summary) is not None


def read_docstrings(root: Path) -> Iterator[Docstring]:
    """The docstrings below a folder of Python source, file by file in the order of their names."""
    for path in _source_files(root):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an invalid escape in somebody's docstring
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError) as error:
            _log.debug("%s left out: %s", path, error)
            continue
        seen = set()
        for name, node in _definitions(tree, module):
            text = ast.get_docstring(node)
            if text and name not in seen:  # a property's getter and setter share a name, as do platforms' variants
                seen.add(name)
                yield Docstring(name, *split(text))


def split(text: str) -> tuple[str, str]:
    """Parts a cleaned docstring into its one-line summary, blank if it has none, and the rest."""
    first, _, rest = text.strip().partition("\n")
    if rest and not rest.startswith("\n"):
        return "", text.strip()
    return first.strip(), rest.strip()


def _source_files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if s not in _SKIPPED and not s.startswith("config-"))
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def _definitions(node: ast.AST, name: str) -> Iterator[tuple[str, _Documented]]:
    """The node itself and what is defined in it; functions inside functions have no name to be found by."""
    if isinstance(node, _Documented):
        yield name, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{name}.{child.name}")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{name}.{child.name}", child
        elif isinstance(child, (ast.If, ast.Try, ast.ExceptHandler)):
            yield from _definitions(child, name)


def _key(text: str) -> str:
    """What two texts share that differ only in white space, case or a full stop."""
    return " ".join(text.casefold().split()).rstrip(".")


def draw(name: str) -> bytes:
    """A fixed lottery number."""
    return hashlib.sha256(name.encode()).digest()
