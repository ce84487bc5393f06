"""The codec: residuals of few bits, and how near to the vectors they come."""

import numpy as np
import pytest
from corpora import clustered

from pyterrier_lir.index.codec import Codec, to_bytes
from pyterrier_lir.index.kmeans import Centroids, two_level


def trained(points, nbits, *, k=64, unit=True):
    return Codec.train(two_level(points, k, seed=0, block=4096), points, nbits, unit=unit, block=4096)


@pytest.mark.parametrize("dim", [5, 16, 96])
def test_more_bits_lose_less(dim):
    points = clustered(3000, dim)
    errors = []
    for nbits in (1, 2, 4, 8):
        codec = trained(points, nbits)
        encoded = codec.encode(points)
        assert encoded.residuals.shape == (3000, -(-dim * nbits // 8))
        errors.append(np.mean((codec.decode(encoded) - points) ** 2))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 100 * errors[3]


def test_the_step_beats_its_neighbours():
    points = clustered(3000)
    codec = trained(points, 4, unit=False)
    error = np.mean((codec.decode(codec.encode(points)) - points) ** 2)
    for factor in (0.5, 2):
        middle = codec.lo + 7.5 * codec.step
        step = factor * codec.step
        other = Codec(codec.centroids, 4, step, middle - 7.5 * step, None)
        assert error < np.mean((other.decode(other.encode(points)) - points) ** 2)


def test_a_level_by_hand():
    centroids = Centroids(np.array([[1, 0]], np.float32), np.array([[1, 0]], np.float32), np.array([0, 1]))
    codec = Codec(centroids, 2, np.array([0.5, 0.5], np.float32), np.array([-0.75, -0.75], np.float32), None)
    encoded = codec.encode(np.array([[1.2, -0.9]], np.float32))
    # residual (.2, -.9): levels round((.2 + .75) / .5) = 2 and clip(round(-.3)) = 0
    assert encoded.codes.tolist() == [0]
    np.testing.assert_allclose(codec.decode(encoded), [[1 - 0.75 + 2 * 0.5, -0.75]])


@pytest.mark.parametrize("nbits", [2, 4, 8])
def test_unit_vectors_come_back_as_unit_vectors(nbits):
    points = clustered(2000)
    decoded = trained(points, nbits).decode(trained(points, nbits).encode(points))
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=0.005)
    long = 3 * points
    decoded = trained(long, nbits, unit=False).decode(trained(long, nbits, unit=False).encode(long))
    assert 2.5 < np.linalg.norm(decoded, axis=1).mean() < 3.1


def test_save_and_load(tmp_path):
    points = clustered(500)
    codec = trained(points, 4)
    codec.save(tmp_path / "codec")
    loaded = Codec.load(tmp_path / "codec")
    for a, b in [(codec.encode(points), loaded.encode(points))]:
        np.testing.assert_array_equal(a.codes, b.codes)
        np.testing.assert_array_equal(a.residuals, b.residuals)
        np.testing.assert_array_equal(a.inv_norms, b.inv_norms)
    np.testing.assert_array_equal(loaded.centroid_bytes[0], codec.centroid_bytes[0])
    assert loaded.inv_norm_range == codec.inv_norm_range


def test_to_bytes():
    levels, scale = to_bytes(np.array([[127, -1, 0], [0, 0, 0], [2, 1, -2]], np.float32))
    assert levels.tolist() == [[127, -1, 0], [0, 0, 0], [127, 64, -127]]
    np.testing.assert_allclose(scale, [1, 1, 2 / 127])
