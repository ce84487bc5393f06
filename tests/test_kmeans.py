"""Clustering: as many centroids as the field has, near to the vectors, found again in any blocks."""

import numpy as np
import pytest
from corpora import clustered

from pyterrier_lir import kernels
from pyterrier_lir.index.kmeans import _shares, kmeans, number_of_centroids, two_level


@pytest.mark.parametrize(
    ("tokens", "k"), [(0, 0), (1, 1), (10, 10), (1e4, 1024), (1e5, 4096), (1e6, 8192), (1e7, 32768), (6.9e8, 262144)]
)
def test_the_fields_rule(tokens, k):
    # 16 sqrt(1e4) = 1,600, and the next power of two below is 1,024
    assert number_of_centroids(int(tokens)) == k


def test_kmeans_finds_separate_clusters():
    centres = np.eye(4, 8, dtype=np.float32)
    points = np.repeat(centres, 25, axis=0) + 0.01 * np.random.default_rng(0).standard_normal((100, 8))
    found = kmeans(points.astype(np.float32), 4, 20, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert sorted((found @ centres.T).argmax(axis=1)) == [0, 1, 2, 3]
    assert ((found @ centres.T).max(axis=1) > 0.99).all()


def test_kmeans_of_few_points_gives_these_points():
    points = np.array([[0, 2], [2, 0], [0, 2]], dtype=np.float32)
    assert kmeans(points, 5, 3, np.random.default_rng(0)).tolist() == [[0, 1], [1, 0]]


def test_more_centroids_lie_closer():
    points = clustered(3000, noise=0.7)
    cosines = []
    for k in (8, 64, 512):
        _codes, best = two_level(points, k, seed=0, block=500).assign(points, block=500)
        cosines.append(best.mean())
    assert cosines[0] < cosines[1] < cosines[2]


def test_two_level_is_close_to_flat():
    points = clustered(6000, noise=0.7)
    levels = two_level(points, 300, seed=0, block=10_000)
    assert len(levels.coarse) == 17  # round(sqrt(300))
    assert len(levels.vectors) == 300
    flat = kmeans(points, 300, 5, np.random.default_rng(0))
    _codes, best = levels.assign(points, block=10_000)
    assert best.mean() > (points @ flat.T).max(axis=1).mean() - 0.01


def test_assignment_is_exact_where_all_groups_are_searched(monkeypatch):
    points = clustered(2000, noise=0.8)
    levels = two_level(points, 300, seed=0, block=10_000)
    similarities = points @ levels.vectors.T
    codes, _best = levels.assign(points, block=10_000)
    assert (codes == similarities.argmax(axis=1)).mean() > 0.9
    monkeypatch.setattr("pyterrier_lir.index.kmeans.GROUPS_SEARCHED", 100)
    codes, best = levels.assign(points, block=10_000)
    np.testing.assert_allclose(best, similarities.max(axis=1), atol=1e-5)
    assert (codes == similarities.argmax(axis=1)).mean() > 0.999  # ties by rounding


@pytest.mark.skipif(kernels.active() == "numpy", reason="a NumPy product rounds by its shape")
def test_neither_blocks_nor_threads_matter_but_the_seed_does():
    points = clustered(5000)
    one = two_level(points, 300, seed=0, block=100_000)
    other = two_level(points, 300, seed=0, block=77, num_threads=3)
    np.testing.assert_array_equal(one.vectors, other.vectors)
    for a, b in zip(one.assign(points, block=9999), one.assign(points, block=13, num_threads=2), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.vectors, two_level(points, 300, seed=1, block=77).vectors)


def test_shares():
    assert _shares(np.array([50, 30, 20]), 10).tolist() == [5, 3, 2]
    assert _shares(np.array([98, 1, 1]), 10).tolist() == [8, 1, 1]  # none goes without
    assert _shares(np.array([3, 97, 0]), 50).tolist() == [2, 48, 0]
    assert _shares(np.array([2, 2]), 10).tolist() == [2, 2]  # no more than there are points
