"""Sweeps: a row for each combination of parameters, queries encoded once."""

import signal

import pyterrier as pt
import pytest
from fruit import FRUIT
from ir_measures import AP, nDCG

import pyterrier_lir as lir


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
        ({"error": [1]}, ["'error'", "column"]),
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


class Fails(pt.Transformer):
    def transform(self, inp):
        raise OSError("the disk is full")


def test_what_is_finished_outlives_a_combination_that_fails(fruit, caplog):
    encoder, index, topics, qrels = fruit

    def make(nprobe, broken):
        return index.plaid(nprobe=nprobe) if (nprobe, broken) != (2, True) else Fails()

    grid = {"nprobe": [2, 1], "broken": [True, False]}
    found = lir.sweep(make, grid, topics, qrels, [AP], encoder=encoder, warm_up=0)
    assert list(found)[:4] == ["name", "nprobe", "broken", "AP"] and list(found)[-1] == "error"
    assert (
        found["error"].tolist()[0] == "OSError: the disk is full" and found["error"].isna().tolist()[1:] == [True] * 3
    )
    assert found["AP"].isna().tolist() == [True, False, False, False] and found["retrieve_ms"].notna().sum() == 3
    assert found["nprobe"].tolist() == [2, 2, 1, 1] and found["broken"].tolist() == [True, False, True, False]
    assert "nprobe=2, broken=True failed, the sweep goes on: OSError: the disk is full" in caplog.text
    assert len(lir.tradeoff_plot(found, y="AP").axes[0].texts) == 3


class Stopped(pt.Transformer):
    """Somebody presses Ctrl-C while this one works."""

    def transform(self, inp):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the signal was not heard")


@pytest.fixture
def ctrl_c():
    """Python's own handler: what a shell starts in the background ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_finished_outlives_ctrl_c(fruit, caplog, ctrl_c):
    encoder, index, topics, qrels = fruit
    grid = {"nprobe": [1, 2, 3, 4]}
    makers = {1: index.plaid, 2: lambda **_: Fails(), 3: lambda **_: Stopped(), 4: index.plaid}
    found = lir.sweep(
        lambda nprobe: makers[nprobe](nprobe=nprobe), grid, topics, qrels, [AP], encoder=encoder, warm_up=0
    )
    assert found["nprobe"].tolist() == [1, 2, 3, 4] and list(found)[-1] == "error"
    assert found["error"].tolist()[1:] == ["OSError: the disk is full", "KeyboardInterrupt", "KeyboardInterrupt"]
    assert found["AP"].notna().tolist() == [True, False, False, False]
    assert "interrupted at nprobe=3: the last 2 of 4 pipelines are not measured" in caplog.text
    with pytest.raises(KeyboardInterrupt):
        lir.sweep(lambda nprobe: Stopped(), grid, topics, qrels, [AP], encoder=encoder)


def test_nothing_is_finished_where_all_fail(fruit):
    encoder, _index, topics, qrels = fruit
    with pytest.raises(OSError, match="the disk is full"):
        lir.sweep(lambda a: Fails(), {"a": [1, 2]}, topics, qrels, [AP], encoder=encoder)
