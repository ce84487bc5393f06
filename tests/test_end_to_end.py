"""The first experiment that a user makes: index, search, re-rank, compare."""

import pandas as pd
import pyterrier as pt
import pytest
from pyterrier.measures import RR, R

import pyterrier_lir as lir

CORPUS = [
    {"docno": "d1", "text": "red apples and green apples"},
    {"docno": "d2", "text": "green pears"},
    {"docno": "d3", "text": "yellow bananas"},
]
TOPICS = pd.DataFrame([["q1", "green pears"], ["q2", "red apples"]], columns=["qid", "query"])
QRELS = pd.DataFrame([["q1", "d2", 1], ["q2", "d1", 1]], columns=["qid", "docno", "label"])


@pytest.fixture
def index(tmp_path):
    index = lir.LirIndex(tmp_path / "fruit.lir")
    return (lir.ToyEncoder() >> index.indexer(verbose=False)).index(CORPUS)


def test_experiment(index):
    systems = {
        "exhaustive": lir.ToyEncoder() >> index.exhaustive(),
        "rerank": lir.ToyEncoder().query_encoder() >> index.exhaustive() % 2 >> index.maxsim(),
    }
    table = pt.Experiment(systems, TOPICS, QRELS, [RR @ 10, R @ 1, "mrt"])
    assert table["RR@10"].tolist() == [1.0, 1.0]  # both words of each query stand in the relevant document alone
    assert table["R@1"].tolist() == [1.0, 1.0]


def test_scores_count_the_words_that_match(index):
    found = (lir.ToyEncoder(dim=4096) >> lir.LirIndex(index.path.parent / "wide.lir")).index(CORPUS)
    ranking = (lir.ToyEncoder(dim=4096) >> found.exhaustive()).search("green pears")
    assert ranking["docno"].tolist() == ["d2", "d1", "d3"]
    # two words, one word, none; words that differ have a similarity of about 1 / sqrt(4096)
    assert ranking["score"].tolist() == pytest.approx([2, 1, 0], abs=0.1)


def test_the_index_is_a_stream_of_documents_again(index, tmp_path):
    copy = lir.LirIndex(tmp_path / "copy.lir").index(index.get_corpus_iter())
    topics = lir.ToyEncoder()(TOPICS)
    pd.testing.assert_frame_equal(copy.exhaustive()(topics), index.exhaustive()(topics))
