"""Building and reading an index: what is stored, what is refused."""

import json
import mmap
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from corpora import tree
from random_docs import DIM, build, documents

import pyterrier_lir as lir

# --- what is stored -------------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    docs = list(documents(20))
    index = build(tmp_path / "i", docs)
    assert len(index) == 20
    assert index.dim == DIM
    assert index.docnos == [f"d{i}" for i in range(20)]
    for stored, given in zip(index.get_corpus_iter(), docs, strict=True):
        assert stored["docno"] == given["docno"]
        np.testing.assert_array_equal(stored["doc_embs"], given["doc_embs"].astype(np.float16))
        np.testing.assert_array_equal(stored["doc_tok_ids"], given["doc_tok_ids"])
    assert [doc["docno"] for doc in index.get_corpus_iter(3, 5)] == ["d3", "d4"]


def test_how_often_the_spool_is_saved_changes_nothing(tmp_path):
    docs = list(documents(50))
    build(tmp_path / "one", docs)
    build(tmp_path / "many", docs, segment_mb=100 / 1e6)  # 100 bytes hold about six tokens of 16 bytes
    assert tree(tmp_path / "one") == tree(tmp_path / "many")


def test_the_same_input_gives_the_same_bytes(tmp_path):
    build(tmp_path / "a", documents(30))
    build(tmp_path / "b", documents(30))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_frames_tensors_and_padding(tmp_path):
    import torch

    embs = np.array([[1, 0], [0, 0], [0, 2]], dtype=np.float32)
    frame = pd.DataFrame({"docno": ["a", "b"], "doc_embs": [torch.tensor(embs), embs.tolist()]})
    index = build(tmp_path / "i", frame.assign(doc_tok_ids=[[7, 8, 9]] * 2))
    for document in index.get_corpus_iter():
        np.testing.assert_array_equal(document["doc_embs"], [[1, 0], [0, 2]])
        np.testing.assert_array_equal(document["doc_tok_ids"], [7, 9])


def test_empty_documents_are_stored_and_never_retrieved(tmp_path):
    empty = np.zeros((0, 2), dtype=np.float32)
    docs = [{"docno": n, "doc_embs": e} for n, e in [("a", []), ("b", empty), ("c", [[1, 0]]), ("d", np.zeros((3, 2)))]]
    index = build(tmp_path / "i", docs)
    assert index.docnos == ["a", "b", "c", "d"]
    topics = pd.DataFrame({"qid": ["q"], "query_embs": [[[1.0, 0.0]]]})
    assert index.exhaustive()(topics)["docno"].tolist() == ["c"]
    only_empty = build(tmp_path / "j", docs[:1])
    assert len(only_empty.exhaustive()(topics)) == 0


def test_an_index_is_opened_without_reading_it(tmp_path):
    index = build(tmp_path / "i", documents(100))
    (segment,) = index.store.segments
    for array in (segment.tokens, segment.codes, segment.residuals, segment.offsets, segment.cell_docs):
        while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
            array = array.base
        assert isinstance(array, (np.memmap, mmap.mmap))
    with pytest.raises(ValueError, match="read-only"):
        index.store.segments[0].tokens[0] = 0


def test_unicode_docnos(tmp_path):
    names = ["ä/ö", "文書 1", "a\nb", "🍎"]
    index = build(tmp_path / "i", [{"docno": name, "doc_embs": [[1.0]]} for name in names])
    assert index.docnos == names
    assert index.store.lookup(["🍎", "a\nb"]).tolist() == [3, 2]


# --- artifact -------------------------------------------------------------------------------------------------


def test_artifact(tmp_path):
    index = build(tmp_path / "i.lir", documents(5))
    loaded = pt.Artifact.load(str(tmp_path / "i.lir"))
    assert isinstance(loaded, lir.LirIndex)
    assert loaded == index
    assert hash(loaded) == hash(index)
    assert pickle.loads(pickle.dumps(index)) == index
    assert repr(index) == f"LirIndex('{tmp_path}/i.lir')"
    assert lir.LirIndex(tmp_path / "other") != index


def test_build_package_and_from_url(tmp_path):
    index = build(tmp_path / "i.lir", documents(5))
    package = index.build_package(str(tmp_path / "i.tar.lz4"), verbose=False)
    import http.server
    import threading
    from functools import partial

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        fetched = pt.Artifact.from_url(f"http://127.0.0.1:{server.server_port}/{Path(package).name}")
    finally:
        server.shutdown()
    assert fetched.docnos == index.docnos
    fetched.verify()


def test_example_needs_no_model():
    code = "import sys, pyterrier_lir as l; assert len(l.LirIndex.example()) == 5; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what is refused ------------------------------------------------------------------------------------------


GOOD = {"docno": "good", "doc_embs": np.ones((2, 3), np.float32), "doc_tok_ids": [1, 2], "doc_encoder": "e"}
BAD = [
    ({**GOOD}, "docno 'good' occurs twice"),
    ({**GOOD, "docno": "x", "doc_embs": np.full((2, 3), np.nan)}, "NaN or infinite value in row 0"),
    ({**GOOD, "docno": "x", "doc_embs": np.array([[1, 1, 1], [np.inf, 0, 0]])}, "NaN or infinite value in row 1"),
    ({**GOOD, "docno": "x", "doc_embs": np.full((2, 3), 1e6)}, "65504"),
    ({**GOOD, "docno": "x", "doc_embs": np.ones((2, 4))}, "4 dimensions; expected 3"),
    ({**GOOD, "docno": "x", "doc_embs": np.ones(3)}, r"shape \(3,\); expected a matrix"),
    ({**GOOD, "docno": "x", "doc_tok_ids": [1]}, "one id per row"),
    ({**GOOD, "docno": "x", "doc_tok_ids": None}, "lacks doc_tok_ids"),
    ({**GOOD, "docno": "x", "doc_encoder": "f"}, "'f'; expected 'e'"),
    ({**GOOD, "docno": 7}, "docno 7 is a int"),
    ({**GOOD, "docno": ""}, "non-empty string"),
    ({"docno": "x", "text": "no embeddings"}, "Put the encoder first"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_document_leaves_what_was_there(tmp_path, bad, message):
    index = build(tmp_path / "i", [{"docno": "old", "doc_embs": [[1.0]]}])
    before = tree(tmp_path / "i")
    with pytest.raises(ValueError, match=message):
        build(tmp_path / "i", [GOOD, bad], mode="overwrite")
    assert tree(tmp_path / "i") == before
    assert index.docnos == ["old"]


def test_a_docno_is_found_again_in_an_earlier_segment(tmp_path):
    docs = [{"docno": f"d{i % 50}", "doc_embs": np.ones((1, 4))} for i in range(51)]
    with pytest.raises(ValueError, match="'d0' occurs twice"):
        build(tmp_path / "i", docs, segment_mb=80 / 1e6)


def test_a_built_index_is_not_overwritten_by_accident(tmp_path):
    index = build(tmp_path / "i", documents(3))
    consumed = []
    with pytest.raises(ValueError, match=r'built already.*indexer\(mode="overwrite"\)'):
        index.index(consumed.append(doc) or doc for doc in documents(3))
    assert not consumed  # nobody encodes a collection for an error
    reader = lir.LirIndex(tmp_path / "i")
    assert len(reader) == 3
    assert len(build(tmp_path / "i", documents(4), mode="overwrite")) == 4
    assert [len(d["doc_embs"]) for d in reader.get_corpus_iter()] == [len(d["doc_embs"]) for d in documents(3)]
    reader.reopen()
    assert len(reader) == 4


def test_nothing_to_index(tmp_path):
    with pytest.raises(ValueError, match="No documents came"):
        build(tmp_path / "i", [])
    assert not lir.LirIndex(tmp_path / "i").built


def test_there_is_no_index(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no index at .*Build it: \(encoder >> index\)"):
        len(lir.LirIndex(tmp_path / "none"))


def test_something_else_lies_there(tmp_path):
    (tmp_path / "pt_meta.json").write_text(json.dumps({"type": "dense_index", "format": "flex"}))
    with pytest.raises(ValueError, match=r"holds a dense_index.flex; expected multivec_index.lir"):
        len(lir.LirIndex(tmp_path))
    with pytest.raises(ValueError, match=r"dense_index.flex"):
        build(tmp_path, documents(1), mode="overwrite")


@pytest.mark.parametrize(
    "options",
    [{"mode": "twice"}, {"segment_mb": 0}, {"memory_mb": -1}, {"nbits": 3}, {"centroids": 0}, {"num_threads": 0}],
)
def test_bad_options(tmp_path, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is .*expected"):
        lir.LirIndex(tmp_path).indexer(**options)
    with pytest.raises(ValueError, match=r"index\(\) got nbits"):
        lir.LirIndex(tmp_path).indexer().index([], nbits=2)


def test_calling_the_index_names_its_methods():
    index = lir.LirIndex.example()
    with pytest.raises(TypeError, match=r"index.plaid\(\), index.warp\(\) or index.exhaustive\(\)"):
        (lir.ToyEncoder() >> index).search("bread")


FILES = ["tokens.f16", "offsets.i64", "docnos.utf8", "docnos.i64", "tok_ids.i32", "codes.u16", "residuals.u8",
         "doc_codes.u16", "doc_codes.i64", "cell_docs.i32", "cell_docs.i64", "centroids.f32", "step.f32"]  # fmt: skip


# --- damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused_when_opened(tmp_path, name):
    build(tmp_path / "i", documents(10))
    (path,) = (tmp_path / "i").rglob(name)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"{name} has {len(data) - 1} bytes; expected {len(data)} bytes"):
        len(lir.LirIndex(tmp_path / "i"))
    path.unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        len(lir.LirIndex(tmp_path / "i"))


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_a_flipped_bit(tmp_path, name):
    index = build(tmp_path / "i", documents(10))
    index.verify()
    (path,) = (tmp_path / "i").rglob(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{name} has sha256"):
        lir.LirIndex(tmp_path / "i").verify()


@pytest.mark.parametrize("name", ["pt_meta.json", "segment.json", "codec.json"])
def test_damaged_meta(tmp_path, name):
    build(tmp_path / "i", documents(10))
    (path,) = (tmp_path / "i").rglob(name)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=f"{name}.*damaged"):
        len(lir.LirIndex(tmp_path / "i"))


# --- memory ---------------------------------------------------------------------------------------------------


STATUS = Path("/proc/self/status")


def anonymous_mb():
    """Anonymous memory of this process; memory maps of files do not count."""
    status = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


@pytest.mark.skipif(not STATUS.exists(), reason="reads /proc")
def test_building_streams(tmp_path):
    rows = np.random.default_rng(0).standard_normal((200, 128)).astype(np.float32)
    peak = []

    def stream():
        for i in range(2000):
            if i % 100 == 0:
                peak.append(anonymous_mb())
            yield {"docno": str(i), "doc_embs": rows + i}

    build(tmp_path / "i", stream(), segment_mb=10)
    assert sum(f.stat().st_size for f in (tmp_path / "i").rglob("tokens.f16")) == 2000 * 200 * 128 * 2  # 102 MB
    assert max(peak) - peak[0] < 20
