"""An index that lives: documents are added, updated and deleted, segments compacted; all of a change, or none."""

import errno
import gc
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess

import numpy as np
import pandas as pd
import pytest
from test_compress import DIM, build, clustered, documents, tree

import pyterrier_lir as lir

TOPICS = pd.DataFrame({"qid": ["1", "2", "3"], "query_embs": [clustered(n, seed=n) for n in (3, 6, 20)]})
SEARCHES = {
    "exhaustive": {},
    "plaid": {},
    "warp": {},
    "warp paper": {"preset": "paper"},
    "xtr": {"token_k": 50},
    "xtr cells": {"nprobe": 8},
    "muvera": {"reps": 4},
}
OPTIONS = [{}, {"keep_embs": True}, {"nbits": 2, "codec": "quantile"}, {"nbits": 8}]


def named(prefix, count, seed):
    """Documents with token ids and names of their own."""
    rng = np.random.default_rng(seed)
    for record in documents(count, seed=seed):
        ids = rng.integers(0, 30, len(record["doc_embs"]))
        yield {**record, "docno": f"{prefix}{record['docno']}", "doc_tok_ids": ids}


def search(index, name, **options):
    return getattr(index, name.split()[0])(num_results=40, **SEARCHES[name], **options)(TOPICS)


def everything(index):
    """All documents with what is scored of them."""
    return [(r["docno"], r["doc_embs"].tobytes(), r["doc_tok_ids"].tobytes()) for r in index.get_corpus_iter()]


def segments(index):
    return len(index.store.segments)


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


def test_what_cannot_be_deleted(plain):
    with pytest.raises(ValueError, match=r"docnos is 'd5'; expected a list.*index.delete\(\['d5'\]\)"):
        plain.delete("d5")
    with pytest.raises(ValueError, match="missing is 'no'"):
        plain.delete(["d5"], missing="no")
    with pytest.raises(ValueError, match=r"All 100 documents .* would be deleted"):
        plain.delete(plain.docnos)
    assert len(plain) == 100


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


# --- readers --------------------------------------------------------------------------------------------------


def test_a_reader_goes_on_with_what_it_opened(plain):
    reader = lir.LirIndex(plain.path)
    before, documents_before = search(reader, "plaid"), everything(reader)
    plain.add(named("new", 60, 1), verbose=False)
    plain.delete(["d1", "d2"])
    plain.compact()
    plain.indexer(mode="overwrite", verbose=False).index(named("other", 10, 3))
    pd.testing.assert_frame_equal(search(reader, "plaid"), before)
    assert everything(reader) == documents_before
    warp = search(reader, "warp")  # needs what is derived only now, from files that are gone
    assert set(warp["docno"]) <= {docno for docno, *_ in documents_before}
    reader.reopen()
    assert len(reader) == 10
    assert set(search(reader, "warp")["docno"]) <= set(reader.docnos)


def reading(path, states, stop, result):
    """Opens and searches again and again; every state that it sees must be one of those that were committed."""
    seen = set()
    try:
        while not stop.is_set():
            index = lir.LirIndex(path)
            docnos = frozenset(index.docnos)
            assert docnos in states, sorted(docnos)[:5]
            found = index.warp(num_results=200, num_threads=1)(TOPICS)
            assert set(found["docno"]) <= docnos
            seen.add(len(docnos))
        result.put(len(seen))
    except BaseException as error:
        result.put(repr(error))


def test_readers_while_one_writes(plain):
    first, new = set(plain.docnos), {r["docno"] for r in named("new", 5, 1)}
    states = {frozenset(first), frozenset(first | new), frozenset(first | new - {"newd0"})}
    context = multiprocessing.get_context("fork")
    stop, result = context.Event(), context.Queue()
    readers = [context.Process(target=reading, args=(plain.path, states, stop, result)) for _ in range(5)]
    for reader in readers:
        reader.start()
    for _ in range(6):
        plain.add(named("new", 5, 1), verbose=False)
        plain.delete(["newd0"])
        plain.compact()
        plain.delete(sorted(new - {"newd0"}))
    stop.set()
    seen = [result.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert all(isinstance(count, int) for count in seen), seen
    assert max(seen) > 1


# --- interrupted ----------------------------------------------------------------------------------------------


def dies_after(records, count):
    for i, record in enumerate(records):
        if i == count:
            raise KeyboardInterrupt
        yield record


@pytest.mark.parametrize("mode", ["append", "update"])
def test_an_interrupted_addition_is_resumed(tmp_path, plain, mode):
    new = [*named("new", 40, 1), *([] if mode == "append" else list(named("", 10, 2)))]
    subprocess.run(["cp", "-r", plain.path, tmp_path / "whole"], check=True)
    whole = lir.LirIndex(tmp_path / "whole")
    whole.indexer(mode=mode, verbose=False).index(new)
    before = everything(plain)
    with pytest.raises(KeyboardInterrupt):
        plain.indexer(mode=mode, segment_mb=200 / 1e6, verbose=False).index(dies_after(new, 30))
    assert everything(lir.LirIndex(plain.path)) == before
    with pytest.raises(ValueError, match=rf'An interrupted {mode} left \d+ documents .* mode="{mode}" and resume=True'):
        plain.indexer(mode=mode, verbose=False).index(new)
    other = "update" if mode == "append" else "append"
    with pytest.raises(ValueError, match=f"An interrupted {mode} left"):
        plain.indexer(mode=other, resume=True, verbose=False).index(new)
    plain.delete(["d50"])  # changes in between do no harm
    rest = plain.unseen()(pd.DataFrame(new))
    assert 10 <= len(rest) - (len(new) - 40) < 30
    plain.indexer(mode=mode, resume=True, verbose=False).index(rest)
    assert everything(plain) == [d for d in everything(whole) if d[0] != "d50"]
    assert not (plain._directory / "build").exists()


def test_an_interrupted_addition_can_be_abandoned(plain):
    before = tree(plain._directory)
    with pytest.raises(KeyboardInterrupt):
        plain.indexer(mode="append", segment_mb=200 / 1e6, verbose=False).index(dies_after(named("new", 40, 1), 30))
    plain.abandon()
    assert tree(plain._directory) == before
    plain.add(named("new", 3, 1), verbose=False)


def killed(path, work, count):
    """Does some work and dies by SIGKILL at the count-th operation on files."""
    left = [count]

    def counted(call):
        def wrapper(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    os.fsync = counted(os.fsync)
    for name in ("rename", "replace", "unlink", "mkdir", "open"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
    shutil.rmtree = counted(shutil.rmtree)
    WORK[work](lir.LirIndex(path))


WORK = {
    "build": lambda index: index.indexer(mode="overwrite", verbose=False).index(named("x", 30, 4)),
    "add": lambda index: index.add(named("new", 30, 1), segment_mb=500 / 1e6, verbose=False),
    "update": lambda index: index.update(named("", 30, 1), segment_mb=500 / 1e6, verbose=False),
    "delete": lambda index: index.delete(["d3", "d4"]),
    "compact": lambda index: index.compact(),
    "warp": lambda index: search(index, "warp"),
    "muvera": lambda index: search(index, "muvera"),
}


@pytest.mark.parametrize("work", WORK)
def test_killed_at_any_step(tmp_path, work):
    """Before some of its operations on files: the index is what it was, or what it should become."""
    index = build(tmp_path / "before", named("", 60, 0))
    index.add(named("more", 10, 8), verbose=False)
    index.delete(["d1"])
    subprocess.run(["cp", "-r", index.path, tmp_path / "after"], check=True)
    WORK[work](lir.LirIndex(tmp_path / "after"))
    before, after = (everything(lir.LirIndex(tmp_path / name)) for name in ("before", "after"))
    expected = search(lir.LirIndex(tmp_path / "after"), "exhaustive")
    finished, step = False, 1
    while not finished:
        copy = tmp_path / f"{work}{step}"
        subprocess.run(["cp", "-r", index.path, copy], check=True)
        process = multiprocessing.get_context("fork").Process(target=killed, args=(copy, work, step))
        process.start()
        process.join()
        finished = process.exitcode == 0
        found = lir.LirIndex(copy)
        found.verify()
        assert everything(found) in (before, after), step
        again = everything(found) == before != after
        if again or work in ("warp", "muvera", "compact"):
            if (copy / "build").exists():
                found.abandon()
            WORK[work](found)
        found.reopen()
        assert everything(found) == after, step
        pd.testing.assert_frame_equal(search(found, "exhaustive"), expected)
        assert len(list((copy / "segments").iterdir())) == len(found.store.segments)
        assert not list(copy.glob("*.tmp"))
        step = step * 3 // 2 + 1
    assert step > 2  # else it was never killed


def test_two_writers(plain):
    def records():
        yield from named("new", 1, 1)
        for work in (lambda: plain.delete(["d1"]), plain.compact, lambda: plain.add(named("y", 1, 1), verbose=False)):
            with pytest.raises(ValueError, match="Another process is writing to the index"):
                work()

    plain.add(records(), verbose=False)
    assert len(plain) == 101


@pytest.fixture
def disk(tmp_path):
    """A small file system."""
    if os.geteuid():
        pytest.skip("only root can mount a little file system")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine cannot mount a tmpfs: " + mounted.stderr.decode())
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("work", ["add", "update", "compact", "delete"])
def test_full_disk(disk, work):
    index = build(disk / "i", named("", 60, 0))
    index.add(named("more", 10, 8), verbose=False)
    before = everything(index)
    rest = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"\0" * max(rest.f_bavail - (0 if work == "delete" else 3), 0) * rest.f_frsize)
    with pytest.raises(OSError, match="disk is full") as caught:
        WORK[work](lir.LirIndex(index.path))
    assert caught.value.errno == errno.ENOSPC
    assert everything(lir.LirIndex(index.path)) == before
    (disk / "ballast").unlink()
    WORK[work](lir.LirIndex(index.path))
    lir.LirIndex(index.path).verify()


def works(path, work):
    try:
        WORK[work](lir.LirIndex(path))
    except OSError as error:
        assert error.errno == errno.ENOSPC
        assert "disk is full" in str(error)
        os._exit(3)


@pytest.mark.parametrize("work", ["build", "compact", "warp"])
def test_a_disk_that_becomes_full_ends_no_process(disk, work):
    """Files are also written by memory map, where a hole on a full disk is fatal."""
    index = build(disk / "i", named("", 60, 0))
    index.add(named("more", 10, 8), verbose=False)
    before = everything(index)
    codes = set()
    for room in (0, 1, 4, 8, 12, 14, 16, 18, 20, 24, 48, 100, 180):  # blocks
        copy = disk / "copy"
        subprocess.run(["cp", "-r", index.path, copy], check=True)
        rest = os.statvfs(disk)
        (disk / "ballast").write_bytes(b"\0" * (rest.f_bavail - room) * rest.f_frsize)
        process = multiprocessing.get_context("fork").Process(target=works, args=(copy, work))
        process.start()
        process.join()
        codes.add(process.exitcode)
        (disk / "ballast").unlink()
        assert process.exitcode in (0, 3), (room, process.exitcode)
        if process.exitcode or work != "build":
            assert everything(lir.LirIndex(copy)) == before
        shutil.rmtree(copy)
        gc.collect()  # what is mapped keeps its room
    assert codes == {0, 3}


def test_a_read_only_file_system(disk):
    index = build(disk / "i", named("", 60, 0))
    expected = search(build(disk / "j", named("", 60, 0)), "warp")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    pd.testing.assert_frame_equal(search(lir.LirIndex(index.path), "warp"), expected)
    for work in ("add", "delete", "compact", "build"):
        with pytest.raises(OSError, match="index cannot be changed; expected a folder that this process may write to"):
            WORK[work](lir.LirIndex(index.path))


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
