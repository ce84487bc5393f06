"""Sweeps, costs beside measures, differences by query, and tables as papers print them."""

import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import AP, RR, nDCG
from scipy.stats import ttest_rel

import pyterrier_lir as lir
from pyterrier_lir.experiment import difference_plot, measure, table
from pyterrier_lir.experiment.differences import differences
from pyterrier_lir.experiment.measuring import counts, sizes

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
    """Takes plain queries; gives d0, or for some queries nothing but d7."""

    def __init__(self):
        self.columns = []

    def transform(self, inp):
        pt.validate.query_frame(inp, ["query"])
        if len(inp):
            self.columns.append(list(inp.columns))
        return inp[["qid", "query"]].assign(docno="d0", score=1.0, rank=0)


# --- measure -------------------------------------------------------------------------------------------------


def test_quality_time_and_space_stand_in_one_row(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"first": First(), "exact": index.exhaustive(), "plaid": index.plaid(num_results=3)}
    results, perquery, rankings = measure(systems, topics, qrels, [nDCG @ 10, "RR"], encoder=encoder, warm_up=0)
    assert results["name"].tolist() == ["first", "exact", "plaid"]
    assert results["RR"].tolist() == [1 / 8, 1.0, 1.0]  # d0 answers one of eight queries
    assert results["index_mb"].tolist()[1:] == [index.info()["megabytes"]] * 2 and np.isnan(results["index_mb"][0])
    assert results["bytes_per_doc"][1] == pytest.approx(index.info()["megabytes"] * 1e6 / 8)
    assert results["encode_ms"][0] == 0 and results["encode_ms"][1] == results["encode_ms"][2] > 0
    per = perquery[perquery["name"] == "plaid"]["retrieve_ms"]
    assert results["retrieve_ms"][2] == per.median() and results["retrieve_ms_p95"][2] == per.quantile(0.95)
    assert list(perquery) == ["name", "qid", "nDCG@10", "RR", "encode_ms", "retrieve_ms"] and len(perquery) == 24
    assert len(rankings["plaid"]) == 24 and "plaid_candidates" not in rankings["plaid"]


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
    assert counts(asked, encoded) == expected
    assert counts(asked % 1 >> index.maxsim(), encoded) == expected
    assert counts(index.exhaustive(), encoded) == {}
    assert set(counts(index.warp(), encoded)) == {"warp_tokens", "warp_docs"}


def test_indexes_are_found_wherever_they_are(fruit, tmp_path):
    encoder, index, _topics, _qrels = fruit
    other = (encoder >> lir.LirIndex(tmp_path / "o.lir").indexer(verbose=False)).index([{"docno": "x", "text": "fig"}])
    one, two = index.info()["megabytes"], other.info()["megabytes"]
    assert sizes(index.plaid() >> index.maxsim())["index_mb"] == pytest.approx(one)
    assert sizes(index.plaid() + 2 * other.plaid())["index_mb"] == pytest.approx(one + two)
    assert sizes(First()) == {}


def test_comparisons_are_those_of_pt_experiment(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"exact": index.exhaustive(), "first": First(), "two": index.exhaustive(num_results=2)}
    one = measure(systems, topics, qrels, [AP, RR], encoder=encoder, baseline="exact", warm_up=0)
    wanted = pt.Experiment(one.rankings, topics, qrels, [AP, RR], baseline="exact", correction="holm")
    pd.testing.assert_frame_equal(one.results[list(wanted)], wanted, check_dtype=False)
    both = measure(systems, topics, qrels, [AP, RR], encoder=encoder, baseline=["exact", "first"], warm_up=0).results
    assert both["AP p-value corrected vs exact"].equals(one.results["AP p-value corrected"])
    assert both.loc[0, "AP + vs first"] == 7 and both.loc[1, "AP - vs exact"] == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": None}, ["'exact'", "query_embs", "encoder="]),
        ({"systems": {}}, ["no systems"]),
        ({"baseline": "bm25"}, ["'bm25'", "exact"]),
        ({"eval_metrics": ["mrt"]}, ["'mrt'", "ir_measures"]),
        ({"topics": pd.DataFrame({"qid": [], "query": []})}, ["no topics"]),
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
    ],
)
def test_a_grid_that_does_not_fit(fruit, grid, words):
    encoder, index, topics, qrels = fruit
    with pytest.raises(ValueError) as error:
        lir.sweep(index.plaid, grid, topics, qrels, "AP", encoder=encoder)
    assert all(word in str(error.value) for word in words), error.value
    with pytest.raises(ValueError, match="encoder="):
        lir.sweep(index.plaid, {"nprobe": [1]}, topics, qrels, "AP")


# --- differences ---------------------------------------------------------------------------------------------

PERQUERY = pd.DataFrame({
    "name": ["a"] * 5 + ["b"] * 5,
    "qid": list("12345") * 2,
    "AP": [0.5, 0.2, 0.9, 0.4, 0.3, 0.4, 0.2, 0.5, 0.6, 0.3],
})  # fmt: skip


def test_differences_are_sorted():
    found = differences(PERQUERY, "a", "b", "AP")
    assert found.index.tolist() == ["3", "1", "2", "5", "4"]
    np.testing.assert_allclose(found, [0.4, 0.1, 0, 0, -0.2])
    tidy = PERQUERY.assign(measure="AP").rename(columns={"AP": "value"})  # as pt.Experiment(perquery=True)
    assert differences(tidy, "a", "b", "AP").equals(found)


def test_the_difference_plot_counts_and_tests():
    (axes,) = difference_plot(PERQUERY, "a", "b", "AP").axes
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [0.4, 0.1, 0, 0, -0.2])
    p = ttest_rel(PERQUERY["AP"][:5], PERQUERY["AP"][5:]).pvalue
    assert axes.get_title(loc="left") == f"2 wins, 2 ties, 1 losses; mean +0.060, paired t-test p = {p:.3f}"
    (same,) = difference_plot(PERQUERY, "a", "a", "AP").axes
    assert "0 wins, 5 ties, 0 losses" in same.get_title(loc="left") and "identical" in same.get_title(loc="left")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("c", "b", "AP"), "'c'"), (("a", "b", "RR"), "'RR'"), (("a", "d", "AP"), "share no query")],
)
def test_differences_that_are_not_there(arguments, words):
    frame = pd.concat([PERQUERY, pd.DataFrame({"name": ["d"], "qid": ["99"], "AP": [1.0]})])
    with pytest.raises(ValueError, match=words):
        difference_plot(frame, *arguments)


# --- tables --------------------------------------------------------------------------------------------------

RESULTS = pd.DataFrame({
    "name": ["BM25 & co", "b_1", "c"], "AP": [0.2, 0.25, 0.1], "RR": [0.5, 0.5, 0.4999], "ms": [1.0, 20.5, np.nan],
    "AP +": [None, 5, 1], "AP -": [None, 1, 5],
    "AP p-value": [None, 0.001, 0.03], "AP p-value corrected": [None, 0.002, 0.06],
    "RR +": [None, 0, 0], "RR -": [None, 0, 1],
    "RR p-value": [None, np.nan, 0.9], "RR p-value corrected": [None, np.nan, 0.9],
})  # fmt: skip


def test_a_latex_table():
    text = table(RESULTS, columns={"ms": "ms"}, caption="100% real.", label="tab:x")
    assert text.splitlines() == [
        r"\begin{table}", r"\centering",
        r"\caption{100\% real. Bold: best. $+$ and $-$: significantly better and worse than BM25 \& co (paired t-test, "
        r"Holm-corrected, $p <$ 0.05).}",
        r"\label{tab:x}", r"\begin{tabular}{lllr}", r"\toprule", r"system & AP & RR & ms \\", r"\midrule",
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


@pytest.mark.parametrize(("arguments", "words"), [({"format": "html"}, "html"), ({"measures": ["P@5"]}, "P@5")])
def test_tables_that_cannot_be_written(arguments, words):
    with pytest.raises(ValueError, match=words):
        table(RESULTS, **arguments)
