"""Kernels that make codes: golden bytes, examples by hand, and their NumPy twins, bit for bit."""

import numpy as np
import pytest
from kernel_arrays import DIMS, NBITS, f32, twin

from pyterrier_lir import kernels

# -- pack


def test_golden_bytes(isa: str) -> None:
    for nbits, levels, expected in [
        (4, [1, 8], [0x81]),
        (4, [1, 2, 3], [0x31, 0x02]),
        (2, [0, 1, 2, 3], [0xE4]),
        (2, [3, 0, 1, 2, 1], [0x17, 0x08]),  # planes of two bytes: 3 1 1 and 0 2
        (1, [1, 0, 0, 0, 0, 0, 0, 1], [0x81]),
        (8, [7], [0x07]),
    ]:
        packed = kernels.pack(np.array([levels], dtype=np.uint8), nbits)
        assert packed.tolist() == [expected]
        assert kernels.unpack(packed, len(levels), nbits).tolist() == [levels]


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", [1, 2, 3, 5, 7, 8, 9, 31, 33, 63, 64, 65, 96, 127, 128, 130, 300, 1031])
def test_pack_round_trip(isa: str, dim: int, nbits: int) -> None:
    levels = np.random.default_rng(dim).integers(0, 2**nbits, (9, dim)).astype(np.uint8)
    packed = kernels.pack(levels, nbits)
    assert packed.shape == (9, -(-dim * nbits // 8) if dim % (8 // nbits) == 0 else -(-dim // (8 // nbits)))
    np.testing.assert_array_equal(packed, twin(kernels.pack, levels, nbits))
    np.testing.assert_array_equal(kernels.unpack(packed, dim, nbits), levels)
    np.testing.assert_array_equal(kernels.unpack(packed[:0], dim, nbits), levels[:0])
    # Bits that belong to no value may be anything.
    noise = kernels.pack(np.full((9, 8 // nbits * packed.shape[1]), 2**nbits - 1, dtype=np.uint8), nbits)
    noise &= ~kernels.pack(np.full((9, dim), 2**nbits - 1, dtype=np.uint8), nbits)
    np.testing.assert_array_equal(kernels.unpack(packed | noise, dim, nbits), levels)


def test_pack_refuses_wrong_arguments(isa: str) -> None:
    levels = np.array([[3, 4]], dtype=np.uint8)
    with pytest.raises(ValueError, match="levels contains 4, but 2 bits hold values up to 3"):
        kernels.pack(levels, 2)
    with pytest.raises(ValueError, match="nbits is 3"):
        kernels.pack(levels, 3)
    with pytest.raises(ValueError, match="packed has rows of 2 bytes, but 5 dimensions of 4 bits take 3"):
        kernels.unpack(levels, 5, 4)
    with pytest.raises(ValueError, match="0 dimensions"):
        kernels.unpack(levels[:, :0].copy(), 0, 4)


# -- nearest


def test_nearest_by_hand(isa: str) -> None:
    centroids = np.array([[1, 0], [0, 1], [-1, 0], [0, 1]], dtype=np.float32)
    x = np.array([[2, 1], [1, 3], [-2, -1], [0, 0], [5, 5]], dtype=np.float32)
    for rows in (x, x.astype(np.float16)):
        codes, scores = kernels.nearest(rows, centroids)
        assert codes.tolist() == [0, 1, 2, 0, 0]  # the lowest number where several are best
        assert scores.tolist() == [2, 3, 2, 0, 5]
        assert (codes.dtype, scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", [*DIMS, 300])
@pytest.mark.parametrize("num_centroids", [1, 15, 16, 17, 33, 100])
def test_nearest_equals_twin(isa: str, num_centroids: int, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-4, 5, (300, dim)).astype(dtype)  # whole numbers: exact products, and many of them equal
    centroids = rng.integers(-4, 5, (num_centroids, dim)).astype(np.float32)
    if dim == 1:
        x, centroids = np.abs(x) + dtype(1), -np.abs(centroids) - 1  # the lanes without a centroid would win
    codes, scores = kernels.nearest(x, centroids)
    products = x.astype(np.float64) @ centroids.T.astype(np.float64)
    np.testing.assert_array_equal(codes, products.argmax(axis=1))
    np.testing.assert_array_equal(scores, products.max(axis=1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nearest_of_random_rows(isa: str, dtype: type) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((700, 128)).astype(dtype)
    centroids = rng.standard_normal((333, 128)).astype(np.float32)
    codes, scores = kernels.nearest(x, centroids)
    products = x.astype(np.float64) @ centroids.T.astype(np.float64)
    np.testing.assert_allclose(scores, products.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(products[np.arange(700), codes], products.max(axis=1), rtol=1e-5)
    assert len(set(codes)) > 200


def test_nearest_is_independent(isa: str) -> None:
    """Of the number of threads, and but for NumPy, whose products are BLAS's, of what else is computed."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1000, 130)).astype(np.float32)
    centroids = rng.standard_normal((50, 130)).astype(np.float32)
    codes, scores = kernels.nearest(x, centroids)
    for num_threads in (2, 3, 100):
        again = kernels.nearest(x, centroids, num_threads=num_threads)
        assert (again[0].tobytes(), again[1].tobytes()) == (codes.tobytes(), scores.tobytes())
    if isa != "numpy":
        for row in (0, 11, 12, 239, 240, 999):
            alone = kernels.nearest(x[row : row + 1], centroids)
            assert (alone[0][0], alone[1][0]) == (codes[row], scores[row])
            assert kernels.nearest(x[row : row + 1], centroids[codes[row] :])[1][0] == scores[row]


def test_nearest_of_nothing(isa: str) -> None:
    centroids = np.ones((3, 4), dtype=np.float32)
    codes, scores = kernels.nearest(centroids[:0], centroids)
    assert (codes.shape, scores.shape) == ((0,), (0,))
    with pytest.raises(ValueError, match="centroids has no rows"):
        kernels.nearest(centroids, centroids[:0])
    with pytest.raises(ValueError, match="x has 4 dimensions and centroids have 3"):
        kernels.nearest(centroids, np.ones((3, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="x is float64"):
        kernels.nearest(centroids.astype(np.float64), centroids)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("num_centroids", [1, 4, 17, 100])
def test_nearest_groups(isa: str, num_centroids: int, dtype: type) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(-2, 3, (300, 5)).astype(dtype)
    centroids = rng.integers(-2, 3, (num_centroids, 5)).astype(np.float32)
    order = np.argsort(-(x.astype(np.float64) @ centroids.T), axis=1, kind="stable")
    for count in {1, min(4, num_centroids), num_centroids}:
        for num_threads in (1, 3):
            groups = kernels.nearest_groups(x, centroids, count, num_threads=num_threads)
            np.testing.assert_array_equal(groups, order[:, :count])
            assert groups.dtype == np.int32
    np.testing.assert_array_equal(kernels.nearest_groups(x, centroids, 1)[:, 0], kernels.nearest(x, centroids)[0])
    with pytest.raises(ValueError, match="count is"):
        kernels.nearest_groups(x, centroids, num_centroids + 1)


# -- encode_residuals


def test_encode_by_hand(isa: str) -> None:
    centroids = np.array([[0, 0, 0], [10, 20, 30]], dtype=np.float32)
    x = np.array([[10.5, 21.5, 99], [0.25, -7, 2.5]], dtype=np.float32)
    codes = np.array([1, 0], dtype=np.int32)
    # residuals - lo: 1.5 2.5 70 and 1.25 -6 3.5, in steps of 1: halves go to the even level
    packed, norms = kernels.encode_residuals(x, centroids, codes, f32(1, 1, 1), f32(-1, -1, -1), 4)
    assert kernels.unpack(packed, 3, 4).tolist() == [[2, 2, 15], [1, 0, 4]]
    # decoded: 11 21 44 and 0 -1 3
    np.testing.assert_array_equal(norms, np.sqrt(np.array([121 + 441 + 1936, 0 + 1 + 9])).astype(np.float32))
    packed, _ = kernels.encode_residuals(x, centroids, codes, f32(2, 2, 0.5), f32(-1, -1, -1), 2)
    assert kernels.unpack(packed, 3, 2).tolist() == [[1, 1, 3], [1, 0, 3]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_encode_equals_twin(isa: str, dim: int, nbits: int, dtype: type) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1100, dim)).astype(dtype)
    centroids = rng.standard_normal((20, dim)).astype(np.float32)
    codes = rng.integers(0, 20, 1100).astype(np.int32)
    step = rng.uniform(0.5, 2, dim).astype(np.float32) * np.float32(4 / 2**nbits)
    lo = rng.uniform(-3, -1, dim).astype(np.float32)
    expected = twin(kernels.encode_residuals, x, centroids, codes, step, lo, nbits)
    for num_threads in (1, 3):
        packed, norms = kernels.encode_residuals(x, centroids, codes, step, lo, nbits, num_threads=num_threads)
        np.testing.assert_array_equal(packed, expected[0])
        assert norms.tobytes() == expected[1].tobytes()
    levels = kernels.unpack(packed, dim, nbits).astype(np.float64)
    decoded = centroids[codes] + lo + levels * step
    np.testing.assert_allclose(norms, np.linalg.norm(decoded, axis=1), rtol=1e-5, atol=1e-6)
    inside = (levels > 0) & (levels < 2**nbits - 1)
    assert (np.abs(decoded - x)[inside] <= np.broadcast_to(step, x.shape)[inside] * 0.501).all()
    assert nbits == 1 or inside.mean() > 0.2


def test_encode_refuses_wrong_arguments(isa: str) -> None:
    x = np.ones((2, 3), dtype=np.float32)
    ones, codes = f32(1, 1, 1), np.array([0, 1], dtype=np.int32)
    for code in (2, -1, 2**31 - 1, -(2**31)):
        with pytest.raises(ValueError, match=rf"codes\[1\] is {code}, but there are 2 centroids"):
            kernels.encode_residuals(x, x, np.array([0, code], dtype=np.int32), ones, ones, 4)
    with pytest.raises(ValueError, match="codes has 1 entries, but must have 2"):
        kernels.encode_residuals(x, x, codes[:1], ones, ones, 4)
    with pytest.raises(ValueError, match="step contains 0"):
        kernels.encode_residuals(x, x, codes, f32(1, 0, 1), ones, 4)
    with pytest.raises(ValueError, match="lo has 2 entries"):
        kernels.encode_residuals(x, x, codes, ones, f32(1, 1), 4)
    with pytest.raises(ValueError, match="codes is int64"):
        kernels.encode_residuals(x, x, codes.astype(np.int64), ones, ones, 4)
