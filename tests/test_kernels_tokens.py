"""Kernels over single tokens and choices of the best: examples by hand, and their NumPy twins, bit for bit."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from test_kernels_codes import DIMS, GUARDED, INF, NBITS, coded, f32, i8, offsets_of, query_bytes, twin

from pyterrier_lir import kernels

# Empty cells, cells of one token, cells that begin and end within blocks of 16 and on their borders, and one of more
# blocks than are multiplied at a time (32).
CELLS = [0, 1, 15, 16, 16, 0, 5, 1, 40, 3, 0, 0, 559, 1, 17, 0]


@pytest.fixture(params=kernels.available())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with kernels.forced(request.param):
        yield request.param


def ints(*values: int, dtype: type = np.int32) -> np.ndarray:
    return np.array(values, dtype=dtype)


def longs(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def same(got: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> bool:
    """Whether all arrays are equal bit for bit."""
    values = [[(a.dtype, a.shape, a.tobytes()) for a in arrays] for arrays in (got, expected)]
    return values[0] == values[1]


def threads_of(isa: str) -> list[int]:
    return [1] if isa == "numpy" else [1, 2, 3, 5]


def rows_of(isa: str) -> list[int]:
    """How many rows a query has. Rows do not depend on each other, so what is expected is computed for 40."""
    return [1, 40] if isa == "numpy" else list(range(1, 41))


def blocks_of(packed: np.ndarray) -> np.ndarray:
    """Rows of packed bytes in the blocks of scan_cells, as its documentation has them."""
    tokens, width = packed.shape
    rows = np.zeros((-(-tokens // 16) * 16, -(-width // 4) * 4), dtype=np.uint8)
    rows[:tokens, :width] = packed
    return rows.reshape(-1, 16, rows.shape[1] // 4, 4).transpose(0, 2, 1, 3).copy()


ROWS = ("cells", "cell_scores", "query", "query_scale", "query_bias", "groups")  # arguments with an entry for each row


def first_rows(arguments: dict, n: int) -> dict:
    """The same for the first rows of the query."""
    first = {name: value[:n] if name in ROWS else value for name, value in arguments.items()}
    if "centroid_scores" in first:
        first["centroid_scores"] = first["centroid_scores"][:, : -(-n // 16) * 16].copy()
    return first


def celled(n: int = 40, dim: int = 128, nbits: int = 4, lengths: list[int] = CELLS, p: int = 6) -> dict:
    """Arguments of scan_cells, with random bytes everywhere; the largest products come first."""
    arguments = coded(n, dim, nbits, lengths=lengths, normalise=dim != 96)
    rng = np.random.default_rng(1)
    packed, arguments["cell_offsets"] = arguments.pop("packed"), arguments.pop("offsets")
    del arguments["centroid_scores"], arguments["codes"]
    return arguments | {
        "cells": rng.integers(0, len(lengths), (n, p)).astype(np.int32),
        "cell_scores": rng.standard_normal((n, p)).astype(np.float32),
        "token_docs": rng.integers(0, 100, len(packed)).astype(np.int32),
        "blocks": blocks_of(packed),
    }


def refuses(function, good: dict, cases: list[tuple[str, object, str]]) -> None:
    """Names arrays of other types and shapes, and all that the cases put in the place of good arguments."""
    for name, value in good.items():
        if isinstance(value, np.ndarray):
            cases = [*cases, (name, value.astype(np.complex64), f"^{name} is complex64, but must be a NumPy array of")]
            cases.append((name, value[None], rf"^{name} has shape \(1, .* but must have {value.ndim} dimension"))
            cases.append((name, value.repeat(2, axis=-1)[..., ::2], f"^{name} is not C-contiguous"))
    function(**good)
    for name, value, message in cases:
        with pytest.raises(ValueError, match=message):
            function(**{**good, name: value})


# -- scan_cells


def test_scan_cells_by_hand(isa: str) -> None:
    blocks = np.full((1, 1, 16, 4), 255, dtype=np.uint8)  # of no token
    # levels 1 2 3, 0 0 15 and 1 1 1: the third one is in the upper half of the first byte
    blocks[0, 0, :3] = [[0x31, 2, 0, 0], [0xF0, 0, 0, 0], [0x11, 1, 0, 0]]
    args = (ints(2, 0, 1, 2).reshape(2, 2), f32(10, -1, 5, 20).reshape(2, 2))
    args += (i8([[1, 0, 2], [-1, 3, 0]]), f32(0.5, 2), f32(100, 1000), longs(0, 2, 2, 3), ints(7, 5, 7), blocks)
    # row 0, cell 2: product 3; cell 0: products 7 and 30. Row 1, cell 1: no tokens; cell 2: product 2.
    row_offsets, docs, scores = kernels.scan_cells(*args, None, None, nbits=4)
    assert row_offsets.tolist() == [0, 3, 4]
    assert docs.tolist() == [7, 7, 5, 7]
    assert scores.tolist() == [10 + 100 + 1.5, -1 + 100 + 3.5, -1 + 100 + 15, 20 + 1000 + 4]
    assert (row_offsets.dtype, docs.dtype, scores.dtype) == (np.int64, np.int32, np.float32)
    table = np.ones(256, dtype=np.float32)
    table[[7, 255]] = 0.5, 2
    _, _, scores = kernels.scan_cells(*args, ints(255, 7, 7, dtype=np.uint8), table, nbits=4)
    assert scores.tolist() == [55.75, 205, 57, 512]


def test_blocks_shape() -> None:
    assert kernels.blocks_shape(33, 130, 4) == (3, 17, 16, 4)  # 65 bytes in groups of four
    assert kernels.blocks_shape(0, 3, 8) == (0, 1, 16, 4)
    with pytest.raises(ValueError, match="nbits is 3, but must be 1, 2, 4 or 8"):
        kernels.blocks_shape(1, 1, 3)


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_scan_cells_equal_twin(isa: str, dim: int, nbits: int) -> None:
    arguments = celled(dim=dim, nbits=nbits)
    row_offsets, docs, scores = twin(kernels.scan_cells, **arguments)
    lengths = np.array(CELLS)[arguments["cells"]]
    np.testing.assert_array_equal(np.diff(row_offsets), lengths.sum(axis=1))
    for n in rows_of(isa):
        end = row_offsets[n]
        got = kernels.scan_cells(**first_rows(arguments, n))
        assert same(got, (row_offsets[: n + 1], docs[:end], scores[:end]))
    for num_threads in threads_of(isa):
        assert same(kernels.scan_cells(**arguments, num_threads=num_threads), (row_offsets, docs, scores))


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", [*DIMS, 65_536])
def test_largest_products(isa: str, dim: int, nbits: int) -> None:
    query, zeros = np.repeat(i8([[-128], [127]]), dim, axis=1), np.zeros((2, 16), dtype=np.float32)
    packed = np.full((3, -(-dim // (8 // nbits))), 255, dtype=np.uint8)
    largest = (2**nbits - 1) * dim
    expected = [[-128 * largest] * 3, [float(np.float32(127 * largest))] * 3]
    args = (query, f32(1, 1), f32(0, 0))
    cells = (ints(0, 0).reshape(2, 1), f32(0, 0).reshape(2, 1))
    scanned = kernels.scan_cells(*cells, *args, longs(0, 3), ints(0, 0, 0), blocks_of(packed), None, None, nbits=nbits)
    assert scanned[2].reshape(2, 3).tolist() == expected
    top = kernels.top_tokens_codes(zeros, *args, ints(0, 1, 0), packed, None, None, longs(0, 3), nbits=nbits, count=3)
    assert top[1].tolist() == expected
    groups = ints(0, 0).reshape(2, 1)
    _, scores = kernels.top_cells_in_groups(query, f32(1, 1), query[:1], f32(1), longs(0, 1), groups, 1)
    assert scores.tolist() == [[128 * 128 * dim], [-128 * 127 * dim]]


def test_scan_cells_of_few(isa: str) -> None:
    one = celled(n=3, dim=5, lengths=[1], p=1)  # K = 1, one token
    assert same(kernels.scan_cells(**one), twin(kernels.scan_cells, **one))
    for arguments in (celled(n=3, lengths=[0, 0]), celled(n=3, p=0), first_rows(celled(), 0)):
        row_offsets, docs, scores = kernels.scan_cells(**arguments)
        assert row_offsets.tolist() == [0] * (len(arguments["query"]) + 1)
        assert docs.size == scores.size == 0


# Where the third of four cells, or groups, ends before it begins, or outside of 17 entries.
DAMAGED = [[0, 3, 3, 18, 17], [0, 3, 3, 2, 17], [0, 3, -1, 7, 17], [0, 3, 3, 2**62, 17], [0, 3, 3, -(2**63), 17]]
NUMBERS = [4, -1, 2**31 - 1, -(2**31)]  # that none of four have


def test_scan_cells_refuse_wrong_arguments(isa: str) -> None:
    good = celled(n=3, dim=8, lengths=[3, 0, 4, 10], p=2) | {"cells": np.full((3, 2), 2, dtype=np.int32)}
    cells, blocks = good["cells"], good["blocks"]
    shape = r", but 17 tokens of 8 dimensions of 4 bits take \(2, 1, 16, 4\)"
    cases = [
        ("cells", cells[:2], "cells has 2 entries, but must have 3"),
        ("cells", cells[:, :1].copy(), r"cell_scores has shape \(3, 2\), but cells has \(3, 1\)"),
        ("cell_scores", good["cell_scores"][:2], "cell_scores has 2 entries, but must have 3"),
        ("query", np.zeros((3, 0), dtype=np.int8), "query has 0 dimensions, but must have 1 to 65536"),
        ("query", np.zeros((3, 65_537), dtype=np.int8), "query has 65537 dimensions"),
        ("query_scale", f32(1), "query_scale has 1 entries, but must have 3"),
        ("query_bias", f32(1), "query_bias has 1 entries, but must have 3"),
        ("cell_offsets", longs(), "cell_offsets is empty"),
        ("token_docs", good["token_docs"][:16], "blocks has shape .* but 16 tokens"),
        ("blocks", blocks[:1], r"blocks has shape \(1, 1, 16, 4\)" + shape),
        ("blocks", blocks.repeat(2, axis=1), r"blocks has shape \(2, 2, 16, 4\)" + shape),
        ("blocks", blocks.reshape(2, 1, 4, 16), r"blocks has shape \(2, 1, 4, 16\)" + shape),
        ("inv_norm", None, "inv_norm and inv_norm_table belong together"),
        ("inv_norm", good["inv_norm"][:3], "inv_norm has 3 entries, but must have 17"),
        ("inv_norm_table", f32(1), "inv_norm_table has 1 values"),
        ("nbits", 3, "nbits is 3"),
        ("nbits", 8, "17 tokens of 8 dimensions of 8 bits take"),
        ("num_threads", 0, "num_threads is 0"),
        *[("cells", np.full_like(cells, c), f"cells contains {c}, but there are 4 cells") for c in NUMBERS],
        *[("cell_offsets", longs(*o), f"cell_offsets gives cell 2 the entries {o[2]} to {o[3]}") for o in DAMAGED],
    ]
    refuses(kernels.scan_cells, good, cases)


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


# -- score_triples


@cache
def triples_of(num_docs: int) -> tuple[tuple, tuple[np.ndarray, np.ndarray]]:
    """Dense and sparse rows with duplicates and at the borders of windows (32,768 documents); and what they make."""
    rng = np.random.default_rng(4)
    border = [d for k in range(0, num_docs, 32768) for d in (k - 1, k) if 0 <= d < num_docs] + [num_docs - 1]
    dense = np.concatenate([rng.permutation(num_docs)[: num_docs * 9 // 10], rng.integers(0, num_docs, num_docs // 3)])
    sparse = rng.integers(0, num_docs, 40)
    rows = [dense, border, [], [*border, *border[::-1]], sparse, [num_docs // 2] * 7, [0], dense[::5]]
    scores = [rng.standard_normal(len(row)).astype(np.float32) for row in rows]
    imputed = rng.standard_normal(len(rows)).astype(np.float32)
    imputed[3] = 10  # more than all that is found
    totals = dict.fromkeys(sorted({int(doc) for row in rows for doc in row}), np.float32(0))
    for row, found, missing in zip(rows, scores, imputed, strict=True):
        best: dict[int, np.float32] = {}
        for doc, score in zip(map(int, row), found, strict=True):
            best[doc] = max(score, best.get(doc, score))
        totals = {doc: total + best.get(doc, missing) for doc, total in totals.items()}
    arguments = (offsets_of([len(row) for row in rows]), np.concatenate(rows).astype(np.int32), np.concatenate(scores))
    expected = longs(*totals), np.array(list(totals.values()), dtype=np.float32)
    return (*arguments, imputed, num_docs), expected


def test_score_triples_by_hand(isa: str) -> None:
    row_offsets, docs, scores = longs(0, 3, 3, 5), ints(3, 1, 3, 1, 4), f32(2, 0.25, 5, -7, -1)
    # document 1: 0.25 although 1 is imputed, 0.5, -7; document 3: 5 of 2 and 5, 0.5, -2; document 4: 1, 0.5, -1
    got = kernels.score_triples(row_offsets, docs, scores, f32(1, 0.5, -2), 5)
    assert (got[0].tolist(), got[1].tolist()) == ([1, 3, 4], [-6.25, 3.5, 0.5])
    assert (got[0].dtype, got[1].dtype) == (np.int64, np.float32)
    # Summed in order, in float32, and without what is imputed where something was found.
    got = kernels.score_triples(longs(0, 1, 2, 3), ints(0, 0, 0), f32(1, 2**24, -(2**24)), f32(1e30, 1e30, 1e30), 1)
    assert got[1].tolist() == [0]


@pytest.mark.parametrize("num_docs", [1, 100, 32767, 32768, 32769, 70_000])
def test_score_triples_equal_a_dictionary(isa: str, num_docs: int) -> None:
    arguments, expected = triples_of(num_docs)
    assert same(twin(kernels.score_triples, *arguments), expected)
    for num_threads in threads_of(isa):
        assert same(kernels.score_triples(*arguments, num_threads=num_threads), expected)


def test_score_triples_of_few(isa: str) -> None:
    for num_docs in (0, 7, 40_000):
        for row_offsets, imputed in [(longs(0), f32()), (longs(0, 0, 0), f32(1, 2))]:
            docs, scores = kernels.score_triples(row_offsets, ints(), f32(), imputed, num_docs, num_threads=2)
            assert (docs.tolist(), scores.tolist()) == ([], [])
    far = ints(2**31 - 1, 5, 2**31 - 1, 0)
    for num_threads in threads_of(isa):
        got = kernels.score_triples(longs(0, 2, 4), far, f32(-1, 2, 4, 8), f32(16, 32), 2**31, num_threads=num_threads)
        assert (got[0].tolist(), got[1].tolist()) == ([0, 5, 2**31 - 1], [24, 34, 3])


def test_score_triples_refuse_wrong_arguments(isa: str) -> None:
    good = {"row_offsets": longs(0, 1, 3), "docs": ints(0, 2, 1), "scores": f32(1, 2, 3), "imputed": f32(0, 0)}
    good["num_docs"] = 3
    cases = [
        ("row_offsets", longs(0, 3), "row_offsets has 2 entries, but must have 3"),
        ("row_offsets", longs(1, 1, 3), r"row_offsets is \[1 1 3\], but must not decrease and go from 0 to 3"),
        ("row_offsets", longs(0, 1, 2), "must not decrease and go from 0 to 3"),
        ("row_offsets", longs(0, 4, 3), "must not decrease and go from 0 to 3"),
        ("row_offsets", longs(0, -1, 3), "must not decrease and go from 0 to 3"),
        ("docs", ints(0, 2), "scores has 3 entries, but must have 2"),
        ("docs", ints(0, 3, 1), "docs contains 3, but there are 3 documents"),
        ("docs", ints(0, -1, 1), "docs contains -1, but there are 3 documents"),
        ("imputed", f32(0), "row_offsets has 3 entries, but must have 2"),
        ("num_docs", 0, "docs contains 0, but there are 0 documents"),
        ("num_docs", -1, "num_docs is -1, but must be 0 to 2147483648"),
        ("num_docs", 2**31 + 1, "num_docs is 2147483649"),
        ("num_threads", 0, "num_threads is 0"),
    ]
    refuses(kernels.score_triples, good, cases)
    with pytest.raises(ValueError, match="docs contains 40000, but there are 40000 documents"):
        kernels.score_triples(**{**good, "docs": ints(0, 40_000, 1), "num_docs": 40_000})  # more than one window


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


# -- memory

GUARDED_TOKENS = (
    GUARDED[: GUARDED.index("offsets = ")]
    + """
guarded_ints = lambda high, *shape: guarded(rng.integers(0, high, shape).astype(np.int32))
cell_offsets = guarded(np.array([0, 5, 5, 18, 19, 37], dtype=np.int64))
with kernels.forced(sys.argv[1]):
    for dim in (1, 3, 16, 96, 127, 128, 130, 200):
        for n in (1, 17, 33):
            query, scale, cells = int8_of(n, dim), floats_of(n), guarded_ints(5, n, 3)
            cells[:] = np.maximum(cells, guarded_ints(2, n, 3) * 4)  # the last cell, often
            scores = floats_of(20, -(-n // 16) * 16)
            for nbits in (1, 2, 4, 8):
                inv_norm, table = bytes_of(37), floats_of(256)
                levels = None if nbits == 8 else guarded(bytes_of(2**nbits) >> 1)
                for num_threads, level_table in ((1, None), (1, levels), (3, levels)):
                    kernels.scan_cells(
                        cells, floats_of(n, 3), query, scale, scale, cell_offsets, guarded_ints(9, 37),
                        bytes_of(*kernels.blocks_shape(37, dim, nbits)), inv_norm, table, nbits=nbits,
                        level_table=level_table, num_threads=num_threads,
                    )
                for kind in (np.uint16, np.int32):
                    kernels.top_tokens_codes(
                        scores, query, scale, scale, guarded(guarded_ints(20, 37).astype(kind)),
                        bytes_of(37, -(-dim // (8 // nbits))), inv_norm, table, cell_offsets, nbits=nbits,
                        level_table=levels, count=7
                    )
            groups = guarded(np.tile(np.arange(5, dtype=np.int32), (n, 1)))
            kernels.top_cells_in_groups(query, scale, int8_of(37, dim), floats_of(37), cell_offsets, groups, 3)
            for tokens in (floats_of(37, dim), guarded(rng.random((37, dim)).astype(np.float16))):
                kernels.top_tokens(floats_of(n, dim), tokens, cell_offsets, count=7)
    for num_docs in (1, 100, 70000):
        for size in (1, 17, 3000):
            docs, scores, imputed = guarded_ints(num_docs, size), floats_of(size), floats_of(3)
            docs[-1] = num_docs - 1
            kernels.score_triples(guarded(np.array([0, 1, 1, size])), docs, scores, imputed, num_docs)
            kernels.top_k(scores, 5)
print("done")
"""
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects memory as Linux does")
@pytest.mark.parametrize("name", [name for name in kernels.available() if name != "numpy"])
def test_reads_nothing_behind_its_arrays(name: str) -> None:
    """Every array ends where memory ends; a byte more is a segmentation fault."""
    result = subprocess.run([sys.executable, "-c", GUARDED_TOKENS, name], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "done"), result.stderr
