"""Exported folders: what others read is what the index scores."""

import json

import numpy as np
import pytest
import torch
from corpora import build, clustered, documents
from originals import LOTTE, Original, imported, names_in

import pyterrier_lir as lir
from pyterrier_lir.index import exports


def tensors(path):
    """All tensors of a folder, those of a tuple numbered."""
    found = {}
    for file in path.glob("*.pt"):
        content = torch.load(file, weights_only=True)
        for i, tensor in enumerate(content if isinstance(content, tuple) else [content]):
            found[f"{file.name}/{i}"] = tensor
    return found


def renumbering(before, after):
    """The number in ``after`` of each centroid of ``before``, which are all different."""
    numbers = {row.tobytes(): i for i, row in enumerate(after["centroids.pt/0"].numpy())}
    return np.array([numbers[row.tobytes()] for row in before["centroids.pt/0"].numpy()])


def cells(found):
    """The documents of each centroid."""
    return np.split(found["ivf.pid.pt/0"].numpy(), np.cumsum(found["ivf.pid.pt/1"].numpy())[:-1])


@pytest.mark.parametrize("k", [7, 300])
@pytest.mark.parametrize("nbits", [1, 2, 4])
def test_there_and_back(tmp_path, nbits, k):
    original = Original(nbits=nbits, k=k, dim=64)
    folder = original.stanford(tmp_path / "folder")
    index = imported(folder, tmp_path / "i", docnos=list("abcdefgh"))
    index.to_plaid(tmp_path / "out", verbose=False, checkpoint="colbert-ir/colbertv2.0")
    before, after = tensors(folder), tensors(tmp_path / "out")
    numbers = renumbering(before, after)
    # three chunks went in, one comes out
    codes = torch.cat([before[f"{i}.codes.pt/0"] for i in range(3)])
    residuals = torch.cat([before[f"{i}.residuals.pt/0"] for i in range(3)])
    np.testing.assert_array_equal(after["0.codes.pt/0"], numbers[codes])
    assert torch.equal(after["0.residuals.pt/0"], residuals)
    for name in ("buckets.pt/0", "buckets.pt/1", "centroids.pt/0"):
        assert after[name].dtype == before[name].dtype
    assert torch.equal(after["buckets.pt/0"], before["buckets.pt/0"])
    assert torch.equal(after["buckets.pt/1"], before["buckets.pt/1"])
    assert json.loads((tmp_path / "out" / "doclens.0.json").read_text()) == [3, 0, 5, 1, 4, 2, 7, 0]
    documents = np.repeat(np.arange(8), [3, 0, 5, 1, 4, 2, 7, 0])
    for cell, found in enumerate(cells(after)):
        assert found.tolist() == sorted(set(documents[np.asarray(after["0.codes.pt/0"]) == cell]))
    used = np.abs(original.weights.astype(float))[original.levels].mean()
    assert after["avg_residual.pt/0"].item() == pytest.approx(used, rel=1e-3)
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert metadata["config"] == {"nbits": nbits, "dim": 64, "checkpoint": "colbert-ir/colbertv2.0"}
    assert (metadata["num_embeddings"], metadata["num_partitions"], metadata["num_chunks"]) == (22, k, 1)
    assert metadata["avg_doclen"] == 22 / 8
    again = imported(tmp_path / "out", tmp_path / "j")
    assert again.docnos == list("abcdefgh")
    for one, other in zip(index.get_corpus_iter(), again.get_corpus_iter(), strict=True):
        np.testing.assert_array_equal(one["doc_embs"], other["doc_embs"])


@pytest.mark.parametrize("nbits", [2, 4])
def test_a_built_index_decodes_to_its_vectors(tmp_path, nbits):
    index = build(tmp_path / "i", documents(100, dim=64), nbits=nbits, codec="quantile")
    index.to_plaid(tmp_path / "out", verbose=False)
    again = imported(tmp_path / "out", tmp_path / "j")
    assert again.docnos == index.docnos
    for one, other in zip(index.get_corpus_iter(), again.get_corpus_iter(), strict=True):
        np.testing.assert_allclose(one["doc_embs"], other["doc_embs"], atol=0.002)  # centroids in half precision


def test_eight_bits_with_one_step_for_all_dimensions(tmp_path):
    index = build(tmp_path / "i", documents(100, dim=64), nbits=8, codec="quantile")
    index.to_plaid(tmp_path / "out", verbose=False)
    again = imported(tmp_path / "out", tmp_path / "j")
    for one, other in zip(index.get_corpus_iter(), again.get_corpus_iter(), strict=True):
        np.testing.assert_allclose(one["doc_embs"], other["doc_embs"], atol=0.002)


def test_several_segments_deleted_documents_and_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 7)
    docs = list(documents(60, dim=64))
    index = build(tmp_path / "i", docs[:40], nbits=2, codec="quantile")
    index.add(docs[40:], verbose=False)
    index.delete([f"d{i}" for i in (0, 3, 39, 41, 59)])
    index.to_plaid(tmp_path / "out", verbose=False)
    metadata = [json.loads((tmp_path / "out" / f"{i}.metadata.json").read_text()) for i in range(8)]
    assert [found["passage_offset"] for found in metadata] == list(range(0, 55, 7))
    assert sum(found["num_embeddings"] for found in metadata) == index.store.manifest["tokens"]
    again = imported(tmp_path / "out", tmp_path / "j")
    assert again.docnos == index.docnos
    for one, other in zip(index.get_corpus_iter(), again.get_corpus_iter(), strict=True):
        np.testing.assert_allclose(
            one["doc_embs"], other["doc_embs"], atol=0.01
        )  # norms of added tokens may lie beyond the range of a byte
    after = tensors(tmp_path / "out")
    codes = np.concatenate([after[f"{i}.codes.pt/0"] for i in range(8)])
    owners = np.repeat(np.arange(55), [len(record["doc_embs"]) for record in index.get_corpus_iter()])
    for cell, found in enumerate(cells(after)):
        assert found.tolist() == sorted(set(owners[codes == cell]))


@pytest.mark.parametrize(
    ("options", "dim", "scale", "message"),
    [
        ({}, 64, 1, "other steps in each dimension; expected one codebook"),
        ({"codec": "quantile", "nbits": 1}, 64, 1, "does not scale its vectors to unit length"),
        ({"codec": "quantile"}, 64, 3, "does not scale its vectors to unit length"),
        ({"codec": "quantile"}, 48, 1, "48 dimensions of 4 bits; Stanford's code expects a multiple of 32"),
    ],
)
def test_what_cannot_be_exported(tmp_path, options, dim, scale, message):
    docs = ({**record, "doc_embs": scale * record["doc_embs"]} for record in documents(30, dim=dim))
    index = build(tmp_path / "i", docs, **options)
    with pytest.raises(ValueError, match=message):
        index.to_plaid(tmp_path / "out", verbose=False)
    assert names_in(tmp_path) == ["i"]


def test_an_index_without_tokens_is_refused(tmp_path):
    empty = {"docno": "a", "doc_embs": np.zeros((0, 64), np.float32)}
    index = build(tmp_path / "i", [empty, {"docno": "b", "doc_embs": clustered(9, 64)}], codec="quantile")
    index.delete(["b"])
    with pytest.raises(ValueError, match="has no tokens"):
        index.to_plaid(tmp_path / "out", verbose=False)


def test_a_uniform_index_is_compressed_anew(tmp_path):
    index = build(tmp_path / "i", documents(50, dim=64))
    other = lir.LirIndex(tmp_path / "j").indexer(codec="quantile", verbose=False).index(index.get_corpus_iter())
    other.to_plaid(tmp_path / "out", verbose=False)
    assert imported(tmp_path / "out", tmp_path / "k").docnos == index.docnos


def test_a_folder_is_not_overwritten(tmp_path, monkeypatch):
    index = build(tmp_path / "i", [{"docno": "a", "doc_embs": clustered(9, 64)}], codec="quantile")
    index.to_plaid(tmp_path / "out", verbose=False)
    with pytest.raises(ValueError, match="out exists; expected a new folder"):
        index.to_plaid(tmp_path / "out", verbose=False)

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr(exports, "_documents_of_cells", full)
    with pytest.raises(OSError, match="disk full"):
        index.to_plaid(tmp_path / "other", verbose=False)
    assert sorted(names_in(tmp_path)) == ["i", "out"]


def test_a_real_index_there_and_back(tmp_path):
    if not LOTTE.is_dir():
        pytest.skip(f"needs a ColBERTv2 index under {LOTTE} (set LIR_TEST_DATA)")
    index = imported(LOTTE / "plaid", tmp_path / "i")
    index.to_plaid(tmp_path / "out", verbose=False)
    before = {
        f"{name}.pt/{i}": tensor
        for name in ("centroids", "buckets", "0.codes", "0.residuals", "ivf.pid")
        for content in [torch.load(LOTTE / "plaid" / f"{name}.pt", weights_only=True, map_location="cpu")]
        for i, tensor in enumerate(content if isinstance(content, tuple) else [content])
    }
    after = tensors(tmp_path / "out")
    numbers = renumbering(before, after)
    assert {name: (t.dtype, t.shape) for name, t in before.items()} == {
        name: (after[name].dtype, after[name].shape) for name in before
    }
    for name in ("buckets.pt/0", "buckets.pt/1", "0.residuals.pt/0"):
        assert torch.equal(after[name], before[name])
    np.testing.assert_array_equal(after["0.codes.pt/0"], numbers[before["0.codes.pt/0"]])
    np.testing.assert_array_equal(after["ivf.pid.pt/1"][numbers], before["ivf.pid.pt/1"])
    exported = cells(after)
    for number, found in zip(numbers, cells(before), strict=True):
        np.testing.assert_array_equal(exported[number], found)
    for name in ("doclens.0.json", "0.metadata.json"):
        assert json.loads((tmp_path / "out" / name).read_text()) == json.loads((LOTTE / "plaid" / name).read_text())
