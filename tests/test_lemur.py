"""LEMUR: what it learns is its definition, exact where a document has one vector, and exact behind a re-ranker."""

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, documents, tree

from pyterrier_lir.ragged import Ragged
from pyterrier_lir.retrieve import faiss_vectors, lemur
from pyterrier_lir.retrieve.lemur import Features, Lemur

SMALL = {"hidden": 32, "tokens": 400, "epochs": 2}


def unit(rng, rows, dim=16):
    values = rng.standard_normal((rows, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build(tmp_path_factory.mktemp("lemur") / "i", documents(300, longest=20), keep_embs=True)


@pytest.fixture(scope="module")
def topics():
    return pd.DataFrame({"qid": list("abcd"), "query_embs": [clustered(n, seed=100 + n) for n in (1, 5, 17, 33)]})


def test_features_and_regression_are_their_definitions():
    rng = np.random.default_rng(0)
    tokens, weight, bias = rng.standard_normal((50, 4)), rng.standard_normal((6, 4)), rng.standard_normal(6)
    found = lemur.features(tokens, weight, bias)
    assert found.shape == (50, 4 + 1 + 6)
    by_hand = [[*x, 1, *(max(w @ x + b, 0) for w, b in zip(weight, bias, strict=True))] for x in tokens]
    np.testing.assert_allclose(found, by_hand, atol=1e-12)
    y = rng.standard_normal(50)
    solved = y @ lemur.solution(found, 0.1)
    direct = np.linalg.solve(found.T @ found + 0.1 * 50 * np.eye(11), found.T @ y)
    np.testing.assert_allclose(solved, direct, rtol=2e-4)


def test_the_maxima_are_those_of_each_document(monkeypatch):
    rng = np.random.default_rng(1)
    tokens, docs = unit(rng, 7), [unit(rng, n) for n in (3, 1, 9, 2, 5)]
    expected = np.stack([(tokens @ doc.T).max(axis=1) for doc in docs], axis=1)
    np.testing.assert_allclose(lemur.maxima(tokens, Ragged.from_list(docs)), expected, atol=1e-6)
    monkeypatch.setattr(lemur, "TOKENS", 4)  # smaller blocks, one document longer than a block
    np.testing.assert_allclose(lemur.maxima(tokens, Ragged.from_list(docs)), expected, atol=1e-6)


def test_a_document_of_one_vector_is_exact():
    rng = np.random.default_rng(2)
    tokens, docs, query = unit(rng, 300), [unit(rng, 1) for _ in range(20)], unit(rng, 6)
    weight, bias = lemur.first_units(tokens, 10, rng)
    learned = Features(weight, bias, tokens, lemur.solution(lemur.features(tokens, weight, bias), 1e-9))
    weights = rng.uniform(0.5, 2, 6).astype(np.float32)
    estimates = learned.documents(Ragged.from_list(docs)) @ learned.query(query, weights)
    np.testing.assert_allclose(estimates, [weights @ (query @ doc[0]) for doc in docs], atol=1e-4)


def test_training_explains_more():
    tokens, unseen = clustered(600, seed=1), clustered(300, seed=2)
    docs = Ragged.from_list([clustered(8, seed=10 + i) for i in range(40)])
    targets = lemur.maxima(tokens, docs)

    def error(epochs):
        weight, bias = lemur.first_units(tokens, 32, np.random.default_rng(0))
        if epochs:
            weight, bias = lemur.trained(tokens, targets, weight, bias, Lemur(32, 600, epochs, 1e-4, 0))
        solve = lemur.solution(lemur.features(tokens, weight, bias), 1e-4)
        vectors = Features(weight, bias, tokens, solve).documents(docs)
        return np.mean((lemur.features(unseen, weight, bias) @ vectors.T - lemur.maxima(unseen, docs)) ** 2)

    assert error(60) < 0.95 * error(0)


def test_all_candidates_re_ranked_are_exhaustive_search(index, topics):
    found = (index.lemur(**SMALL) >> index.maxsim())(topics)
    exact = index.exhaustive()(topics)
    pd.testing.assert_frame_equal(found[["qid", "docno", "rank"]], exact[["qid", "docno", "rank"]])


def test_its_scores_estimate_maxsim(index, topics):
    found = index.lemur(hidden=256, tokens=3000)(topics).merge(
        index.exhaustive()(topics), on=["qid", "docno"], suffixes=("", "_exact")
    )
    for _, of_query in found.groupby("qid"):
        assert np.corrcoef(of_query["score"], of_query["score_exact"])[0, 1] > 0.75
    bias = (found["score"] - found["score_exact"]).abs().mean() / found["score_exact"].abs().mean()
    assert bias < 0.25


def test_each_parameter_changes_something(index, topics):
    changes = [{}, {"hidden": 33}, {"tokens": 300}, {"epochs": 0}, {"ridge": 1e-2}, {"seed": 1}, {"ann": "hnsw"}]
    found = [index.lemur(**{**SMALL, **change})(topics)["score"] for change in changes]
    assert len({tuple(scores) for scores in found}) == len(changes)
    assert len(index.lemur(num_results=3, **SMALL)(topics)) == 12
    some = index.docnos[5:9]
    exact = index.exhaustive(docnos=some)(topics)
    assert set(index.lemur(docnos=some, **SMALL)(topics)["docno"]) == set(exact["docno"]) <= set(some)
    assert {"lemur_encode_ms", "lemur_search_ms"} <= set(index.lemur(stats=True, **SMALL)(topics).columns)
    assert len(
        index.lemur(ann="ivfpq", hidden=31, nprobe=1, **{k: SMALL[k] for k in ("tokens", "epochs")})(topics)
    ) < len(index.lemur(ann="ivfpq", hidden=31, nprobe=99, **{k: SMALL[k] for k in ("tokens", "epochs")})(topics))


def test_weights_count(index, topics):
    def scores(weights):
        asked = topics[1:2].assign(query_weights=[np.array(weights, np.float32)])
        return index.lemur(**SMALL)(asked).set_index("docno")["score"].sort_index()

    whole = scores([1, 0, 0, 0, 0]) + scores([0, 0, 0.5, 0, 2])
    np.testing.assert_allclose(scores([1, 0, 0.5, 0, 2]), whole, rtol=1e-4)  # linear, and 0 takes a row away


def test_the_same_bytes_on_any_number_of_threads(tmp_path, topics):
    trees = []
    for threads in (1, 3):
        index = build(tmp_path / str(threads), documents(120, longest=20))
        index.lemur(num_threads=threads, **SMALL)(topics)
        trees.append(tree(tmp_path / str(threads)))
    assert trees[0] == trees[1] and any("lemur" in name for name in trees[0])


@pytest.mark.parametrize("threads", [1, 3])
def test_in_blocks_every_document_has_its_vector(index, topics, tmp_path, monkeypatch, threads):
    whole = index.lemur(**SMALL)(topics)
    monkeypatch.setattr(lemur, "TOKENS", 100)
    small = build(tmp_path / "i", documents(300, longest=20), keep_embs=True)
    found = small.lemur(num_threads=threads, **SMALL)(topics)
    pd.testing.assert_frame_equal(found[["qid", "docno", "rank"]], whole[["qid", "docno", "rank"]])
    np.testing.assert_allclose(found["score"], whole["score"], rtol=1e-3, atol=1e-2)  # vectors are kept in 16 bits


def test_new_documents_are_regressed_and_features_stay(tmp_path, topics):
    index = build(tmp_path / "i", documents(80, longest=10))
    retriever = index.lemur(**SMALL)
    before = retriever(topics).set_index(["qid", "docno"])["score"]
    features = next((tmp_path / "i" / "derived" / "lemur").glob("features-*"))
    made = features.stat().st_mtime_ns
    index.add([{"docno": "new", "doc_embs": clustered(6, seed=7)}])
    index.delete([index.docnos[0]])
    index.reopen()
    after = retriever(topics).set_index(["qid", "docno"])["score"]
    same = before.index.intersection(after.index)
    assert len(same) == len(before) - 4 and after.loc[same].equals(before.loc[same])
    assert {docno for _, docno in after.index} - {docno for _, docno in before.index} == {"new"}
    assert features.stat().st_mtime_ns == made


def test_a_lighter_effort_is_refused_where_it_is_none(index):
    with pytest.raises(ValueError, match="ef_search is 3, but ann is 'flat'; expected ann=\"hnsw\""):
        index.lemur(ef_search=3)
    with pytest.raises(ValueError, match="ann is 'tree'; expected one of 'flat', 'hnsw'"):
        index.lemur(ann="tree")
    for name, value in (("hidden", -1), ("tokens", 0), ("epochs", -1), ("ridge", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            index.lemur(**{name: value})


@pytest.mark.parametrize("ann", ["pq", "ivfpq"])
def test_any_number_of_values_is_coded_eight_by_eight(index, topics, ann):
    """49 values are coded as 56 with seven zeros, in 7 bytes; zeros change no product."""
    effort = {"nprobe": 99} if ann == "ivfpq" else {}
    coded = index.lemur(ann=ann, num_results=300, **effort, **SMALL)(topics)
    flat = index.lemur(num_results=300, **SMALL)(topics)
    both = flat.merge(coded, on=["qid", "docno"], suffixes=("", "_coded"))
    assert len(both) == len(flat) == len(coded) > 1000  # all that have vectors, of 4 queries
    for _, query in both.groupby("qid"):
        assert np.corrcoef(query["score"], query["score_coded"])[0, 1] > 0.95
    vectors = np.arange(9, dtype=np.float32).reshape(1, 9)
    filled = faiss_vectors._filled(vectors, faiss_vectors._whole_size(ann, 9))
    assert filled.tolist() == [[*range(9), *[0] * 7]]
    assert (faiss_vectors._whole_size(ann, 16), faiss_vectors._whole_size("hnsw", 9)) == (16, 9)


def test_fewer_tokens_than_asked_for_and_no_hidden_unit(tmp_path):
    index = build(tmp_path / "i", [{"docno": "a", "doc_embs": np.eye(2, 8, dtype=np.float32)}])
    query = pd.DataFrame({"qid": ["1"], "query_embs": [np.eye(1, 8, dtype=np.float32)]})
    assert index.lemur()(query)["docno"].tolist() == ["a"]
    assert index.lemur(hidden=0)(query)["docno"].tolist() == ["a"]
