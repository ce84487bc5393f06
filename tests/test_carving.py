"""Ball carving: fewer query vectors, whose scores are never larger."""

import numpy as np
import pytest
from corpora import DIM, build, clustered, documents
from rankings import frame

import pyterrier_lir as lir


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build(tmp_path_factory.mktemp("muvera") / "i", documents(600, longest=20), keep_embs=True)


def carved(query, tau, weights=None):
    inp = frame([query]) if weights is None else frame([query], query_weights=[weights])
    return lir.feedback.BallCarving(tau=tau)(inp).iloc[0]


def test_carving_by_hand():
    query = np.array([[1, 0], [0, 1], [0.8, 0.6], [0.6, 0.8]], np.float32)
    # (1, 0) takes (.8, .6); then (0, 1) takes (.6, .8)
    np.testing.assert_allclose(carved(query, 0.7)["query_embs"], [[1.8, 0.6], [0.6, 1.8]], atol=1e-6)
    np.testing.assert_allclose(carved(query, 0.5)["query_embs"], [[2.4, 1.4], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(carved(query, 0.6)["query_embs"], [[2.4, 1.4], [0, 1]], atol=1e-6)  # at least tau


def test_carving_at_its_limits():
    query = clustered(20)
    np.testing.assert_array_equal(carved(query, 1.1)["query_embs"], query)
    np.testing.assert_allclose(carved(query, -1.1)["query_embs"], query.sum(axis=0)[None], atol=1e-5)
    for tau in (0.2, 0.5, 0.9):
        rows = carved(query, tau)["query_embs"]
        assert 1 < len(rows) < 20
        np.testing.assert_allclose(rows.sum(axis=0), query.sum(axis=0), atol=1e-5)
    assert carved(np.zeros((0, DIM), np.float32), 0.7)["query_embs"].shape == (0, DIM)
    one = np.array([[0.5, 0]], np.float32)  # whose product with itself is below tau
    np.testing.assert_array_equal(carved(one, 0.7)["query_embs"], one)


def test_carving_honours_weights(index):
    query, weights = clustered(20), np.linspace(0, 2, 20, dtype=np.float32)
    out = carved(query, 0.7, weights)
    np.testing.assert_allclose(out["query_embs"].sum(axis=0), weights @ query, atol=1e-5)
    assert out["query_weights"].tolist() == [1.0] * len(out["query_embs"])
    apart = lir.feedback.BallCarving(tau=1.1)(frame([query], query_weights=[weights]))
    kept = ["docno", "rank"]
    a, b = index.exhaustive()(apart), index.exhaustive()(frame([query], query_weights=[weights]))
    np.testing.assert_allclose(a["score"], b["score"], atol=1e-4)
    assert (a[kept] == b[kept]).all(axis=1).mean() > 0.95  # but for the order of nearly equal scores
    # a weight is worth as much as a row twice
    double = carved(query[:2], -2, np.array([2, 1], np.float32))["query_embs"]
    np.testing.assert_allclose(double, carved(query[[0, 0, 1]], -2)["query_embs"], atol=1e-6)


def test_carved_scores_are_never_larger(index):
    queries = frame([clustered(32, seed=800 + i) for i in range(10)])
    exact = index.exhaustive()(queries).set_index(["qid", "docno"])["score"]
    equal = []
    for tau in (0.5, 0.7, 0.9):
        found = (lir.feedback.BallCarving(tau=tau) >> index.exhaustive())(queries).set_index(["qid", "docno"])["score"]
        assert (found <= exact[found.index] + 1e-4).all()
        equal.append(np.mean(np.isclose(found, exact[found.index], atol=1e-4)))
    assert equal[0] < equal[-1]
    pipeline = index.muvera() % 100 >> lir.feedback.BallCarving() >> index.maxsim()
    assert len(pipeline(queries)) == 1000


@pytest.mark.parametrize("tau", ["0.7", None, np.nan, np.inf])
def test_a_wrong_tau_is_named(tau):
    with pytest.raises(ValueError, match=f"tau is {tau!r}; expected a finite number"):
        lir.feedback.BallCarving(tau=tau)
