"""Level tables: levels that count as something else, as those of a codebook whose values are not equally far apart."""

import numpy as np
import pytest
from kernel_arrays import DIMS, blocks_of, celled, coded, f32, i8, ints, longs, rows_of, same, threads_of, twin

from pyterrier_lir import kernels

NBITS = [1, 2, 4]


def tables(nbits: int) -> list[np.ndarray]:
    """A random one with the extremes, and those that are nothing but an extreme."""
    some = np.random.default_rng(nbits).integers(0, 128, 2**nbits).astype(np.uint8)
    some[0], some[-1] = 127, 0  # bits of no value count as 127, and must not count at all
    return [some, np.full(2**nbits, 127, dtype=np.uint8), np.zeros(2**nbits, dtype=np.uint8)]


def mapped(packed: np.ndarray, dim: int, nbits: int, table: np.ndarray) -> np.ndarray:
    """The same tokens in 8 bits, where they need no table."""
    return table[kernels.unpack(packed, dim, nbits)]


def test_level_table_by_hand(isa: str) -> None:
    table = ints(5, 0, 127, 3, dtype=np.uint8)
    packed = kernels.pack(np.array([[0, 1, 2], [3, 3, 0]], dtype=np.uint8), 2)
    query, scale, bias = i8([[1, 2, -3]]), f32(0.5), f32(10)
    # token 0: 5 + 0 - 381 = -376; token 1: 3 + 6 - 15 = -6
    expected = [100 + 10 - 188, 100 + 10 - 3]
    scores = np.full((1, 16), 100, dtype=np.float32)
    codes = ints(0, 0, dtype=np.uint16)
    args = (query, scale, bias)
    got = kernels.maxsim_codes(scores, *args, codes, packed, None, None, longs(0, 1, 2), nbits=2, level_table=table)
    assert got.tolist() == expected
    _, got = kernels.top_tokens_codes(
        scores, *args, codes, packed, None, None, longs(0, 2), nbits=2, count=2, level_table=table
    )
    assert got.tolist() == [expected]
    cells = (ints(0).reshape(1, 1), f32(100).reshape(1, 1))
    _, _, got = kernels.scan_cells(
        *cells, *args, longs(0, 2), ints(0, 0), blocks_of(packed), None, None, nbits=2, level_table=table
    )
    assert got.tolist() == expected


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_maxsim_codes_of_mapped_levels(isa: str, dim: int, nbits: int) -> None:
    """Are those of the table's entries stored in 8 bits; and those of the twin."""
    arguments = coded(40, dim, nbits)
    for table in tables(nbits):
        whole = arguments | {"packed": mapped(arguments["packed"], dim, nbits, table), "nbits": 8}
        expected = twin(kernels.maxsim_codes, **whole)
        assert twin(kernels.maxsim_codes, **arguments, level_table=table).tobytes() == expected.tobytes()
        for num_threads in threads_of(isa):
            got = kernels.maxsim_codes(**arguments, level_table=table, num_threads=num_threads)
            assert got.tobytes() == expected.tobytes()
    same_levels = np.arange(2**nbits, dtype=np.uint8)
    got = kernels.maxsim_codes(**arguments, level_table=same_levels)
    assert got.tobytes() == kernels.maxsim_codes(**arguments).tobytes()
    for n in rows_of(isa):
        few = coded(n, dim, nbits, lengths=[0, 3, 30])
        got = kernels.maxsim_codes(**few, level_table=tables(nbits)[0])
        assert got.tobytes() == twin(kernels.maxsim_codes, **few, level_table=tables(nbits)[0]).tobytes()


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_top_tokens_codes_of_mapped_levels(isa: str, dim: int, nbits: int) -> None:
    arguments = coded(40, dim, nbits) | {"count": 9}
    for table in tables(nbits):
        whole = arguments | {"packed": mapped(arguments["packed"], dim, nbits, table), "nbits": 8}
        expected = twin(kernels.top_tokens_codes, **whole)
        for num_threads in threads_of(isa):
            assert same(kernels.top_tokens_codes(**arguments, level_table=table, num_threads=num_threads), expected)


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", [*DIMS, 65_536])
def test_scan_cells_of_mapped_levels(isa: str, dim: int, nbits: int) -> None:
    arguments = celled(n=40 if dim < 1000 else 2, dim=dim, nbits=nbits, **({"lengths": [3, 17]} if dim > 1000 else {}))
    width = -(-dim // (8 // nbits))
    count = len(arguments["token_docs"])
    rows = arguments["blocks"].transpose(0, 2, 1, 3).reshape(-1, arguments["blocks"].shape[1] * 4)
    packed = np.ascontiguousarray(rows[:count, :width])
    for table in tables(nbits):
        whole = arguments | {"blocks": blocks_of(mapped(packed, dim, nbits, table)), "nbits": 8}
        expected = twin(kernels.scan_cells, **whole)
        for num_threads in threads_of(isa):
            got = kernels.scan_cells(**arguments, level_table=table, num_threads=num_threads)
            assert same(got, expected)


@pytest.mark.parametrize(
    ("nbits", "table", "message"),
    [
        (2, ints(1, 2, 3, dtype=np.uint8), "level_table has 3 entries, but 2 bits have 4 levels"),
        (2, ints(1, 2, 128, 0, dtype=np.uint8), "level_table contains 128, but entries must be 0 to 127"),
        (2, ints(1, 2, 3, 4), "level_table is int32"),
        (2, np.zeros((1, 4), dtype=np.uint8), "level_table has shape"),
        (4, np.zeros(32, dtype=np.uint8)[::2], "level_table is not C-contiguous"),
        (8, np.zeros(256, dtype=np.uint8), "level_table is given for 8 bits, but is for 1, 2 and 4"),
    ],
)
def test_level_tables_that_are_refused(isa: str, nbits: int, table: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernels.maxsim_codes(**coded(nbits=nbits), level_table=table)
    with pytest.raises(ValueError, match=message):
        kernels.top_tokens_codes(**coded(nbits=nbits), count=1, level_table=table)
    with pytest.raises(ValueError, match=message):
        kernels.scan_cells(**celled(nbits=nbits), level_table=table)
