"""Arguments of kernels, instruction sets, and what every kernel refuses."""

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
"""

# Empty cells, cells of one token, cells that begin and end within blocks of 16 and on their borders, and one of more
# blocks than are multiplied at a time (32).
CELLS = [0, 1, 15, 16, 16, 0, 5, 1, 40, 3, 0, 0, 559, 1, 17, 0]


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


ROWWISE = (
    "cells",
    "cell_scores",
    "query",
    "query_scale",
    "query_bias",
    "groups",
)  # arguments with an entry for each row


def first_rows(arguments: dict, n: int) -> dict:
    """The same for the first rows of the query."""
    first = {name: value[:n] if name in ROWWISE else value for name, value in arguments.items()}
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


# Where the third of four cells, or groups, ends before it begins, or outside of 17 entries.
DAMAGED = [[0, 3, 3, 18, 17], [0, 3, 3, 2, 17], [0, 3, -1, 7, 17], [0, 3, 3, 2**62, 17], [0, 3, 3, -(2**63), 17]]
NUMBERS = [4, -1, 2**31 - 1, -(2**31)]  # that none of four have
