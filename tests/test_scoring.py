"""Exact MaxSim in all its forms: from the index, from columns, from text; rows, weights, ties, errors."""

import numpy as np
import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir.kernels import gpu

DIM = 16


def oracle(query, document, weights=None):
    """MaxSim in float64, one product at a time."""
    total = 0.0
    for i, q in enumerate(np.asarray(query, np.float64)):
        best = max(float(q @ d) for d in np.asarray(document, np.float64))
        total += (1.0 if weights is None else weights[i]) * best
    return total


@pytest.fixture(scope="module")
def corpus():
    """Topics on a sphere, documents of 0 to 12 tokens near them, two documents alike, one with negative values."""
    rng = np.random.default_rng(7)
    topics = rng.standard_normal((20, DIM))
    docs = []
    for i in range(60):
        noise = rng.standard_normal((int(rng.integers(0, 13)), DIM))
        embs = topics[i % 20] + 0.6 * noise
        docs.append((embs / np.maximum(np.linalg.norm(embs, axis=1, keepdims=True), 1e-9)).astype(np.float16))
    docs[3] = docs[33]
    return {f"d{i}": embs.astype(np.float32) for i, embs in enumerate(docs)}


@pytest.fixture(scope="module")
def index(corpus, tmp_path_factory):
    docs = [{"docno": docno, "doc_embs": embs} for docno, embs in corpus.items()]
    return lir.LirIndex(tmp_path_factory.mktemp("i") / "i").indexer(keep_embs=True, verbose=False).index(docs)


@pytest.fixture(scope="module")
def topics():
    rng = np.random.default_rng(8)
    queries = [rng.standard_normal((n, DIM)).astype(np.float32) for n in (1, 5, 33)]
    weights = [rng.random(len(q)).astype(np.float32) for q in queries]
    return pd.DataFrame({"qid": ["a", "b", "c"], "query_embs": queries, "query_weights": weights})


def pairs(topics, corpus):
    """Every query with every document."""
    docs = pd.DataFrame({"docno": list(corpus), "doc_embs": list(corpus.values())})
    return topics.merge(docs, how="cross")


@pytest.mark.parametrize("weighted", [True, False])
def test_exhaustive_equals_the_oracle(index, corpus, topics, weighted):
    topics = topics if weighted else topics.drop(columns="query_weights")
    found = index.exhaustive()(topics)
    filled = {docno: embs for docno, embs in corpus.items() if len(embs)}
    for _, query in topics.iterrows():
        ranking = found[found["qid"] == query["qid"]]
        expected = {d: oracle(query["query_embs"], e, query.get("query_weights")) for d, e in filled.items()}
        assert set(ranking["docno"]) == set(expected)  # all but the empty ones
        assert ranking["score"].tolist() == pytest.approx([expected[d] for d in ranking["docno"]], rel=1e-5, abs=1e-5)
        assert ranking["score"].is_monotonic_decreasing
        assert ranking["rank"].tolist() == list(range(len(filled)))


def test_all_forms_agree(index, corpus, topics):
    frame = pairs(topics, corpus)
    stored = index.maxsim()(frame.drop(columns="doc_embs"))
    columns = lir.MaxSim()(frame)
    pd.testing.assert_frame_equal(stored, columns)
    assert len(stored) == len(frame)  # a re-ranker returns every row
    empty = stored["docno"].map(corpus).map(len) == 0
    assert (stored["score"][empty] == -np.inf).all()
    assert (stored[empty]["rank"] >= 60 - empty.sum() / 3).all()
    retrieved = index.exhaustive()(topics)
    pd.testing.assert_frame_equal(retrieved, stored[~empty].reset_index(drop=True)[retrieved.columns])


def test_the_torch_kernel_equals_ours(index, topics):
    import torch

    for query in topics.itertuples():
        for segment in index.store.segments:
            docids = np.arange(len(segment))[::-1].copy()
            tokens = torch.from_numpy(np.array(segment.tokens))
            ours = lir.kernels.maxsim(
                query.query_embs, segment.tokens, segment.offsets, docids, weights=query.query_weights
            )
            theirs = gpu.maxsim(query.query_embs, tokens, segment.offsets, docids, weights=query.query_weights)
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
            everything = gpu.maxsim(query.query_embs, tokens, segment.offsets, weights=query.query_weights)
            np.testing.assert_allclose(everything[docids], theirs, rtol=1e-5, atol=1e-5)


def test_torch_blocks(monkeypatch, index, topics):
    import torch

    segment = index.store.segments[0]
    tokens, query = torch.from_numpy(np.array(segment.tokens)), topics["query_embs"][1]
    whole = gpu.maxsim(query, tokens, segment.offsets)
    monkeypatch.setattr(gpu, "BLOCK", 5)
    # a matrix product rounds by its shape
    np.testing.assert_allclose(gpu.maxsim(query, tokens, segment.offsets), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["exhaustive", "maxsim"])
def test_device(index, method):
    import torch

    with pytest.raises(ValueError, match="device is 'tpu'; expected"):
        getattr(index, method)(device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r'expected "cpu", as torch sees no GPU here\. Use device="cpu"'):
            getattr(index, method)(device="cuda")


def test_gpu_ranks_like_the_processor(index, topics):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU here")
    on_gpu, on_cpu = index.exhaustive(device="cuda")(topics), index.exhaustive()(topics)
    assert on_gpu["score"].tolist() == pytest.approx(on_cpu["score"].tolist(), abs=1e-4)


def test_scores_do_not_depend_on_the_other_rows(index, corpus, topics):
    frame = pairs(topics, corpus)
    whole = lir.MaxSim()(frame).set_index(["qid", "docno"])["score"]
    shuffled = lir.MaxSim()(frame.sample(frac=1, random_state=1)).set_index(["qid", "docno"])["score"]
    assert whole.to_dict() == shuffled.to_dict()
    for i in (0, 77, 150):
        (score,) = lir.MaxSim()(frame.iloc[[i]])["score"]
        assert score == whole[(frame["qid"][i], frame["docno"][i])]


def test_negative_similarities_are_not_clipped():
    query = np.eye(4, dtype=np.float32)[:2]
    frame = pd.DataFrame({
        "qid": ["q"] * 2, "query_embs": [query] * 2, "docno": ["long", "short"],
        "doc_embs": [-np.ones((9, 4)), -2 * np.ones((1, 4))],
    })  # fmt: skip
    out = lir.MaxSim()(frame)
    assert out[["docno", "score"]].values.tolist() == [["long", -2.0], ["short", -4.0]]


def test_a_query_with_itself_scores_its_length(index, corpus):
    embs = corpus["d5"]
    ranking = index.exhaustive(num_results=1)(pd.DataFrame({"qid": ["q"], "query_embs": [embs]}))
    assert ranking["docno"].tolist() == ["d5"]
    assert ranking["score"].tolist() == pytest.approx([len(embs)], abs=0.01)


def test_ties_are_in_index_order(index, topics):
    alike = index.exhaustive()(topics)
    for _, ranking in alike.groupby("qid"):
        rank = ranking.set_index("docno")["rank"]
        assert rank["d33"] == rank["d3"] + 1  # the same vectors, the later document second
    cut = index.exhaustive(num_results=int(rank["d3"]) + 1)(topics[topics["qid"] == "c"])
    assert cut["docno"].tolist()[-1] == "d3"
    backwards = index.maxsim()(alike.iloc[::-1])
    assert backwards["docno"].tolist() == alike.iloc[::-1].groupby("qid", sort=False).apply(
        lambda r: r.sort_values("rank"), include_groups=False
    )["docno"].tolist()  # fmt: skip


def test_segments_are_merged_in_index_order():
    from pyterrier_lir.retrieve.exhaustive import _merge

    first = np.array([2, 0]), np.array([0.9, 0.5], np.float32)
    docids, scores = _merge(first, np.array([3, 4, 5]), np.array([0.5, 0.9, -np.inf], np.float32), 4)
    assert docids.tolist() == [2, 4, 0, 3]
    assert scores.tolist() == pytest.approx([0.9, 0.9, 0.5, 0.5])
    assert _merge(first, np.array([3, 4]), np.array([0.5, 0.9], np.float32), 3)[0].tolist() == [2, 4, 0]


def test_weights(index, topics):
    plain = topics.drop(columns="query_weights")
    ones = plain.assign(query_weights=[np.ones(len(q)) for q in plain["query_embs"]])
    scores = index.exhaustive()(plain)
    pd.testing.assert_frame_equal(index.exhaustive()(ones).drop(columns="query_weights"), scores)
    doubled = plain.assign(query_weights=[2 * np.ones(len(q)) for q in plain["query_embs"]])
    np.testing.assert_array_equal(index.exhaustive()(doubled)["score"], 2 * scores["score"])
    first = plain.assign(query_weights=[np.arange(len(q)) == 0 for q in plain["query_embs"]])
    alone = plain.assign(query_embs=[q[:1] for q in plain["query_embs"]])
    np.testing.assert_array_equal(index.exhaustive()(first)["score"], index.exhaustive()(alone)["score"])


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], r"shape \(1,\); expected \(2,\)"), ([1, -0.5], "holds -0.5"), ([1, np.nan], "holds nan")],
)
def test_bad_weights(index, weights, message):
    topics = pd.DataFrame({"qid": ["q"], "query_embs": [np.ones((2, DIM))], "query_weights": [weights]})
    with pytest.raises(ValueError, match=message):
        index.exhaustive()(topics)


def test_queries_without_rows(index):
    nothing = [np.zeros((0, DIM)), [], np.zeros((2, DIM)), np.ones((1, DIM))]
    weights = [np.zeros(0), np.zeros(0), np.ones(2), np.zeros(1)]
    topics = pd.DataFrame({"qid": list("abcd"), "query_embs": nothing, "query_weights": weights})
    assert len(index.exhaustive()(topics)) == 0
    rows = index.maxsim()(topics.assign(docno="d1"))
    assert rows["score"].tolist() == [-np.inf] * 4


def test_padding_rows_change_nothing(index, topics):
    padded = topics.assign(
        query_embs=[np.concatenate([q, np.zeros((3, DIM))]) for q in topics["query_embs"]],
        query_weights=[np.concatenate([w, np.ones(3)]) for w in topics["query_weights"]],
    )
    plain, padded = index.exhaustive()(topics), index.exhaustive()(padded)
    np.testing.assert_array_equal(plain["score"], padded["score"])


def test_one_qid_with_two_queries(index, topics):
    two = topics.drop(columns="query_weights").assign(qid="same", docno="d5")
    both = index.maxsim()(two)
    single = [index.maxsim()(two.iloc[[i]])["score"][0] for i in range(3)]
    assert sorted(both["score"]) == sorted(single)
    assert both["rank"].tolist() == [0, 1, 2]


def test_unknown_docnos(index, topics):
    frame = topics.assign(docno=["nix", "d5", "nada"])
    with pytest.raises(
        ValueError, match=r"2 docnos are not in the index .*'nix', 'nada'; expected docnos such as 'd0'"
    ):
        index.maxsim()(frame)
    assert index.maxsim(missing="drop")(frame)["docno"].tolist() == ["d5"]
    with pytest.raises(ValueError, match="not in the index"):
        index.embs_loader()(frame)
    assert index.embs_loader(missing="drop")(frame)["docno"].tolist() == ["d5"]
    with pytest.raises(ValueError, match="missing is 'skip'"):
        index.maxsim(missing="skip")


def test_within_a_set(index, topics):
    everything = index.exhaustive()(topics)
    wanted = ["d40", "d5", "d41", "d33"]
    within = index.exhaustive(docnos=wanted)(topics)
    expected = everything[everything["docno"].isin(wanted)]
    assert within[["qid", "docno", "score"]].values.tolist() == expected[["qid", "docno", "score"]].values.tolist()
    assert len(index.exhaustive(docnos=[])(topics)) == 0
    with pytest.raises(ValueError, match="'nowhere'"):
        index.exhaustive(docnos=["nowhere"])(topics)


def test_the_docid_of_another_index_is_ignored(index, topics):
    frame = topics.assign(docno="d5", docid=[0, 1, 2])
    plain = index.maxsim()(frame.drop(columns="docid"))
    pd.testing.assert_frame_equal(index.maxsim()(frame).drop(columns="docid"), plain)


def test_encoders_must_agree(tmp_path):
    index = lir.LirIndex.example()
    with pytest.raises(ValueError, match="encoded by 'toy-32-1', the documents by 'toy-32-0'"):
        (lir.ToyEncoder(seed=1) >> index.exhaustive()).search("bread")
    with pytest.raises(ValueError, match="16 dimensions; expected 32"):
        index.exhaustive()(pd.DataFrame({"qid": ["q"], "query_embs": [np.ones((1, 16))]}))
    mixed = lir.ToyEncoder().query_encoder() >> lir.ToyEncoder(seed=1).doc_encoder() >> lir.MaxSim()
    with pytest.raises(ValueError, match="encoded by 'toy-32-0', the documents by 'toy-32-1'"):
        mixed(pd.DataFrame([{"qid": "q", "query": "bread", "docno": "d", "text": "bread"}]))


def test_threads_change_nothing_but_the_time(index, topics):
    one = index.exhaustive(num_threads=1)(topics)
    for num_threads in (2, 3, None):
        pd.testing.assert_frame_equal(index.exhaustive(num_threads=num_threads)(topics), one)
    with pytest.raises(ValueError, match="num_threads is 0"):
        index.exhaustive(num_threads=0)
    with pytest.raises(ValueError, match="num_results is 0"):
        index.exhaustive(num_results=0)


def test_text_scorer():
    encoder = lir.ToyEncoder(dim=2048)
    rows = [("q1", "green apples", "a", "apples"), ("q1", "green apples", "b", "green green apples"),
            ("q1", "green apples", "c", ""), ("q2", "", "a", "apples"), ("q2", "", "d", None)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text"])
    out = encoder.text_scorer()(frame)
    assert out["docno"].tolist() == ["b", "a", "c", "a", "d"]
    assert out["score"].tolist() == pytest.approx([2, 1, -np.inf, -np.inf, -np.inf], abs=0.1)
    pd.testing.assert_frame_equal(encoder(frame), out)  # the encoder dispatches on the columns
    columns = (encoder.query_encoder() >> encoder.doc_encoder() >> lir.MaxSim())(frame)
    assert columns["score"].tolist() == out["score"].tolist()


def test_text_scorer_weighs_the_rows_that_it_encodes():
    encoder = lir.ToyEncoder(dim=2048)  # words are nearly orthogonal
    rows = [
        ("q1", "green apples", "a", "apples"),
        ("q1", "green apples", "b", "green"),
        ("q2", "green apples", "b", "green"),
    ]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text"])
    weighted = frame.assign(query_weights=[np.array([0.5, 3]), np.array([0.5, 3]), np.array([1, 0])])
    out = encoder.text_scorer()(weighted)
    assert out["docno"].tolist() == ["a", "b", "b"] and out["score"].tolist() == pytest.approx([3, 0.5, 1], abs=0.2)
    columns = (encoder.query_encoder() >> encoder.doc_encoder() >> lir.MaxSim())(weighted)
    assert columns["score"].tolist() == out["score"].tolist()
    ones = encoder.text_scorer()(frame.assign(query_weights=[np.ones(2)] * 3))
    assert ones["score"].tolist() == encoder.text_scorer()(frame)["score"].tolist()
    with pytest.raises(ValueError, match=r"query_weights has shape \(3,\); expected \(2,\)"):
        encoder.text_scorer()(frame.assign(query_weights=[np.ones(3)] * 3))  # of another query than this one


def test_the_encoder_dispatches():
    encoder = lir.ToyEncoder()
    queries = encoder(pd.DataFrame({"qid": ["1", "2"], "query": ["a b", "a b"]}))
    assert queries["query_embs"][0] is queries["query_embs"][1]  # encoded once
    assert queries["query_tok_ids"].map(len).tolist() == [2, 2]
    assert queries["query_encoder"].tolist() == ["toy-32-0"] * 2
    documents = encoder(pd.DataFrame({"docno": ["1"], "text": ["a b c"]}))
    assert documents["doc_embs"][0].shape == (3, 32)
    with pytest.raises(ValueError, match="dim is 0; expected at least 1"):
        lir.ToyEncoder(dim=0)
    titled = lir.ToyEncoder(text_field=("title", "text"))
    assert titled.document_texts(pd.DataFrame({"title": ["T", None, ""], "text": ["x", "y", None]})) == ["T x", "y", ""]
    with pytest.raises(KeyError, match="title"):
        titled(pd.DataFrame({"docno": ["1"], "text": ["x"]}))
