"""Experiments: reading systems, the first stage, honest times, the numbers, the plot and the report."""

import dataclasses
import html.parser
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, RR

import pyterrier_lir as lir
from pyterrier_lir.experiment import environment, first_stage, plots, run, systems, timing
from pyterrier_lir.experiment.collection import JoinFields, open_collection, safe_name
from pyterrier_lir.experiment.inputs import parse_measures
from pyterrier_lir.experiment.report import render
from pyterrier_lir.experiment.systems import Parts, Spec, parse_systems

TEXTS = {
    "apple": ("Fruit", "an apple a day keeps the doctor away"),
    "bread": ("Baking", "fresh bread needs flour water salt and yeast"),
    "chess": ("Games", "in chess the queen is the strongest piece"),
    "dough": ("Baking", "let the bread dough rest for a day"),
    "earth": ("", "the earth turns around once a day"),
}


class Little(pt.datasets.Dataset):
    """As BEIR's are: documents with title and text, queries with several fields, some without judgements."""

    def get_corpus_iter(self, *, verbose=True):
        return ({"docno": docno, "title": t, "text": x, "url": "-"} for docno, (t, x) in TEXTS.items())

    def get_topics(self, variant=None):
        topics = pd.DataFrame({
            "qid": ["q1", "q2", "q3", "q4"],
            "text": ["bread dough", "queen of chess", "doctor", "nothing at all"],
            "url": "-",
        })  # fmt: skip
        return topics if variant is None else topics[["qid", variant]].rename(columns={variant: "query"})

    def get_qrels(self, variant=None):
        return pd.DataFrame(
            {"qid": ["q1", "q1", "q2", "q3"], "docno": ["bread", "dough", "chess", "apple"], "label": 1}
        )

    def text_loader(self, fields="*"):
        def load(frame):
            return frame.assign(**{f: [TEXTS[d][f == "text"] for d in frame["docno"]] for f in fields})

        return pt.apply.generic(load, transform_outputs=lambda columns: [*columns, *fields])


class Spy(pt.Transformer):
    """Notes each call: the qids it was given."""

    def __init__(self):
        self.calls = []

    def transform(self, inp):
        self.calls.append(inp["qid"].tolist())
        return inp.assign(docno="d", score=1.0, rank=0)


@pytest.fixture
def little():
    return open_collection("little", dataset=Little())


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    return run.run_experiment(
        open_collection("little", dataset=Little()), lir.ToyEncoder(dim=64),
        "bm25,exhaustive,rerank:num=2,text_rerank:num=5", "nDCG@10,RR@10,AP", folder=folder, command="run --again <it>",
    )  # fmt: skip


# --- systems -------------------------------------------------------------------------------------------------


def test_systems_are_read():
    assert parse_systems(" bm25 , rerank:num=50, exhaustive:num_results=7,") == [
        Spec("bm25"), Spec("rerank", {"num": 50}), Spec("exhaustive", {"num_results": 7}),
    ]  # fmt: skip
    assert [str(spec) for spec in parse_systems(["bm25", "rerank:num=50"])] == ["bm25", "rerank:num=50"]
    assert parse_systems("rerank, num=50") == parse_systems("rerank:num=50")


def test_several_parameters_of_one_system(monkeypatch):
    kind = systems.Kind("", lambda parts, a=1, b=0.5, c="x", d=None, e=True: (a, b, c, d, e))
    monkeypatch.setitem(systems.SYSTEMS, "new", kind)
    (spec, other) = parse_systems("new:a=2,b=1,c=y,d=3,e=False,bm25")
    assert spec.build(None) == (2, 1, "y", 3, False)
    assert str(other) == "bm25"
    assert "new:a=1,b=0.5,c=x,d=None,e=True" in systems.known_systems()
    for wrong in ("new:a=1.5", "new:a=True", "new:c=1", "new:e=1", "new:a=x"):
        with pytest.raises(ValueError, match="expected a value like the default"):
            parse_systems(wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bm52", ["'bm52'", "exhaustive", "text_rerank"]),
        ("rerank:k=3", ["k=3", "num"]),
        ("rerank:num", ["'num'", "name=value"]),
        ("rerank:num=3,num=4", ["num=4", "once"]),
        ("rerank:num=0", ["num=0", "at least 1"]),
        ("rerank:num=many", ["num=many", "num=100"]),
        ("bm25,bm25", ["twice"]),
        ("", ["at least one"]),
        ("num=3", ["num=3"]),
    ],
)
def test_what_is_not_known_is_named(text, words):
    with pytest.raises(ValueError) as error:
        parse_systems(text)
    assert all(word in str(error.value) for word in words), error.value


def test_a_spec_becomes_its_pipeline(little, tmp_path):
    encoder, index = lir.ToyEncoder(), lir.LirIndex.example()
    parts = Parts(index, encoder, lambda k: first_stage.bm25(little.corpus(), tmp_path / "bm25", k), little.text_loader)
    topics = encoder.query_encoder()(little.topics)
    lexical = first_stage.bm25(little.corpus(), tmp_path / "bm25")
    expected = {
        "bm25:num_results=2": lexical % 2,
        "exhaustive:num_results=3": index.exhaustive(num_results=3),
        "rerank:num=2": lexical % 2 >> index.maxsim(),
        "text_rerank:num=2": lexical % 2 >> little.text_loader() >> encoder.text_scorer(),
    }
    for text, pipeline in expected.items():
        (spec,) = parse_systems(text)
        assert spec.encodes == (spec.kind != "bm25")
        found, wanted = spec.build(parts)(topics), pipeline(topics)
        columns = ["qid", "docno", "score", "rank"]
        pd.testing.assert_frame_equal(found[columns], wanted[columns], check_dtype=False)


# --- collections ---------------------------------------------------------------------------------------------


def test_a_dataset_with_fields_is_brought_into_one_shape(little):
    assert list(little.topics) == ["qid", "query"]
    assert little.topics["qid"].tolist() == ["q1", "q2", "q3"]  # q4 has no judgement
    assert little.fields == ("title", "text")
    assert list(little.corpus())[::4] == [
        {"docno": "apple", "text": "Fruit an apple a day keeps the doctor away"},
        {"docno": "earth", "text": "the earth turns around once a day"},
    ]
    frame = pd.DataFrame({"qid": ["q1"], "docno": ["bread"]})
    loaded = little.text_loader()(frame)
    assert loaded["text"].tolist() == ["Baking fresh bread needs flour water salt and yeast"]
    assert "title" not in loaded
    assert open_collection("little", dataset=Little(), fields=["text"]).checksum != little.checksum


def test_queries_are_drawn_by_a_seed():
    def drawn(seed, n=2):
        return open_collection("little", dataset=Little(), num_queries=n, seed=seed)

    assert drawn(1).topics.equals(drawn(1).topics) and len(drawn(1).topics) == 2
    assert len({tuple(drawn(seed).topics["qid"]) for seed in range(8)}) > 1
    assert set(drawn(1).qrels["qid"]) == set(drawn(1).topics["qid"])
    assert len(drawn(1, n=99).topics) == 3
    with pytest.raises(ValueError, match="at least 1"):
        drawn(1, n=0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("get_corpus_iter", lambda **_: iter([]), "no documents"),
        ("get_corpus_iter", lambda **_: iter([{"docno": "a b", "text": "x"}]), "a b"),
        ("get_corpus_iter", lambda **_: iter([{"docno": "a", "body": "x"}]), "body"),
        ("get_qrels", lambda: pd.DataFrame({"qid": ["zz"], "docno": ["a"], "label": [1]}), "no topic"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(name, value, words):
    dataset = Little()
    setattr(dataset, name, value)
    with pytest.raises(ValueError, match=words):
        open_collection("little", dataset=dataset)


def test_fields_are_joined_without_stray_blanks():
    frame = pd.DataFrame({"title": ["A", " ", None], "text": ["b", "c", "d "], "docno": ["1", "2", "3"]})
    assert JoinFields(["title", "text"])(frame).to_dict("list") == {"text": ["A b", "c", "d"], "docno": ["1", "2", "3"]}


# --- the first stage -----------------------------------------------------------------------------------------


@pytest.fixture(params=["pisa", "bm25s"])
def engine(request):
    pytest.importorskip({"pisa": "pyterrier_pisa", "bm25s": "bm25s"}[request.param])
    return request.param


def test_bm25_ranks_by_shared_words_and_keeps_columns(engine, little, tmp_path, capfd):
    retriever = first_stage.bm25(little.corpus(), tmp_path / "bm25", engine=engine)
    topics = lir.ToyEncoder()(pd.DataFrame({"qid": ["1", "2", "3"], "query": ["doughs of bread", "", "chess"]}))
    found = retriever(topics)
    assert found["docno"].tolist() == ["dough", "bread", "chess"]
    assert found["rank"].tolist() == [0, 1, 0]
    assert found["qid"].tolist() == ["1", "1", "3"]
    assert set(topics.columns) < set(found.columns)
    np.testing.assert_array_equal(found["query_embs"][1], topics["query_embs"][0])
    assert set(retriever(topics.iloc[:0]).columns) == set(found.columns)
    assert retriever(topics.iloc[1:2]).empty
    assert (retriever % 1)(topics)["docno"].tolist() == ["dough", "chess"]
    assert retriever.fuse_rank_cutoff(1)(topics)["docno"].tolist() == ["dough", "chess"]
    written = capfd.readouterr()
    assert written.out == "" and "Storing" not in written.err


def test_bm25_opens_what_is_there(engine, little, tmp_path):
    first = first_stage.bm25(little.corpus(), tmp_path / "bm25", 3, engine=engine)
    again = first_stage.bm25(iter([]), tmp_path / "bm25", 3)
    assert again == first and hash(again) == hash(first)
    pd.testing.assert_frame_equal(again(little.topics), first(little.topics))


def test_a_failing_corpus_leaves_no_index(engine, little, tmp_path):
    def breaks():
        yield from little.corpus()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        first_stage.bm25(breaks(), tmp_path / "bm25", engine=engine)
    assert not (tmp_path / "bm25").exists()
    with pytest.raises(ValueError, match="no documents"):
        first_stage.bm25(iter([]), tmp_path / "bm25", engine=engine)
    with pytest.raises(ValueError, match="a b"):
        first_stage.bm25([{"docno": "a b", "text": "x"}], tmp_path / "bm25", engine=engine)
    assert len(first_stage.bm25(little.corpus(), tmp_path / "bm25", engine=engine)(little.topics))


def test_unknown_engine(tmp_path):
    with pytest.raises(ValueError, match="lucene"):
        first_stage.bm25([], tmp_path / "x", engine="lucene")


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
    assert render(dataclasses.replace(found, results=close), b"").count("<span class=best>0.500") == 2
    alone = found.results.assign(**{"AP +": [None, 1], "AP p-value corrected": np.nan, "scored": np.nan})
    page = render(dataclasses.replace(found, results=alone), b"")
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


# --- the plot ------------------------------------------------------------------------------------------------


FRAME = pd.DataFrame({
    "name": ["a", "b", "c", "d", "e"],
    "retrieve_ms": [1.0, 2.0, 2.0, 50.0, 100.0],
    "nDCG@10": [0.3, 0.5, 0.4, 0.5, 0.6],
})  # fmt: skip


def test_pareto_front():
    assert plots.pareto_front(FRAME).tolist() == [True, True, False, False, True]
    twins = pd.DataFrame({"retrieve_ms": [1.0, 1.0], "nDCG@10": [0.5, 0.5]})
    assert plots.pareto_front(twins).tolist() == [True, True]
    assert plots.pareto_front(FRAME.assign(**{"nDCG@10": np.nan})).tolist() == [False] * 5


def test_the_plot_shows_every_system_without_overlap(tmp_path):
    crowd = pd.DataFrame({
        "name": [f"system:num={i}" for i in range(8)],
        "retrieve_ms": [10.0, 11, 12, 13, 14, 15, 100, 900],
        "nDCG@10": [0.5, 0.501, 0.502, 0.503, 0.504, 0.505, 0.6, 0.4],
    })  # fmt: skip
    figure = lir.tradeoff_plot(crowd)
    figure.savefig(tmp_path / "plot.png")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "nDCG@10"
    texts = [text for text in axes.texts if text.get_text()]
    assert sorted(text.get_text() for text in texts) == sorted(crowd["name"])
    boxes = [_extent(text, figure) for text in texts]
    overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert not overlaps
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_long_names_are_broken_and_stay_in_the_frame():
    long = "BM25 (k1=0.9, b=0.4) >> query encoder >> maxsim, $100 and $200"
    figure = lir.tradeoff_plot(FRAME.assign(name=[long + name for name in "abcde"]))
    figure.canvas.draw()  # places the names
    (axes,), frame = figure.axes, figure.axes[0].get_window_extent()
    for text in axes.texts:
        box = _extent(text, figure)
        assert "\n" in text.get_text() and frame.x0 <= box.x0 and box.x1 <= frame.x1 and not text.get_parse_math()


def test_of_many_points_the_front_is_named():
    many = pd.DataFrame({"name": [f"p{i}" for i in range(13)], "ms": range(1, 14), "AP": [0.1, 0.3, 0.2] + [0.25] * 10})
    assert [text.get_text() for text in lir.tradeoff_plot(many, x="ms", y=AP).axes[0].texts] == ["p1", "p0"]
    assert len(lir.tradeoff_plot(many[:12], x="ms", y="AP").axes[0].texts) == 12


def test_systems_without_a_value_are_named_below():
    figure = lir.tradeoff_plot(FRAME.assign(retrieve_ms=[np.nan, 2.0, 2.0, 50.0, 100.0]))
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["b", "c", "d", "e"]
    assert figure._supxlabel.get_text() == "not shown, without retrieve_ms: a"
    assert lir.tradeoff_plot(FRAME)._supxlabel is None


def test_names_and_their_lines_cross_no_other_name():
    grid = pd.DataFrame({
        "name": [f"nprobe={i}, ndocs=512" for i in range(8)],
        "ms": [13.4, 17.4, 12.2, 10.5, 12.5, 15.7, 16.2, 14.3],
        "AP": [0.509, 0.527, 0.528, 0.513, 0.512, 0.518, 0.521, 0.519],
    })  # fmt: skip
    figure = lir.tradeoff_plot(grid, x="ms", y="AP")
    figure.canvas.draw()
    boxes = [_extent(text, figure) for text in figure.axes[0].texts]
    lines = [text.arrow_patch.get_visible() for text in figure.axes[0].texts]
    assert any(lines)
    for i, text in enumerate(figure.axes[0].texts):
        point = figure.axes[0].transData.transform(text.xy)
        middle = (boxes[i].min + boxes[i].max) / 2
        for j, box in enumerate(boxes):
            assert i == j or not box.overlaps(boxes[i])
            assert i == j or not lines[i] or not any(box.contains(*p) for p in np.linspace(point, middle, 200))


def test_plots_can_be_kept():
    figure = pickle.loads(pickle.dumps(lir.tradeoff_plot(FRAME)))
    assert figure._repr_png_()[0].startswith(b"\x89PNG") and len(figure.axes[0].texts) == 5


def test_the_front_of_columns_that_are_not_there():
    renamed = FRAME.rename(columns={"nDCG@10": "AP"})
    assert plots.pareto_front(renamed, y=AP).tolist() == [True, True, False, False, True]
    with pytest.raises(ValueError, match=r"no column 'ms', only .*pareto_front\(results, x="):
        plots.pareto_front(FRAME, "ms")


def test_the_plot_leaves_pyplot_alone():
    import matplotlib.pyplot

    lir.tradeoff_plot(FRAME)
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (FRAME.drop(columns="nDCG@10"), "nDCG@10"),
        (FRAME[:0], "no rows"),
        (FRAME.assign(retrieve_ms=[1, 2, 0, 4, 5]), "retrieve_ms of 'c' is 0; expected a positive number"),
        (FRAME.assign(retrieve_ms=np.inf), "retrieve_ms of 'a' is inf"),
        (FRAME.assign(**{"nDCG@10": [0.1, np.inf, 0.1, 0.1, 0.1]}), "nDCG@10 of 'b' is inf; expected a finite number"),
        (FRAME.assign(retrieve_ms="fast"), "retrieve_ms of 'a' is 'fast'"),
        (FRAME.assign(retrieve_ms=np.nan), "no system has both"),
    ],
)
def test_what_cannot_be_plotted(frame, words):
    with pytest.raises(ValueError, match=words):
        plots.tradeoff_plot(frame)


def _extent(text, figure):
    from matplotlib.text import Text

    return Text.get_window_extent(text, figure.canvas.get_renderer())


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
    assert not {"script", "link", "iframe"} & page.tags
    assert not re.search(r"@import|url\(", text)
    words = " ".join(page.words)
    for word in ("little", "rerank:num=2", "nDCG@10", "Holm", "run --again <it>", "toy-64-0", "Python"):
        assert word in words
    assert "<it>" not in text


def test_marks_follow_the_corrected_p_value(outcome):
    from dataclasses import replace

    from pyterrier_lir.experiment.report import compare

    table = outcome.results.copy()
    columns = {"AP": [0.5, 0.6, 0.4, 0.7], "AP p-value corrected": [np.nan, 0.01, 0.04, 0.06]}
    table = table.assign(**columns, **{"AP +": [None, 3, 0, 2], "AP -": [None, 0, 3, 1]})
    changed = replace(outcome, results=table)
    found = [compare(changed, name, "AP") for name in table["name"]]
    assert found[0] is None
    assert [f.mark for f in found[1:]] == ["+", "-", ""]
    assert (found[1].wins, found[1].losses) == (3, 0)
