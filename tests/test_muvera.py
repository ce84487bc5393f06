"""MUVERA: what its encodings must satisfy, exactly, one-sidedly or on average, and search with them."""

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from test_compress import build, clustered, documents, tree

import pyterrier_lir as lir
from pyterrier_lir import kernels
from pyterrier_lir.ragged import Ragged
from pyterrier_lir.retrieve import vectors
from pyterrier_lir.retrieve.encodings import Encodings
from pyterrier_lir.retrieve.fde import Fde, FdeEncoder, draw

DIM = 16
ANNS = ["flat", "hnsw", "pq", "ivfpq"]


def fde(k_sim=3, d_proj=None, reps=5, final_dim=None, fill_empty=True, projection="dense", seed=0):
    return Fde(k_sim, d_proj, reps, final_dim, fill_empty, projection, seed)


def encode(docs=(), queries=(), center=None, **parameters):
    """Encodings of documents and queries, which may be of different dimensions than DIM."""
    dim = next(len(rows[0]) for rows in [*docs, *queries] if len(rows))
    encoder = FdeEncoder(fde(**parameters), dim, center, 1)
    return encoder.documents(Ragged.from_list(list(docs))), encoder.queries([(query, None) for query in queries])


def maxsim(query, doc):
    return float((query @ doc.T).max(axis=1).sum())


def unit(rng, rows, dim=DIM):
    values = rng.standard_normal((rows, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def frame(queries, **others):
    return pd.DataFrame({"qid": [str(i) for i in range(len(queries))], "query_embs": queries, **others})


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build(tmp_path_factory.mktemp("muvera") / "i", documents(600, longest=20), keep_embs=True)


@pytest.fixture(scope="module")
def topics():
    return frame([clustered(n, seed=100 + n) for n in (1, 5, 17, 33)])


# --- the ten properties ------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    code = (
        "import hashlib, numpy as np, pandas as pd, pyterrier_lir as lir;"
        "docs = pd.DataFrame({'docno': ['a', 'b'], 'doc_embs': [np.eye(5, 8, dtype='f'), np.ones((2, 8), 'f')]});"
        "out = lir.Muvera(k_sim=3, d_proj=4, reps=3, final_dim=40, seed=7)(docs);"
        "print(hashlib.sha256(np.stack(out['doc_vec']).tobytes()).hexdigest())"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


def test_neither_the_batch_nor_threads_matter():
    docs = pd.DataFrame(documents(50))
    encoder = lir.Muvera(k_sim=4, d_proj=8, reps=3, final_dim=100, num_threads=1)
    whole = np.stack(encoder(docs)["doc_vec"])
    parts = [encoder(docs[start : start + 7])["doc_vec"] for start in range(0, 50, 7)]
    tolerance = 1e-5 if kernels.active() == "numpy" else 0  # a NumPy product rounds by its shape
    np.testing.assert_allclose(np.concatenate([np.stack(part) for part in parts]), whole, atol=tolerance, rtol=0)
    threads = lir.Muvera(k_sim=4, d_proj=8, reps=3, final_dim=100, num_threads=3)
    np.testing.assert_array_equal(np.stack(threads(docs)["doc_vec"]), whole)


def test_seeds_share_nothing():
    """A seed that is added to a repetition's number would give two seeds all repetitions but one in common."""
    drawn = [draw(fde(d_proj=4, reps=6, final_dim=50, seed=seed), DIM) for seed in range(4)]
    for part in range(3):  # planes, projections, places
        matrices = [matrix.tobytes() for one in drawn for matrix in (one[part] if part < 2 else [one[part]])]
        assert len(set(matrices)) == len(matrices)
    # more repetitions are the same and others
    more = draw(fde(d_proj=4, reps=9), DIM)
    np.testing.assert_array_equal(more.planes[:6], drawn[0].planes)
    np.testing.assert_array_equal(more.projections[:6], drawn[0].projections)


@pytest.mark.parametrize("parameters", [{}, {"d_proj": 4}, {"final_dim": 64}, {"d_proj": 8, "projection": "sparse"}])
def test_a_query_is_a_sum_and_a_document_a_mean(parameters):
    rng = np.random.default_rng(0)
    rows = unit(rng, 30)
    other = rows[rng.permutation(30)]
    docs, queries = encode([rows, other, np.concatenate([rows, rows])], [rows, rows[:13], rows[13:]], **parameters)
    np.testing.assert_allclose(queries[0], queries[1] + queries[2], atol=1e-4)
    crowded, _ = encode([rows, other], **{**parameters, "k_sim": 1})  # no cell is empty, so none is filled
    np.testing.assert_allclose(crowded[0], crowded[1], atol=1e-5)  # whatever the order
    np.testing.assert_allclose(docs[0], docs[2], atol=1e-5)  # the whole document twice
    (once, twice), _ = encode([rows, np.concatenate([rows, rows[:1]])], **parameters)
    assert np.abs(once - twice).max() > 1e-3  # one row twice


def test_one_vector_is_exact():
    rng = np.random.default_rng(1)
    for k_sim in (1, 3, 6):
        docs = [unit(rng, 1) for _ in range(5)]
        queries = [unit(rng, n) for n in (1, 2, 20)]
        encoded_docs, encoded_queries = encode(docs, queries, k_sim=k_sim)
        expected = [[maxsim(query, doc) for doc in docs] for query in queries]
        np.testing.assert_allclose(encoded_queries @ encoded_docs.T / 5, expected, atol=1e-5)


@pytest.mark.parametrize("k_sim", [1, 2, 4, 6])
@pytest.mark.parametrize("centred", [False, True])
def test_the_estimate_is_never_too_large(k_sim, centred):
    rng = np.random.default_rng(k_sim)
    queries, docs = [unit(rng, n) for n in (1, 7, 32)], [unit(rng, n) for n in (1, 2, 9, 60)]
    queries.append(-np.abs(queries[1]))  # nothing but negative similarities
    docs.append(np.abs(docs[2]))
    center = np.full(DIM, 0.1, np.float32) if centred else None
    encoded_docs, encoded_queries = encode(docs, queries, center, k_sim=k_sim)
    estimates = encoded_queries @ encoded_docs.T / 5
    exact = np.array([[maxsim(query, doc) for doc in docs] for query in queries])
    if centred:
        exact -= np.array([[(query @ center).sum()] for query in queries])
    assert (estimates <= exact + 1e-4).all()
    assert (estimates < exact - 0.1).any()


@pytest.mark.parametrize("k_sim", [1, 2, 3, 4, 5, 6])
def test_empty_cells_hold_the_nearest_vector(k_sim):
    docs = [unit(np.random.default_rng(seed), n) for seed, n in enumerate((1, 2, 5, 30))]
    found, _ = encode(docs, k_sim=k_sim, reps=4)
    planes = draw(fde(k_sim=k_sim, reps=4), DIM).planes
    filled = 0
    for doc, values in zip(docs, found.reshape(len(docs), 4, 2**k_sim, DIM), strict=True):
        for normals, blocks in zip(planes, values, strict=True):
            bits = doc @ normals.T > 0
            for cell, block in enumerate(blocks):
                wanted = np.array([bool(cell >> b & 1) for b in range(k_sim)])
                distances = (bits != wanted).sum(axis=1)
                expected = doc[distances == 0].mean(axis=0) if distances.min() == 0 else doc[distances.argmin()]
                filled += distances.min() > 0
                np.testing.assert_allclose(block, expected, atol=1e-5)
    assert filled > 0
    unfilled, _ = encode(docs, k_sim=k_sim, reps=4, fill_empty=False)
    assert (unfilled.reshape(-1, DIM) == 0).all(axis=1).sum() == filled


@pytest.mark.parametrize(
    "parameters",
    [{"d_proj": 4}, {"d_proj": 4, "projection": "sparse"}, {"final_dim": 32}, {"d_proj": 4, "final_dim": 32}],
)
def test_projections_keep_products_on_average(parameters):
    doc, query = clustered(40, seed=3), clustered(10, seed=4)
    planes = draw(fde(reps=2), DIM).planes
    products = []
    for seed in range(600):
        matrices = draw(fde(reps=2, seed=seed, **parameters), DIM)
        encoder = FdeEncoder(fde(reps=2, seed=seed, **parameters), DIM, None, 1)
        encoder.matrices = matrices._replace(planes=planes)  # the same cells for all
        products.append(float(encoder.documents(Ragged.from_list([doc]))[0] @ encoder.queries([(query, None)])[0]))
    (plain_doc,), (plain_query,) = encode([doc], [query], reps=2)
    error = np.std(products) / np.sqrt(len(products))
    assert abs(np.mean(products) - float(plain_doc @ plain_query)) < 3 * error
    assert error < 0.2 * abs(float(plain_doc @ plain_query))


def test_numbers_of_cells_do_not_matter():
    """Google numbers cells by a Gray code; any numbering gives the same products."""
    docs, queries = [clustered(30, seed=1)], [clustered(9, seed=2)]
    (doc,), (query,) = encode(docs, queries, k_sim=4)
    numbers = np.arange(16)
    gray = numbers ^ numbers >> 1
    moved = [encoded.reshape(5, 16, DIM)[:, gray].ravel() for encoded in (doc, query)]
    assert float(moved[0] @ moved[1]) == pytest.approx(float(doc @ query), abs=1e-4)


def test_a_document_finds_itself(index):
    found = index.muvera(num_results=1, k_sim=5, d_proj=16, reps=20)
    lengths = {docno: len(embs) for docno, embs in ((d["docno"], d["doc_embs"]) for d in index.get_corpus_iter())}
    asked = [d for d in index.get_corpus_iter() if lengths[d["docno"]]]
    ranking = found(pd.DataFrame({"qid": [d["docno"] for d in asked], "query_embs": [d["doc_embs"] for d in asked]}))
    assert len(asked) > 500
    assert (ranking["qid"] == ranking["docno"]).mean() >= 0.95


def test_correlation_rises_with_cells_and_repetitions():
    docs = [record["doc_embs"] for record in documents(300, longest=20) if len(record["doc_embs"])]
    queries = [clustered(16, seed=500 + i) for i in range(8)]
    exact = np.array([[maxsim(query, doc) for doc in docs] for query in queries])

    def correlation(k_sim, reps):
        values = []
        for seed in range(4):
            encoded_docs, encoded_queries = encode(docs, queries, k_sim=k_sim, reps=reps, d_proj=8, seed=seed)
            for a, b in zip(encoded_queries @ encoded_docs.T, exact, strict=True):
                values.append(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])
        return np.mean(values)

    assert correlation(1, 20) < correlation(3, 20) < correlation(5, 20)
    assert correlation(3, 5) < correlation(3, 10) < correlation(3, 40)


def test_a_byte_for_eight_values_is_nearly_enough(index):
    """PQ-256-8: of the exact top 10, 100 candidates hold hardly less than with half precision.

    On three sets of 600 such queries it is .011 to .018 less, with a centre and without.
    """
    queries = frame([clustered(16, seed=2000 + i) for i in range(600)])
    exact = pairs(index.exhaustive(num_results=10)(queries))
    parameters = {"num_results": 100, "k_sim": 5, "d_proj": 8, "reps": 20}
    shares = {ann: recall(index.muvera(ann=ann, **parameters)(queries), exact) for ann in ("flat", "pq")}
    assert 0.6 < shares["flat"] < 0.99
    assert abs(shares["pq"] - shares["flat"]) <= 0.02


# --- retrieval ---------------------------------------------------------------------------------------------------


def pairs(ranking):
    return set(zip(ranking["qid"], ranking["docno"], strict=True))


def recall(ranking, exact):
    return len(pairs(ranking) & exact) / len(exact)


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


# --- centring ----------------------------------------------------------------------------------------------------


def lopsided(count, seed=0):
    """Documents whose vectors all lie to one side: their mean has a length of about .9."""
    side = np.full(DIM, 8 / np.sqrt(DIM), np.float32)
    for record in documents(count, longest=20, seed=seed):
        embs = 3 * record["doc_embs"] + side
        yield {**record, "doc_embs": embs / np.linalg.norm(embs, axis=1, keepdims=True)}


def test_centring_helps_where_vectors_lie_to_one_side(tmp_path):
    index = build(tmp_path / "i", lopsided(600), keep_embs=True)
    assert np.linalg.norm(index.store.center) > 0.9
    queries = frame([r["doc_embs"] for r in lopsided(120, seed=50) if len(r["doc_embs"]) >= 8])
    exact = pairs(index.exhaustive(num_results=10)(queries))
    centred, plain = (recall(index.muvera(num_results=50, center=c)(queries), exact) for c in (True, False))
    assert centred > plain + 0.2


def test_centring_moves_all_scores_of_a_query_alike():
    rng = np.random.default_rng(0)
    center = np.full(DIM, 0.2, np.float32)
    query, docs = unit(rng, 6), [unit(rng, 1) for _ in range(9)]  # where the estimate is exact
    encoded_docs, (encoded,) = encode(docs, [query], center)
    moved = np.array([maxsim(query, doc) for doc in docs]) - encoded_docs @ encoded / 5
    np.testing.assert_allclose(moved, float((query @ center).sum()), atol=1e-5)


def test_a_centre_from_an_index(index):
    docs = pd.DataFrame(documents(5, seed=1))
    mean = index.store.center
    np.testing.assert_allclose(mean, np.mean(index.store.codec.centroids.vectors, axis=0), atol=1e-6)
    a, b = lir.Muvera(center=index)(docs)["doc_vec"], lir.Muvera(center=mean)(docs)["doc_vec"]
    np.testing.assert_array_equal(np.stack(a), np.stack(b))


# --- what is derived ---------------------------------------------------------------------------------------------


def test_made_once_and_used_again(tmp_path, topics, caplog):
    build(tmp_path / "i", documents(50))
    caplog.set_level("INFO", "pyterrier_lir")
    first = lir.LirIndex(tmp_path / "i").muvera()(topics)
    made = [record for record in caplog.records if "making" in record.message]
    assert len(made) == 1
    again = lir.LirIndex(tmp_path / "i").muvera()(topics)
    assert len([record for record in caplog.records if "making" in record.message]) == 1
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.parametrize("ann", ANNS)
def test_a_stale_one_is_made_again(tmp_path, topics, ann):
    index = build(tmp_path / "i", documents(60))
    before = index.muvera(ann=ann, reps=4)(topics)
    index = build(tmp_path / "i", documents(80, seed=9), mode="overwrite")
    after = index.muvera(ann=ann, reps=4)(topics)
    expected = build(tmp_path / "j", documents(80, seed=9)).muvera(ann=ann, reps=4)(topics)
    pd.testing.assert_frame_equal(after, expected)
    assert not after["score"].equals(before["score"])


def test_other_matrices_make_it_stale(tmp_path, topics, monkeypatch):
    """As a version of NumPy that draws other numbers from the same seed would."""
    build(tmp_path / "i", documents(60))
    before = lir.LirIndex(tmp_path / "i").muvera(reps=4)(topics)
    monkeypatch.setattr("pyterrier_lir.retrieve.fde.draw", lambda fde, dim: draw(fde._replace(seed=99), dim))
    after = lir.LirIndex(tmp_path / "i").muvera(reps=4)(topics)
    assert not after["score"].equals(before["score"])
    monkeypatch.undo()
    np.testing.assert_allclose(after["score"], lir.LirIndex(tmp_path / "i").muvera(reps=4, seed=99)(topics)["score"])


@pytest.mark.parametrize("ann", ANNS)
def test_the_same_bytes_on_any_number_of_threads(tmp_path, topics, ann):
    index = build(tmp_path / "i", documents(400))
    copies = []
    for threads in (1, 3):
        shutil.copytree(tmp_path / "i", tmp_path / f"copy{threads}")
        lir.LirIndex(tmp_path / f"copy{threads}").muvera(ann=ann, k_sim=3, d_proj=8, reps=4, num_threads=threads)(
            topics
        )
        copies.append(tree(tmp_path / f"copy{threads}" / "derived"))
    assert copies[0].keys() == copies[1].keys()
    assert copies[0] == copies[1]
    assert len(index) == 400


def test_blocks_do_not_matter(index, monkeypatch):
    encoder = FdeEncoder(fde(d_proj=8), DIM, None, 1)

    def encodings():
        blocks = list(Encodings(index.store, list(index.store.parts()), encoder).blocks())
        return [np.concatenate([block[i] for block in blocks]) for i in (0, 1)], len(blocks)

    whole, count = encodings()
    assert count == 1
    monkeypatch.setattr("pyterrier_lir.retrieve.encodings.TOKENS", 40)
    monkeypatch.setattr("pyterrier_lir.retrieve.encodings.MEGABYTES", 0.005)
    small, count = encodings()
    assert count > 100
    np.testing.assert_array_equal(small[0], whole[0])
    tolerance = 1e-5 if kernels.active() == "numpy" else 0
    np.testing.assert_allclose(small[1], whole[1], atol=tolerance, rtol=0)
    some = Encodings(index.store, list(index.store.parts()), encoder).some(whole[0][5:300:7])
    np.testing.assert_allclose(some, whole[1][5:300:7], atol=tolerance, rtol=0)


def test_what_is_written(index, topics):
    index.muvera(k_sim=3, d_proj=8, reps=4)(topics)
    folder = index.store.derived(
        "muvera/flat-k3-dense8-r4-fill-seed0-centred/000001", index.store.everything, lambda folder: None,
        {"matrices": draw(fde(d_proj=8, reps=4), DIM).digest()},
    )  # fmt: skip
    encoder = FdeEncoder(fde(d_proj=8, reps=4), DIM, index.store.center, 1)
    found = vectors.read("flat", Encodings(index.store, list(index.store.parts()), encoder), folder)
    assert found.vectors.dtype == np.float16
    assert found.vectors.shape == (sum(len(d["doc_embs"]) > 0 for d in index.get_corpus_iter()), 4 * 8 * 8)
    assert found.folder.meta["numpy"] == np.__version__
    assert set(found.folder.meta["source"]) == {*index.store.everything, "matrices"}


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k_sim": 0}, "k_sim is 0; expected at least 1"), ({"k_sim": 21}, "k_sim is 21; expected at most 20"),
        ({"d_proj": "8"}, "d_proj is '8'; expected at least 1"), ({"reps": 2.5}, "reps is 2.5; expected at least 1"),
        ({"final_dim": -1}, "final_dim is -1; expected at least 1"),
        ({"projection": "ams"}, "projection is 'ams'; expected \"dense\" or \"sparse\""),
        ({"projection": "sparse", "d_proj": None}, "projection is \"sparse\", but d_proj is None; .* Leave projection"),
        ({"seed": -1}, "seed is -1; expected a whole number of at least 0"), ({"seed": 0.5}, "seed is 0.5; expected"),
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
    with pytest.raises(ValueError, match=r"an encoding has 100 values; expected a multiple of 8 for ann=\"pq\""):
        index.muvera(ann="pq", final_dim=100)(topics)
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


# --- ball carving ------------------------------------------------------------------------------------------------


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
