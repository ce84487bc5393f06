"""Experiments: honest times, the numbers, the environment and the report."""

import base64
import html.parser
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, RR
from little import Little

import pyterrier_lir as lir
from pyterrier_lir.experiment import environment, first_stage, plots, reporting, run, timing
from pyterrier_lir.experiment.collection import open_collection, safe_name
from pyterrier_lir.experiment.inputs import parse_measures
from pyterrier_lir.experiment.report_parts import compare, read_table, systems_table


class Spy(pt.Transformer):
    """Notes each call: the qids it was given."""

    def __init__(self):
        self.calls = []

    def transform(self, inp):
        self.calls.append(inp["qid"].tolist())
        return inp.assign(docno="d", score=1.0, rank=0)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    return run.run_experiment(
        open_collection("little", dataset=Little()), lir.ToyEncoder(dim=64),
        "bm25,exhaustive,rerank:num=2,text_rerank:num=5", "nDCG@10,RR@10,AP", folder=folder, command="run --again <it>",
    )  # fmt: skip


# --- times ---------------------------------------------------------------------------------------------------


def test_queries_are_timed_one_by_one_after_a_warm_up():
    spy, topics = Spy(), pd.DataFrame({"qid": ["1", "2", "3"], "query": "x"})
    found, times = timing.run_timed(spy, topics, warm_up=2)
    assert spy.calls == [["3"], ["2"], ["1"], ["2"], ["3"]]
    assert found["qid"].tolist() == ["1", "2", "3"]
    assert times.shape == (3,) and (times > 0).all()


def test_the_first_call_is_not_counted():
    import time

    class SlowStart(Spy):
        def transform(self, inp):
            time.sleep(0 if self.calls else 0.3)
            return super().transform(inp)

    topics = pd.DataFrame({"qid": ["1", "2"], "query": "x"})
    assert timing.run_timed(SlowStart(), topics, warm_up=1)[1].max() < 250
    assert timing.run_timed(SlowStart(), topics, warm_up=0)[1].max() > 250


def test_every_query_is_encoded_once_and_timed(little):
    encoded = timing.encode(little.topics, lir.ToyEncoder(), warm_up=1)
    assert encoded["qid"].tolist() == ["q1", "q2", "q3"]
    assert [len(embs) for embs in encoded["query_embs"]] == [2, 3, 1]
    assert (encoded["encode_ms"] > 0).all()


def test_times_stand_beside_the_measures(outcome):
    table = outcome.results.set_index("name")
    assert table.loc["bm25", "encode_ms"] == 0
    assert table["encode_ms"].iloc[1:].nunique() == 1 and (table["encode_ms"].iloc[1:] > 0).all()
    per = outcome.perquery[outcome.perquery["name"] == "exhaustive"]["retrieve_ms"]
    assert table.loc["exhaustive", "retrieve_ms"] == per.median()
    assert table.loc["exhaustive", "retrieve_ms_mean"] == pytest.approx(per.mean())
    assert (table["retrieve_ms"] <= table["retrieve_ms_p95"]).all()


# --- numbers -------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_pt_experiment(outcome, little, tmp_path):
    encoder = lir.ToyEncoder(dim=64)
    index = (encoder >> lir.LirIndex(tmp_path / "i.lir")).index(little.corpus())
    bm25 = first_stage.bm25(little.corpus(), tmp_path / "bm25")
    q = encoder.query_encoder()
    pipelines = {
        "bm25": bm25,
        "exhaustive": q >> index.exhaustive(),
        "rerank:num=2": bm25 % 2 >> q >> index.maxsim(),
        "text_rerank:num=5": bm25 % 5 >> little.text_loader() >> encoder.text_scorer(),
    }
    measures = ["nDCG@10", "RR@10", "AP"]
    parsed = parse_measures(measures)
    wanted = pt.Experiment(pipelines, little.topics, little.qrels, parsed, baseline="bm25", correction="holm")
    outcome.save(tmp_path)
    found = pd.read_csv(tmp_path / "results.csv")
    same = [column for column in wanted if not column.endswith("reject")]
    p_values = [column for column in same if "p-value" in column]
    wanted.loc[1:, p_values] = wanted.loc[1:, p_values].fillna(1)  # what equals the baseline in every query
    pd.testing.assert_frame_equal(found[same], wanted[same], check_dtype=False)
    # by hand: each query's relevant documents are the best, "the" and "a" do not matter to BM25
    assert found["AP"][0] == 1.0 and found["RR@10"][0] == 1.0


def test_the_plot_is_drawn_once(outcome, tmp_path, monkeypatch):
    drawn, tradeoff_plot = [], plots.tradeoff_plot

    def draw(*args, **kwargs):
        drawn.append(tradeoff_plot(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(reporting, "tradeoff_plot", draw)
    monkeypatch.setattr(plots, "tradeoff_plot", draw)
    page = outcome.save(tmp_path).read_text()
    (shown,) = re.findall('src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(shown) == (tmp_path / "tradeoff.png").read_bytes() and len(drawn) == 1


def test_runs_are_saved_as_trec(outcome, little, tmp_path):
    outcome.save(tmp_path)
    saved = pt.io.read_results(str(tmp_path / "runs" / "rerank-num=2.res.gz"))
    assert pt.Evaluate(saved, little.qrels, [AP, RR @ 10]) == pytest.approx(
        outcome.results.set_index("name").loc["rerank:num=2", ["AP", "RR@10"]].to_dict()
    )


def test_the_index_is_made_once_and_checked(little, tmp_path):
    arguments = {"folder": tmp_path, "systems": "exhaustive", "measures": "AP"}
    first = run.run_experiment(little, lir.ToyEncoder(), **arguments)
    again = run.run_experiment(little, lir.ToyEncoder(), **arguments)
    assert first.environment["index"]["seconds_to_make"] is not None
    assert again.environment["index"]["seconds_to_make"] is None
    assert first.baseline is None and "AP p-value" not in first.results
    path = next(tmp_path.rglob("*.lir"))
    with pytest.raises(ValueError, match="toy-32-1"):
        run.run_experiment(little, lir.ToyEncoder(seed=1), index_path=path, **arguments)


def test_an_interrupted_index_is_gone_on_with(little, tmp_path):
    encoder, index = lir.ToyEncoder(), lir.LirIndex(tmp_path / "i.lir")

    def breaks():
        yield from list(little.corpus())[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        (encoder >> index.indexer(segment_mb=1e-4, verbose=False)).index(breaks())
    assert not index.built
    found = run.run_experiment(little, encoder, "exhaustive", "AP", folder=tmp_path, index_path=tmp_path / "i.lir")
    assert found.environment["index"]["documents"] == 5


def test_equal_rankings_are_no_difference(little, tmp_path):
    found = run.run_experiment(
        little, lir.ToyEncoder(), "exhaustive,exhaustive:num_results=5", "AP", folder=tmp_path, baseline="exhaustive"
    )
    assert found.results["AP"].nunique() == 1 and found.results["AP p-value"][1] == 1
    report = found.save(tmp_path / "out").read_text()
    assert "identical" in report and report.count("<span class=best>") == 2
    documents, size = little.num_documents, found.results["index_mb"][0]
    assert "<th>scored<th>index" in report and f"<td>{documents}<td>{1000 * size:,.1f} kB" in report
    close = found.results.assign(AP=[0.50004, 0.50001])  # equal as printed
    assert systems_table(read_table(close)).count("<span class=best>0.500") == 2
    alone = found.results.assign(**{"AP +": [None, 1], "AP p-value corrected": np.nan, "scored": np.nan})
    page = systems_table(read_table(alone))
    assert "one query: no test" in page and "identical" not in page and "<td>–<td>" in page


@pytest.mark.parametrize("measures", ["nope", "", "nDCG@10,@3"])
def test_unknown_measures(measures):
    with pytest.raises(ValueError, match="measure"):
        run.check("bm25", measures, None)


def test_the_baseline_must_take_part():
    assert run.check("bm25,rerank", "AP", None)[2] == "bm25"
    assert run.check("bm25,rerank:num=3", "AP", "rerank:num=3")[2] == "rerank:num=3"
    with pytest.raises(ValueError, match="not among"):
        run.check("bm25,rerank", "AP", "exhaustive")


def test_vaswani_end_to_end(vaswani, tmp_path):
    pytest.importorskip("pyterrier_pisa")
    collection = open_collection("irds:vaswani")
    assert (collection.num_documents, len(collection.topics), collection.fields) == (11429, 93, ("text",))
    found = run.run_experiment(collection, lir.ToyEncoder(), "bm25,text_rerank:num=3", "nDCG@10,RR@10", folder=tmp_path)
    assert found.results["nDCG@10"][0] == pytest.approx(0.4667, abs=5e-4)  # PISA, with its own defaults
    assert found.rankings["text_rerank:num=3"].groupby("qid").size().max() == 3


# --- environment ---------------------------------------------------------------------------------------------


def test_the_environment_says_what_it_depends_on(outcome):
    about = json.loads(json.dumps(outcome.environment))
    assert {
        "date", "python", "system", "versions", "processor", "memory_gb", "gpu", "threads", "kernels", "dataset",
        "encoder", "index", "settings",
    } == set(about)  # fmt: skip
    assert about["versions"]["pyterrier-lir"] == lir.__version__ and about["versions"]["numpy"] == np.__version__
    assert about["dataset"]["documents"] == 5 and len(about["dataset"]["sha256"]) == 64
    assert about["encoder"]["fingerprint"] == "toy-64-0"
    assert about["processor"]["cores"] >= 1


def test_the_environment_names_no_home_or_host(outcome, tmp_path, monkeypatch):
    text = json.dumps(outcome.environment)
    assert os.uname().nodename not in text and f"{Path.home()}/" not in text
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert environment.public_path(tmp_path / "models" / "x") in ("~/models/x", str(tmp_path / "models" / "x")[1:])
    monkeypatch.chdir(tmp_path)
    assert environment.public_path(tmp_path / "out") == "out"


def test_names_for_paths():
    assert safe_name("irds:beir/scifact") == "irds-beir-scifact"
    assert safe_name("../..") not in ("..", "../..", "")


# --- the report ----------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Collects text, and whatever would be loaded."""

    def __init__(self):
        super().__init__()
        self.loads, self.words, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_report_holds_all_it_shows(outcome, tmp_path):
    text = outcome.save(tmp_path).read_text()
    page = Page()
    page.feed(text)
    assert len(page.loads) == 1 and page.loads[0].startswith("data:image/png;base64,iVBOR")
    assert not {"link", "iframe"} & page.tags
    assert not re.search(r"@import|url\(", text)
    words = " ".join(page.words)
    for word in ("little", "rerank:num=2", "nDCG@10", "Holm", "run --again <it>", "toy-64-0", "Python"):
        assert word in words
    assert "<it>" not in text


def test_marks_follow_the_corrected_p_value(outcome):
    table = outcome.results.copy()
    columns = {"AP": [0.5, 0.6, 0.4, 0.7], "AP p-value corrected": [np.nan, 0.01, 0.04, 0.06]}
    table = table.assign(**columns, **{"AP +": [None, 3, 0, 2], "AP -": [None, 0, 3, 1]})
    found = [compare(read_table(table), name, "AP") for name in table["name"]]
    assert found[0] is None
    assert [f.mark for f in found[1:]] == ["+", "-", ""]
    assert (found[1].wins, found[1].losses) == (3, 0)
