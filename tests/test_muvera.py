"""MUVERA: search with its encodings, what its parameters do, and what is refused."""

import shutil

import numpy as np
import pandas as pd
import pytest
from corpora import DIM, build, clustered, documents
from rankings import frame, pairs, recall

import pyterrier_lir as lir

ANNS = ["flat", "hnsw", "pq", "ivfpq"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build(tmp_path_factory.mktemp("muvera") / "i", documents(600, longest=20), keep_embs=True)


@pytest.fixture(scope="module")
def topics():
    return frame([clustered(n, seed=100 + n) for n in (1, 5, 17, 33)])


# --- retrieval ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ann", ANNS)
@pytest.mark.parametrize("center", [True, False])
def test_all_candidates_re_ranked_are_the_exact_ranking(index, topics, ann, center):
    effort = {"nprobe": 256} if ann == "ivfpq" else {}
    everything = index.muvera(num_results=len(index), ann=ann, center=center, k_sim=3, d_proj=8, reps=4, **effort)
    columns = ["qid", "docno", "score", "rank"]
    found, exact = (everything >> index.maxsim())(topics), index.exhaustive()(topics)
    if ann == "hnsw":  # a graph need not reach all
        assert len(found) > 0.99 * len(exact)
        expected = exact.set_index(["qid", "docno"])["score"]
        assert found.set_index(["qid", "docno"])["score"].to_dict().items() <= expected.to_dict().items()
    else:
        pd.testing.assert_frame_equal(found[columns], exact[columns])


@pytest.mark.parametrize("options", [{"keep_embs": True}, {"nbits": 4}])
def test_the_score_is_the_estimate(tmp_path, topics, options):
    index = build(tmp_path / "i", documents(100), **options)
    parameters = {"k_sim": 3, "d_proj": 8, "reps": 4, "seed": 3}
    found = index.muvera(**parameters)(topics)
    both = lir.Muvera(**parameters, center=index)(index.embs_loader()(found))
    products = np.array([q @ d for q, d in zip(both["query_vec"], both["doc_vec"], strict=True)]) / 4
    center = index.store.center
    shift = np.array([float((query @ center).sum()) for query in both["query_embs"]])
    np.testing.assert_allclose(found["score"], products + shift, atol=3e-2)


def test_the_score_is_below_maxsim_without_projections(index, topics):
    for center in (True, False):
        found = index.muvera(d_proj=None, center=center, k_sim=4, reps=3)(topics)
        exact = index.maxsim()(found).set_index(["qid", "docno"])["score"]
        scores = found.set_index(["qid", "docno"])["score"]
        assert (scores <= exact[scores.index] + 0.02).all()  # half precision


@pytest.mark.parametrize("ann", ANNS)
def test_weights(index, ann):
    query = clustered(12, seed=5)
    weights = np.linspace(0, 2, 12, dtype=np.float32)
    muvera = index.muvera(ann=ann, num_results=50, k_sim=4, d_proj=8, reps=10)
    kept = ["docno", "score"]
    weighted, plain = muvera(frame([query], query_weights=[weights])), muvera(frame([query]))
    assert weighted["docno"].tolist() != plain["docno"].tolist()
    ones = muvera(frame([query], query_weights=[np.ones(12, np.float32)]))
    pd.testing.assert_frame_equal(ones[kept], plain[kept])
    double = muvera(frame([query], query_weights=[np.full(12, 2, np.float32)]))
    assert double["docno"].tolist() == plain["docno"].tolist()
    np.testing.assert_allclose(double["score"], 2 * plain["score"], rtol=1e-4)
    left_out = muvera(frame([query], query_weights=[np.array([0] * 5 + [1] * 7, np.float32)]))
    pd.testing.assert_frame_equal(left_out[kept], muvera(frame([query[5:]]))[kept])


@pytest.mark.parametrize("ann", ANNS)
def test_within_a_set(index, topics, ann):
    wanted = [f"d{i}" for i in range(0, 600, 7)]
    parameters = {"ann": ann, "k_sim": 3, "d_proj": 8, "reps": 4}
    inside = index.muvera(docnos=wanted, **parameters)(topics)
    tokens = {record["docno"]: len(record["doc_embs"]) for record in index.get_corpus_iter()}
    assert inside.groupby("qid")["docno"].apply(set).tolist() == [{d for d in wanted if tokens[d]}] * 4
    everything = index.muvera(num_results=600, **parameters)(topics).set_index(["qid", "docno"])["score"]
    found = inside.set_index(["qid", "docno"])["score"]
    common = found.index.intersection(everything.index)
    np.testing.assert_allclose(found[common], everything[common], atol=1e-3)
    assert len(index.muvera(docnos=[], **parameters)(topics)) == 0
    with pytest.raises(ValueError, match="1 docnos are not in the index"):
        index.muvera(docnos=["nowhere"])(topics)


@pytest.mark.parametrize("ann", ANNS)
def test_nothing_gives_nothing(tmp_path, topics, ann):
    docs = list(documents(40))
    empty = {record["docno"] for record in docs if not len(record["doc_embs"])}
    assert empty
    found = build(tmp_path / "i", docs).muvera(ann=ann, k_sim=2, reps=3)(topics)
    assert not set(found["docno"]) & empty
    if ann in ("flat", "pq"):
        assert found.groupby("qid").size().tolist() == [40 - len(empty)] * 4
    nothing = [{"docno": name, "doc_embs": np.zeros((0, DIM), np.float32)} for name in "ab"]
    hollow = build(tmp_path / "hollow", nothing)
    assert len(hollow.muvera(ann=ann)(topics)) == 0
    out = build(tmp_path / "j", docs).muvera(ann=ann)(frame([np.zeros((0, DIM), np.float32), clustered(3)]))
    assert set(out["qid"]) == {"1"}


@pytest.mark.parametrize("ann", ANNS)
@pytest.mark.parametrize("count", [1, 2, 9])
def test_tiny_collections(tmp_path, topics, ann, count):
    docs = [{"docno": f"d{i}", "doc_embs": clustered(4, seed=i)} for i in range(count)]
    found = build(tmp_path / "i", docs).muvera(ann=ann)(topics)
    assert found.groupby("qid").size().tolist() == [count] * 4


def test_equal_scores_are_in_index_order(tmp_path):
    same = clustered(5)
    index = build(tmp_path / "i", [{"docno": f"d{i}", "doc_embs": same} for i in range(30)])
    muvera = index.muvera()
    query = frame([clustered(4, seed=9)])
    assert muvera(query)["docno"].tolist() == [f"d{i}" for i in range(30)]
    assert (muvera % 7).compile()(query)["docno"].tolist() == [f"d{i}" for i in range(7)]


@pytest.mark.parametrize("method", ["muvera", "lemur"])
def test_segments_and_queries_together_are_as_each_alone(tmp_path, monkeypatch, method):
    docs = list(documents(100, longest=12))
    many = build(tmp_path / "many", docs[:50])
    for first in range(50, 100, 5):
        many.add(docs[first : first + 5], verbose=False)
    many.delete([docs[i]["docno"] for i in (0, 51, 52, 99)])
    assert len(many.store.segments) == 11
    shutil.copytree(tmp_path / "many", tmp_path / "one")
    one = lir.LirIndex(tmp_path / "one")
    one.compact()
    options = {
        "muvera": {"k_sim": 3, "d_proj": 8, "reps": 4, "center": False},
        "lemur": {"tokens": 64, "epochs": 1},
    }[method]
    topics = frame([clustered(n, seed=n) for n in range(1, 8)])

    def found(index, topics=topics, **more):
        return getattr(index, method)(num_results=9, **options, **more)(topics)

    expected = found(many)
    assert expected.groupby("qid").size().tolist() == [9] * 7
    if method == "muvera":  # LEMUR learns from the first segment
        pd.testing.assert_frame_equal(found(one), expected)
    alone = pd.concat([found(many, topics[i : i + 1]) for i in range(7)], ignore_index=True)
    pd.testing.assert_frame_equal(alone, expected)
    some = [doc["docno"] for doc in (*docs[45:51], *docs[53:60])]
    within = found(many, docnos=some)
    monkeypatch.setattr("pyterrier_lir.retrieve.vectors.PRODUCTS", 200)  # two queries' products
    monkeypatch.setattr("pyterrier_lir.retrieve.vector_retriever.TOGETHER", 3)
    for num_threads in (1, 2):
        pd.testing.assert_frame_equal(found(many, num_threads=num_threads), expected)
        pd.testing.assert_frame_equal(found(many, docnos=some, num_threads=num_threads), within)


@pytest.mark.parametrize("ann", ["hnsw", "pq", "ivfpq"])
def test_faiss_is_not_fused_but_cut(index, topics, ann):
    muvera = index.muvera(ann=ann, num_results=40, k_sim=3, d_proj=8, reps=4)
    assert muvera.fuse_rank_cutoff(5) is None
    pd.testing.assert_frame_equal((muvera % 5).compile()(topics), (muvera % 5)(topics))


# --- every parameter does something ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"k_sim": 4}, {"d_proj": 4}, {"d_proj": None}, {"reps": 6}, {"final_dim": 64}, {"fill_empty": False},
        {"projection": "sparse"}, {"center": False}, {"seed": 1}, {"ann": "pq"}, {"num_results": 3},
        {"docnos": ["d1", "d2"]},
    ],
)  # fmt: skip
def test_every_parameter_of_the_retriever_counts(index, topics, changed):
    right = {"k_sim": 3, "d_proj": 8, "reps": 4}
    kept = ["qid", "docno", "score"]
    a, b = index.muvera(**right)(topics)[kept], index.muvera(**{**right, **changed})(topics)[kept]
    assert len(a) != len(b) or not np.allclose(a["score"], b["score"], atol=1e-6)


def test_effort_counts(tmp_path):
    index = build(tmp_path / "i", documents(1500, longest=6))
    queries = frame([clustered(8, seed=900 + i) for i in range(30)])
    for ann, name, efforts in (("hnsw", "ef_search", (1, 10, 500)), ("ivfpq", "nprobe", (1, 8, 256))):
        parameters = {"ann": ann, "num_results": 10, "k_sim": 3, "d_proj": 8, "reps": 4}
        exact = index.muvera(**{**parameters, "ann": "flat" if ann == "hnsw" else "pq"})(queries)
        shares = [recall(index.muvera(**parameters, **{name: effort})(queries), pairs(exact)) for effort in efforts]
        assert shares == sorted(shares)
        assert shares[0] < shares[-1]


@pytest.mark.parametrize(
    "changed",
    [
        {"k_sim": 4}, {"d_proj": 4}, {"d_proj": None}, {"reps": 6}, {"final_dim": 64}, {"fill_empty": False},
        {"projection": "sparse"}, {"center": [0.1] * DIM}, {"seed": 1},
    ],
)  # fmt: skip
def test_every_parameter_of_the_transformer_counts(changed):
    docs = pd.DataFrame(documents(5, seed=1))
    right = {"k_sim": 3, "d_proj": 8, "reps": 4}
    a, b = lir.Muvera(**right)(docs)["doc_vec"], lir.Muvera(**{**right, **changed})(docs)["doc_vec"]
    assert np.stack(a).shape != np.stack(b).shape or not np.array_equal(np.stack(a), np.stack(b))


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({"k_sim": 3, "d_proj": 8}, 1280), ({"k_sim": 4, "d_proj": 8}, 2560), ({"k_sim": 5, "d_proj": 8}, 5120),
        ({}, 10240),
        ({"d_proj": None}, 20 * 32 * DIM), ({"d_proj": 99}, 20 * 32 * DIM), ({"final_dim": 77}, 77),
    ],
)  # fmt: skip
def test_sizes(parameters, size):
    docs, query = pd.DataFrame(documents(3, seed=1)), frame([clustered(3)])
    assert [len(vec) for vec in lir.Muvera(**parameters)(docs)["doc_vec"]] == [size] * 3
    vec = lir.Muvera(**parameters)(query)["query_vec"][0]
    assert vec.shape == (size,)
    assert vec.dtype == np.float32


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k_sim": 0}, "k_sim is 0; expected at least 1"), ({"k_sim": 21}, "k_sim is 21; expected at most 20"),
        ({"d_proj": "8"}, "d_proj is '8'; expected at least 1"), ({"reps": 2.5}, "reps is 2.5; expected at least 1"),
        ({"final_dim": -1}, "final_dim is -1; expected at least 1"),
        ({"projection": "ams"}, "projection is 'ams'; expected one of 'dense', 'sparse'"),
        ({"projection": "sparse", "d_proj": None}, "projection is \"sparse\", but d_proj is None; .* Leave projection"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"), ({"seed": 0.5}, "seed is 0.5; expected"),
        ({"num_threads": 0}, "num_threads is 0; expected at least 1"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(index, arguments, message):
    with pytest.raises(ValueError, match=message):
        lir.Muvera(**arguments)
    with pytest.raises(ValueError, match=message):
        index.muvera(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ann": "scann"}, "ann is 'scann'; expected one of 'flat', 'hnsw', 'pq', 'ivfpq'"),
        ({"ef_search": 9}, "ef_search is 9, but ann is 'flat'; expected ann=\"hnsw\". Leave ef_search out"),
        ({"ann": "hnsw", "nprobe": 9}, "nprobe is 9, but ann is 'hnsw'; expected ann=\"ivfpq\". Leave nprobe out"),
        ({"ann": "hnsw", "ef_search": 0}, "ef_search is 0; expected at least 1"),
        ({"num_results": 0}, "num_results is 0; expected at least 1"),
    ],
)
def test_wrong_arguments_of_the_retriever_are_named(index, arguments, message):
    with pytest.raises(ValueError, match=message):
        index.muvera(**arguments)


def test_wrong_vectors_are_named(index, topics):
    docs = pd.DataFrame(documents(5, seed=1))
    with pytest.raises(ValueError, match=r"center has 3 dimensions, doc_embs has 16; expected the same"):
        lir.Muvera(center=[1, 2, 3])(docs)
    with pytest.raises(ValueError, match=r"center has shape \(2, 2\); expected a vector of finite numbers"):
        lir.Muvera(center=[[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="center has shape"):
        lir.Muvera(center=[1, np.nan])
    mixed = pd.DataFrame({"docno": ["a", "b"], "doc_embs": [np.ones((2, 3)), np.ones((2, 4))]})
    with pytest.raises(ValueError, match="doc_embs has matrices of 3 and 4 dimensions; expected the same for all"):
        lir.Muvera()(mixed)
    with pytest.raises(ValueError, match="query_embs has 5 dimensions; expected 16"):
        index.muvera()(frame([np.ones((2, 5), np.float32)]))


def test_vectors_too_long_for_half_precision_are_named(tmp_path, topics):
    index = build(tmp_path / "i", [{"docno": "a", "doc_embs": np.full((3, DIM), 60000.0)}], nbits=1)
    with pytest.raises(ValueError, match="the encoding of document 0 holds values above 65504"):
        index.muvera(center=False, d_proj=4)(topics)


def test_texts_without_vectors_are_zeros():
    docs = pd.DataFrame({"docno": ["a", "b"], "doc_embs": [np.zeros((0, DIM)), np.zeros((3, DIM))]})
    muvera = lir.Muvera(k_sim=2, d_proj=8, reps=3)
    assert [vec.tolist() for vec in muvera(docs)["doc_vec"]] == [[0.0] * 96] * 2
    padded = np.concatenate([clustered(4), np.zeros((3, DIM), np.float32)])
    for column, vec in (("query_embs", "query_vec"), ("doc_embs", "doc_vec")):
        a, b = (muvera(pd.DataFrame({column: [embs]}))[vec][0] for embs in (padded, padded[:4]))
        np.testing.assert_array_equal(a, b)


# --- with pyterrier_dr -------------------------------------------------------------------------------------------


def test_pyterrier_dr(tmp_path):
    """Any index of single vectors carries late interaction; ours gives its candidates exact scores."""
    pyterrier_dr = pytest.importorskip("pyterrier_dr", reason="pyterrier-dr is not installed")
    pytest.importorskip("faiss", reason="faiss is not installed")
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(200)]
    corpus = [{"docno": f"d{i}", "text": " ".join(rng.choice(words, rng.integers(3, 12)))} for i in range(300)]
    queries = pd.DataFrame({"qid": ["1", "2", "3"], "query": [" ".join(rng.choice(words, 4)) for _ in range(3)]})
    encoder, muvera = lir.ToyEncoder(), lir.Muvera(k_sim=4, d_proj=16, reps=10)
    index = lir.LirIndex(tmp_path / "exact")
    (encoder >> index.indexer(verbose=False, keep_embs=True)).index(corpus)
    flex = pyterrier_dr.FlexIndex(str(tmp_path / "flex"), verbose=False)
    (encoder >> muvera >> flex).index(corpus)
    assert flex.payload()[1].shape == (300, 10 * 16 * 16)

    exact = index.exhaustive(num_results=3)
    for retriever in (flex.faiss_flat_retriever(), flex.faiss_hnsw_retriever(num_results=100, ef_search=200)):
        pipeline = encoder >> muvera >> retriever % 100 >> index.maxsim()
        found = pipeline(queries)
        expected = (encoder >> exact)(queries)
        assert recall(found[found["rank"] < 3], pairs(expected)) >= 8 / 9
        scores = index.maxsim()(found).set_index(["qid", "docno"])["score"]
        assert found.set_index(["qid", "docno"])["score"].to_dict() == scores.to_dict()
        assert {"query_embs", "query_vec"} <= set(found.columns)
    # the flat retriever's products are the scores of ours
    ours = (encoder >> index.muvera(k_sim=4, d_proj=16, reps=10, center=False))(queries)
    theirs = (encoder >> muvera >> flex.faiss_flat_retriever())(queries).set_index(["qid", "docno"])["score"]
    common = theirs[pd.MultiIndex.from_frame(ours[["qid", "docno"]])]
    np.testing.assert_allclose(ours["score"], common / 10, atol=5e-3)
