"""Kernels over single tokens: examples by hand, and their NumPy twins, bit for bit."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from kernel_arrays import (
    CELLS,
    DAMAGED,
    DIMS,
    GUARDED,
    NBITS,
    NUMBERS,
    blocks_of,
    celled,
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


@pytest.mark.parametrize("value", [1, 17, 18, 34, 35, 68, 69, 127])
def test_products_about_the_border_of_16_bits(isa: str, value: int) -> None:
    """64 products of 15 and 34 are 32,640 and have room in 16 bits, of 35 they are 33,600 and have none; so with halves
    of a row and 68, and with quarters and 127. A sum of two rows' worth must not run over either."""
    query = np.repeat(i8([[value], [-value], [value]]), 128, axis=1)
    query[2, 64:] = -value  # rises, and falls to nothing
    packed, zeros = np.full((3, 64), 255, dtype=np.uint8), np.zeros((3, 16), dtype=np.float32)
    expected = [15 * 128 * value, -15 * 128 * value, 0]
    args, cells = (query, f32(1, 1, 1), f32(0, 0, 0)), ints(0, 0, 0).reshape(3, 1)
    scanned = kernels.scan_cells(
        cells, f32(0, 0, 0).reshape(3, 1), *args, longs(0, 3), ints(0, 0, 0), blocks_of(packed), None, None, nbits=4
    )
    assert scanned[2].reshape(3, 3).tolist() == [[float(score)] * 3 for score in expected]
    codes = np.zeros(3, dtype=np.uint16)
    got = kernels.maxsim_codes(zeros[:1], *args, codes, packed, None, None, longs(0, 3), nbits=4)
    assert got.tolist() == [float(sum(expected))]
    for row, score in enumerate(expected):
        one = (query[row : row + 1], f32(1), f32(0), codes, packed, None, None)
        assert kernels.maxsim_codes(zeros[:1], *one, longs(0, 3), nbits=4).tolist() == [float(score)]


def test_rows_of_a_query_run_over_in_different_places(isa: str) -> None:
    """Six groups of four values, levels of 127. The first row has room in each half of three groups, and none where
    these meet; the second has it with two groups and not with three: what both share must have it everywhere."""
    query = np.zeros((2, 24), dtype=np.int8)
    query[0, 8:16] = 127
    query[1] = [64, 63] * 12
    packed, table = np.zeros((1, 12), dtype=np.uint8), np.full(16, 127, dtype=np.uint8)
    expected = [8 * 127 * 127, 12 * 127 * 127]
    args = (np.zeros((1, 16), dtype=np.float32), query, f32(1, 1), f32(0, 0), np.zeros(1, dtype=np.uint16), packed)
    got = kernels.maxsim_codes(*args, None, None, longs(0, 1), nbits=4, level_table=table)
    assert got.tolist() == [float(sum(expected))]


def test_scan_cells_of_few(isa: str) -> None:
    one = celled(n=3, dim=5, lengths=[1], p=1)  # K = 1, one token
    assert same(kernels.scan_cells(**one), twin(kernels.scan_cells, **one))
    for arguments in (celled(n=3, lengths=[0, 0]), celled(n=3, p=0), first_rows(celled(), 0)):
        row_offsets, docs, scores = kernels.scan_cells(**arguments)
        assert row_offsets.tolist() == [0] * (len(arguments["query"]) + 1)
        assert docs.size == scores.size == 0


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


# -- memory


GUARDED_TOKENS = (
    GUARDED
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
