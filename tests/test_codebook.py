"""The codec with one codebook for all dimensions, as ColBERTv2 has it."""

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, documents, tree

import pyterrier_lir as lir
from pyterrier_lir.index.codebook import Codebook
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.kmeans import Centroids, two_level


def codebook(weights, cutoffs):
    return Codebook(np.array(weights, np.float32), np.array(cutoffs, np.float32))


def one_centroid(*values):
    vector = np.array([values], np.float32)
    return Centroids(vector, vector, np.array([0, 1]))


@pytest.fixture(scope="module", params=[1, 2, 4, 8])
def index(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("codebook") / "i"
    return build(path, documents(150, longest=30), nbits=request.param, codec="quantile")


@pytest.fixture(scope="module")
def topics():
    return pd.DataFrame({"qid": list("abc"), "query_embs": [clustered(n, seed=n) for n in (1, 16, 33)]})


# --- the codebook ---------------------------------------------------------------------------------------------


def test_quantiles_by_hand():
    found = Codebook.train(np.array([[8, 1, 2], [3, 0, 5], [6, 7, 4]], np.float32), 2)
    assert found.cutoffs.tolist() == [2, 4, 6]
    assert found.weights.tolist() == [1, 3, 5, 7]


def test_a_value_at_a_cutoff_belongs_below():
    levels = codebook([1, 3, 5, 7], [2, 4, 6]).levels(np.array([[-9, 2, 2.01], [4, 6.5, 99]], np.float32))
    assert levels.tolist() == [[0, 0, 1], [1, 3, 3]]


def test_the_grid_by_hand():
    # 6 / 127 from point to point: 2 and 4 are 42.3 and 84.7 of them
    found = codebook([1, 3, 5, 7], [2, 4, 6])
    assert found.table.tolist() == [0, 42, 85, 127]
    assert found.lo == 1
    assert found.step() == pytest.approx(6 / 127)
    assert codebook([-1, 1], [0]).table.tolist() == [0, 127]
    assert codebook([2, 2], [2]).table.tolist() == [0, 0]  # all residuals are equal
    assert found.on_grid(255).tolist() == [0, 85, 170, 255]


@pytest.mark.parametrize(
    ("weights", "cutoffs", "message"),
    [
        ([1, 2, 3, 4], [1, 2], "weights has shape"),
        ([[1, 2]], [1], "weights has shape"),
        ([1, 2, 3], [1, 2], "There are 3 weights"),
        ([2, 1], [1], "ascending order"),
        ([1, 2, 3, 4], [3, 2, 1], "ascending order"),
        ([1, np.nan], [1], "expected finite numbers"),
    ],
)
def test_codebooks_that_are_refused(weights, cutoffs, message):
    with pytest.raises(ValueError, match=message):
        codebook(weights, cutoffs)


# --- the codec ------------------------------------------------------------------------------------------------


def test_a_vector_by_hand():
    values = codebook([-0.5, -0.1, 0.2, 0.75], [-0.3, 0, 0.5])
    codec = Codec.of_codebook(one_centroid(1, 0, -1), 2, values, None)
    encoded = codec.encode(np.array([[1.3, -0.3, -0.4]], np.float32))
    # residuals .3, -.3 and .6: levels 2, 0 and 3, of which dimension 2 lies in the second plane of a row of one byte
    assert encoded.residuals.tolist() == [[2 + (0 << 2) + (3 << 4)]]
    expected = np.array([[1, 0, -1]], np.float32) + values.weights[[2, 0, 3]]
    np.testing.assert_array_equal(codec.decode(encoded), expected)  # the weights themselves, not the grid


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_decoded_vectors_are_centroids_and_weights(nbits):
    points = clustered(2000)
    codec = Codec.train(two_level(points, 64, seed=0, block=4096), points, nbits, kind="quantile", unit=True, block=999)
    encoded = codec.encode(points)
    residuals = points - codec.centroids.vectors[encoded.codes]
    weights = codec.codebook.weights if nbits < 8 else codec.lo[0] + codec.step[0] * np.arange(256)
    decoded = codec.decompress(encoded.codes, encoded.residuals) - codec.centroids.vectors[encoded.codes]
    distances = np.abs(decoded.ravel()[:, None] - weights).min(axis=1)
    assert distances.max() < 1e-6
    if nbits == 8:
        inside = (residuals > weights[0]) & (residuals < weights[-1])
        assert np.abs(decoded - residuals)[inside].max() <= 0.501 * codec.step[0]
    else:
        used = np.bincount(np.searchsorted(weights, decoded.ravel() - 1e-6), minlength=2**nbits)
        np.testing.assert_allclose(used / residuals.size, 1 / 2**nbits, atol=0.005)  # quantiles: equally often
    if nbits > 1:
        np.testing.assert_allclose(np.linalg.norm(codec.decode(encoded), axis=1), 1, atol=0.005)


def test_equal_steps_lose_less():
    points = clustered(3000)
    centroids = two_level(points, 64, seed=0, block=4096)
    errors = {}
    for kind in ("uniform", "quantile"):
        codec = Codec.train(centroids, points, 4, kind=kind, unit=True, block=4096)
        errors[kind] = np.mean((codec.decode(codec.encode(points)) - points) ** 2)
    assert errors["uniform"] < errors["quantile"]


def test_save_and_load(tmp_path):
    values = codebook([-0.5, -0.1, 0.2, 0.75], [-0.3, 0, 0.5])
    Codec.of_codebook(one_centroid(1, 0, -1), 2, values, (0.9, 1.1)).save(tmp_path / "codec")
    loaded = Codec.load(tmp_path / "codec")
    np.testing.assert_array_equal(loaded.codebook.weights, values.weights)
    np.testing.assert_array_equal(loaded.codebook.cutoffs, values.cutoffs)
    assert loaded.level_table.tolist() == values.table.tolist()
    assert loaded.inv_norm_range == (0.9, 1.1)


# --- the index ------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_decompressed_vectors(index, topics):
    weights = [np.random.default_rng(n).random(n).astype(np.float32) for n in (1, 16, 33)]
    weighted = topics.assign(query_weights=weights)
    docs = {d["docno"]: d["doc_embs"].astype(np.float64) for d in index.get_corpus_iter() if len(d["doc_embs"])}
    found = index.exhaustive()(weighted)
    assert len(found) == 3 * len(docs)
    for row in found.itertuples():
        similarities = row.query_embs.astype(np.float64) @ docs[row.docno].T
        exact = (similarities.max(axis=1) * row.query_weights).sum()
        # the query is rounded to 1/127 of its largest value, the weights to 1/254 of their span
        assert abs(row.score - exact) < 0.01 * len(row.query_embs)


def test_plaid_warp_and_xtr_are_exhaustive_where_nothing_is_left_out(index, topics):
    exact = index.exhaustive()(topics)
    cells = index.store.manifest["centroids"]
    pd.testing.assert_frame_equal(index.plaid(nprobe=cells, ndocs=4 * len(index))(topics), exact)
    expected = exact.set_index(["qid", "docno"])["score"].sort_index()
    for xtr in (index.xtr(token_k=10**6, normalise="sum"), index.xtr(token_k=10**6, normalise="sum", nprobe=cells)):
        found = xtr(topics).set_index(["qid", "docno"])["score"].sort_index()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert found.index.equals(expected.index)


def test_warp_is_maxsim_without_normalisation(index, topics):
    (segment,), codec = index.store.segments, index.store.codec
    tokens = codec.decompress(segment.codes, segment.residuals).astype(np.float64)
    found = index.warp(nprobe=index.store.manifest["centroids"])(topics)
    for row in found.itertuples():
        docid = index.store.docids[row.docno]
        similarities = row.query_embs @ tokens[segment.offsets[docid] : segment.offsets[docid + 1]].T
        assert abs(row.score - similarities.max(axis=1).sum()) < 0.01 * len(row.query_embs)


def test_the_bytes_depend_on_the_codec_and_on_nothing_else(tmp_path):
    build(tmp_path / "a", documents(200), codec="quantile", num_threads=1)
    build(tmp_path / "b", documents(200), codec="quantile", num_threads=3, memory_mb=0.3, segment_mb=0.01)
    build(tmp_path / "c", documents(200))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "a") != tree(tmp_path / "c")


def test_an_unknown_codec_is_refused(tmp_path):
    with pytest.raises(ValueError, match="codec is 'pq'; expected \"uniform\""):
        lir.LirIndex(tmp_path / "i").indexer(codec="pq")


def test_a_damaged_codebook_is_refused(tmp_path):
    build(tmp_path / "i", documents(50), codec="quantile")
    (path,) = (tmp_path / "i").rglob("weights.f32")
    path.write_bytes(np.arange(16, 0, -1, dtype="<f4").tobytes())
    with pytest.raises(ValueError, match="ascending order"):
        lir.LirIndex(tmp_path / "i").exhaustive()(pd.DataFrame({"qid": ["a"], "query_embs": [clustered(2)]}))
    path.write_bytes(b"\0" * 4)
    with pytest.raises(ValueError, match="has 4 bytes; expected 64 bytes"):
        len(lir.LirIndex(tmp_path / "i"))
