"""An index that lives: documents are added, updated and deleted, segments compacted."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from corpora import DIM, build, clustered, documents, named, tree
from searches import OPTIONS, SEARCHES, TOPICS, everything, search, segments

import pyterrier_lir as lir


@pytest.fixture(params=OPTIONS, ids=str)
def index(tmp_path, request):
    return build(tmp_path / "i", named("", 100, 0), **request.param)


@pytest.fixture
def plain(tmp_path):
    return build(tmp_path / "plain", named("", 100, 0))


# --- add ------------------------------------------------------------------------------------------------------


def test_additions_in_any_split_score_the_same(tmp_path, index):
    added = list(named("new", 60, 1))
    subprocess.run(["cp", "-r", index.path, tmp_path / "split"], check=True)
    split = lir.LirIndex(tmp_path / "split")
    index.add(added, verbose=False)
    for part in (added[:1], added[1:20], added[20:]):
        split.add(part, verbose=False, num_threads=2, segment_mb=200 / 1e6, memory_mb=0.1)
    assert (segments(index), segments(split)) == (2, 4)
    expected = {name: search(index, name) for name in SEARCHES}
    for name in SEARCHES:
        assert expected[name]["docno"].str.startswith("new").any()
        assert not expected[name]["docno"].str.startswith("new").all()
        pd.testing.assert_frame_equal(search(split, name), expected[name])
        pd.testing.assert_frame_equal(search(split, name, num_threads=2), expected[name])
    split.compact()
    for name in SEARCHES:
        pd.testing.assert_frame_equal(search(split, name), expected[name])


def test_compacting_gives_the_bytes_of_any_other_split(tmp_path, index):
    added = list(named("new", 60, 1))
    subprocess.run(["cp", "-r", index.path, tmp_path / "split"], check=True)
    split = lir.LirIndex(tmp_path / "split")
    for i, part in enumerate((added[:7], added[7:])):
        split.add(part, verbose=False)
        index.add(added if i == 0 else [], verbose=False)
    index.compact(memory_mb=0.01)
    split.compact()
    (one,), (other,) = index.store.segments, split.store.segments
    assert tree(one.folder.path) == tree(other.folder.path)
    assert len(list((tmp_path / "split" / "segments").iterdir())) == 1


def test_added_documents_are_what_came(tmp_path):
    index = build(tmp_path / "i", named("", 100, 0), keep_embs=True)
    new = list(named("new", 20, 1))
    index.add(new, verbose=False)
    for record, came in zip(index.get_corpus_iter(100), new, strict=True):
        assert record["docno"] == came["docno"]
        assert (record["doc_tok_ids"] == came["doc_tok_ids"]).all()
        assert (record["doc_embs"] == came["doc_embs"].astype(np.float16)).all()


def test_adding_nothing_changes_nothing(plain):
    before = tree(plain._directory)
    plain.add([], verbose=False)
    assert tree(plain._directory) == before


def test_empty_documents_can_be_added(plain):
    plain.add([{"docno": "empty", "doc_embs": np.zeros((0, DIM)), "doc_tok_ids": []}], verbose=False)
    assert len(plain) == 101
    for name in SEARCHES:
        assert "empty" not in set(search(plain, name)["docno"])
    plain.compact()
    assert plain.docnos[-1] == "empty"


def test_in_a_pipeline(tmp_path):
    encoder, index = lir.ToyEncoder(), lir.LirIndex(tmp_path / "i")
    corpus = [{"docno": f"d{i}", "text": f"word{i} and more"} for i in range(30)]
    (encoder >> index.indexer(verbose=False)).index(corpus[:20])
    (index.unseen() >> encoder >> index.indexer(mode="append", verbose=False)).index(corpus)
    assert index.docnos == [d["docno"] for d in corpus]
    (encoder >> index.indexer(mode="update", verbose=False)).index([{"docno": "d3", "text": "quite another"}])
    assert len(index) == 30
    found = (encoder.query_encoder() >> index.plaid()).search("quite another")
    assert found["docno"][0] == "d3"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"docno": "d7"}, "'d7' occurs twice.*index.update"),
        ({"doc_embs": np.ones((2, 3)) / np.sqrt(3)}, "3 dimensions; expected 16"),
        ({"doc_embs": np.ones((2, DIM))}, "length 4.000; expected 1"),
        ({"doc_encoder": "other"}, "'other'; expected None"),
        ({"doc_tok_ids": None}, "it lacks doc_tok_ids"),
        ({"docno": 3}, "docno 3 is a int; expected"),
    ],
)
def test_what_does_not_fit_is_refused(plain, record, message):
    good = next(named("new", 1, 5))
    bad = {**good, "docno": "bad", "doc_embs": clustered(2), "doc_tok_ids": [1, 2], **record}
    before = tree(plain._directory)
    with pytest.raises(ValueError, match=message):
        plain.add([good, bad], verbose=False)
    assert tree(plain._directory) == before


def test_options_of_the_codec_cannot_be_chosen_again(plain):
    with pytest.raises(ValueError, match='expected no such option with mode="append"'):
        plain.indexer(mode="append", nbits=2)


def test_an_index_that_is_not_built(tmp_path):
    index = lir.LirIndex(tmp_path / "none")
    for work in (lambda: index.add(documents(3), verbose=False), lambda: index.delete(["a"]), index.compact):
        with pytest.raises(FileNotFoundError, match="no index at"):
            work()
    assert not (tmp_path / "none").exists()


def test_an_index_without_a_codec(tmp_path):
    index = build(tmp_path / "i", [{"docno": "empty", "doc_embs": np.zeros((0, DIM))}])
    with pytest.raises(ValueError, match="holds empty documents only"):
        index.add(documents(3), verbose=False)


@pytest.mark.parametrize("name", [*SEARCHES, "lemur"])
def test_an_index_in_which_only_empty_documents_are_left(tmp_path, name):
    options = SEARCHES.get(name, {"hidden": 4, "tokens": 16, "epochs": 1})
    index = build(tmp_path / "i", [{"docno": "empty", "doc_embs": np.zeros((0, DIM))}, *documents(5)])
    index.delete([f"d{i}" for i in range(5)])
    index.compact()
    assert index.docnos == ["empty"]
    assert len(getattr(index, name.split()[0])(**options)(TOPICS)) == 0
    index.add([{"docno": "new", "doc_embs": clustered(4)}], verbose=False)
    assert getattr(index, name.split()[0])(**options)(TOPICS)["docno"].tolist() == ["new"] * len(TOPICS)


# --- delete and update ----------------------------------------------------------------------------------------


def test_deleted_documents_are_nowhere(index):
    index.add(named("new", 60, 1), verbose=False)
    before = {name: search(index, name) for name in SEARCHES}
    gone = before["exhaustive"]["docno"].drop_duplicates()[::3].tolist()
    docids = {docno: index.store.docids[docno] for docno in index.docnos}
    assert index.delete(gone) == len(gone)
    after = {name: search(index, name) for name in SEARCHES}
    assert len(index) == 160 - len(gone)
    assert not set(gone) & set(index.docnos)
    assert all(docids[docno] == docid for docno, docid in index.store.docids.items())
    for name in SEARCHES:
        assert not set(gone) & set(after[name]["docno"])
        assert (after[name].groupby("qid").size() >= 40).all() or name.startswith("xtr")
    for name in ("exhaustive", "plaid", "muvera"):  # where a document's score does not depend on others
        old, new = (frame[name].set_index(["qid", "docno"])["score"] for frame in (before, after))
        both = old.index.intersection(new.index)
        assert len(both) > 60
        pd.testing.assert_series_equal(new[both], old[both])
    stats = index.token_stats()
    index.compact()
    assert index.token_stats() == stats
    for name in SEARCHES:
        pd.testing.assert_frame_equal(search(index, name), after[name])


@pytest.mark.parametrize("ann", ["hnsw", "pq", "ivfpq"])
def test_faiss_passes_over_deleted_documents(plain, ann):
    retriever = plain.muvera(ann=ann, reps=4, num_results=10, **({"nprobe": 50} if ann == "ivfpq" else {}))
    before = retriever(TOPICS)
    gone = before[before["rank"] == 0]["docno"].drop_duplicates().tolist()
    made = tree(plain._directory / "derived")
    plain.delete(gone)
    after = retriever(TOPICS)
    assert tree(plain._directory / "derived") == made
    assert not set(gone) & set(after["docno"])
    assert (after.groupby("qid").size() == 10).all()
    best = after[after["rank"] == 0].set_index("qid")["docno"]
    second = before[~before["docno"].isin(gone)].groupby("qid").first()["docno"]
    assert best.to_dict() == second.to_dict()


def test_a_deleted_document_is_unknown(plain):
    plain.delete(["d5"])
    with pytest.raises(ValueError, match=r"1 docnos are not in the index .*'d5'; expected docnos such as 'd0'"):
        plain.maxsim()(TOPICS.assign(docno="d5"))
    with pytest.raises(ValueError, match="'d5'"):
        plain.plaid(docnos=["d5", "d6"])(TOPICS)
    assert len(plain.maxsim(missing="drop")(TOPICS.assign(docno="d5"))) == 0
    with pytest.raises(ValueError, match="'d5'"):
        plain.delete(["d6", "d5"])
    assert "d6" in plain.docnos  # all or nothing
    assert plain.delete(["d6", "d5"], missing="drop") == 1
    assert plain.delete([]) == 0


def test_a_corpus_graph_leaves_out_deleted_documents(plain):
    before = plain.corpus_graph(k=4).neighbours("d9")
    plain.delete(before[:2])
    assert plain.corpus_graph(k=4).neighbours("d9") == before[2:]
    shutil.rmtree(plain._directory / "derived")
    plain.reopen()
    assert plain.corpus_graph(k=4).neighbours("d9") == before[2:]  # whenever it is made


def test_a_corpus_graph_follows_its_index(plain):
    graph = plain.corpus_graph(k=4)
    assert graph.edges.shape == (100, 4)
    plain.delete([f"d{i}" for i in range(10)])
    plain.compact()
    assert graph.edges.shape == (90, 4)
    assert graph.neighbours("d50") == lir.LirIndex(plain.path).corpus_graph(k=4).neighbours("d50")
    plain.add(named("new", 10, 1), verbose=False)
    assert graph.edges.shape == (100, 4)
    assert graph.edges is graph.edges  # it is opened once


def test_what_cannot_be_deleted(plain):
    with pytest.raises(ValueError, match=r"docnos is 'd5'; expected a list.*index.delete\(\['d5'\]\)"):
        plain.delete("d5")
    for docnos in (None, 5):
        with pytest.raises(ValueError, match=rf"docnos is {docnos}; expected a list.*index.delete\(\['d1', 'd2'\]\)"):
            plain.delete(docnos)
    with pytest.raises(ValueError, match="missing is 'no'"):
        plain.delete(["d5"], missing="no")
    with pytest.raises(ValueError, match=r"All 100 documents .* would be deleted"):
        plain.delete(plain.docnos)
    assert len(plain) == 100


@pytest.mark.parametrize("memory_mb", [0, -1, float("nan"), float("inf"), "x"])
def test_memory_that_there_is_not(plain, memory_mb):
    with pytest.raises(ValueError, match=f"memory_mb is {memory_mb!r}; expected a number of megabytes > 0"):
        plain.compact(memory_mb=memory_mb)
    with pytest.raises(ValueError, match=f"memory_mb is {memory_mb!r}; expected a number of megabytes > 0"):
        plain.indexer(memory_mb=memory_mb)


def test_a_docno_may_come_again(plain):
    plain.delete(["d5"])
    again = {"docno": "d5", "doc_embs": clustered(4, seed=77), "doc_tok_ids": [1, 2, 3, 4]}
    plain.add([again], verbose=False)
    assert plain.docnos[-1] == "d5"
    assert len(plain) == 100
    (found,) = plain.exhaustive(num_results=1)(pd.DataFrame({"qid": ["q"], "query_embs": [again["doc_embs"]]}))["docno"]
    assert found == "d5"


def test_an_update_is_one_change(plain):
    number, names = plain.store.manifest["number"], set(plain.docnos)
    changed = [{**r, "docno": d} for r, d in zip(named("", 3, 9), ("d5", "d6", "fresh"), strict=True)]
    plain.update(changed, verbose=False)
    assert plain.store.manifest["number"] == number + 1
    assert plain.docnos[-3:] == ["d5", "d6", "fresh"]
    assert set(plain.docnos) == {*names, "fresh"}
    assert plain.info()["deleted"] == 2
    with pytest.raises(ValueError, match="'d7' occurs twice"):
        plain.update([{**changed[0], "docno": "d7"}, {**changed[1], "docno": "d7"}], verbose=False)
    assert "d7" in plain.docnos


def test_cells_do_not_count_deleted_tokens(plain):
    plain.add(named("new", 30, 1), verbose=False)
    plain.delete(["d1", "d2", "newd4"])
    counts = plain.store.cell_sizes
    plain.compact()
    assert counts.tolist() == plain.store.cell_sizes.tolist()
    assert counts.sum() == plain.store.manifest["tokens"]


# --- how well it fits ------------------------------------------------------------------------------------------


def test_the_residual_is_the_mean_distance_to_centroids(plain):
    (segment,) = plain.store.segments
    tokens = np.concatenate([r["doc_embs"] for r in named("", 100, 0)]).astype(np.float16).astype(np.float32)
    distances = np.linalg.norm(tokens - plain.store.codec.centroids.vectors[segment.codes], axis=1)
    assert plain.info()["residual"] == pytest.approx(distances.mean(), abs=1e-5)
    assert plain.info()["residual_added"] is None


def test_it_says_when_to_rebuild_and_when_to_compact(plain):
    assert plain.info()["advice"] == []
    plain.add(({**r, "docno": f"again{r['docno']}"} for r in named("", 100, 0)), verbose=False)
    info = plain.info()
    assert info["residual_added"] == pytest.approx(info["residual"], rel=1e-3)  # the same tokens once more
    assert info["advice"] == []
    strange = [{"docno": f"s{i}", "doc_embs": v[None], "doc_tok_ids": [1]}
               for i, v in enumerate(clustered(50, topics=50, noise=0, seed=123))]  # fmt: skip
    plain.add(strange, verbose=False)
    assert any("Rebuild it" in said and "times as far" in said for said in plain.info()["advice"])
    for i in range(10):
        plain.add([{"docno": f"one{i}", "doc_embs": clustered(1), "doc_tok_ids": [1]}], verbose=False)
    assert any("Documents lie in 13 segments" in said for said in plain.info()["advice"])
    plain.delete([d for d in plain.docnos if d.startswith("again")])
    assert any("100 of 260 documents are deleted" in said for said in plain.info()["advice"])
    assert "index.compact()" in str(plain.info())
    plain.compact()
    assert not any("compact" in said for said in plain.info()["advice"])
    plain.add(({**r, "docno": f"{i}{r['docno']}"} for i in range(4) for r in named("", 100, 0)), verbose=False)
    assert any("times as many tokens as at the build" in said for said in plain.info()["advice"])


@pytest.mark.parametrize("keep_embs", [False, True])
def test_an_addition_of_empty_documents(tmp_path, keep_embs):
    """A segment without a token, beside others, has no rows to decode."""
    index = build(tmp_path / "i", named("", 20, 0), keep_embs=keep_embs)
    whole = everything(index)
    nothing = {"doc_embs": np.zeros((0, 16), np.float32), "doc_tok_ids": np.zeros(0, np.int32)}
    index.add([{"docno": "nothing", **nothing}], verbose=False)
    assert everything(index) == [*whole, ("nothing", b"", b"")]
    assert index.embs_loader()(pd.DataFrame({"docno": ["nothing"]}))["doc_embs"][0].shape == (0, 16)
    assert index.corpus_graph(k=2, rows=2).neighbours("nothing") == []
