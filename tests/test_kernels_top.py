"""Kernels that choose the best: examples by hand, and their NumPy twins, bit for bit."""

import numpy as np
import pytest
from kernel_arrays import (
    DIMS,
    INF,
    NBITS,
    coded,
    f32,
    first_rows,
    i8,
    ints,
    longs,
    offsets_of,
    refuses,
    rows_of,
    same,
    threads_of,
    twin,
)

from pyterrier_lir import kernels

# -- top_tokens


def best_of(scores: np.ndarray, token_docs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What top_tokens returns, from the scores of all tokens, in plain Python."""
    kept = [sorted(sorted(range(len(row)), key=lambda t: (-row[t], t))[:count]) for row in scores.tolist()]
    kept = np.array(kept, dtype=np.int64).reshape(len(scores), min(count, scores.shape[1]))
    return token_docs[kept], np.take_along_axis(scores, kept, axis=1).astype(np.float32)


def test_top_tokens_by_hand(isa: str) -> None:
    query = f32(1, 0, 0, 1).reshape(2, 2)
    offsets = longs(0, 2, 2, 4)
    for dtype in (np.float16, np.float32):
        tokens = np.array([[3, 1], [1, 1], [2, 1], [3, 0]], dtype=dtype)
        docs, scores = kernels.top_tokens(query, tokens, offsets, count=3)
        assert docs.tolist() == [[0, 2, 2], [0, 0, 2]]
        assert scores.tolist() == [[3, 2, 3], [1, 1, 1]]
        assert (docs.dtype, scores.dtype) == (np.int64, np.float32)
        docs, scores = kernels.top_tokens(query, tokens, offsets, longs(1, 2), count=3)
        assert (docs.tolist(), scores.tolist()) == ([[2, 2], [2, 2]], [[2, 3], [1, 0]])
        docs, scores = kernels.top_tokens(-query, tokens, offsets, count=1)  # of -1, -1, -1 the first
        assert (docs.tolist(), scores.tolist()) == ([[0], [2]], [[-1], [0]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", DIMS)
def test_top_tokens_with_ties(isa: str, dim: int, dtype: type) -> None:
    """Whole numbers: products are exact, and many of them equal, across threads as well."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(0, 12, 150)
    offsets, token_docs = offsets_of(lengths.tolist()), np.repeat(np.arange(150), lengths)
    tokens = rng.integers(-1, 2, (lengths.sum(), dim)).astype(dtype)
    tokens.flags.writeable = False
    query = rng.integers(-1, 2, (40, dim)).astype(np.float32)
    query[0], query[1:, 3:] = 0, 0  # the first row has nothing but ties
    products = query.astype(np.float64) @ tokens.T.astype(np.float64)
    docids = np.flatnonzero(rng.random(150) < 0.3)
    some = np.isin(token_docs, docids)
    whole = np.ones_like(some)
    cases = [(1, 1, None), (3, 7, None), (17, 64, None), (40, 150, None), (33, len(tokens), None)]
    for n, count, ids in [*cases, (16, len(tokens) + 100, None), (40, 20, docids), (2, len(tokens), docids)]:
        these = whole if ids is None else some
        docs, scores = best_of(products[:n, these], token_docs[these], count)
        assert docs.shape == scores.shape == (n, min(count, these.sum()))
        for num_threads in threads_of(isa):
            got = kernels.top_tokens(query[:n], tokens, offsets, ids, count=count, num_threads=num_threads)
            assert np.array_equal(got[0], docs)
            assert np.array_equal(got[1], scores)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", DIMS)
def test_top_tokens_of_random_rows(isa: str, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, 9, 200)
    tokens = rng.standard_normal((lengths.sum(), dim)).astype(dtype)
    query = (rng.standard_normal((40, dim)) / dim**0.5).astype(np.float32)
    products = query.astype(np.float64) @ tokens.T.astype(np.float64)
    ordered = -np.sort(-products, axis=1)
    clear = ordered[:, 29] - ordered[:, 30] > 1e-5  # which tokens are the best 30 is not a matter of rounding
    assert clear.sum() >= 30
    docs, scores = best_of(products[clear], np.repeat(np.arange(200), lengths), 30)
    one = kernels.top_tokens(query, tokens, offsets_of(lengths.tolist()), count=30)
    np.testing.assert_array_equal(one[0][clear], docs)
    np.testing.assert_allclose(one[1][clear], scores, rtol=0, atol=1e-5)
    for num_threads in threads_of(isa):
        again = kernels.top_tokens(query, tokens, offsets_of(lengths.tolist()), count=30, num_threads=num_threads)
        assert same(again, one)


def test_top_tokens_of_nothing(isa: str) -> None:
    query, tokens = np.ones((3, 2), dtype=np.float32), np.ones((4, 2), dtype=np.float32)
    for offsets, docids in [([0], None), ([0, 0, 0], None), ([0, 2, 2, 4], []), ([0, 2, 2, 4], [1])]:
        ids = None if docids is None else longs(*docids)
        docs, scores = kernels.top_tokens(query, tokens, longs(*offsets), ids, count=5, num_threads=2)
        assert (docs.shape, scores.shape) == ((3, 0), (3, 0))
    docs, scores = kernels.top_tokens(query[:0], tokens, longs(0, 4), count=5)
    assert (docs.shape, scores.shape) == ((0, 4), (0, 4))


WANTED = [
    ("count", 0, "count is 0, but at least 1 token"),
    ("count", -1, "count is -1"),
    ("num_threads", 0, "num_threads is 0"),
    ("docids", longs(2, 1), "docids must ascend"),
    ("docids", longs(1, 1), "docids must ascend, each once"),
    ("docids", longs(1, 3), "docids contains 3, but there are 3 documents"),
    ("docids", longs(-1, 1), "docids contains -1"),
    ("docids", longs(1)[None], "docids has shape"),
    ("docids", ints(1), "docids is int32"),
    ("offsets", longs(), "offsets is empty"),
    ("offsets", longs(0, 2, 1, 4), "offsets gives document 1 the tokens 2 to 1"),
    ("offsets", longs(0, 3, 4, 8), "offsets gives document 2 the tokens 4 to 8"),
    ("offsets", longs(-1, 3, 4, 7), "offsets gives document 0 the tokens -1 to 3"),
]


def test_top_tokens_refuse_wrong_arguments(isa: str) -> None:
    tokens = np.ones((7, 2), dtype=np.float32)
    good = {"query": tokens, "tokens": tokens, "offsets": longs(0, 3, 3, 7), "count": 2}
    cases = [
        ("query", tokens[:, :1].copy(), "query has 1 dimensions and tokens have 2"),
    ]
    refuses(kernels.top_tokens, good, cases + WANTED)
    nothing = np.ones((7, 0), dtype=np.float32)
    with pytest.raises(ValueError, match="query has 0 dimensions"):
        kernels.top_tokens(**{**good, "query": nothing, "tokens": nothing})


# -- top_tokens_codes


def test_top_tokens_codes_by_hand(isa: str) -> None:
    scores = np.full((2, 16), 1e9, dtype=np.float32)
    scores[:, :2] = [[10, 20], [-1, -2]]
    packed = kernels.pack(np.array([[1, 2, 3], [0, 0, 15], [1, 1, 1]], dtype=np.uint8), 4)
    args = (scores, i8([[1, 0, 2], [-1, 3, 0]]), f32(0.5, 2), f32(100, 1000), ints(0, 1, 1), packed)
    offsets = longs(0, 2, 2, 3)
    # row 0: 10 + 100 + 3.5, -1 + 100 + 15, -1 + 100 + 1.5; row 1: 20 + 1000 + 10, -2 + 1000, -2 + 1000 + 4
    docs, got = kernels.top_tokens_codes(*args, None, None, offsets, nbits=4, count=2)
    assert (docs.tolist(), got.tolist()) == ([[0, 0], [0, 2]], [[113.5, 114], [1030, 1002]])
    docs, got = kernels.top_tokens_codes(*args, None, None, offsets, longs(2), nbits=4, count=2)
    assert (docs.tolist(), got.tolist()) == ([[2], [2]], [[100.5], [1002]])
    table = np.ones(256, dtype=np.float32)
    table[7] = 0.5
    factors = ints(7, 7, 0, dtype=np.uint8), table
    docs, got = kernels.top_tokens_codes(*args, *factors, offsets, nbits=4, count=1)
    assert (docs.tolist(), got.tolist()) == ([[2], [2]], [[100.5], [1002]])


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_top_tokens_codes_equal_twin(isa: str, dim: int, nbits: int) -> None:
    code_type = np.uint16 if dim % 2 else np.int32
    centroids = {1: 1, 3: 3}.get(dim, 50)  # few centroids, few dimensions: many ties
    arguments = coded(40, dim, nbits, centroids, code_type=code_type, normalise=dim > 3)
    total, some = len(arguments["codes"]), longs(1, 2, 4, 8, 9)
    for count, docids in [(1, None), (5, None), (50, None), (total, None), (total + 1, None), (30, some), (200, some)]:
        docs, scores = twin(kernels.top_tokens_codes, **arguments, docids=docids, count=count)
        assert docs.shape == scores.shape == (40, min(count, total if docids is None else 86))
        for n in rows_of(isa) if count == 5 else (3,):
            got = kernels.top_tokens_codes(**first_rows(arguments, n), docids=docids, count=count)
            assert same(got, (docs[:n], scores[:n]))
        for num_threads in threads_of(isa):
            got = kernels.top_tokens_codes(**arguments, docids=docids, count=count, num_threads=num_threads)
            assert same(got, (docs, scores))


def test_top_tokens_codes_refuse_wrong_arguments(isa: str) -> None:
    good = coded(n=3, dim=8, lengths=[3, 0, 4], code_type=np.int32) | {"count": 2}
    cases = [
        ("centroid_scores", good["centroid_scores"][:, :8].copy(), "centroid_scores has 8 columns for 3 query rows"),
        ("query", good["query"][:, :5].copy(), "packed has rows of 4 bytes, but 5 dimensions of 4 bits take 3"),
        ("query_scale", f32(1), "query_scale has 1 entries, but must have 3"),
        ("query_bias", f32(1), "query_bias has 1 entries, but must have 3"),
        ("packed", good["packed"][:6], "packed has 6 entries, but must have 7"),
        ("inv_norm_table", None, "belong together"),
        ("nbits", 3, "nbits is 3"),
    ]
    refuses(kernels.top_tokens_codes, good, cases + WANTED)
    for code in (50, -1, 2**31 - 1, -(2**31)):
        good["codes"][5] = code
        message = rf"codes\[5\] is {code}, but there are 50 centroids"
        for num_threads in (1, 3):
            with pytest.raises(ValueError, match=message):
                kernels.top_tokens_codes(**good, num_threads=num_threads)
        assert kernels.top_tokens_codes(**good, docids=longs(0))[0].tolist() == [[0, 0]] * 3  # only those are read


def test_top_tokens_that_score_minus_infinity(isa: str) -> None:
    query, tokens = np.array([[3e38], [1]], np.float32), np.array([[1], [-9], [2]], np.float32)
    docs, scores = kernels.top_tokens(query, tokens, longs(0, 1, 2, 3), count=3)
    assert docs.tolist() == [[0, 1, 2]] * 2
    assert scores.tolist() == [[np.float32(3e38), -INF, INF], [1, -9, 2]]


@pytest.mark.filterwarnings("ignore:invalid value")
def test_top_tokens_of_a_damaged_file(isa: str) -> None:
    """Whatever is on disk, the documents exist; their scores mean nothing."""
    tokens = np.full((100, 4), np.nan, dtype=np.float16)
    docs, _ = kernels.top_tokens(np.ones((3, 4), np.float32), tokens, np.arange(0, 101, 10), count=20)
    assert docs.shape == (3, 20)
    assert ((docs >= 0) & (docs < 10)).all()


# -- top_k


def test_top_k_by_hand(isa: str) -> None:
    scores = f32(1, 3, -INF, 3, 2, -3e38, 3)
    for k, expected in [(0, []), (2, [1, 3]), (4, [1, 3, 6, 4]), (6, [1, 3, 6, 4, 0, 5]), (2**40, [1, 3, 6, 4, 0, 5])]:
        best = kernels.top_k(scores, k)
        assert (best.tolist(), best.dtype) == (expected, np.int64)
    assert kernels.top_k(f32(-INF, -INF), 2).tolist() == kernels.top_k(f32(), 2).tolist() == []


@pytest.mark.parametrize("size", [1, 2, 100, 5000])
def test_top_k_equals_twin(isa: str, size: int) -> None:
    rng = np.random.default_rng(7)
    real, tied = rng.standard_normal(size).astype(np.float32), rng.integers(-3, 3, size).astype(np.float32)
    sunk, zeros = np.where(rng.random(size) < 0.7, np.float32(-INF), tied), rng.choice(f32(0, -0.0), size)
    for scores in (real, tied, sunk, zeros, np.sort(real), np.sort(real)[::-1].copy()):
        expected = sorted(np.flatnonzero(scores > -INF).tolist(), key=lambda i: (-scores[i], i))
        for k in (0, 1, 2, size // 4, size // 2, size - 1, size, size + 1):
            best = kernels.top_k(scores, k)
            assert best.tolist() == expected[:k] == twin(kernels.top_k, scores, k).tolist()


def test_top_k_refuses_wrong_arguments(isa: str) -> None:
    cases = [("k", -1, "k is -1, but the number of results cannot be negative")]
    refuses(kernels.top_k, {"scores": f32(1, 2), "k": 1}, cases)
