"""Kernels over centroids and cells: examples by hand, and their NumPy twins, bit for bit."""

import numpy as np
import pytest
from kernel_arrays import (
    DAMAGED,
    DIMS,
    INF,
    NUMBERS,
    ROWS,
    f32,
    first_rows,
    i8,
    ints,
    longs,
    offsets_of,
    query_bytes,
    refuses,
    rows_of,
    twin,
)

from pyterrier_lir import kernels

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


# -- top_cells_in_groups, top_cells


SIZES = [3, 0, 1, 20, 16, 1, 0, 60]


def grouped(dim: int, n: int = 40, sizes: list[int] = SIZES) -> dict:
    """Arguments of top_cells_in_groups, each row with half of the groups, the largest one always among them."""
    rng = np.random.default_rng(5)
    others = [rng.permutation(len(sizes) - 1)[: len(sizes) // 2 - 1] for _ in range(n)]
    query_scale = rng.random(n).astype(np.float32)
    query_scale[1] = 0  # scores of 0 and -0, which are equal
    return {
        "query": query_bytes(rng, n, dim),
        "query_scale": query_scale,
        "centroids": query_bytes(rng, sum(sizes), dim),
        "centroid_scale": rng.choice(f32(0.25, 0.5), sum(sizes)),
        "group_offsets": offsets_of(sizes),
        "groups": np.array([rng.permutation([*row, len(sizes) - 1]) for row in others], dtype=np.int32),
    }


def test_top_cells_in_groups_by_hand(isa: str) -> None:
    args = (i8([[1], [-2]]), f32(1, 0.5), i8([[3], [-1], [2], [2], [100]]), f32(1, 1, 1, 1, 0.25), longs(0, 2, 2, 4, 5))
    # row 0: 3 -1 2 2 25; row 1: -3 1 -2 -2 -25
    cells, scores = kernels.top_cells_in_groups(*args, ints(2, 0, 3, 2).reshape(2, 2), 3)
    assert cells.tolist() == [[0, 2, 3], [2, 3, 4]]
    assert scores.tolist() == [[3, 2, 2], [-2, -2, -25]]
    assert (cells.dtype, scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("dim", DIMS)
def test_top_cells_in_groups_equal_twin(isa: str, dim: int) -> None:
    arguments = grouped(dim)
    for p in (1, 7, 60):
        cells, scores = twin(kernels.top_cells_in_groups, **arguments, p=p)
        for n in rows_of(isa):
            got = kernels.top_cells_in_groups(**first_rows(arguments, n), p=p)
            assert np.array_equal(got[0], cells[:n])
            assert np.array_equal(got[1], scores[:n])
    group_of = np.repeat(np.arange(len(SIZES)), SIZES)
    assert all(set(group_of[best]) <= set(row) for best, row in zip(cells, arguments["groups"], strict=True))


@pytest.mark.parametrize("sizes", [SIZES, [1], [0, 5], [101]])
@pytest.mark.parametrize("dim", DIMS)
def test_top_cells_in_all_groups_are_top_cells(isa: str, dim: int, sizes: list[int]) -> None:
    arguments = grouped(dim, 33, sizes)
    arguments["groups"] = np.tile(np.arange(len(sizes), dtype=np.int32), (len(arguments["query"]), 1))
    names = ("query", "query_scale", "centroids", "centroid_scale")
    scores = kernels.centroid_scores(*(arguments[name] for name in names))
    for p in {1, sum(sizes) // 2 + 1, sum(sizes)}:
        best = kernels.top_cells(scores, len(arguments["query"]), p)
        expected = np.take_along_axis(scores.T[: len(best)], best.astype(np.int64), axis=1)
        cells, found = kernels.top_cells_in_groups(**arguments, p=p)
        assert np.array_equal(cells, best)
        assert np.array_equal(found, expected)


def test_top_cells_in_groups_refuse_wrong_arguments(isa: str) -> None:
    good = grouped(8, 3, [3, 0, 4, 10]) | {"p": 2, "groups": ints(2, 0, 2, 3, 2, 1).reshape(3, 2)}
    groups = good["groups"]
    cases = [
        ("p", 0, "p is 0, but at least 1 centroid"),
        ("p", 5, "the groups of row 2 hold 4 centroids, but p is 5; choose more groups"),
        ("p", 8, "the groups of row 0 hold 7 centroids, but p is 8"),
        ("groups", groups[:, :0].copy(), "the groups of row 0 hold 0 centroids, but p is 2"),
        ("query", good["query"][:, :7].copy(), "query has 7 dimensions and centroids have 8"),
        ("query_scale", f32(1), "query_scale has 1 entries, but must have 3"),
        ("centroid_scale", f32(1), "centroid_scale has 1 entries, but must have 17"),
        ("group_offsets", longs(), "group_offsets is empty"),
        ("groups", groups[:2], "groups has 2 entries, but must have 3"),
    ]
    damage = "group_offsets gives group 2 the centroids {} to {}, but there are 17"
    cases += [("group_offsets", longs(*o), damage.format(o[2], o[3])) for o in DAMAGED]
    for group in NUMBERS:
        wrong = np.where(groups == 1, np.int32(group), groups)
        cases.append(("groups", wrong, f"groups contains {group}, but there are 4 groups"))
    refuses(kernels.top_cells_in_groups, good, cases)


@pytest.mark.parametrize("num_centroids", [1, 128, 512, 515, 4096, 16_385])
def test_top_cells_of_difficult_scores(isa: str, num_centroids: int) -> None:
    rng = np.random.default_rng(6)
    scores = np.full((num_centroids, 32), 1e30, dtype=np.float32)  # those of no row
    scores[:, 0] = 3  # nothing but ties
    scores[:, 1] = -INF
    scores[:, 2] = np.arange(num_centroids)
    scores[:, 3] = -np.arange(num_centroids)
    scores[:, 4] = rng.choice(f32(0, -0.0), num_centroids)  # equal
    scores[:, 5] = np.where(np.arange(num_centroids) // 100 == 1, rng.random(num_centroids), -INF)  # all in one place
    scores[:, 6] = -INF
    scores[-1, 6] = 0
    scores[:, 7:17] = rng.integers(0, 2, (num_centroids, 10))
    scores[:, 17] = rng.random(num_centroids)
    order = np.argsort(-scores[:, :18].T, axis=1, kind="stable")
    for p in {1, 2, 4, 31, 32, 127, 128, 129, 513, num_centroids - 1, num_centroids}:
        if 1 <= p <= num_centroids:
            np.testing.assert_array_equal(kernels.top_cells(scores, 18, p), order[:, :p])


def test_top_cells_do_not_look_at_columns_of_no_row(isa: str) -> None:
    scores = np.zeros((16_385, 32), dtype=np.float32)
    scores[:, 18:] = INF
    assert kernels.top_cells(scores, 18, 2).tolist() == [[0, 1]] * 18
