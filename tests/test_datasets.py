"""The embedded collection: what becomes a document, what a query, and how PyTerrier and ir_datasets find it."""

import subprocess
import sys

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_lir import datasets
from pyterrier_lir.datasets import docstrings
from pyterrier_lir.datasets.docstrings import Docstring, build, is_question, read_docstrings, split

BODY = " ".join(f"word{i}" for i in range(20))
ASKED = "Says something about one thing."

SOURCE = '''"""Reads things from a file.

{body}
"""
import os
raise SystemExit("modules must not be run")

def outer():
    """Outer.

    More of it.
    """
    def inner():
        """Inner."""

if os.name == "posix":
    def both():
        """First of two."""
else:
    def both():
        """Second of two."""

class Box:
    """A box
    over two lines."""

    async def open(self):
        """Opens it."""
'''


def test_docstrings_are_read_from_source_without_running_it(tmp_path):
    (tmp_path / "pkg" / "tests").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text(SOURCE.format(body=BODY))
    (tmp_path / "pkg" / "broken.py").write_text("def :")
    (tmp_path / "pkg" / "tests" / "test_it.py").write_text('"""A test."""')
    assert list(read_docstrings(tmp_path)) == [
        Docstring("pkg", "Reads things from a file.", BODY),
        Docstring("pkg.outer", "Outer.", "More of it."),
        Docstring("pkg.both", "First of two.", ""),
        Docstring("pkg.Box", "", "A box\nover two lines."),
        Docstring("pkg.Box.open", "Opens it.", ""),
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One line.", ("One line.", "")),
        ("Summary.\n\nBody\nof it.", ("Summary.", "Body\nof it.")),
        ("Two lines\nof prose.\n\nBody.", ("", "Two lines\nof prose.\n\nBody.")),
        ("", ("", "")),
    ],
)
def test_the_summary_is_parted_from_the_body(text, parts):
    assert split(text) == parts


@pytest.mark.parametrize(
    ("summary", "asked"),
    [
        ("Return the high median of data.", True),
        ("Waits for it.", False),  # too short
        ("makedirs(name [, mode=0o777]) makes a folder there.", False),  # a signature
        ("Return the high median of data", False),  # no sentence
        ("Return the value of ``x`` or None instead.", False),
    ],
)
def test_only_sentences_are_queries(summary, asked):
    assert is_question(summary) is asked


def test_a_query_leads_to_its_document():
    found = build([Docstring("b", ASKED, BODY), Docstring("a", "", BODY + " more")])
    assert found.documents == {"a": BODY + " more", "b": BODY}
    assert found.queries == {"b": ASKED}


def test_a_summary_that_occurs_twice_is_no_query():
    other = Docstring("short", ASKED.upper(), "too short to be a document")
    assert build([Docstring("a", ASKED, BODY), other]).queries == {}
    assert set(build([Docstring("a", ASKED, BODY), other]).documents) == {"a"}


def test_a_summary_that_stands_in_a_document_is_no_query():
    other = Docstring("b", "", f"{BODY} says  something about\nOne thing, and more")
    assert build([Docstring("a", ASKED, BODY), other]).queries == {}


def test_equal_texts_are_one_document():
    found = build([Docstring("b", ASKED, BODY), Docstring("a", ASKED, BODY.replace(" ", "\n"))])
    assert set(found.documents) == {"a"}
    same = build([Docstring("b", ASKED, BODY), Docstring("a", ASKED, BODY)])
    assert same.queries == {"a": ASKED}  # two names of one docstring do not make its summary ambiguous


def test_documents_have_a_reasonable_length():
    long = " ".join(["word"] * (docstrings.MAX_WORDS + 1))
    assert build([Docstring("a", ASKED, "nineteen " * 19), Docstring("b", ASKED, long)]).documents == {}


def test_more_than_enough_are_cut_whatever_their_order(monkeypatch):
    monkeypatch.setattr(docstrings, "MAX_DOCUMENTS", 3)
    monkeypatch.setattr(docstrings, "MAX_QUERIES", 2)
    many = [Docstring(f"m.n{i}", f"Says the thing number {i}.", f"{BODY} {i}") for i in range(9)]
    found = build(many)
    assert (len(found.documents), len(found.queries)) == (3, 2)
    assert found == build(many[::-1])
    assert set(found.documents) != {"m.n0", "m.n1", "m.n2"}  # a draw, not the head of the alphabet


def test_the_collection():
    dataset = pt.get_dataset("lir:pydoc")
    topics, qrels = dataset.get_topics(), dataset.get_qrels()
    corpus = {d["docno"]: d["text"] for d in dataset.get_corpus_iter(verbose=False)}
    assert 1000 <= len(corpus) <= docstrings.MAX_DOCUMENTS
    assert len(corpus) == len(set(corpus.values())) == len(dataset.get_corpus_iter(verbose=False))
    assert 100 <= len(topics) <= docstrings.MAX_QUERIES
    assert topics["query"].is_unique and set(topics["qid"]) == set(qrels["qid"])
    assert qrels["qid"].is_unique and set(qrels["docno"]) <= set(corpus)
    joined = topics.merge(qrels)
    assert not any(query in corpus[docno] for query, docno in zip(joined["query"], joined["docno"], strict=True))
    assert not any(any(c.isspace() for c in docno) for docno in corpus)


def test_the_collection_is_the_same_in_another_process():
    code = (
        "import hashlib; from pyterrier_lir.datasets.docstrings import collection\n"
        "print(hashlib.sha256(repr(collection()).encode()).hexdigest())"
    )
    seeds = [{"PYTHONHASHSEED": seed} for seed in ("1", "2")]
    found = {subprocess.check_output([sys.executable, "-c", code], env=_environment(seed)) for seed in seeds}
    assert len(found) == 1


def test_the_text_loader_looks_texts_up():
    dataset = pt.get_dataset("lir:pydoc")
    first, second = list(dataset.get_corpus_iter(verbose=False))[:2]
    frame = pd.DataFrame({"qid": ["1", "1"], "docno": [second["docno"], first["docno"]], "score": [2.0, 1.0]})
    assert dataset.text_loader()(frame)["text"].tolist() == [second["text"], first["text"]]
    assert "text" not in frame.columns
    assert list(dataset.text_loader("text")(frame.iloc[:0]).columns) == ["qid", "docno", "score", "text"]
    with pytest.raises(KeyError, match=r"no\.such"):
        dataset.text_loader()(frame.assign(docno="no.such"))
    with pytest.raises(ValueError, match="title"):
        dataset.text_loader(["title"])


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="pydok"):
        pt.get_dataset("lir:pydok")
    assert list(datasets.provider().list_dataset_names()) == ["pydoc", "pages"]


def test_it_registers_with_ir_datasets_only_when_asked():
    code = "import pyterrier_lir.datasets, sys; assert 'ir_datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment({}))
    assert datasets.register() == datasets.register() == "irds:lir/pydoc"
    found, own = pt.get_dataset("irds:lir/pydoc"), pt.get_dataset("lir:pydoc")
    pd.testing.assert_frame_equal(found.get_topics(), own.get_topics())
    assert found.get_qrels()[["qid", "docno", "label"]].values.tolist() == own.get_qrels().values.tolist()
    corpus = list(own.get_corpus_iter(verbose=False))
    assert [{**d} for d in found.get_corpus_iter(verbose=False)] == [
        {"text": d["text"], "docno": d["docno"]} for d in corpus
    ]
    frame = pd.DataFrame({"qid": ["1"], "docno": [corpus[5]["docno"]]})
    assert found.text_loader()(frame)["text"].tolist() == [corpus[5]["text"]]


def _environment(extra):
    import os

    return {**os.environ, **extra}
