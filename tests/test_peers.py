"""Other stores: each is filled from an index and ranks as it should; what is absent says how to get it."""

import importlib.util
import pickle
import sys

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from pyterrier.measures import RR

import pyterrier_lir as lir
from pyterrier_lir.peers.peer import SHARED

RNG = np.random.default_rng(0)


def unit(count):
    """So many tokens; no two documents will have one score."""
    rows = RNG.standard_normal((count, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


CORPUS = [{"docno": f"d{i}", "doc_embs": unit(i % 7)} for i in range(60)]  # every seventh is empty
QUERIES = pd.DataFrame({"qid": [*"123"], "query": [*"abc"], "query_embs": [unit(3), unit(1), unit(5)]})

# Those whose ranking is the exact one, at the given settings.
EXACT = {
    "Qdrant": ("qdrant_client", {}),
    "LanceDB": ("lancedb", {}),
    "DuckDB": ("duckdb", {}),
    "Milvus": ("milvus_lite", {"token_k": 1000}),
}
TORCH = importlib.util.find_spec("torch") and __import__("torch").__version__


def there(name, module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed, which {name} needs: pip install it to run this test")
    return getattr(lir.peers, name)


@pytest.fixture
def index(tmp_path):
    return lir.LirIndex(tmp_path / "i.lir").indexer(keep_embs=True, verbose=False).index(CORPUS)


def assert_same(found, expected):
    """Equal scores up to rounding; documents may change places only within equal scores."""
    assert found["qid"].tolist() == expected["qid"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=2e-4)
    assert list(found.columns) == list(expected.columns)
    scores = expected.set_index(["qid", "docno"])["score"]
    mine = [scores[qid, docno] for qid, docno in zip(found["qid"], found["docno"], strict=True)]
    np.testing.assert_allclose(mine, expected["score"], atol=2e-4)


@pytest.mark.parametrize("name", EXACT)
def test_rankings_are_exact_through_changes_of_the_index(name, index, tmp_path):
    module, options = EXACT[name]
    peer = there(name, module)(index, folder=tmp_path / "store", **options)
    assert_same(peer(QUERIES), index.exhaustive()(QUERIES))
    index.delete(["d3", "d5"])
    index.add([{"docno": "new", "doc_embs": QUERIES["query_embs"][0]}], verbose=False)
    found = peer(QUERIES)
    assert_same(found, index.exhaustive()(QUERIES))
    assert "new" in set(found["docno"])
    assert not {"d3", "d5"} & set(found["docno"])
    weighted = QUERIES.assign(query_weights=[np.arange(len(embs), dtype=np.float32) for embs in QUERIES["query_embs"]])
    assert_same(peer(weighted), index.exhaustive()(weighted))
    few = (peer % 4).compile()
    assert_same(few(QUERIES), index.exhaustive(num_results=4)(QUERIES))


@pytest.mark.parametrize("name", EXACT)
def test_a_store_is_filled_once_and_used_again(name, index, tmp_path, monkeypatch):
    module, options = EXACT[name]
    kind = there(name, module)
    opened = []
    original = kind.open

    def open_(self, folder, store, *, new):
        opened.append(new)
        return original(self, folder, store, new=new)

    monkeypatch.setattr(kind, "open", open_)
    first, second = (kind(index, num_results=k, folder=tmp_path / "store", **options) for k in (5, 7))
    expected = second(QUERIES)
    first(QUERIES)
    assert opened == [True]  # shared
    for peer in (first, second):
        peer.close()
    assert not SHARED
    assert_same(pickle.loads(pickle.dumps(second))(QUERIES), expected)
    assert opened == [True, False]  # read from the folder


def test_token_k_bounds_what_milvus_meets(index):
    milvus = there("Milvus", "milvus_lite")
    few, all_ = milvus(index, token_k=2)(QUERIES), milvus(index, token_k=1000)(QUERIES)
    assert len(few) < len(all_)
    scores = all_.set_index(["qid", "docno"])["score"]
    for row in few.itertuples():  # who is met is scored by all of its tokens
        assert row.score == pytest.approx(scores[row.qid, row.docno], abs=1e-5)


def test_cells_of_lancedb(tmp_path):
    lance = there("LanceDB", "lancedb")
    embs = unit(1200).reshape(300, 4, 16)
    index = lir.LirIndex(tmp_path / "i.lir").indexer(keep_embs=True, verbose=False)
    index = index.index({"docno": str(i), "doc_embs": rows} for i, rows in enumerate(embs))
    queries = pd.DataFrame({"qid": ["1"], "query_embs": [embs[7, :2]]})
    exact = index.exhaustive(num_results=10)(queries)
    near = [lance(index, num_results=10, partitions=4, nprobes=n)(queries) for n in (1, 4)]
    assert near[1]["docno"].iloc[0] == exact["docno"].iloc[0] == "7"
    assert near[0]["docno"].tolist() != near[1]["docno"].tolist()
    with pytest.raises(ValueError, match="nprobes is 3 without partitions"):
        lance(index, nprobes=3)


@pytest.mark.parametrize(
    ("name", "module"), [("FastPlaid", "fast_plaid"), ("XtrWarp", "xtr_warp")], ids=["fast-plaid", "xtr-warp-rs"]
)
def test_engines_in_rust(name, module, index):
    kind = there(name, module)
    if not TORCH.startswith("2.11."):
        pytest.skip(f"{module} is built for torch 2.11, and here is {TORCH}: it would end this process")
    found = kind(index, num_results=10)(QUERIES)
    exact = index.exhaustive(num_results=10)(QUERIES)
    for qid, rows in found.groupby("qid"):
        best = set(exact.loc[exact["qid"] == qid, "docno"])
        assert len(best & set(rows["docno"])) >= 5
        assert rows["score"].is_monotonic_decreasing


def test_ours_and_theirs_in_one_experiment(index):
    qdrant = there("Qdrant", "qdrant_client")
    qrels = index.exhaustive(num_results=1)(QUERIES)[["qid", "docno"]].assign(label=1)
    systems = {"ours": index.exhaustive(num_results=20), "theirs": qdrant(index, num_results=20)}
    table = pt.Experiment(systems, QUERIES, qrels, [RR @ 10], validate="error")
    assert table["RR@10"].tolist() == [1, 1]


def test_folders_are_not_taken_from_others(index, tmp_path):
    kind = there("Qdrant", "qdrant_client")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("chapter 1")
    with pytest.raises(ValueError, match="which holds other things"):
        kind(index, folder=tmp_path / "mine")(QUERIES)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    first = kind(index, folder=tmp_path / "store")
    first(QUERIES)
    other = lir.LirIndex(tmp_path / "o.lir").indexer(verbose=False).index(CORPUS[:9])
    with pytest.raises(ValueError, match="which another transformer has open"):
        kind(other, folder=tmp_path / "store")(QUERIES)


@pytest.mark.parametrize("name", lir.peers.__all__)
def test_what_is_absent_says_how_to_get_it(name, index, monkeypatch):
    kind = getattr(lir.peers, name)
    for module in kind.PACKAGES:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ImportError, match=rf"{name} needs \w+.*; \w+ is not installed. Run: pip install '?\w"):
        kind(index)
