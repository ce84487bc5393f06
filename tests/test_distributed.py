"""Many machines: what a Ray cluster builds is what one process builds; shards together rank as one index."""

import hashlib
import os
import shutil
import time

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.distributed import ShardError, Shards, encode_and_build
from pyterrier_lir.distributed.shard import Shard
from pyterrier_lir.index.spool import spooled

WORDS = "ash birch cedar elm fir hazel larch maple oak pine rowan willow yew".split()
CORPUS = [  # 400 documents of 0 to 11 words, 31 of them empty
    {"docno": f"d{i}", "text": " ".join(f"{WORDS[i * j % 13]}{i * j % 7}" for j in range(1, i % 13))}
    for i in range(400)
]
ENCODER = lir.ToyEncoder(dim=16, batch_size=100)
QUERIES = ENCODER(pd.DataFrame({"qid": [*"123"], "query": ["ash0 elm3 oak1", "yew6", "fir2 pine5 cedar0 maple4"]}))


def build(path, corpus=CORPUS, **options):
    return (ENCODER >> lir.LirIndex(path).indexer(verbose=False, **options)).index(iter(corpus))


def digest(index):
    """Every file of an index, by its hash; the lock holds nothing."""
    root = index._directory
    files = (file for file in sorted(root.rglob("*")) if file.is_file() and file.name != ".writer.lock")
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return build(tmp_path_factory.mktemp("single") / "index.lir", centroids=32)


@pytest.fixture(scope="module")
def ray():
    """A cluster of this machine that says it has four processors; its workers are processes of their own."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it reports to nobody
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=10**8)
    yield ray
    ray.shutdown()


# --- building -----------------------------------------------------------------------------------------------------


def killing(marker, spool):
    """An encoder that kills its process, once, when a part is on disk, as when the last begins. Ray ships it."""

    class Killing(lir.ToyEncoder):
        def encode_docs(self, texts):
            if any(spool.iterdir()) and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), 9)
            return super().encode_docs(texts)

    return Killing(dim=16, batch_size=100)


def test_many_workers_build_the_bytes_of_one_process_though_one_is_killed(ray, single, tmp_path):
    marker, path = tmp_path / "killed", tmp_path / "many.lir"
    encoder = killing(marker, path / "build" / "spool")
    index = encode_and_build(iter(CORPUS), encoder, path, num_workers=3, part_size=100, centroids=32, verbose=False)
    assert marker.exists()
    assert digest(index) == digest(single)
    assert index.docnos == [document["docno"] for document in CORPUS]


def test_an_interrupted_build_goes_on(ray, single, tmp_path):
    path, options = tmp_path / "resumed.lir", {"num_workers": 2, "part_size": 100, "centroids": 32, "verbose": False}

    def breaking():
        yield from CORPUS[:250]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_and_build(breaking(), ENCODER, path, **options)
    stored = path / "build" / "spool" / "000001" / "segment.json"
    before = stored.stat().st_mtime_ns
    with pytest.raises(ValueError, match=r"An interrupted encode_and_build left .* expected resume=True or overwrite"):
        encode_and_build(CORPUS, ENCODER, path, **options)
    with pytest.raises(ValueError, match=r"had other options, \{'part_size': 100\}"):
        encode_and_build(CORPUS, ENCODER, path, **options | {"part_size": 50}, resume=True)
    with pytest.raises(ValueError, match="Part 000001 was made of other documents than the 100 from 'd1' on"):
        encode_and_build(CORPUS[1:], ENCODER, path, **options, resume=True)
    assert stored.stat().st_mtime_ns == before
    index = encode_and_build(CORPUS, ENCODER, path, **options, resume=True)
    assert digest(index) == digest(single)
    with pytest.raises(ValueError, match="is built already"):
        encode_and_build(CORPUS, ENCODER, path, **options)


def dropping():
    """Leaves out a document of the first part, and all of the second. Ray ships it."""

    class Dropping(pt.Transformer):
        def transform(self, inp):
            return inp[(inp["docno"] != "d3") & ~inp["docno"].str.fullmatch("d1..")]

    return Dropping() >> ENCODER


def chunking():
    """Makes a passage of every four words."""
    return lir.LateChunking(ENCODER, unit="words", length=4)


PASSAGES = sum(max(-(-len(document["text"].split()) // 4), 1) for document in CORPUS)


@pytest.mark.parametrize(("make", "count"), [(dropping, 400 - 1 - 100), (chunking, PASSAGES)])
def test_what_gives_fewer_documents_or_other_ones_goes_on(ray, tmp_path, make, count):
    path, options = tmp_path / "resumed.lir", {"num_workers": 1, "part_size": 100, "centroids": 32, "verbose": False}

    def breaking():
        yield from CORPUS[:250]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_and_build(breaking(), make(), path, **options)
    assert [entry.name for entry in spooled(path)] == ["000001", "000002"]
    with pytest.raises(ValueError, match="Part 000001 was made of other documents than the 100 from 'd1' on"):
        encode_and_build(CORPUS[1:], make(), path, **options, resume=True)
    index = encode_and_build(CORPUS, make(), path, **options, resume=True)
    assert len(index) == count
    single = lir.LirIndex(tmp_path / "single.lir")
    (make() >> single.indexer(centroids=32, verbose=False)).index(iter(CORPUS))
    assert digest(index) == digest(single)


def test_what_is_wrong_with_a_document_comes_back_from_the_worker(ray, tmp_path):
    twice = [*CORPUS[:150], CORPUS[3]]
    with pytest.raises(ValueError, match="The docno 'd3' occurs twice"):
        encode_and_build(twice, ENCODER, tmp_path / "a", num_workers=2, part_size=100, verbose=False)
    with pytest.raises(ValueError, match=r"docno 7 is a int; expected a non-empty string"):
        encode_and_build([{"docno": 7, "text": "x"}], ENCODER, tmp_path / "b", num_workers=1, verbose=False)
    with pytest.raises(ValueError, match=r"resume is 'no'; expected True or False"):
        encode_and_build(CORPUS, ENCODER, tmp_path / "c", num_workers=1, verbose=False, resume="no")
    with pytest.raises(ValueError, match="memory_mb is 0; expected a number of megabytes > 0"):
        encode_and_build(CORPUS, ENCODER, tmp_path / "c", num_workers=1, verbose=False, memory_mb=0)
    with pytest.raises(ValueError, match="No documents came"):
        encode_and_build([], ENCODER, tmp_path / "c", num_workers=1, verbose=False)


# --- shards -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """An index of two segments with deleted documents: what a life leaves."""
    index = build(tmp_path_factory.mktemp("changed") / "index.lir", CORPUS[:300], centroids=32)
    index.add(ENCODER.transform_iter(CORPUS[300:]), verbose=False)
    index.delete([f"d{i}" for i in range(0, 400, 9)])
    return index


@pytest.fixture(scope="module")
def shards(changed, tmp_path_factory):
    with Shards.split(changed, tmp_path_factory.mktemp("shards") / "three", 3) as shards:
        yield shards


METHODS = {
    "exhaustive": lambda index: index.exhaustive(num_results=50),
    "exhaustive, some": lambda index: index.exhaustive(docnos=[f"d{i}" for i in range(1, 400, 5) if i % 9]),
    "plaid": lambda index: index.plaid(num_results=20),
    "plaid, one cell": lambda index: index.plaid(num_results=3, nprobe=1, ndocs=8),
    "plaid, more cells": lambda index: index.plaid(num_results=300, nprobe=1),
    "plaid, threshold": lambda index: index.plaid(num_results=5, nprobe=2, ndocs=24, threshold_quantile=0.5),
    "plaid, paper, some": lambda index: index.plaid(preset="paper", docnos=[f"d{i}" for i in range(1, 60) if i % 9]),
    "warp": lambda index: index.warp(num_results=20, nprobe=2),
    "warp, paper": lambda index: index.warp(preset="paper", num_results=400, nprobe=1, t_prime=40),
    "warp, some": lambda index: index.warp(nprobe=3, docnos=[f"d{i}" for i in range(1, 100) if i % 9]),
    "cut": lambda index: (index.plaid(num_results=100) % 4).compile(),
}


@pytest.mark.parametrize("name", METHODS)
def test_shards_rank_as_one_index(changed, shards, name):
    expected, found = (METHODS[name](index)(QUERIES) for index in (changed, shards))
    assert len(expected) > 3
    pd.testing.assert_frame_equal(found, expected)


def test_shards_rerank_as_one_index(changed, shards):
    candidates = changed.exhaustive(num_results=30)(QUERIES).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(shards.maxsim()(candidates), changed.maxsim()(candidates))
    unknown = candidates.assign(docno="nobody")
    with pytest.raises(ValueError, match="1 docnos are in none of the 3 shards: 'nobody'"):
        shards.maxsim()(unknown)
    assert len(shards.maxsim(missing="drop")(unknown)) == 0


def test_counts_are_those_of_one_index(changed, shards):
    mine, theirs = (index.plaid(num_results=5, nprobe=1, stats=True)(QUERIES) for index in (shards, changed))
    for name in ("plaid_candidates", "plaid_scored"):
        assert mine[name].tolist() == theirs[name].tolist()
    assert set(mine["shards_missing"]) == {0}
    assert "shards_missing" not in shards.plaid()(QUERIES)
    assert len(shards) == len(changed)


def test_shards_are_about_equal_and_share_the_codec(shards):
    tokens = [lir.LirIndex(path).info()["tokens"] for path in shards.paths]
    assert max(tokens) - min(tokens) < 30
    assert len({(path / "codecs" / "000001" / "codec.json").read_bytes() for path in shards.paths}) == 1


def test_a_shard_that_fails_is_an_error_or_a_marked_part(changed, tmp_path, monkeypatch):
    with Shards.split(changed, tmp_path / "s", 2, timeout=5) as shards:
        whole = shards.exhaustive(num_results=400)(QUERIES)
        second = set(lir.LirIndex(shards.paths[1]).docnos)
        broken = shards._opened[0].shards[1]
        monkeypatch.setattr(broken, "exhaustive", lambda *_: (_ for _ in ()).throw(OSError("the disk is gone")))
        with pytest.raises(ShardError, match=r"Shard 1, .*shard-001, failed: OSError: the disk is gone"):
            shards.exhaustive()(QUERIES)
        monkeypatch.setattr(shards, "partial", True)
        part = shards.exhaustive(num_results=400)(QUERIES)
        assert set(part["shards_missing"]) == {1}
        kept = whole[~whole["docno"].isin(second)]
        assert part["docno"].tolist() == kept["docno"].tolist()
        assert part["score"].tolist() == kept["score"].tolist()
        monkeypatch.setattr(shards._opened[0].shards[0], "exhaustive", broken.exhaustive)
        with pytest.raises(ShardError):  # nobody answers
            shards.exhaustive()(QUERIES)


def test_a_shard_that_is_late_is_an_error(changed, tmp_path, monkeypatch):
    with Shards.split(changed, tmp_path / "s", 2) as shards:
        shards.plaid()(QUERIES)
        monkeypatch.setattr(shards._opened[0].shards[0], "maxsim", lambda *_: time.sleep(1))
        monkeypatch.setattr(shards, "timeout", 0.2)
        with pytest.raises(ShardError, match=r"Shard 0, .* did not answer within 0.2 s"):
            shards.plaid()(QUERIES)


def test_actors_search_and_are_restarted(ray, changed, shards):
    with Shards(shards.paths, ray=True, partial=True) as remote:
        plaid = remote.plaid(num_results=20)
        pd.testing.assert_frame_equal(
            plaid(QUERIES).drop(columns="shards_missing"), changed.plaid(num_results=20)(QUERIES)
        )
        ray.kill(remote._opened[0].actors[2], no_restart=False)
        part = remote.exhaustive(num_results=400)(QUERIES)
        third = set(lir.LirIndex(shards.paths[2]).docnos)
        lost = set(part.loc[part["shards_missing"] == 1, "qid"])
        for qid, rows in part.groupby("qid"):  # a query that lacks a shard says so, and only such a query lacks one
            assert (qid in lost) == (not set(rows["docno"]) & third)
        until = time.monotonic() + 60
        while remote.exhaustive()(QUERIES)["shards_missing"].any() and time.monotonic() < until:
            time.sleep(0.1)
        again = plaid(QUERIES)
        assert set(again["shards_missing"]) == {0}
        assert again["docno"].tolist() == changed.plaid(num_results=20)(QUERIES)["docno"].tolist()


def test_a_shard_that_changed_is_refused(changed, tmp_path):
    shards = Shards.split(changed, tmp_path / "s", 2)
    shards.exhaustive()(QUERIES)
    path = shards.paths[1]
    lir.LirIndex(path).delete([lir.LirIndex(path).docnos[0]])
    shards._opened[0].shards[1] = Shard(path)  # as a process that was started again opens it
    with pytest.raises(ValueError, match=r"The shard .*shard-001 has changed: its manifest is number 2; expected 1"):
        shards.exhaustive()(QUERIES)
    shards.close()
    assert len(shards) == len(changed) - 1


def test_shards_that_do_not_fit_are_refused(changed, single, tmp_path):
    with pytest.raises(ValueError, match=r"has the codec .* expected one for all"):
        Shards([changed, single]).exhaustive()(QUERIES)
    with pytest.raises(ValueError, match="expected a list of indexes"):
        Shards("a.lir")
    with pytest.raises(ValueError, match="names 2 folders, 1 of them distinct"):
        Shards([changed, changed])
    with pytest.raises(FileNotFoundError, match="There is no index at"):
        Shards([tmp_path / "nothing"]).exhaustive()(QUERIES)
    with pytest.raises(ValueError, match="is not empty"):
        Shards.split(changed, changed._directory, 2)
    with pytest.raises(ValueError, match="count is 999; expected at most one shard for each"):
        Shards.split(changed, tmp_path / "many", 999)
    with pytest.raises(ValueError, match="memory_mb is -1; expected a number of megabytes > 0"):
        Shards.split(changed, tmp_path / "many", 2, memory_mb=-1)
    shards = Shards.split(changed, tmp_path / "s", 2)
    shutil.copytree(shards.paths[0], tmp_path / "copy")
    with pytest.raises(ValueError, match="is in two shards; expected every document once"):
        Shards([shards.paths[0], tmp_path / "copy"]).exhaustive()(QUERIES)
    with pytest.raises(ValueError, match="worker_options has 1 entries; expected one dict, or 2"):
        Shards(shards.paths, worker_options=[{}]).exhaustive()(QUERIES)


def test_split_in_two_holds_every_document_once(changed, tmp_path):
    shards = Shards.split(changed, tmp_path / "s", 2)
    docnos = [docno for path in shards.paths for docno in lir.LirIndex(path).docnos]
    assert docnos == changed.docnos
    stored = {record["docno"]: record["doc_embs"] for record in changed.get_corpus_iter()}
    for path in shards.paths:
        for record in lir.LirIndex(path).get_corpus_iter():
            np.testing.assert_array_equal(record["doc_embs"], stored[record["docno"]])
