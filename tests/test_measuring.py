"""Sweeps, costs beside measures, and tables as papers print them."""

import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, RR, nDCG
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests

import pyterrier_lir as lir
from pyterrier_lir.experiment import measure, table
from pyterrier_lir.experiment.costs import counts, sizes

FRUIT = ["apple", "pear", "plum", "fig", "lime", "kiwi", "melon", "grape"]


@pytest.fixture(scope="module")
def fruit(tmp_path_factory):
    """Document i names fruit i and, twice, its neighbour; query i asks for fruit i, and document i is relevant."""
    encoder, index = lir.ToyEncoder(dim=64), lir.LirIndex(tmp_path_factory.mktemp("fruit") / "fruit.lir")
    pairs = list(zip(FRUIT, FRUIT[1:] + FRUIT[:1], strict=True))
    corpus = [{"docno": f"d{i}", "text": f"{one} {other} {other}"} for i, (one, other) in enumerate(pairs)]
    (encoder >> index.indexer(verbose=False)).index(corpus)
    topics = pd.DataFrame({"qid": [f"q{i}" for i in range(8)], "query": [" ".join(pair) for pair in pairs]})
    qrels = pd.DataFrame({"qid": topics["qid"], "docno": [f"d{i}" for i in range(8)], "label": 1})
    return encoder, index, topics, qrels


class First(pt.Transformer):
    """Takes plain queries; gives one document for all."""

    def __init__(self, docno="d0"):
        self.docno = docno
        self.columns = []

    def transform(self, inp):
        pt.validate.query_frame(inp, ["query"])
        if len(inp):
            self.columns.append(list(inp.columns))
        return inp[["qid", "query"]].assign(docno=self.docno, score=1.0, rank=0)


# --- measure -------------------------------------------------------------------------------------------------


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


def test_numbers_may_be_qids_and_ranks_missing(fruit):
    encoder, index, topics, qrels = fruit
    numbered = topics.assign(qid=range(8))
    judged = qrels.assign(qid=range(8), label=qrels["label"].astype(str))
    unranked = index.exhaustive() >> pt.apply.generic(lambda frame: frame.drop(columns="rank"))
    found = measure({"exact": index.exhaustive(), "unranked": unranked}, numbered, judged, RR, encoder=encoder)
    assert found.results["RR"].tolist() == [1, 1] and found.perquery["qid"].tolist() == list("01234567") * 2
    pd.testing.assert_frame_equal(*found.rankings.values())


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


# --- sweep ---------------------------------------------------------------------------------------------------


def test_a_sweep_has_a_row_for_each_combination_in_order(fruit):
    encoder, index, topics, qrels = fruit
    grid = {"num_results": [1, 3], "nprobe": [4, 2, 1], "preset": ["measured"]}
    found = lir.sweep(index.plaid, grid, topics, qrels, [nDCG @ 10], encoder=encoder, warm_up=0)
    assert list(found)[:5] == ["name", "num_results", "nprobe", "preset", "nDCG@10"]
    assert found[["num_results", "nprobe"]].values.tolist() == [[1, 4], [1, 2], [1, 1], [3, 4], [3, 2], [3, 1]]
    assert found["name"][4] == "num_results=3, nprobe=2"  # what does not vary is no part of the name
    assert (found["nDCG@10"] == 1).all() and found["encode_ms"].nunique() == 1
    assert found["plaid_candidates"][0] >= found["plaid_candidates"][2] >= 1
    assert len(lir.tradeoff_plot(found).axes[0].texts) == 6


def test_queries_of_a_sweep_are_encoded_once(fruit, monkeypatch):
    encoder, index, topics, qrels = fruit
    asked, encode = [], lir.ToyEncoder.encode_queries

    def spy(self, texts):
        asked.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(lir.ToyEncoder, "encode_queries", spy)
    lir.sweep(index.plaid, {"nprobe": [1, 2, 3]}, topics, qrels, "AP", encoder=encoder, warm_up=0)
    assert asked == topics["query"].tolist()


def test_a_sweep_over_indexes(fruit, tmp_path):
    encoder, _index, topics, qrels = fruit
    corpus = [{"docno": f"d{i}", "text": " ".join(FRUIT[i:])} for i in range(8)]
    pooled = {}
    for factor in (1, 4):
        indexer = lir.LirIndex(tmp_path / f"{factor}.lir").indexer(verbose=False)
        pooled[factor] = (encoder >> lir.TokenPooling(factor) >> indexer).index(corpus)
    found = lir.sweep(
        lambda factor: pooled[factor].exhaustive(), {"factor": [1, 4]}, topics, qrels, "AP", encoder=encoder, warm_up=0
    )
    assert found["factor"].tolist() == [1, 4]
    assert found["index_mb"].tolist() == [pooled[factor].info()["megabytes"] for factor in (1, 4)]
    for row, index in zip(found["AP"], pooled.values(), strict=True):
        wanted = pt.Experiment([encoder.query_encoder() >> index.exhaustive()], topics, qrels, [AP])
        assert row == pytest.approx(wanted["AP"][0])
    assert found["AP"].nunique() == 2


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, ["at least one value"]),
        ({"nprobe": []}, ["at least one value"]),
        ({"probes": [1]}, ["'probes'", "nprobe", "ndocs"]),
        ({"preset": "paper"}, ["list of values", "['paper']"]),
        ({"name": [1]}, ["'name'"]),
        ({"AP": [1]}, ["'AP'", "column"]),
        ({"retrieve_ms": [1]}, ["'retrieve_ms'", "column"]),
        ({"bytes_per_doc": [1]}, ["'bytes_per_doc'", "column"]),
        ({"nprobe": 4}, ["nprobe=4", "[4]"]),
        ({"nprobe": [1, 2, 1]}, ["nprobe=1 more than once"]),
        ([1, 2], ["[1, 2]", "'nprobe'"]),
    ],
)
def test_a_grid_that_does_not_fit(fruit, grid, words):
    encoder, index, topics, qrels = fruit
    with pytest.raises(ValueError) as error:
        lir.sweep(index.plaid, grid, topics, qrels, "AP", encoder=encoder)
    assert all(word in str(error.value) for word in words), error.value
    with pytest.raises(ValueError, match="encoder="):
        lir.sweep(index.plaid, {"nprobe": [1]}, topics, qrels, "AP")
    for make in (index, index.plaid()):
        with pytest.raises(ValueError, match=r"Pass index\.plaid, without brackets"):
            lir.sweep(make, {"nprobe": [1]}, topics, qrels, "AP")


def test_values_of_a_sweep_stay_what_they_are(fruit):
    encoder, index, topics, qrels = fruit
    grid = {"ndocs": [None, 128], "nprobe": range(1, 3)}
    found = lir.sweep(index.plaid, grid, topics, qrels, "AP", encoder=encoder, warm_up=0)
    assert found["ndocs"].tolist() == [None, None, 128, 128] and type(found["ndocs"][2]) is int
    assert found["nprobe"].dtype == int


# --- tables --------------------------------------------------------------------------------------------------

RESULTS = pd.DataFrame({
    "name": ["BM25 & co", "b_1", "c"], "AP": [0.2, 0.25, 0.1], "RR": [0.5, 0.5, 0.4999], "ms": [1.0, 20.5, np.nan],
    "AP +": [None, 5, 1], "AP -": [None, 1, 5],
    "AP p-value": [None, 0.001, 0.03], "AP p-value corrected": [None, 0.002, 0.06],
    "RR +": [None, 0, 0], "RR -": [None, 0, 1],
    "RR p-value": [None, np.nan, 0.9], "RR p-value corrected": [None, np.nan, 0.9],
})  # fmt: skip


def test_a_latex_table():
    heading, caption = {"ms": r"ms $\downarrow$"}, r"As \cite{x}, $k=1$."
    text = table(RESULTS, columns=heading, correction="holm", caption=caption, label="tab:x")
    assert text.splitlines() == [
        r"\begin{table}", r"\centering",
        r"\caption{As \cite{x}, $k=1$. Bold: best. $+$ and $-$: significantly better and worse than BM25 \& co (paired "
        r"t-test, Holm-corrected, $p <$ 0.05).}",
        r"\label{tab:x}", r"\begin{tabular}{lllr}", r"\toprule", r"system & AP & RR & ms $\downarrow$ \\", r"\midrule",
        r"BM25 \& co & 0.200 & \textbf{0.500} & 1.00 \\",
        r"b\_1 & \textbf{0.250}$^{+}$ & \textbf{0.500} & 20.50 \\",
        r"c & 0.100 & \textbf{0.500} & -- \\",  # equal to the best as printed
        r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip


def test_marks_follow_the_level_and_the_correction():
    assert "| c | 0.100 - |" in table(RESULTS, format="markdown", measures=["AP"], alpha=0.1)
    plain = RESULTS.drop(columns=[column for column in RESULTS if "corrected" in column])
    text = table(plain, format="markdown", measures=["AP"])
    assert "| c | 0.100 - |" in text and "not corrected for multiple tests" in text
    assert "corrected for multiple tests" in table(RESULTS)  # nobody said how
    assert "Bonferroni-corrected" in table(RESULTS, correction="bonferroni")
    assert "| c | 0.10 |" in table(RESULTS, format="markdown", measures=["AP"], digits=2)


def test_several_baselines_have_letters(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"first": First(), "exact": index.exhaustive(), "one": index.exhaustive(num_results=1)}
    results = measure(systems, topics, qrels, "RR", encoder=encoder, baseline=["exact", "first"], warm_up=0).results
    text = table(results, format="markdown")
    assert re.findall(r"^\| (.*) \|$", text, re.MULTILINE) == [
        "system | RR", "--- | ---:", "first (a) | 0.125 -b", "exact (b) | **1.000** +a", "one | **1.000** +a",
    ]  # fmt: skip
    assert "than first (a) or exact (b) (paired t-test, Holm-corrected per measure and baseline, p < 0.05)" in text


def test_costs_are_no_measures(fruit):
    encoder, index, topics, qrels = fruit
    results = measure({"plaid": index.plaid()}, topics, qrels, [nDCG @ 10, AP], encoder=encoder, warm_up=0).results
    assert table(results, format="markdown").splitlines() == [
        "| system | nDCG@10 | AP |", "| --- | ---: | ---: |", "| plaid | **1.000** | **1.000** |",
    ]  # fmt: skip


def test_several_datasets_stand_side_by_side():
    one = pd.DataFrame({"name": ["a", "b"], "AP": [0.2, 0.1], "ms": [1, 2]})
    other = pd.DataFrame({"name": ["b", "c"], "AP": [0.3, 0.3], "ms": [3.0, 4.0]})
    both = {"Sci_Fact": one, "Vaswani": other}
    lines = table(both, columns={"ms": "ms"}).splitlines()
    assert lines[2:11] == [
        r"\begin{tabular}{llrlr}", r"\toprule",
        r" & \multicolumn{2}{l}{Sci\_Fact} & \multicolumn{2}{l}{Vaswani} \\", r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}",
        r"system & AP & ms & AP & ms \\", r"\midrule", r"a & \textbf{0.200} & 1.00 & -- & -- \\",
        r"b & 0.100 & 2.00 & \textbf{0.300} & 3.00 \\", r"c & -- & -- & \textbf{0.300} & 4.00 \\",
    ]  # fmt: skip
    assert table(both, format="markdown").splitlines()[0] == "| system | Sci_Fact AP | Vaswani AP |"


def test_names_are_escaped():
    frame = pd.DataFrame({"name": ["a|b > *c* <d>\ne_f"], "AP": [0.5], "kind": ["x_y"]})
    assert r"a\textbar{}b \textgreater{} *c* \textless{}d\textgreater{} e\_f & \textbf{0.500} & x\_y" in table(
        frame, columns={"kind": "k"}
    )
    assert r"| a\|b > \*c\* \<d> e_f | **0.500** | x_y |" in table(frame, format="markdown", columns={"kind": "a|b"})
    assert r"| system | AP | a\|b |" in table(frame, format="markdown", columns={"kind": "a|b"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "html"}, "html"),
        ({"measures": ["P@5"]}, "P@5"),
        ({"measures": "P@5"}, "'P@5'"),
        ({"digits": -1}, "digits is -1"),
        ({"columns": ["ms"]}, r"columns=\{\"retrieve_ms\": \"ms\"\}"),
        ({"results": RESULTS.iloc[:0]}, "0 rows"),
        ({"results": RESULTS[["name", "ms"]]}, "measures="),
        ({"results": RESULTS.iloc[1:]}, "baseline whose row is not there"),
        ({"results": pd.concat([RESULTS, RESULTS])}, "'BM25 & co' occurs more than once"),
        ({"results": (RESULTS,)}, r"measure\(...\).results"),
    ],
)
def test_tables_that_cannot_be_written(arguments, words):
    with pytest.raises(ValueError, match=words):
        table(**{"results": RESULTS, **arguments})


def test_what_pt_experiment_calls_its_measures(fruit):
    _encoder, _index, topics, qrels = fruit
    results = pt.Experiment([First()], topics, qrels, ["map", "ndcg_cut_10", "mrt"], names=["first"])
    assert table(results, format="markdown").splitlines()[0] == "| system | map | ndcg_cut_10 |"
    assert "| first | **0.125** |" in table(results, format="markdown", measures=[AP] if "AP" in results else "map")
