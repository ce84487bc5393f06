"""The compressed index: codes and inverted lists; same bytes whatever happens; bounded memory."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corpora import DIM, build, clustered, documents, tree

import pyterrier_lir as lir
from pyterrier_lir.index import build as build_module
from pyterrier_lir.index.kmeans import number_of_centroids

# --- the index ------------------------------------------------------------------------------------------------


def test_codes_and_inverted_lists(tmp_path):
    docs = list(documents(200))
    index = build(tmp_path / "i", docs, keep_embs=True)
    (segment,) = index.store.segments
    codec = index.store.codec
    assert index.store.manifest["centroids"] == len(codec.centroids.vectors) == number_of_centroids(segment.num_tokens)
    tokens = np.concatenate([d["doc_embs"] for d in docs]).astype(np.float16)
    encoded = codec.encode(tokens)
    np.testing.assert_array_equal(segment.codes, encoded.codes)
    np.testing.assert_array_equal(segment.residuals, encoded.residuals)
    cells = {}
    for i in range(200):
        codes = np.unique(segment.codes[segment.offsets[i] : segment.offsets[i + 1]])
        listed = segment.doc_codes[segment.doc_code_offsets[i] : segment.doc_code_offsets[i + 1]]
        np.testing.assert_array_equal(listed, codes)
        for code in codes:
            cells.setdefault(code, []).append(i)
    for code in range(len(codec.centroids.vectors)):
        listed = segment.cell_docs[segment.cell_offsets[code] : segment.cell_offsets[code + 1]]
        assert listed.tolist() == cells.get(code, [])


def test_documents_are_decoded_from_codes(tmp_path):
    docs = list(documents(300, dim=32))
    index = build(tmp_path / "i", docs, nbits=8)
    assert index.store.segments[0].tokens is None
    errors = []
    for stored, given in zip(index.get_corpus_iter(), docs, strict=True):
        assert stored["docno"] == given["docno"]
        errors.append(np.abs(stored["doc_embs"] - given["doc_embs"]).ravel())
    errors = np.concatenate(errors)
    assert errors.mean() < 0.002
    assert (errors < 0.02).mean() > 0.999  # a residual far out is cut off


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("unit", [True, False])
def test_scores_are_those_of_the_decompressed_vectors(tmp_path, nbits, unit):
    scale = 1 if unit else 2.5
    docs = [{**d, "doc_embs": scale * d["doc_embs"]} for d in documents(150)]
    index = build(tmp_path / "i", docs, nbits=nbits)
    assert (index.store.codec.inv_norm_range is not None) == (unit and nbits > 1)
    rng = np.random.default_rng(1)
    queries = [clustered(n, seed=n) for n in (1, 16, 33)]
    weights = [rng.random(len(q)).astype(np.float32) for q in queries]
    topics = pd.DataFrame({"qid": list("abc"), "query_embs": queries, "query_weights": weights})
    frame = topics.merge(pd.DataFrame({"docno": index.docnos}), how="cross")
    straight = index.maxsim()(frame).sort_values(["qid", "docno"], ignore_index=True)
    decoded = (index.embs_loader() >> lir.MaxSim())(frame).sort_values(["qid", "docno"], ignore_index=True)
    finite = np.isfinite(straight["score"])
    assert (finite.to_numpy() == np.isfinite(decoded["score"]).to_numpy()).all()
    # the query is rounded to 1/127 of its largest value: a hundredth of a similarity of 1 is a generous bound
    error = np.abs(straight["score"][finite].to_numpy() - decoded["score"][finite].to_numpy())
    assert (error / np.repeat([1, 16, 33], 150)[finite.to_numpy()] < 0.01 * scale).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_documents(tmp_path, count):
    docs = [{"docno": f"d{i}", "doc_embs": clustered(2, seed=i)} for i in range(count)]
    index = build(tmp_path / "i", docs)
    topics = pd.DataFrame({"qid": ["q"], "query_embs": [docs[-1]["doc_embs"]]})
    found = index.exhaustive()(topics)
    assert len(found) == count
    assert found["docno"][0] == f"d{count - 1}"
    assert found["score"][0] == pytest.approx(2, abs=0.02)


def test_documents_without_tokens_between(tmp_path):
    empty = np.zeros((0, DIM), np.float32)
    docs = [{"docno": str(i), "doc_embs": clustered(3, seed=i) if i % 3 == 1 else empty} for i in range(30)]
    index = build(tmp_path / "i", docs, segment_mb=100e-6)
    topics = pd.DataFrame({"qid": ["q"], "query_embs": [docs[4]["doc_embs"]]})
    assert index.exhaustive()(topics)["docno"][0] == "4"
    assert len(index.exhaustive()(topics)) == 10
    nothing = build(tmp_path / "j", [{"docno": "a", "doc_embs": empty}])
    assert len(nothing.exhaustive()(topics)) == len(nothing.plaid()(topics)) == 0
    assert next(nothing.get_corpus_iter())["doc_embs"].shape == (0, DIM)


def test_many_documents_of_one_token(tmp_path):
    count = 100_000
    tokens = clustered(count, 4)
    docs = ({"docno": str(i), "doc_embs": tokens[i : i + 1]} for i in range(count))
    index = build(tmp_path / "i", docs, centroids=256)
    topics = pd.DataFrame({"qid": ["q"], "query_embs": [tokens[:1]]})
    assert len(index) == count
    assert index.exhaustive(num_results=10)(topics)["score"][0] == pytest.approx(1, abs=0.02)


def test_identical_tokens(tmp_path):
    docs = [{"docno": str(i), "doc_embs": np.ones((5, 3), np.float32)} for i in range(20)]
    index = build(tmp_path / "i", docs)
    found = index.exhaustive()(pd.DataFrame({"qid": ["q"], "query_embs": [np.ones((1, 3))]}))
    assert found["docno"].tolist() == [str(i) for i in range(20)]
    assert found["score"].tolist() == pytest.approx([3] * 20, abs=0.02)


@pytest.mark.parametrize(
    "options", [{"seed": 1}, {"nbits": 2}, {"centroids": 17}, {"keep_embs": True}], ids=lambda o: next(iter(o))
)
def test_every_parameter_changes_the_index(tmp_path, options):
    build(tmp_path / "a", documents(100))
    build(tmp_path / "b", documents(100), **options)
    assert tree(tmp_path / "a") != tree(tmp_path / "b")
    if "centroids" in options:
        assert lir.LirIndex(tmp_path / "b").store.manifest["centroids"] == 17


def test_the_same_bytes_whatever_the_machine_gives(tmp_path):
    build(tmp_path / "a", documents(400, longest=40), num_threads=1)
    build(tmp_path / "b", documents(400, longest=40), num_threads=3, memory_mb=0.3, segment_mb=0.01)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_info(tmp_path):
    index = build(tmp_path / "i", documents(400))
    info = index.info()
    tokens = index.store.manifest["tokens"]
    assert info["bytes"]["residuals.u8"] == tokens * DIM // 2
    assert info["bytes"]["codes.u16"] == 2 * tokens
    assert info["bytes_per_token"] == pytest.approx(sum(info["bytes"].values()) / tokens)
    assert info["bytes_per_document"] == pytest.approx(sum(info["bytes"].values()) / 400)
    assert "residuals.u8" in str(info)


# --- crashes --------------------------------------------------------------------------------------------------


def dying_build(path, seconds):
    """Builds an index and dies by SIGKILL after some time, in whatever stage that is."""
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    docs = documents(400, longest=40)
    build(path, docs, segment_mb=0.02, num_threads=1)


def test_killed_at_any_moment_and_resumed(tmp_path):
    build(tmp_path / "whole", documents(400, longest=40))
    expected, killed, stages = tree(tmp_path / "whole"), 0, set()
    for i, seconds in enumerate(np.linspace(0.01, 0.6, 12)):
        path = tmp_path / f"i{i}"
        process = multiprocessing.get_context("fork").Process(target=dying_build, args=(path, seconds))
        process.start()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        stages |= {entry.name for entry in (path / "build").iterdir()} if (path / "build").exists() else set()
        index = lir.LirIndex(path)
        corpus = (record for record in documents(400, longest=40))
        (index.unseen() >> index.indexer(resume=True, verbose=False, segment_mb=0.02)).index(corpus)
        assert tree(path) == expected
    assert killed >= 3
    assert "spool" in stages


@pytest.mark.parametrize("stage", ["_train", "compress_all", "name_segment", "merge"])
def test_interrupted_in_a_later_stage(tmp_path, monkeypatch, stage):
    build(tmp_path / "whole", documents(100))

    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(build_module, stage, dies)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "i", documents(100))
    with pytest.raises(FileNotFoundError, match="100 documents stored"):
        len(lir.LirIndex(tmp_path / "i"))
    with pytest.raises(ValueError, match=r"other options, \{'nbits': 4\}; expected the same"):
        build(tmp_path / "i", [], resume=True, nbits=2)
    build(tmp_path / "i", [], resume=True)
    assert tree(tmp_path / "i") == tree(tmp_path / "whole")


@pytest.mark.parametrize("stage", ["compress_all", "merge"])
def test_documents_that_come_after_training_are_trained_on(tmp_path, monkeypatch, stage):
    docs = list(documents(100))
    build(tmp_path / "whole", docs)

    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(build_module, stage, dies)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "i", docs[:60])
    build(tmp_path / "i", docs[60:], resume=True)
    assert tree(tmp_path / "i") == tree(tmp_path / "whole")


# --- memory ---------------------------------------------------------------------------------------------------


STATUS = Path("/proc/self/status")


def anonymous_mb():
    return next(int(line.split()[1]) / 1024 for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))


def build_in_bounds(path, result):
    """Builds an index of 200 MB of embeddings with a bound of 20 MB; reports how much anonymous memory that took."""
    tokens = clustered(4000, 128, topics=1000)
    build(
        path / "small", [{"docno": "a", "doc_embs": tokens}], memory_mb=20, num_threads=1
    )  # loads what is loaded once
    start, peak, done = anonymous_mb(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    rng = np.random.default_rng(0)
    docs = ({"docno": str(i), "doc_embs": rng.permutation(tokens)[:200]} for i in range(4000))
    build(path / "large", docs, memory_mb=20, centroids=1024, num_threads=1)
    done.set()
    watcher.join()
    result.put(peak[0] - start)


@pytest.mark.skipif(not STATUS.exists(), reason="reads /proc")
def test_memory_is_bounded(tmp_path):
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    process = context.Process(target=build_in_bounds, args=(tmp_path, result))
    process.start()
    grown = result.get(timeout=600)
    process.join()
    assert lir.LirIndex(tmp_path / "large").store.manifest["tokens"] * 128 * 2 > 200e6
    assert grown < 20
