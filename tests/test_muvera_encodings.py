"""What MUVERA's encodings must satisfy, exactly, one-sidedly or on average, and how an index keeps them."""

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from corpora import DIM, build, clustered, documents, tree
from rankings import frame, pairs, recall

import pyterrier_lir as lir
from pyterrier_lir import kernels
from pyterrier_lir.ragged import Ragged
from pyterrier_lir.retrieve import vectors
from pyterrier_lir.retrieve.encodings import Encodings
from pyterrier_lir.retrieve.fde import Fde, FdeEncoder, draw

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
    (matrix,) = found.matrices
    assert matrix.dtype == np.float16
    assert matrix.shape == (sum(len(d["doc_embs"]) > 0 for d in index.get_corpus_iter()), 4 * 8 * 8)
    assert folder.meta["numpy"] == np.__version__
    assert set(folder.meta["source"]) == {*index.store.everything, "matrices"}
