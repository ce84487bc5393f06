"""The clusters of ColBERT-PRF: what each stands for, and that the order of the tokens does not matter."""

import numpy as np
import pytest

from pyterrier_lir.feedback.colbert_prf import clusters_of


def test_clusters_elect_a_token():
    a, b = np.array([1, 0.0]), np.array([0, 1.0])
    near = np.array([0.96, 0.28])
    embs = np.array([a, a, near, b], np.float32)
    means, ids = clusters_of(embs, np.array([7, 8, 8, 9], np.int32), 2, np.random.default_rng(0))
    found = dict(zip(ids.tolist(), means.tolist(), strict=True))
    assert found == {8: pytest.approx([2.96 / 3, 0.28 / 3]), 9: [0, 1]}  # of 7, 8, 8 two are 8; the mean is not scaled
    _, ids = clusters_of(embs[:2], np.array([7, 8], np.int32), 1, np.random.default_rng(0))
    assert ids.tolist() == [7]  # equal votes, equally near: the lower id
    _, ids = clusters_of(embs[1:3], np.array([8, 7], np.int32), 1, np.random.default_rng(0))
    assert len(ids) == 1


def test_a_frequent_vector_does_not_swallow_rare_ones():
    embs = np.eye(4, dtype=np.float32)[[0] * 500 + [1, 2, 3]]
    means, ids = clusters_of(embs, embs.argmax(axis=1).astype(np.int32), 4, np.random.default_rng(0))
    assert sorted(ids.tolist()) == [0, 1, 2, 3]
    assert means[np.argsort(ids)].tolist() == np.eye(4).tolist()


def test_clusters_do_not_depend_on_the_order_of_tokens_but_on_the_seed():
    rng = np.random.default_rng(1)
    embs, ids = rng.standard_normal((80, 8)).astype(np.float32), rng.integers(0, 9, 80).astype(np.int32)
    order = rng.permutation(80)
    first = clusters_of(embs, ids, 5, np.random.default_rng(0))
    again = clusters_of(embs[order], ids[order], 5, np.random.default_rng(0))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    other = clusters_of(embs, ids, 5, np.random.default_rng(4))
    assert first[0].tobytes() != other[0].tobytes()
    assert len(clusters_of(embs, ids, 6, np.random.default_rng(0))[1]) > len(first[1]) - 1
