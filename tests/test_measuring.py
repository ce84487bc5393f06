"""Costs beside measures: quality, time and space of systems in one row."""

import ir_measures
import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from fruit import First
from ir_measures import AP, RR, NumRet, nDCG
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests

import pyterrier_lir as lir
from pyterrier_lir.experiment import measure
from pyterrier_lir.experiment.costs import counts, sizes


def test_quality_time_and_space_stand_in_one_row(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"first": First(), "exact": index.exhaustive(), "plaid": index.plaid(num_results=3)}
    results, perquery, rankings = measure(systems, topics, qrels, [nDCG @ 10, "RR"], encoder=encoder, warm_up=0)
    assert results["name"].tolist() == ["first", "exact", "plaid"]
    assert results["RR"].tolist() == [1 / 8, 1.0, 1.0]  # d0 answers one of eight queries
    assert results["index_mb"].tolist()[1:] == [index.info()["megabytes"]] * 2 and np.isnan(results["index_mb"][0])
    assert results["bytes_per_doc"][1] == pytest.approx(index.info()["megabytes"] * 1e6 / 8)
    assert results["derived_mb"].tolist()[1:] == [0, 0] and results["scored"][1] == 8
    assert results["scored"][2] == results["plaid_scored"][2] <= 8
    assert results["encode_ms"][0] == 0 and results["encode_ms"][1] == results["encode_ms"][2] > 0
    per = perquery[perquery["name"] == "plaid"]["retrieve_ms"]
    assert results["retrieve_ms"][2] == per.median() and results["retrieve_ms_p95"][2] == per.quantile(0.95)
    assert list(perquery) == ["name", "qid", "nDCG@10", "RR", "encode_ms", "retrieve_ms"] and len(perquery) == 24
    assert len(rankings["plaid"]) == 24 and list(rankings["plaid"]) == ["qid", "docno", "score", "rank"]


def test_a_plain_system_gets_plain_topics(fruit):
    encoder, index, topics, qrels = fruit
    first = First()
    found = measure({"first": first}, topics, qrels, "RR", encoder=encoder, warm_up=0)
    assert first.columns == [["qid", "query"]] * 9  # one trial, eight queries
    whole = encoder.query_encoder() >> index.exhaustive()  # encodes by itself: that is in its time
    assert measure({"whole": whole}, topics, qrels, "RR", warm_up=0).results["encode_ms"][0] == 0
    assert found.results["encode_ms"][0] == 0


def test_functions_may_read_embeddings(fruit):
    encoder, index, topics, qrels = fruit
    doubled = pt.apply.query_embs(lambda row: 2 * row["query_embs"]) >> index.exhaustive()
    found = measure({"doubled": doubled, "exact": index.exhaustive()}, topics, qrels, "RR", encoder=encoder, warm_up=0)
    assert found.results["RR"].tolist() == [1, 1]
    scores = [found.rankings[name]["score"] for name in ("doubled", "exact")]
    np.testing.assert_allclose(scores[0], 2 * scores[1], rtol=1e-5)


def test_embeddings_that_came_along_have_no_time(fruit):
    encoder, index, topics, qrels = fruit
    found = measure({"exact": index.exhaustive()}, encoder.query_encoder()(topics), qrels, "RR", warm_up=0).results
    assert np.isnan(found["encode_ms"][0]) and found["RR"][0] == 1


def test_work_is_counted_apart_from_the_timed_run(fruit):
    encoder, index, topics, _qrels = fruit
    encoded = encoder.query_encoder()(topics)
    asked = index.plaid(num_results=2, nprobe=1)
    wanted = asked.__class__(index, num_results=2, nprobe=1, stats=True)(encoded).drop_duplicates("qid")
    expected = {name: wanted[name].mean() for name in ("plaid_candidates", "plaid_scored")}
    assert counts(asked, encoded) == {"scored": expected["plaid_scored"], **expected}
    assert counts(asked % 1 >> index.maxsim(), encoded) == {"scored": expected["plaid_scored"] + 1, **expected}
    assert set(counts(index.warp(), encoded)) == {"scored", "warp_tokens", "warp_docs"}


def test_documents_scored_of_every_kind_of_stage(fruit):
    encoder, index, topics, _qrels = fruit
    encoded = encoder.query_encoder()(topics)
    texts = pt.apply.text(lambda row: "fig")

    def scored(system):
        return counts(system, encoded).get("scored")

    assert scored(index.exhaustive()) == 8 and scored(index.exhaustive(docnos=["d1", "d2"])) == 2
    assert scored(index.exhaustive() % 3 >> index.maxsim()) == 8 + 3
    assert scored(index.exhaustive() % 3 >> index.xtr_scorer() % 2 >> index.maxsim()) == 8 + 3 + 2
    assert scored(index.xtr()) == counts(index.xtr(), encoded)["xtr_docs"]
    assert scored(index.warp()) == counts(index.warp(), encoded)["warp_docs"]
    assert scored(index.muvera() % 5 >> index.maxsim()) == 5 and scored(index.muvera()) is None
    assert scored(index.plaid_candidates(nprobe=99) >> index.centroid_maxsim() % 4 >> index.maxsim()) == 4
    assert scored(First() >> texts >> encoder.text_scorer()) == 1  # d0 of every query
    assert scored(First()) is None and scored(First() >> pt.RankCutoff(1)) is None
    assert scored(index.exhaustive() % 6 >> index.early_exit_maxsim(float("inf"), k=2)) == 8 + 6
    assert 8 + 2 <= scored(index.exhaustive() % 6 >> index.early_exit_maxsim(1, k=2)) < 8 + 6
    seeds, graph = index.exhaustive() % 1, index.corpus_graph(k=2)
    assert scored(seeds >> index.ladr(graph, depth=None, num_results=1)) == 8 + 3  # a seed and its two neighbours


def test_operators_add_up(fruit):
    encoder, index, topics, _qrels = fruit
    encoded = encoder.query_encoder()(topics)
    both = counts(index.exhaustive() + 2 * index.plaid(), encoded)
    assert both["scored"] == 8 + both["plaid_scored"]
    hybrid = (index.exhaustive() | index.muvera()) >> pt.apply.generic(lambda frame: frame)
    assert counts(hybrid, encoded) == {"scored": 8}


def test_queries_without_results_count(fruit):
    encoder, index, topics, _qrels = fruit
    encoded = encoder.query_encoder()(topics)
    encoded["query_embs"] = [embs if i < 4 else embs[:0] for i, embs in enumerate(encoded["query_embs"])]
    assert counts(index.plaid(nprobe=99), encoded)["scored"] == 4  # eight documents for half of the queries


def test_indexes_are_found_wherever_they_are(fruit, tmp_path):
    encoder, index, _topics, _qrels = fruit
    other = (encoder >> lir.LirIndex(tmp_path / "o.lir").indexer(verbose=False)).index([{"docno": "x", "text": "fig"}])
    one, two = index.info()["megabytes"], other.info()["megabytes"]
    assert sizes(index.plaid() >> index.maxsim())["index_mb"] == pytest.approx(one)
    assert sizes(index.plaid() + 2 * other.plaid())["index_mb"] == pytest.approx(one + two)
    assert sizes(First()) == {}


def test_what_a_system_derives_is_counted_where_it_is_used(fruit, tmp_path):
    encoder, _index, topics, _qrels = fruit
    index = (encoder >> lir.LirIndex(tmp_path / "i.lir").indexer(verbose=False)).index([{"docno": "x", "text": "fig"}])
    encoded = encoder.query_encoder()(topics)
    graph = index.corpus_graph(k=1)
    systems = [index.plaid(), index.warp(), index.xtr(), index.xtr(nprobe=1), index.muvera(reps=1), index.muvera()]
    systems.append(index.exhaustive() >> index.ladr(graph))
    for system in systems:
        system(encoded)
    plaid, warp, xtr, some, short, long, ladr = (sizes(system)["derived_mb"] for system in systems)
    folders = {name: tmp_path / "i.lir" / "derived" / name for name in ("cell_tokens", graph.name)}
    assert plaid == xtr == 0
    assert warp == some == sum(f.stat().st_size for f in folders["cell_tokens"].rglob("*") if f.is_file()) / 1e6 > 0
    assert ladr == sum(f.stat().st_size for f in folders[graph.name].rglob("*") if f.is_file()) / 1e6 > 0
    assert long - short == pytest.approx(19 * 512 * 2 / 1e6, rel=0.02)  # 19 repetitions more, 512 values of 2 bytes
    assert sizes(index.warp())["bytes_per_doc"] == pytest.approx(index.info()["megabytes"] * 1e6 + warp * 1e6)


def test_comparisons_are_those_of_pt_experiment(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"exact": index.exhaustive(), "first": First(), "second": First("d1")}
    one = measure(systems, topics, qrels, [AP, RR], encoder=encoder, baseline="exact", warm_up=0)
    wanted = pt.Experiment(one.rankings, topics, qrels, [AP, RR], baseline="exact", correction="holm")
    pd.testing.assert_frame_equal(one.results[list(wanted)], wanted, check_dtype=False)
    assert one.results.attrs["correction"] == "holm"
    both = measure(systems, topics, qrels, [AP, RR], encoder=encoder, baseline=["exact", "first"], warm_up=0).results
    assert both["AP p-value corrected vs exact"].equals(one.results["AP p-value corrected"])
    assert both.loc[0, "AP + vs first"] == 7 and both.loc[1, "AP - vs exact"] == 7


def test_equal_rankings_do_not_touch_other_p_values(fruit):
    encoder, index, topics, qrels = fruit
    systems = {
        "first": First(), "same": First(), "exact": index.exhaustive(), "turned": index.exhaustive() % 1,
    }  # fmt: skip
    for correction in ("holm", "fdr_bh"):
        found = measure(
            systems, topics, qrels, "AP", encoder=encoder, baseline="first", correction=correction, warm_up=0
        )
        p = ttest_rel([1.0] * 8, [1.0] + [0.0] * 7).pvalue
        assert found.results["AP p-value"].tolist()[1:] == pytest.approx([1, p, p])
        reject, corrected, _, _ = multipletests([1, p, p], method=correction)
        assert found.results["AP p-value corrected"].tolist()[1:] == pytest.approx(corrected.tolist())
        assert found.results["AP reject"].tolist() == [False, *reject.tolist()] == [False, False, True, True]
    alone = measure(systems, topics[:1], qrels, "AP", encoder=encoder, baseline="first", warm_up=0).results
    assert alone["AP p-value"].isna().all() and not alone["AP reject"].any()  # of one query there is no test


@pytest.mark.parametrize("bases", [None, "exact", ["exact", "first", "second"]])
def test_every_ranking_is_evaluated_once(fruit, monkeypatch, bases):
    encoder, index, topics, qrels = fruit
    evaluated, calculate = [], ir_measures.iter_calc

    def counted(measures, judged, run):
        evaluated.append(len(run))
        return calculate(measures, judged, run)

    monkeypatch.setattr(ir_measures, "iter_calc", counted)
    systems = {"exact": index.exhaustive(), "first": First(), "second": First("d1")}
    measure(systems, topics, qrels, [AP, RR], encoder=encoder, baseline=bases, warm_up=0)
    assert evaluated == [64, 8, 8]


def test_queries_without_judgements_have_no_value_and_no_part_in_the_mean(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"first": First(), "exact": index.exhaustive()}
    with pytest.warns(UserWarning, match="6 topic"):
        found = measure(systems, topics, qrels[:2], [AP, NumRet], encoder=encoder, baseline="first", warm_up=0)
    assert found.results["AP"].tolist() == [0.5, 1] and found.perquery["AP"].isna().sum() == 12
    assert found.results["NumRet"].tolist() == [2, 16]  # a sum, of the two queries that are judged
    assert found.results["AP p-value"][1] == pytest.approx(0.5)  # differences 0 and 1: t = 1, one degree of freedom


def test_means_of_unequal_queries_are_said(fruit, caplog):
    def halves(qrels, run):
        exact = len(run) > 8
        yield from ((qid, float("nan") if exact and qid > "q3" else 1.0) for qid in run["query_id"].unique())

    encoder, index, topics, qrels = fruit
    half = ir_measures.define(halves, name="half", support_cutoff=False)
    found = measure({"first": First(), "exact": index.exhaustive()}, topics, qrels, [half], encoder=encoder, warm_up=0)
    assert found.results["half"].tolist() == [1, 1] and found.perquery["half"].isna().sum() == 4
    assert "half has no value for exact for query 'q4' (and 3 more such queries)" in caplog.text


def test_systems_take_turns():
    topics = pd.DataFrame({"qid": [f"q{i:02}" for i in range(60)], "query": "x"})
    asked = []

    def system(name):
        def answer(frame):
            asked.append((name, *frame["qid"]))
            return frame.assign(docno="d" + frame["qid"].str[2:], score=1.0, rank=0)

        return pt.apply.generic(answer)

    systems = {name: system(name) for name in "abc"}
    found = measure(systems, topics, pd.DataFrame({"qid": topics["qid"], "docno": "d00", "label": 1}), "RR", warm_up=1)
    firsts, rest = asked[:3], asked[3:]
    assert firsts == [(name, "q00") for name in "abc"]  # what each system takes is tried out
    assert rest[:3] == [(name, "q59") for name in "abc"]  # the warm-up
    turns = [(0, 25, "abc"), (25, 50, "bca"), (50, 60, "cab")]
    assert rest[3:] == [(name, f"q{i:02}") for start, end, order in turns for name in order for i in range(start, end)]
    for name in "abc":  # every time and ranking stands with its own system and query
        assert found.rankings[name]["docno"].tolist() == [f"d{qid[2:]}" for qid in topics["qid"]]
    assert found.perquery["retrieve_ms"].notna().all() and len(found.perquery) == 180


def test_rankings_are_those_of_all_queries_in_one_call(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"plaid": index.plaid(nprobe=2), "exact": index.exhaustive() % 3, "first": First()}
    rankings = measure(systems, topics, qrels, "RR", encoder=encoder, warm_up=0).rankings
    for name, system in systems.items():
        wanted = system(encoder.query_encoder()(topics))[["qid", "docno", "score", "rank"]]
        pd.testing.assert_frame_equal(rankings[name], wanted.reset_index(drop=True))


def test_numbers_may_be_qids_and_ranks_missing(fruit):
    encoder, index, topics, qrels = fruit
    numbered = topics.assign(qid=range(8))
    judged = qrels.assign(qid=range(8), label=qrels["label"].astype(str))
    unranked = index.exhaustive() >> pt.apply.generic(lambda frame: frame.drop(columns="rank"))
    found = measure({"exact": index.exhaustive(), "unranked": unranked}, numbered, judged, RR, encoder=encoder)
    assert found.results["RR"].tolist() == [1, 1] and found.perquery["qid"].tolist() == list("01234567") * 2
    pd.testing.assert_frame_equal(*found.rankings.values())


@pytest.mark.parametrize("backend", ["pyarrow", "numpy_nullable"])
def test_judgements_may_be_of_any_whole_numbers(fruit, backend):
    _encoder, _index, topics, qrels = fruit
    judged = qrels.convert_dtypes(dtype_backend=backend)
    assert measure({"first": First()}, topics, judged, "RR", warm_up=0).results["RR"].tolist() == [1 / 8]
    missing = judged.assign(label=judged["label"].where(judged["docno"] != "d3"))
    with pytest.raises(ValueError, match=r"the qrels have the label <NA>; expected whole numbers"):
        measure({"first": First()}, topics, missing, "RR", warm_up=0)


def test_what_is_measured_shows_itself(fruit):
    encoder, index, topics, qrels = fruit
    found = measure({"exact": index.exhaustive()}, topics, qrels, "AP", encoder=encoder, warm_up=0)
    assert repr(found).endswith(".results, above; .perquery: 8 queries; .rankings: of 1 systems")
    assert "<td>exact</td>" in found._repr_html_() and len(found._repr_html_()) < 3000


def test_qrels_are_checked_before_queries_are_encoded(fruit, monkeypatch):
    encoder, index, topics, qrels = fruit
    monkeypatch.setattr(lir.ToyEncoder, "encode_queries", lambda *_: pytest.fail("queries were encoded"))
    wrong = qrels.assign(label=0.5)
    for call in (
        lambda: measure({"exact": index.exhaustive()}, topics, wrong, "AP", encoder=encoder),
        lambda: lir.sweep(index.plaid, {"nprobe": [1]}, topics, wrong, "AP", encoder=encoder),
    ):
        with pytest.raises(ValueError, match="whole numbers"):
            call()


def test_no_cache_knows_the_first_query_that_is_timed(fruit):
    _encoder, _index, topics, qrels = fruit
    asked = []
    seen = pt.apply.generic(lambda frame: asked.extend(frame["qid"]) or frame.assign(docno="d0", score=1.0, rank=0))
    measure({"seen": seen}, topics, qrels, "AP", warm_up=2)
    assert asked == ["q0", "q7", "q6", *topics["qid"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": None}, ["'exact'", "query_embs", "encoder="]),
        ({"systems": {}}, ["no systems"]),
        ({"systems": [First()]}, ["list", "measure({"]),
        ({"systems": {1: First()}}, ["the name 1", "a string", "Name it '1'"]),
        ({"systems": {("a", 1): First()}}, ["the name ('a', 1)", "a string"]),
        ({"systems": {"none": None}}, ["'none' is None", "pipeline"]),
        ({"systems": {"run": pd.DataFrame({"qid": ["q0"]})}}, ["'run' is a DataFrame", "pt.Experiment"]),
        ({"systems": {"only": lir.ToyEncoder(dim=64).query_encoder()}}, ["'only' gives", "docno", "index.plaid()"]),
        ({"systems": {"mute": pt.apply.generic(lambda frame: frame.iloc[:0].assign(docno=[], score=[]))}}, ["'mute'"]),
        ({"baseline": "bm25"}, ["'bm25'", "exact"]),
        ({"baseline": 0}, ["baseline is 0", "exact"]),
        ({"correction": "tukey"}, ["'tukey'", "holm"]),
        ({"eval_metrics": ["mrt"]}, ["'mrt'", "ir_measures", "leave mrt out"]),
        ({"eval_metrics": ["map"]}, ["'map'", "pass 'AP'"]),
        ({"eval_metrics": [3]}, ["measure 3"]),
        ({"topics": pd.DataFrame({"qid": [], "query": []})}, ["no topics"]),
        ({"topics": ["apple"]}, ["['apple']", "pd.DataFrame"]),
        ({"topics": pd.DataFrame({"qid": ["q0"], "text": ["a"]})}, ["'query'", "rename"]),
        ({"topics": pd.DataFrame({"qid": ["q0", "q0"], "query": ["a", "b"]})}, ["'q0' more than once"]),
        ({"topics": pd.DataFrame({"qid": ["x"], "query": ["a"]})}, ["'x'", "'q0'", "same qids"]),
        ({"qrels": pd.DataFrame({"qid": ["q0"], "docno": ["d0"], "relevance": [1]})}, ["'label'", "rename"]),
        ({"qrels": pd.DataFrame({"qid": ["q0"], "docno": ["d0"], "label": [0.5]})}, ["0.5", "whole numbers"]),
        ({"encoder": lir.ToyEncoder().query_encoder()}, ["encoder is QueryEncoder", "lir.ToyEncoder()"]),
        ({"warm_up": -1}, ["warm_up is -1"]),
    ],
)
def test_what_cannot_be_measured(fruit, change, words):
    encoder, index, topics, qrels = fruit
    arguments = {
        "systems": {"exact": index.exhaustive()}, "topics": topics, "qrels": qrels, "eval_metrics": "AP",
        "encoder": encoder,
    }  # fmt: skip
    with pytest.raises(ValueError) as error:
        measure(**{**arguments, **change})
    assert all(word in str(error.value) for word in words), error.value
    with pytest.raises(TypeError, match=r"expected named options: encoder, baseline.*Did you mean warm_up=\?"):
        measure(**arguments, warmup=1)
    with pytest.raises(ValueError, match="one of them"):
        measure(**{**arguments, "topics": encoder.query_encoder()(topics)})
