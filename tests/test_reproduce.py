"""The reproduction kits: each runs from its command line on a few documents with the toy encoder."""

import importlib
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "reproduce"
PAPERS = ["plaid", "plaid_reproducibility", "xtr", "warp", "muvera", "pooling", "colbert_prf"]

# Not imported while tests are collected: it imports ir_datasets, whose home conftest sets only then.
pytestmark = pytest.mark.skipif(find_spec("pyterrier_pisa") is None, reason="needs the extra [demo]")


@pytest.fixture(scope="module")
def kits():
    """The scripts as modules, gone afterwards: they are found as scripts are, beside each other."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            if str(FOLDER) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kits")


def test_every_kit_is_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*PAPERS, "limit", "kit"}


@pytest.mark.parametrize("name", PAPERS)
def test_a_kit_runs_its_table(name, kits, folder, capsys):
    out = folder / f"{name}.md"
    given = ["--dataset", "lir:pydoc", "--documents", "40", "--queries", "3", "--encoder", "toy"]
    kit = kits(name)
    results = kit.main([*given, "--folder", str(folder / "indexes"), "--out", str(out)])
    text = out.read_text()
    assert capsys.readouterr().out == text
    assert kit.PAPER.title in text and "3 queries" in text and "toy-32-0" in text
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)[2:]
    assert rows == list(dict.fromkeys([*results["name"], *kit.PAPER.published]))
    assert (results["ms"] > 0).all() and results.iloc[:, 1].between(0, 1).all()


def test_published_figures_stand_beside_ours(kits):
    results = pd.DataFrame({"name": ["a", "b"], "RR@10": [0.25, 0.5], "ms": [1.25, 2.0], "plaid_scored": [7, None]})
    published = {"b": {"RR@10": 0.7775}, "c": {"RR@10": 0.4, "ms": 64.3}}
    assert kits("kit").beside(results, published, ["RR@10", "ms"], ["plaid_scored"]).splitlines() == [
        "| system | RR@10 | *RR@10, paper* | ms | *ms, paper* | plaid_scored |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| a | 0.250 |  | 1.2 |  | 7.0 |",
        "| b | 0.500 | *0.7775* | 2.0 |  |  |",
        "| c |  | *0.4* |  | *64.3* |  |",
    ]


def test_a_cut_collection_keeps_what_is_relevant(kits):
    limit = kits("limit")
    whole = limit.Limit({str(i): "x" for i in range(9)}, {"q": "x"}, [("q", "7"), ("q", "2")])
    cut = kits("kit").Cut(whole, 4)
    assert [document["docno"] for document in cut.get_corpus_iter()] == ["0", "1", "2", "7"]


def test_limit_is_built_as_the_paper_says(kits):
    limit = kits("limit")
    made, again = limit.make(), limit.make()
    assert made.texts == again.texts and len(made.texts) == 46 and len(made.queries) == 1000
    pairs = made.get_qrels().groupby("qid")["docno"].agg(frozenset)
    assert pairs.map(len).eq(2).all() and pairs.nunique() == 1000
    for qid, query in made.queries.items():
        thing = re.fullmatch(r"Who likes (\w+)\?", query)[1]
        assert {docno for docno, text in made.texts.items() if re.search(rf"\b{thing}\b", text)} == pairs[qid]


def test_limit_runs_on_the_authors_files(kits, folder):
    data = folder / "limit-small"
    data.mkdir()
    lines = {
        "corpus": [
            {"_id": "Ada B", "text": "Ada B likes figs."},
            {"_id": "Cy D", "text": "Cy D likes plums and figs."},
        ],
        "queries": [{"_id": "q0", "text": "Who likes plums?"}],
        "qrels": [{"query-id": "q0", "corpus-id": "Cy D", "score": 1}],
    }
    for name, records in lines.items():
        (data / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    given = [
        "--limit",
        str(data),
        "--encoder",
        "toy",
        "--folder",
        str(folder / "indexes"),
        "--out",
        str(folder / "l.md"),
    ]
    results = kits("limit").main(given)
    assert results["R@2"].tolist() == [1.0] * 7  # two documents, both come
    assert (
        "Cy_D" not in (folder / "l.md").read_text() and "the small one of the authors" in (folder / "l.md").read_text()
    )
