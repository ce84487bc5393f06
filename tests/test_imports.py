"""Indexes of other engines: read as their documents say."""

import ast
import subprocess
import sys

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from conftest import ROOT
from corpora import clustered, tree
from originals import TOKENS, Original, imported, stanford_bytes

import pyterrier_lir as lir
from pyterrier_lir.index.foreign import levels_of, residuals_of
from pyterrier_lir.index.plaid_folder import recognise


def check(index, original, atol):
    """Whether the index decodes to the original's vectors; ``1 / norm`` is rounded to a byte."""
    for record, vectors in zip(index.get_corpus_iter(), original.documents, strict=True):
        np.testing.assert_allclose(record["doc_embs"], vectors, atol=atol)


# --- bits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nbits", "levels", "expected"),
    [
        (2, [0, 1, 2, 3], [0x27]),
        (4, [1, 8], [0x81]),
        (4, [3, 12], [0xC3]),
        (1, [1, 0, 0, 0, 0, 0, 0, 1], [0x81]),
        (8, [1], [0x80]),
        (2, [3, 0, 0, 0, 0, 0, 0, 1], [0xC0, 0x02]),
    ],
)
def test_golden_bytes(nbits, levels, expected):
    rows = np.array([levels], dtype=np.uint8)
    assert stanford_bytes(rows, nbits).tolist() == [expected]
    assert residuals_of(rows, nbits).tolist() == [expected]
    assert levels_of(np.array([expected], dtype=np.uint8), nbits).tolist() == [levels]


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_every_byte_there_and_back(nbits):
    every = np.arange(256, dtype=np.uint8).reshape(4, 64)
    np.testing.assert_array_equal(residuals_of(levels_of(every, nbits), nbits), every)


# --- what is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stanford", "fast_plaid"])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("k", [1, 7, 300])  # from 256 on, centroids come in groups and change their numbers
def test_vectors_are_those_of_the_folder(tmp_path, kind, nbits, k):
    original = Original(nbits=nbits, k=k)
    index = imported(getattr(original, kind)(tmp_path / "folder"), tmp_path / "i")
    assert index.docnos == [str(i) for i in range(8)]
    assert (index.store.manifest["tokens"], index.store.manifest["nbits"]) == (TOKENS, nbits)
    # half a step of the byte of 1 / norm; with 8 bits also half a step of the grid
    lo, hi = index.store.codec.inv_norm_range
    grid = float(index.store.codec.step[0]) / 2 * hi if nbits == 8 else 0
    check(index, original, (hi - lo) / 510 / lo + grid + 1e-6)
    index.verify()
    assert len(index.store.codec.centroids.coarse) == (17 if k == 300 else 1)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_every_method_searches_it(tmp_path, nbits):
    original = Original(nbits=nbits, k=300, lengths=[[5, 0, 9] * 20, [7] * 30])
    index = imported(original.stanford(tmp_path / "folder"), tmp_path / "i")
    queries = [clustered(n, seed=n) for n in (1, 16, 33)]
    topics = pd.DataFrame({"qid": list("abc"), "query_embs": queries})
    found = index.exhaustive()(topics)
    filled = {str(i): vectors for i, vectors in enumerate(original.documents) if len(vectors)}
    assert len(found) == 3 * len(filled)
    for row in found.itertuples():
        exact = (row.query_embs.astype(float) @ filled[row.docno].T).max(axis=1).sum()
        assert abs(row.score - exact) < 0.01 * len(row.query_embs)
    pd.testing.assert_frame_equal(index.plaid(nprobe=300, ndocs=1000)(topics), found)
    expected = found.set_index(["qid", "docno"])["score"].sort_index()
    for xtr in (index.xtr(token_k=10**6, normalise="sum"), index.xtr(token_k=10**6, normalise="sum", nprobe=300)):
        np.testing.assert_allclose(xtr(topics).set_index(["qid", "docno"])["score"].sort_index(), expected, atol=1e-4)
    assert len(index.warp(nprobe=300)(topics)) == len(found)
    assert len(index.muvera()(topics)) == len(found)


@pytest.mark.parametrize("merged", [(0, 1, 2), (0, 2), (1,)])
def test_merged_files_of_fast_plaid(tmp_path, merged):
    original = Original()
    whole = imported(original.fast_plaid(tmp_path / "folder"), tmp_path / "i")
    one = imported(original.fast_plaid(tmp_path / "merged", merged), tmp_path / "j")
    assert whole.docnos == one.docnos
    assert tree(tmp_path / "i") == tree(tmp_path / "j")


def test_names_and_encoder(tmp_path):
    folder = Original().stanford(tmp_path / "folder")
    names = [f"passage-{i}é" for i in range(8)]
    index = imported(folder, tmp_path / "i", docnos=names, encoder=lir.ToyEncoder(dim=16))
    assert index.docnos == names
    with pytest.raises(ValueError, match="encoded by 'other', the documents by 'toy-16-0'"):
        index.exhaustive()(pd.DataFrame({"qid": ["1"], "query_embs": [clustered(2)], "query_encoder": ["other"]}))
    assert imported(folder, tmp_path / "j", encoder="mine").store.encoder == "mine"
    assert imported(folder, tmp_path / "k").store.encoder is None


def test_documents_can_be_added(tmp_path):
    original = Original(k=300)
    index = imported(original.stanford(tmp_path / "folder"), tmp_path / "i")
    embs = clustered(6, seed=3)
    index.add([{"docno": "new", "doc_embs": embs}], verbose=False)
    found = index.exhaustive()(pd.DataFrame({"qid": ["1"], "query_embs": [embs]}))
    assert found["docno"][0] == "new"
    assert index.info()["residual"] is None


def test_the_same_bytes_again(tmp_path):
    folder = Original(k=300).stanford(tmp_path / "folder")
    imported(folder, tmp_path / "i")
    imported(folder, tmp_path / "j")
    assert tree(tmp_path / "i") == tree(tmp_path / "j")


# --- as an artifact -------------------------------------------------------------------------------------------


def entry_points():
    """The entry points as setup.py declares them; what is installed may be older."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == "entry_points":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no entry points")


def test_pyterrier_recognises_folders(tmp_path, monkeypatch):
    info = tmp_path / "site" / "declared-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 1\n")
    lines = [line for group, points in entry_points().items() for line in (f"[{group}]", *points)]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    original = Original()
    for kind in ("stanford", "fast_plaid"):
        folder = pt.Artifact.load(str(getattr(original, kind)(tmp_path / kind)))
        assert repr(folder) == f"PlaidFolder({str(tmp_path / kind)!r})"
        index = folder.to_lir(tmp_path / f"{kind}.lir", docnos=list("abcdefgh"), encoder="mine", verbose=False)
        assert (index.docnos, index.store.encoder) == (list("abcdefgh"), "mine")
        assert pt.Artifact.load(str(tmp_path / f"{kind}.lir")) == index
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "centroids.npy").touch()
    with pytest.raises(ValueError, match="No implementation found"):
        pt.Artifact.load(str(tmp_path / "other"))


def test_recognising_looks_at_names_alone():
    assert recognise("nowhere", ["centroids.pt", "buckets.pt", "metadata.json", "plan.json"]) == {
        "type": "multivec_index", "format": "plaid", "package_hint": "pyterrier-lir",
    }  # fmt: skip
    assert recognise("nowhere", ["pt_meta.json", "segments"]) is None


def test_recognising_loads_neither_torch_nor_kernels():
    code = "import sys, pyterrier; before = set(sys.modules); import pyterrier_lir.index.plaid_folder as p; "
    code += (
        "p.recognise('', []); print(*sorted(n for n in set(sys.modules) - before if 'pyterrier' in n or n == 'torch'))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pyterrier_lir.index.plaid_folder" in found
    assert not {"torch", "pyterrier_lir.kernels", "pyterrier_lir.index.artifact"} & set(found)
