"""The table of papers is what the code does: every line of code runs, every kit exists, the page is the table's."""

import importlib.util
import re
import warnings
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.encode.hypencoder import Hypencoder

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("papers", ROOT / "docs" / "papers.py")
papers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(papers)
ROWS = papers.rows()
CORPUS = [{"docno": "d1", "text": "fresh bread and dough"}, {"docno": "d2", "text": "a day in the kitchen"}]
TOPICS = pd.DataFrame({"qid": ["1"], "query": ["bread dough"]})
# They would have to be downloaded, or want columns of another kind: made, and not run.
ONLY_MADE = (
    "LateInteractionEncoder",
    "Hypencoder",
    "read_vectors",
    "MaskWeighting",
    "lir.MaxSim",
    "p_mrr",
    "proportions",
    "lir.train",
    "PageEncoder",
    "MeanWeighting",
)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("papers")
    encoder, index = lir.ToyEncoder(), lir.LirIndex(folder / "i.lir")
    (encoder >> index.indexer(keep_embs=True, verbose=False)).index(CORPUS)
    run = pd.DataFrame({"qid": "1", "docno": ["d2", "d1"], "score": [2.0, 1.0], "rank": [0, 1]})
    return {
        "lir": lir,
        "Hypencoder": Hypencoder,
        "encoder": encoder,
        "index": index,
        "q": encoder.query_encoder(),
        "bm25": pt.apply.generic(lambda topics: topics.merge(run, on="qid")),
        "text_loader": pt.apply.text(lambda row: "text"),
        "texts": {document["docno"]: document["text"] for document in CORPUS},
        "llm": str.upper,
        "translate": str.lower,
    }


def test_the_page_is_made_from_the_table():
    assert papers.PAGE.read_text("utf-8") == papers.page(), "run: python docs/papers.py"


def test_every_row_is_whole():
    for row in ROWS:
        assert re.fullmatch(r".+: .+\. (.+ )?20[12]\d", row["paper"]), row
        assert row["what runs here"] and row["code"]
    assert len({row["paper"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["paper"].split(":")[0])
def test_the_line_of_code_runs(row, names, tmp_path):
    made = eval(row["code"], {**names, "index": _copy_if_built_into(row["code"], names, tmp_path)})
    assert made is not None
    if any(word in row["code"] for word in ONLY_MADE):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(made, lir.SearchTool):
            assert made.search("bread dough")[0]["docno"] == "d1"
        elif _indexes(row["code"]):
            steps = made if "encoder" in row["code"] else names["encoder"] >> made
            steps.index(CORPUS)
            assert lir.LirIndex(tmp_path / "new.lir").built
        elif "Truncate" in row["code"]:
            assert made(TOPICS)["query_embs"][0].shape[1] == 16
        else:
            assert "d1" in made(TOPICS)["docno"].tolist()


def _indexes(code):
    return code.endswith(">> index") or code.startswith("index.indexer")


def _copy_if_built_into(code, names, tmp_path):
    """An index is built once: a line that builds one gets a new one."""
    return lir.LirIndex(tmp_path / "new.lir") if _indexes(code) else names["index"]


def test_the_kits_are_those_that_there_are():
    kits = {row["kit"] for row in ROWS if row["kit"]}
    folder = ROOT / "benchmarks" / "reproduce"
    assert kits == {path.name for path in folder.glob("*.py")} - {"kit.py", "kept.py", "page.py"}


def test_every_method_of_the_index_is_some_papers():
    """But for what is no method of a paper."""
    common = {"indexer", "unseen", "embs_loader", "maxsim", "plaid_candidates", "centroid_maxsim", "xtr_scorer"}
    source = (ROOT / "pyterrier_lir" / "index" / "artifact.py").read_text()
    methods = set(re.findall(r"^    (\w+) = makes\(", source, re.M))
    used = set(re.findall(r"index\.(\w+)\(", " ".join(row["code"] for row in ROWS)))
    assert methods - common <= used
