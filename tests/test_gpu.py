"""What runs on a GPU, run by torch on the processor: its results are those of the kernels, up to rounding."""

import numpy as np
import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir import kernels
from pyterrier_lir.frames import Query
from pyterrier_lir.index import build, kmeans, scoring
from pyterrier_lir.kernels import gpu
from pyterrier_lir.retrieve import plaid, plaid_device

torch = pytest.importorskip("torch", reason="torch is not installed, with which the GPU's code runs")
HERE = "cuda" if torch.cuda.is_available() else "cpu:0"  # not "cpu", which stands for the compiled kernels
RNG = np.random.default_rng(0)


def unit(*shape):
    rows = RNG.standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


TOPICS = np.concatenate([unit(20, 32)] * 3)


def near(count):
    rows = TOPICS[RNG.integers(0, len(TOPICS), count)] + 0.1 * RNG.standard_normal((count, 32)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


CORPUS = [{"docno": str(i), "doc_embs": near(i % 9)} for i in range(500)]
QUERIES = pd.DataFrame({"qid": [*"123"], "query_embs": [near(4), near(1), near(7)]})


@pytest.fixture
def here(monkeypatch):
    """Lets torch on the processor pass for a GPU."""
    for module in (scoring, plaid, build):
        monkeypatch.setattr(module, "check_device", lambda device: None)
    return HERE


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    index = lir.LirIndex(tmp_path_factory.mktemp("gpu") / "i.lir")
    index.indexer(centroids=64, verbose=False).index(CORPUS[:400])
    index.add(CORPUS[400:], verbose=False)
    index.delete([str(i) for i in range(0, 500, 11)])
    return index


def test_nearest_is_that_of_the_kernels(monkeypatch):
    points, centroids = unit(500, 32), unit(50, 32)
    codes, scores = kernels.nearest(points, centroids)
    for products in (gpu.PRODUCTS, 1000):  # all at once, and 20 rows at a time
        monkeypatch.setattr(gpu, "PRODUCTS", products)
        found, best = gpu.nearest(points.astype(np.float32), centroids, device=HERE)
        assert found.tolist() == codes.tolist()
        np.testing.assert_allclose(best, scores, atol=1e-5)
        groups = gpu.nearest_groups(points, centroids, 4, device=HERE)
        assert groups.tolist() == kernels.nearest_groups(points, centroids, 4).tolist()


def test_ragged_rows():
    starts, lengths = torch.tensor([7, 0, 3, 5]), torch.tensor([2, 3, 0, 1])
    assert gpu.ragged_rows(starts, lengths).tolist() == [7, 8, 0, 1, 2, 5]
    assert gpu.ragged_rows(starts[:0], lengths[:0]).tolist() == []


def test_centroids_are_as_good_as_the_kernels():
    sample = near(20_000)
    mine, theirs = (kmeans.two_level(sample, 300, seed=1, block=4096, device=device) for device in (HERE, "cpu"))
    quality = [found.assign(sample, block=4096)[1].mean() for found in (mine, theirs)]
    assert quality[0] == pytest.approx(quality[1], abs=2e-3)
    assert quality[0] > 0.8


def test_an_index_is_built_with_it(here, index, tmp_path):
    other = lir.LirIndex(tmp_path / "o.lir").indexer(centroids=64, device=here, verbose=False).index(CORPUS)
    assert other.store.manifest["parameters"]["device"] == here
    first = [found["docno"].iloc[0] for found in (i.exhaustive()(QUERIES[:1]) for i in (other, index))]
    assert first[0] == first[1] or int(first[0]) % 11 == 0


SETTINGS = {
    "defaults": {},
    "few": {"num_results": 5, "nprobe": 1, "ndocs": 40},
    "threshold": {"num_results": 10, "threshold": 0.5, "ndocs": 60},
    "quantile": {"num_results": 10, "threshold_quantile": 0.5, "ndocs": 60},
    "more cells": {"num_results": 450, "nprobe": 1},
    "some": {"docnos": [str(i) for i in range(1, 200, 3) if i % 11]},
}


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_plaid_ranks_as_on_the_processor(here, index, name, weights):
    topics = QUERIES
    if weights:
        topics = QUERIES.assign(query_weights=[np.linspace(0.5, 2, len(e)).astype("f4") for e in QUERIES["query_embs"]])
    mine, theirs = (index.plaid(device=device, **SETTINGS[name])(topics) for device in (here, "cpu"))
    assert mine["qid"].tolist() == theirs["qid"].tolist()
    exact = index.exhaustive(num_results=500)(topics).set_index(["qid", "docno"])["score"]
    # Scores agree to a hundredth of a row's and of its weight; within that it may be another document.
    found = [exact[qid, docno] for qid, docno in zip(mine["qid"], mine["docno"], strict=True)]
    np.testing.assert_allclose(mine["score"], found, atol=0.08)
    for qid, rows in mine.groupby("qid"):
        assert rows["score"].mean() == pytest.approx(theirs.loc[theirs["qid"] == qid, "score"].mean(), abs=0.1)
    wanted = SETTINGS[name].get("docnos")
    assert wanted is None or set(mine["docno"]) <= set(wanted)


@pytest.mark.parametrize("bar", [{"threshold": 0.5}, {"threshold_quantile": 0.5}])
def test_a_weight_that_all_rows_share_changes_no_ranking(here, index, bar):
    search = index.plaid(device=here, num_results=10, ndocs=60, **bar)
    quartered = QUERIES.assign(query_weights=[np.full(len(e), 0.25) for e in QUERIES["query_embs"]])
    plain, found = search(QUERIES), search(quartered)
    assert found["docno"].tolist() == plain["docno"].tolist()
    np.testing.assert_allclose(found["score"], plain["score"] / 4, rtol=1e-6)


def test_the_interaction_is_that_of_the_processor(index):
    store = index.store
    there = plaid_device.DevicePlaid(store, HERE)
    docids = np.flatnonzero(store.filled)
    for embs in QUERIES["query_embs"]:
        asked = plaid.CentroidQuery(store, Query(embs, None, np.zeros(1, np.int64)), 1)
        table = there.centroids @ torch.from_numpy(embs).to(HERE).T
        found = there._interaction(table, torch.from_numpy(docids).to(HERE)).cpu().numpy()
        np.testing.assert_allclose(found, asked.similarity(asked.maxsim(docids)), atol=0.02 * len(embs))
        cells = there._candidates(table, 2, 1, None).cpu().numpy()
        assert len(np.setxor1d(cells, asked.candidates(2, at_least=1))) <= 0.1 * len(cells)


def test_with_all_cells_it_is_exhaustive(here, index):
    everything = index.plaid(device=here, num_results=500, nprobe=64, ndocs=2000)(QUERIES)
    decoded = {one["docno"]: one["doc_embs"] for one in index.get_corpus_iter()}
    for query in QUERIES.itertuples():
        rows = everything[everything["qid"] == query.qid]
        exact = [(query.query_embs @ decoded[docno].T).max(axis=1).sum() for docno in rows["docno"]]
        np.testing.assert_allclose(rows["score"], exact, atol=5e-3)  # vectors lie there in float16
        assert len(rows) == sum(len(embs) > 0 for embs in decoded.values())


def test_documents_come_in_blocks(here, index, monkeypatch):
    whole = index.plaid(device=here)(QUERIES)
    monkeypatch.setattr(gpu, "BLOCK", 50)
    index.reopen()
    pd.testing.assert_frame_equal(index.plaid(device=here)(QUERIES), whole, rtol=1e-4)
    assert [len(part) for part in plaid_device._blocks(torch.tensor([30, 30, 30, 30]))] == [1, 2, 1]


def test_the_device_must_be_there(index):
    if HERE == "cuda":
        pytest.skip("there is a GPU here: nothing to refuse")
    with pytest.raises(ValueError, match="torch sees no GPU here"):
        index.plaid(device="cuda")
    with pytest.raises(ValueError, match="torch sees no GPU here"):
        index.indexer(device="cuda")
