"""Kernels over codes and cells: golden bytes, examples by hand, and their NumPy twins, bit for bit."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from pyterrier_lir import kernels

NBITS = [1, 2, 4, 8]
ROWS = [1, 14, 16, 17, 32, 33, 48, 65]
DIMS = [1, 3, 16, 96, 128, 130]
LENGTHS = [0, 3, 1, 30, 0, 0, 24, 25, 80, 2, 7, 1, 0]
INF = np.inf


@pytest.fixture(params=kernels.available())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with kernels.forced(request.param):
        yield request.param


def f32(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def i8(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.int8)


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def twin(function, *args, **kwargs):
    with kernels.forced("numpy"):
        return function(*args, **kwargs)


def query_bytes(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """All of int8; the first row holds the extremes, which are where 16 bits run over."""
    query = rng.integers(-128, 128, (n, dim)).astype(np.int8)
    query[0] = np.where(rng.random(dim) < 0.8, -128, 127)
    return query


def coded(n=32, dim=128, nbits=4, centroids=50, lengths=LENGTHS, code_type=np.uint16, normalise=True, seed=0) -> dict:
    """Arguments of maxsim_codes, with random bytes everywhere."""
    rng = np.random.default_rng(seed)
    tokens = sum(lengths)
    width = -(-dim // (8 // nbits))
    packed = rng.integers(0, 256, (tokens, width)).astype(np.uint8)
    packed[: tokens // 4] = 255  # the largest products
    columns = -(-n // 16) * 16
    scores = rng.standard_normal((centroids, columns)).astype(np.float32)
    return {
        "centroid_scores": scores,
        "query": query_bytes(rng, n, dim),
        "query_scale": rng.uniform(0.001, 0.01, n).astype(np.float32),
        "query_bias": rng.standard_normal(n).astype(np.float32),
        "codes": rng.integers(0, centroids, tokens).astype(code_type),
        "packed": packed,
        "inv_norm": rng.integers(0, 256, tokens).astype(np.uint8) if normalise else None,
        "inv_norm_table": np.linspace(0.8, 1.2, 256).astype(np.float32) if normalise else None,
        "offsets": offsets_of(lengths),
        "nbits": nbits,
    }


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


# -- centroid scores


def test_centroid_scores_by_hand(isa: str) -> None:
    query, centroids = i8([[1, -2], [-128, 127]]), i8([[3, 4], [-128, 127], [127, -128]])
    scores = kernels.centroid_scores(query, f32(2, 0.5), centroids, f32(1, 0.5, 4))
    assert scores.shape == (3, 16)
    assert scores[:, 0].tolist() == [-5 * 2, -382 * 1, 383 * 8]
    assert scores[:, 1].tolist() == [124 * 0.5, (16384 + 16129) * 0.25, -2 * 16256 * 2]
    assert not scores[:, 2:].any()


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("dim", [*DIMS, 1100])
def test_centroid_scores_equal_twin(isa: str, dim: int, n: int) -> None:
    rng = np.random.default_rng(6)
    query, centroids = query_bytes(rng, n, dim), query_bytes(rng, 100, dim)
    query_scale, centroid_scale = rng.random(n).astype(np.float32), rng.random(100).astype(np.float32)
    expected = twin(kernels.centroid_scores, query, query_scale, centroids, centroid_scale)
    for count in (0, 1, 12, 13, 100):
        scores = kernels.centroid_scores(query, query_scale, centroids[:count], centroid_scale[:count])
        assert scores.tobytes() == expected[:count].tobytes()
    products = centroids.astype(np.int64) @ query.T.astype(np.int64)
    scales = query_scale.astype(np.float64) * centroid_scale[:, None]
    np.testing.assert_allclose(expected[:, :n], products * scales, rtol=1e-6)


def test_centroid_scores_are_independent_of_threads(isa: str) -> None:
    rng = np.random.default_rng(7)
    query, centroids = query_bytes(rng, 20, 64), query_bytes(rng, 3000, 64)
    scales = rng.random(20).astype(np.float32), rng.random(3000).astype(np.float32)
    one = kernels.centroid_scores(query, scales[0], centroids, scales[1])
    for num_threads in (2, 3, 50):
        again = kernels.centroid_scores(query, scales[0], centroids, scales[1], num_threads=num_threads)
        assert again.tobytes() == one.tobytes()


def test_centroid_scores_of_no_rows(isa: str) -> None:
    query = np.zeros((0, 4), dtype=np.int8)
    scores = kernels.centroid_scores(query, f32(), i8([[1, 2, 3, 4]]), f32(1))
    assert scores.shape == (1, 0)
    assert kernels.score_table(scores, 0)[0].shape == (1, 0)
    assert kernels.top_cells(scores, 0, 1).shape == (0, 1)


def test_centroid_scores_refuse_wrong_arguments(isa: str) -> None:
    query = i8([[1, 2]])
    with pytest.raises(ValueError, match="query has 2 dimensions and centroids have 1"):
        kernels.centroid_scores(query, f32(1), i8([[1]]), f32(1))
    with pytest.raises(ValueError, match="query_scale has 2 entries, but must have 1"):
        kernels.centroid_scores(query, f32(1, 1), query, f32(1))
    with pytest.raises(ValueError, match="centroid_scale has 2 entries, but must have 1"):
        kernels.centroid_scores(query, f32(1), query, f32(1, 1))
    with pytest.raises(ValueError, match="query has 65537 dimensions, but must have 1 to 65536"):
        kernels.centroid_scores(np.zeros((1, 65537), dtype=np.int8), f32(1), query, f32(1))
    with pytest.raises(ValueError, match="centroids is float32"):
        kernels.centroid_scores(query, f32(1), query.astype(np.float32), f32(1))


def test_largest_products(isa: str) -> None:
    """65,536 dimensions are the most that 32 bits hold."""
    query = np.full((1, 65536), -128, dtype=np.int8)
    scores = kernels.centroid_scores(query, f32(1), query, f32(1))
    assert scores[0, 0] == 128.0 * 128 * 65536
    packed = np.full((1, 65536), 255, dtype=np.uint8)
    offsets, codes = np.array([0, 1], dtype=np.int64), np.zeros(1, dtype=np.uint16)
    zeros = np.zeros((1, 16), dtype=np.float32)
    score = kernels.maxsim_codes(zeros, query, f32(1), f32(0), codes, packed, None, None, offsets, nbits=8)
    assert score[0] == -128.0 * 255 * 65536


# -- the table


def test_score_table_by_hand(isa: str) -> None:
    scores = np.full((3, 16), 1e6, dtype=np.float32)
    scores[:, :2] = [[-1, 254], [0, 0.5], [0.25, 1.5]]  # 255 steps of 1
    table, lo, step = kernels.score_table(scores, 2)
    assert (lo, step) == (-1.0, 1.0)
    assert table[:, :2].tolist() == [[0, 255], [1, 2], [1, 3]]
    assert not table[:, 2:].any()
    assert table.dtype == np.uint8


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("num_centroids", [1, 7, 9000])
def test_score_table_equals_twin(isa: str, num_centroids: int, n: int) -> None:
    rng = np.random.default_rng(8)
    scores = rng.standard_normal((num_centroids, -(-n // 16) * 16)).astype(np.float32)
    expected = twin(kernels.score_table, scores, n)
    for num_threads in (1, 3):
        table, lo, step = kernels.score_table(scores, n, num_threads=num_threads)
        np.testing.assert_array_equal(table, expected[0])
        assert (lo, step) == expected[1:]
    if num_centroids > 1:
        assert table[:, :n].min() == 0
        assert table[:, :n].max() == 255
        assert np.abs(lo + step * table[:, :n].astype(np.float64) - scores[:, :n]).max() < step * 0.501


def test_score_table_without_range(isa: str) -> None:
    for value in (0.0, -3.5, 7.0):
        table, lo, step = kernels.score_table(np.full((5, 16), value, dtype=np.float32), 3)
        assert (lo, step) == (value, 0.0)
        assert not table.any()
    tiny = np.zeros((2, 16), dtype=np.float32)
    tiny[0, 0] = 1e-45  # 255 / 1e-45 is infinite
    assert not kernels.score_table(tiny, 3)[0].any()
    assert kernels.score_table(tiny[:0], 3)[1:] == (0.0, 0.0)


def test_score_columns(isa: str) -> None:
    scores = np.zeros((4, 16), dtype=np.float32)
    for n in (0, 17, -1):
        with pytest.raises(ValueError, match=f"scores has 16 columns for {n} query rows"):
            kernels.score_table(scores, n)
        with pytest.raises(ValueError, match=f"scores has 16 columns for {n} query rows"):
            kernels.top_cells(scores, n, 1)


# -- top_cells


def test_top_cells_by_hand(isa: str) -> None:
    scores = np.full((5, 16), 9, dtype=np.float32)
    scores[:, :2] = [[1, -5], [3, -5], [2, -1], [3, -5], [-INF, -7]]
    assert kernels.top_cells(scores, 2, 3).tolist() == [[1, 3, 2], [2, 0, 1]]
    assert kernels.top_cells(scores, 2, 5).tolist() == [[1, 3, 2, 0, 4], [2, 0, 1, 3, 4]]


@pytest.mark.parametrize("num_centroids", [1, 2, 100, 517, 2000, 20_000])
@pytest.mark.parametrize("n", [1, 14, 17, 33])
def test_top_cells_equal_a_sort(isa: str, n: int, num_centroids: int) -> None:
    rng = np.random.default_rng(9)
    columns = -(-n // 16) * 16
    real = rng.standard_normal((num_centroids, columns)).astype(np.float32)
    tied = rng.integers(-5, 5, (num_centroids, columns)).astype(np.float32)
    sunk = np.where(rng.random(real.shape) < 0.9, np.float32(-INF), real)
    for scores in (real, tied, sunk):
        order = np.argsort(-scores[:, :n].T, axis=1, kind="stable")
        for p in {1, min(2, num_centroids), min(33, num_centroids), min(200, num_centroids), num_centroids}:
            np.testing.assert_array_equal(kernels.top_cells(scores, n, p), order[:, :p])


def test_top_cells_refuse_wrong_arguments(isa: str) -> None:
    scores = np.zeros((4, 16), dtype=np.float32)
    for p in (0, 5, -1):
        with pytest.raises(ValueError, match=f"p is {p}, but must be 1 to 4"):
            kernels.top_cells(scores, 3, p)
    if isa != "numpy":
        with pytest.raises(ValueError, match="scores contains NaN"):
            kernels.top_cells(np.full((300, 16), np.nan, dtype=np.float32), 3, 2)


# -- candidates

CELL_OFFSETS = np.array([0, 3, 3, 5, 9], dtype=np.int64)
CELL_DOCS = np.array([0, 5, 63, 5, 64, 0, 63, 64, 128], dtype=np.int32)


def test_candidates_by_hand(isa: str) -> None:
    for cells, expected in [
        ([], []),
        ([1], []),
        ([2], [5, 64]),
        ([2, 0, 2], [0, 5, 63, 64]),
        ([3, 2, 1, 0], [0, 5, 63, 64, 128]),
    ]:
        docs = kernels.candidates(np.array(cells, dtype=np.int32), CELL_OFFSETS, CELL_DOCS, 129)
        assert docs.tolist() == expected
        assert docs.dtype == np.int64


def test_candidates_equal_twin(isa: str) -> None:
    rng = np.random.default_rng(10)
    offsets = offsets_of(rng.integers(0, 40, 300).tolist())
    docs = rng.integers(0, 5000, offsets[-1]).astype(np.int32)
    for size in (1, 10, 1000):
        cells = rng.integers(0, 300, size).astype(np.int32)
        expected = sorted({int(doc) for cell in cells for doc in docs[offsets[cell] : offsets[cell + 1]]})
        assert kernels.candidates(cells, offsets, docs, 5000).tolist() == expected


def test_candidates_refuse_what_does_not_exist(isa: str) -> None:
    cells = np.array([0, 2], dtype=np.int32)
    for cell in (-1, 4, 2**31 - 1, -(2**31)):
        with pytest.raises(ValueError, match=f"cells contains {cell}, but there are 4 cells"):
            kernels.candidates(np.array([0, cell], dtype=np.int32), CELL_OFFSETS, CELL_DOCS, 129)
    for num_docs in (0, 64):
        with pytest.raises(ValueError, match=f"but there are {num_docs} documents"):
            kernels.candidates(cells, CELL_OFFSETS, CELL_DOCS, num_docs)
    for wrong in ([0, 3, 3, 10, 9], [0, 3, 3, 2, 9], [0, 3, -1, 5, 9], [0, 3, 3, 2**62, 9]):
        with pytest.raises(ValueError, match="cell_offsets gives cell 2 the entries"):
            kernels.candidates(cells, np.array(wrong, dtype=np.int64), CELL_DOCS, 129)
    negative = CELL_DOCS.copy()
    negative[0] = -1
    with pytest.raises(ValueError, match="cell_docs contains -1"):
        kernels.candidates(cells, CELL_OFFSETS, negative, 129)
    with pytest.raises(ValueError, match="cell_offsets is empty"):
        kernels.candidates(cells, CELL_OFFSETS[:0], CELL_DOCS, 129)
    with pytest.raises(ValueError, match="num_docs is -1"):
        kernels.candidates(cells, CELL_OFFSETS, CELL_DOCS, -1)


# -- centroid_maxsim


def test_centroid_maxsim_by_hand(isa: str) -> None:
    table = np.full((3, 16), 200, dtype=np.uint8)
    table[:, :2] = [[1, 9], [255, 0], [7, 255]]
    offsets = np.array([0, 2, 2, 3, 6], dtype=np.int64)
    codes = np.array([0, 1, 0, 0, 1, 2], dtype=np.uint16)
    assert kernels.centroid_maxsim(table, 2, codes, offsets).tolist() == [255 + 9, -1, 1 + 9, 255 + 255]
    assert kernels.centroid_maxsim(table, 1, codes, offsets).tolist() == [255, -1, 1, 255]
    docids = np.array([3, 1, 3], dtype=np.int64)
    assert kernels.centroid_maxsim(table, 2, codes, offsets, docids).tolist() == [510, -1, 510]
    assert kernels.centroid_maxsim(table, 2, codes, offsets, docids[:0]).shape == (0,)


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
@pytest.mark.parametrize("n", [*ROWS, 100, 128])
def test_centroid_maxsim_equals_twin(isa: str, n: int, code_type: type) -> None:
    rng = np.random.default_rng(11)
    table = rng.integers(0, 256, (70, -(-n // 16) * 16)).astype(np.uint8)
    lengths = rng.integers(0, 9, 400).tolist()
    codes = rng.integers(0, 70, sum(lengths)).astype(code_type)
    offsets = offsets_of(lengths)
    expected = twin(kernels.centroid_maxsim, table, n, codes, offsets)
    for num_threads in (1, 3, 1000):
        scores = kernels.centroid_maxsim(table, n, codes, offsets, num_threads=num_threads)
        np.testing.assert_array_equal(scores, expected)
        assert scores.dtype == np.int32
    docids = rng.integers(0, 400, 50)
    np.testing.assert_array_equal(kernels.centroid_maxsim(table, n, codes, offsets, docids), expected[docids])


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
def test_centroid_maxsim_refuses_what_does_not_exist(isa: str, code_type: type) -> None:
    table = np.zeros((70, 16), dtype=np.uint8)
    offsets = np.array([0, 2, 4], dtype=np.int64)
    for code in (70, 65535, *((-1, -(2**31), 2**31 - 1) if code_type is np.int32 else ())):
        codes = np.array([0, 1, 2, code], dtype=code_type)
        with pytest.raises(ValueError, match=rf"codes\[3\] is {code}, but there are 70 centroids"):
            kernels.centroid_maxsim(table, 3, codes, offsets, num_threads=2)
        # Only what is asked for is read.
        assert kernels.centroid_maxsim(table, 3, codes, offsets, np.array([0])).tolist() == [0]
    with pytest.raises(ValueError, match="docids contains 2"):
        kernels.centroid_maxsim(table, 3, codes, offsets, np.array([2]))
    with pytest.raises(ValueError, match="offsets gives document 1"):
        kernels.centroid_maxsim(table, 3, codes[:3], offsets)
    with pytest.raises(ValueError, match="table has 16 columns for 17 query rows"):
        kernels.centroid_maxsim(table, 17, codes, offsets)
    with pytest.raises(ValueError, match="doc_codes is int64"):
        kernels.centroid_maxsim(table, 3, codes.astype(np.int64), offsets)


# -- maxsim_codes


def test_maxsim_codes_by_hand(isa: str) -> None:
    query = i8([[1, 0, 2], [-1, 3, 0]])
    scores = np.full((2, 16), 1e9, dtype=np.float32)
    scores[:, :2] = [[10, 20], [-1, -2]]
    packed = kernels.pack(np.array([[1, 2, 3], [0, 0, 15], [1, 1, 1]], dtype=np.uint8), 4)
    codes = np.array([0, 1, 1], dtype=np.uint16)
    offsets = np.array([0, 2, 2, 3], dtype=np.int64)
    args = (scores, query, f32(0.5, 2), f32(100, 1000), codes, packed)
    # products: token 0: 7 5, token 1: 30 0, token 2: 3 2
    # token 0: 10 + 100 + 3.5, 20 + 1000 + 10; token 1: -1 + 100 + 15, -2 + 1000; token 2: -1 + 100 + 1.5, 998 + 4
    got = kernels.maxsim_codes(*args, None, None, offsets, nbits=4)
    assert got.tolist() == [114 + 1030, -INF, 100.5 + 1002]
    table = np.ones(256, dtype=np.float32)
    table[[7, 255]] = 0.5, 2
    got = kernels.maxsim_codes(*args, np.array([7, 255, 7], dtype=np.uint8), table, offsets, nbits=4)
    assert got.tolist() == [228 + 1996, -INF, 50.25 + 501]
    got = kernels.maxsim_codes(*args, None, None, offsets, np.array([2, 1, 2, 0]), nbits=4)
    assert got.tolist() == [1102.5, -INF, 1102.5, 1144]


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n", ROWS)
def test_maxsim_codes_equal_twin(isa: str, n: int, dim: int, nbits: int) -> None:
    arguments = coded(n, dim, nbits)
    expected = twin(kernels.maxsim_codes, **arguments)
    got = kernels.maxsim_codes(**arguments)
    assert got.tobytes() == expected.tobytes()
    assert np.isneginf(got).tolist() == [length == 0 for length in LENGTHS]


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
@pytest.mark.parametrize("normalise", [True, False])
def test_maxsim_codes_is_maxsim(isa: str, code_type: type, normalise: bool) -> None:
    """Of the vectors that the codes stand for, with a query that is exact in int8."""
    rng = np.random.default_rng(12)
    dim, n, tokens = 20, 7, sum(LENGTHS)
    centroids = rng.standard_normal((30, dim)).astype(np.float32)
    x = rng.standard_normal((tokens, dim)).astype(np.float32)
    step, lo = np.full(dim, 0.25, dtype=np.float32), np.full(dim, -2, dtype=np.float32)
    codes, _ = kernels.nearest(x, centroids)
    packed, norms = kernels.encode_residuals(x, centroids, codes, step, lo, 4)
    decoded = centroids[codes] + lo + kernels.unpack(packed, dim, 4) * step
    query = rng.integers(-100, 100, (n, dim)).astype(np.int8)
    real = query.astype(np.float32) / 64
    table = np.linspace(0.1, 1, 256).astype(np.float32)
    nearest = np.abs(table - 1 / norms[:, None]).argmin(axis=1).astype(np.uint8)
    factors = table[nearest, None] if normalise else 1
    scores = np.zeros((30, 16), dtype=np.float32)
    scores[:, :n] = centroids @ real.T
    got = kernels.maxsim_codes(
        scores,
        query,
        np.full(n, 0.25 / 64, dtype=np.float32),
        real @ lo,
        codes.astype(code_type),
        packed,
        nearest if normalise else None,
        table if normalise else None,
        offsets_of(LENGTHS),
        nbits=4,
    )
    expected = kernels.maxsim(real, (decoded * factors).astype(np.float32), offsets_of(LENGTHS))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    if normalise:
        np.testing.assert_allclose((norms[:, None] * factors).ravel(), 1, atol=0.02)


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
def test_maxsim_codes_are_independent(isa: str, code_type: type, nbits: int) -> None:
    """Of other documents, of the order of documents, and of threads."""
    lengths = np.random.default_rng(13).integers(0, 40, 200).tolist()
    arguments = coded(n=20, dim=50, nbits=nbits, lengths=lengths, code_type=code_type)
    together = kernels.maxsim_codes(**arguments)
    for num_threads in (2, 3, 1000):
        assert kernels.maxsim_codes(**arguments, num_threads=num_threads).tobytes() == together.tobytes()
    order = np.random.default_rng(14).integers(0, 200, 300)
    assert kernels.maxsim_codes(**arguments, docids=order).tobytes() == together[order].tobytes()
    for k in range(0, 200, 17):
        alone = kernels.maxsim_codes(**arguments, docids=np.array([k]))
        assert alone.tobytes() == together[k : k + 1].tobytes()


def test_maxsim_codes_without_documents_or_rows(isa: str) -> None:
    arguments = coded(n=3, dim=9)
    assert kernels.maxsim_codes(**arguments, docids=np.zeros(0, dtype=np.int64)).shape == (0,)
    assert kernels.maxsim_codes(**coded(lengths=[])).shape == (0,)
    for lengths in ([0], [0, 0], [0, 12, 0, 24, 0]):
        got = kernels.maxsim_codes(**coded(lengths=lengths))
        assert np.isneginf(got).tolist() == [length == 0 for length in lengths]
    nothing = {
        "centroid_scores": arguments["centroid_scores"][:, :0].copy(),
        "query": arguments["query"][:0],
        "query_scale": f32(),
        "query_bias": f32(),
    }
    got = kernels.maxsim_codes(**{**arguments, **nothing})
    assert got.tolist() == [0.0 if length else -INF for length in LENGTHS]


def test_maxsim_codes_of_a_memory_map(isa: str, tmp_path) -> None:
    arguments = coded()
    np.save(tmp_path / "packed.npy", arguments["packed"])
    mapped = np.load(tmp_path / "packed.npy", mmap_mode="r")
    again = kernels.maxsim_codes(**{**arguments, "packed": mapped})
    assert again.tobytes() == kernels.maxsim_codes(**arguments).tobytes()


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
def test_maxsim_codes_refuse_codes(isa: str, code_type: type) -> None:
    arguments = coded(n=3, dim=8, lengths=[3, 0, 4], code_type=code_type)
    for code in (50, 65535, *((-1, -(2**31), 2**31 - 1) if code_type is np.int32 else ())):
        arguments["codes"][5] = code
        for num_threads in (1, 2):
            with pytest.raises(ValueError, match=rf"codes\[5\] is {code}, but there are 50 centroids"):
                kernels.maxsim_codes(**arguments, num_threads=num_threads)
        assert np.isfinite(kernels.maxsim_codes(**arguments, docids=np.array([0])))


@pytest.mark.parametrize("docids", [None, [1], [0, 1, 2]])
@pytest.mark.parametrize("offsets", [[0, 2, 1, 4], [0, 2, 6, 7], [0, -1, 2, 3], [0, 4, 2**62, 5], [0, 5, 4, 3]])
def test_maxsim_codes_refuse_offsets(isa: str, offsets: list[int], docids: list[int] | None) -> None:
    arguments = coded(n=3, dim=8, lengths=[4]) | {"offsets": np.array(offsets, dtype=np.int64)}
    ids = None if docids is None else np.array(docids, dtype=np.int64)
    with pytest.raises(ValueError, match="offsets gives document"):
        kernels.maxsim_codes(**arguments, docids=ids)


@pytest.mark.parametrize("docid", [-1, len(LENGTHS), 2**40, -(2**63), 2**63 - 1])
def test_maxsim_codes_refuse_documents(isa: str, docid: int) -> None:
    with pytest.raises(ValueError, match=f"docids contains {docid}, but there are 13 documents"):
        kernels.maxsim_codes(**coded(), docids=np.array([0, docid], dtype=np.int64))


def test_maxsim_codes_refuse_wrong_arguments(isa: str) -> None:
    good = coded(n=3, dim=8, lengths=[4])
    for name, value, message in [
        ("centroid_scores", good["centroid_scores"][:, :8].copy(), "centroid_scores has 8 columns for 3 query rows"),
        ("centroid_scores", np.zeros((50, 32), dtype=np.float32), "centroid_scores has 32 columns"),
        ("query", good["query"].astype(np.float32), "query is float32"),
        ("query", good["query"][:, :7].copy(), None),
        ("query", good["query"][:, :5].copy(), "packed has rows of 4 bytes, but 5 dimensions of 4 bits take 3"),
        ("query_scale", f32(1), "query_scale has 1 entries, but must have 3"),
        ("query_bias", f32(1), "query_bias has 1 entries, but must have 3"),
        ("codes", good["codes"].astype(np.int64), "codes is int64"),
        ("codes", good["codes"][:3].copy(), "packed has 4 entries, but must have 3"),
        ("packed", good["packed"][::-1], "packed is not C-contiguous"),
        ("inv_norm", None, "belong together"),
        ("inv_norm", good["inv_norm"][:3], "inv_norm has 3 entries, but must have 4"),
        ("inv_norm_table", None, "belong together"),
        ("inv_norm_table", f32(1), "inv_norm_table has 1 values"),
        ("offsets", good["offsets"][:0], "offsets is empty"),
        ("nbits", 3, "nbits is 3"),
        ("nbits", 8, "packed has rows of 4 bytes, but 8 dimensions of 8 bits take 8"),
        ("num_threads", 0, "num_threads is 0"),
    ]:
        if message is None:
            kernels.maxsim_codes(**{**good, name: value})  # seven values in four bytes are fine
            continue
        with pytest.raises(ValueError, match=message):
            kernels.maxsim_codes(**{**good, name: value})


# -- memory

GUARDED = """
import ctypes, mmap, sys
import numpy as np
from pyterrier_lir import kernels

libc = ctypes.CDLL(None, use_errno=True)
maps = []  # keep them mapped

def guarded(array):
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    maps.append(memory)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + size
    assert libc.mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy

rng = np.random.default_rng(0)
bytes_of = lambda *shape: guarded(rng.integers(0, 256, shape).astype(np.uint8))
int8_of = lambda *shape: bytes_of(*shape).view(np.int8)
floats_of = lambda *shape: guarded(rng.random(shape).astype(np.float32))
offsets = guarded(np.array([0, 5, 5, 18], dtype=np.int64))
with kernels.forced(sys.argv[1]):
    for dim in (1, 3, 16, 96, 127, 128, 130, 200):
        for n in (1, 17, 33):
            columns = -(-n // 16) * 16
            query, scale, scores = int8_of(n, dim), floats_of(n), floats_of(20, columns)
            for kind in (np.uint16, np.int32):
                codes = guarded(rng.integers(0, 20, 18).astype(kind))
                for nbits in (1, 2, 4, 8):
                    packed = bytes_of(18, -(-dim // (8 // nbits)))
                    inv_norm, table = bytes_of(18), floats_of(256)
                    levels = bytes_of(2**nbits) >> 1
                    for level_table in (None, guarded(levels)) if nbits < 8 else (None,):
                        kernels.maxsim_codes(
                            scores, query, scale, scale, codes, packed, inv_norm, table, offsets, nbits=nbits,
                            level_table=level_table,
                        )
                kernels.centroid_maxsim(bytes_of(20, columns), n, codes, offsets)
            kernels.centroid_scores(query, scale, int8_of(20, dim), floats_of(20))
            kernels.score_table(scores, n)
            kernels.top_cells(scores, n, 3)
        for x in (floats_of(13, dim), guarded(rng.random((13, dim)).astype(np.float16))):
            centroids = floats_of(20, dim)
            codes = guarded(kernels.nearest(x, centroids)[0])
            kernels.nearest_groups(x, centroids, 3)
            kernels.encode_residuals(x, centroids, codes, floats_of(dim) + np.float32(1), floats_of(dim), 4)
        for nbits in (1, 2, 4, 8):
            kernels.unpack(kernels.pack(bytes_of(13, dim) & np.uint8(2**nbits - 1), nbits), dim, nbits)
            kernels.unpack(bytes_of(13, -(-dim // (8 // nbits))), dim, nbits)
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects memory as Linux does")
@pytest.mark.parametrize("name", [name for name in kernels.available() if name != "numpy"])
def test_reads_nothing_behind_its_arrays(name: str) -> None:
    """Every array ends where memory ends; a byte more is a segmentation fault."""
    result = subprocess.run([sys.executable, "-c", GUARDED, name], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "done"), result.stderr
