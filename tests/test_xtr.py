"""XTR: exact where every token is retrieved, an upper bound where not, as the paper's formula by hand."""

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, documents

AXES = np.eye(4, dtype=np.float32)


@pytest.fixture(scope="module", params=["codes", "fp16"])
def index(tmp_path_factory, request):
    path = tmp_path_factory.mktemp("xtr") / "i"
    return build(path, documents(300, longest=20), keep_embs=request.param == "fp16")


@pytest.fixture(scope="module")
def topics():
    queries = [clustered(n, seed=100 + n) for n in (1, 5, 17, 33)]
    return pd.DataFrame({"qid": list("abcd"), "query_embs": queries})


def scores(found):
    return found.set_index(["qid", "docno"])["score"].sort_index()


def tokens(index):
    return index.store.manifest["tokens"]


def mean_of_exhaustive(index, topics):
    exact = index.exhaustive()(topics)
    rows = dict(zip(topics["qid"], topics["query_embs"].map(len), strict=True))
    return scores(exact.assign(score=exact["score"] / exact["qid"].map(rows)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Documents a to d with tokens whose products with the query's rows are easy."""
    docs = [
        ("a", [[1, 0, 0, 0], [0.6, 0.8, 0, 0]]),
        ("b", [[0, 1, 0, 0]]),
        ("c", [[0.8, 0, 0.6, 0]]),
        ("d", [[0, 0, 0, 1]]),
    ]
    records = [{"docno": docno, "doc_embs": np.array(embs, np.float32)} for docno, embs in docs]
    return build(tmp_path_factory.mktemp("tiny") / "i", records, keep_embs=True)


# Row 0 is the first axis, row 1 the second: products of the tokens
#   a1 (1, 0)   a2 (.6, .8)   b (0, 1)   c (.8, 0)   d (0, 0)
TWO_ROWS = pd.DataFrame({"qid": ["1"], "query_embs": [AXES[:2]]})


@pytest.mark.parametrize(
    ("impute", "expected"),
    [
        # Two tokens for each row: row 0 retrieves a1 (1) and c (.8), row 1 b (1) and a2 (.8).
        ("kth", {"a": (1 + 0.8) / 2, "b": (0.8 + 1) / 2, "c": (0.8 + 0.8) / 2}),
        ("zero", {"a": (1 + 0.8) / 2, "b": 1 / 2, "c": 0.8 / 2}),
        (0.2, {"a": (1 + 0.8) / 2, "b": (0.2 + 1) / 2, "c": (0.8 + 0.2) / 2}),
        ("none", {"a": (1 + 0.8) / 2, "b": 1.0, "c": 0.8}),
    ],
)
def test_by_hand(tiny, impute, expected):
    found = tiny.xtr(token_k=2, impute=impute)(TWO_ROWS)
    assert found.set_index("docno")["score"].to_dict() == pytest.approx(expected, abs=1e-3)  # d has no retrieved token
    summed = {docno: 2 * score for docno, score in expected.items()}
    if impute != "none":
        found = tiny.xtr(token_k=2, impute=impute, normalise="sum")(TWO_ROWS)
        assert found.set_index("docno")["score"].to_dict() == pytest.approx(summed, abs=1e-3)


def test_weights_by_hand(tiny):
    weighted = TWO_ROWS.assign(query_weights=[[1, 3]])
    found = tiny.xtr(token_k=2)(weighted).set_index("docno")["score"].to_dict()
    assert found == pytest.approx({"a": (1 + 3 * 0.8) / 4, "b": (0.8 + 3) / 4, "c": (0.8 + 3 * 0.8) / 4}, abs=1e-3)
    constant = tiny.xtr(token_k=2, impute=0.2)(weighted).set_index("docno")["score"].to_dict()
    assert constant == pytest.approx({"a": 3.4 / 4, "b": (0.2 + 3) / 4, "c": (0.8 + 0.6) / 4}, abs=1e-3)
    alone = tiny.xtr(token_k=2, impute="none")(weighted).set_index("docno")["score"].to_dict()
    assert alone == pytest.approx({"a": 3.4 / 4, "b": 1.0, "c": 0.8}, abs=1e-3)
    first = tiny.xtr(token_k=2)(TWO_ROWS.assign(query_weights=[[1, 0]])).set_index("docno")["score"].to_dict()
    assert first == pytest.approx({"a": 1.0, "c": 0.8}, abs=1e-3)


def test_exact_where_every_token_is_retrieved(index, topics):
    found = index.xtr(token_k=tokens(index))(topics)
    expected = mean_of_exhaustive(index, topics)
    assert scores(found).index.equals(expected.index)
    np.testing.assert_allclose(scores(found), expected, rtol=1e-5, atol=1e-5)
    summed = scores(index.xtr(token_k=10**6, normalise="sum")(topics))
    np.testing.assert_allclose(summed, scores(index.exhaustive()(topics)), rtol=1e-5, atol=1e-5)


def test_cells_hold_every_token(index, topics):
    everything = index.xtr(token_k=10**6, nprobe=index.store.manifest["centroids"])(topics)
    exact = scores(index.xtr(token_k=10**6)(topics))
    assert scores(everything).index.equals(exact.index)
    # where vectors are kept, cells are scored from the codes all the same
    np.testing.assert_allclose(scores(everything), exact, atol=0.1 if index.store.manifest["keep_embs"] else 1e-5)


def test_an_upper_bound_that_falls_with_token_k(index, topics):
    exact = mean_of_exhaustive(index, topics)
    before, seen = None, set()
    for token_k in (1, 10, 100, 1000, tokens(index)):
        found = scores(index.xtr(token_k=token_k)(topics))
        assert (found >= exact[found.index] - 1e-5).all()
        assert seen <= set(found.index)
        if before is not None:
            assert (found[before.index] <= before + 1e-5).all()
        before, seen = found, set(found.index)
    assert len(scores(index.xtr(token_k=1)(topics))) <= sum(topics["query_embs"].map(len))


def test_zero_is_less_than_the_last_score(index, topics):
    kth = scores(index.xtr(token_k=50)(topics))
    zero = scores(index.xtr(token_k=50, impute="zero")(topics))
    assert (zero <= kth + 1e-6).all()
    assert (zero < kth - 1e-6).any()


def test_copies_of_a_document_score_the_same(tmp_path, topics):
    docs = list(documents(60, longest=10))
    index = build(tmp_path / "i", docs + [{**d, "docno": f"again-{d['docno']}"} for d in docs])
    found = index.xtr(token_k=100)(topics)
    one = scores(found[~found["docno"].str.startswith("again")])
    again = found[found["docno"].str.startswith("again")]
    again = scores(again.assign(docno=again["docno"].str.removeprefix("again-")))
    shared = one.index.intersection(again.index)
    assert len(shared) > 0.9 * len(one)  # where the cut falls between two copies of a token, one may be missing
    assert (one[shared] == again[shared]).mean() > 0.9


def test_padding_is_no_row(index, topics):
    padded = topics.assign(
        query_embs=[np.vstack([q, np.zeros((3, q.shape[1]), q.dtype)]) for q in topics["query_embs"]]
    )
    assert scores(index.xtr()(padded)).equals(scores(index.xtr()(topics)))


def test_neither_threads_nor_batches_matter(index, topics):
    for settings in ({"token_k": 70}, {"token_k": 70, "nprobe": 5}):
        one = index.xtr(num_threads=1, **settings)(topics)
        pd.testing.assert_frame_equal(index.xtr(num_threads=3, **settings)(topics), one)
        alone = [index.xtr(num_threads=2, **settings)(topics.iloc[[i]]) for i in range(4)]
        pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), one)


def test_within_a_set(index, topics):
    wanted = [f"d{i}" for i in range(0, 300, 7)]
    exact = mean_of_exhaustive(index, topics)
    exact = exact[exact.index.get_level_values("docno").isin(wanted)]
    found = scores(index.xtr(docnos=wanted, token_k=tokens(index))(topics))
    np.testing.assert_allclose(found, exact[found.index], rtol=1e-5, atol=1e-5)
    assert len(found) == len(exact)
    inside = index.xtr(docnos=wanted, token_k=20, nprobe=30)(topics)
    assert set(inside["docno"]) <= set(wanted)
    assert len(index.xtr(docnos=[])(topics)) == 0


def test_the_scorer_is_xtr_within_its_documents(index, topics):
    candidates = index.plaid(num_results=20)(topics)
    rescored = index.xtr_scorer(token_k=60)(candidates)
    assert len(rescored) == len(candidates)
    for qid, group in rescored.groupby("qid"):
        query = topics[topics["qid"] == qid]
        wanted = index.xtr(token_k=60, docnos=group["docno"].tolist())(query).set_index("docno")["score"]
        found = group.set_index("docno")["score"]
        assert found[wanted.index].tolist() == wanted.tolist()
        assert (found.drop(wanted.index) <= wanted.min()).all()  # what is imputed for every row
    all_tokens = scores(index.xtr_scorer(token_k=10**6)(candidates))
    np.testing.assert_allclose(all_tokens, mean_of_exhaustive(index, topics)[all_tokens.index], rtol=1e-5, atol=1e-5)


def test_the_scorer_returns_every_row(tiny):
    rows = TWO_ROWS.merge(pd.DataFrame({"docno": ["d", "c", "b", "a"]}), how="cross")
    found = tiny.xtr_scorer(token_k=2)(rows).set_index("docno")["score"].to_dict()
    assert found == pytest.approx({"a": 0.9, "b": 0.9, "c": 0.8, "d": 0.8}, abs=1e-3)  # d: .8 imputed twice
    found = tiny.xtr_scorer(token_k=2, impute="zero")(rows).set_index("docno")["score"].to_dict()
    assert found == pytest.approx({"a": 0.9, "b": 0.5, "c": 0.4, "d": 0.0}, abs=1e-3)
    assert tiny.xtr_scorer(token_k=2, impute="none")(rows).set_index("docno")["score"]["d"] == -np.inf
    summed = tiny.xtr_scorer(token_k=2, normalise="sum")(rows).set_index("docno")["score"].to_dict()
    assert summed == pytest.approx({"a": 1.8, "b": 1.8, "c": 1.6, "d": 1.6}, abs=1e-3)


def test_documents_and_queries_without_rows(tmp_path):
    nothing = np.zeros((0, 4), np.float32)
    docs = [{"docno": "empty", "doc_embs": nothing}, {"docno": "a", "doc_embs": AXES[:1]}]
    index = build(tmp_path / "i", docs)
    assert index.xtr()(TWO_ROWS)["docno"].tolist() == ["a"]
    rows = TWO_ROWS.merge(pd.DataFrame({"docno": ["empty", "a"]}), how="cross")
    assert index.xtr_scorer()(rows).set_index("docno")["score"]["empty"] == -np.inf
    assert len(index.xtr()(TWO_ROWS.assign(query_embs=[nothing]))) == 0
    assert (index.xtr_scorer()(rows.assign(query_embs=[nothing] * 2))["score"] == -np.inf).all()


def test_every_setting_changes_something(index, topics):
    plain = index.xtr(token_k=50)(topics)
    for other in (
        {"token_k": 60},
        {"impute": "zero"},
        {"impute": 0.1},
        {"impute": "none"},
        {"normalise": "sum"},
        {"nprobe": 2},
    ):
        changed = index.xtr(**{"token_k": 50, **other})(topics)
        assert not changed[["docno", "score"]].equals(plain[["docno", "score"]]), other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"token_k": 0}, "token_k is 0; expected at least 1"),
        ({"nprobe": 1.5}, "nprobe is 1.5; expected at least 1, as a whole number"),
        ({"impute": "last"}, 'impute is \'last\'; expected "kth", "zero", "none" or a number'),
        ({"impute": float("nan")}, "impute is nan; expected"),
        ({"normalise": "max"}, "normalise is 'max'; expected one of 'mean', 'sum'"),
        ({"impute": "none", "normalise": "sum"}, 'impute is "none" and normalise is "sum"; expected "mean"'),
    ],
)
def test_wrong_arguments_are_named(index, arguments, message):
    with pytest.raises(ValueError, match=message):
        index.xtr(**arguments)


def test_stats(index, topics):
    rows = index.xtr(num_results=5, token_k=30, stats=True)(topics).groupby("qid").first()
    assert rows["xtr_docs"].tolist() == index.xtr(token_k=30)(topics).groupby("qid").size().tolist()
    assert (rows[["xtr_tokens_ms", "xtr_scoring_ms"]] > 0).all(axis=None)
