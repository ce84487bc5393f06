"""Checks of arguments that several kernels share; each names what is wrong and what to do."""

from numbers import Integral
from types import ModuleType
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels import reference

_MAX_DIM = 65_536  # sums of that many products of a byte and an int8 fit into 32 bits
MAX_THREADS = 4096  # each takes memory of its own
_MAX_LEVEL = 127  # two products of that and an int8 fit into 16 bits, in which some processors add them


def check_array(name: str, array: np.ndarray, ndim: int, *dtypes: type[np.generic]) -> None:
    """Raises unless ``array`` is a C-contiguous NumPy array of one of these types and of ``ndim`` dimensions."""
    if not isinstance(array, np.ndarray) or array.dtype not in dtypes:
        expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} is {got}, but must be a NumPy array of {expected}; convert it with np.asarray")
    if array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}, but must have {ndim} dimension{'s' if ndim > 1 else ''}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous; copy it with np.ascontiguousarray")


def check_length(name: str, array: np.ndarray, length: int, each: str) -> None:
    """Raises unless ``array`` has ``length`` entries, one for each of what ``each`` names."""
    if len(array) != length:
        raise ValueError(f"{name} has {len(array)} entries, but must have {length}, one for each {each}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether this is a whole number, also one of NumPy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(name: str, value: int, *, bits: int = 32) -> None:
    """Raises unless ``value`` is a whole number of so many bits, as the kernels take it."""
    if not is_whole(value) or not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f"{name} is {value!r}, but must be a whole number of {bits} bits")


def check_query_bytes(query: npt.NDArray[np.int8], query_scale: npt.NDArray[np.float32]) -> None:
    """Raises unless these are a query's rows as int8 and their scales."""
    check_array("query", query, 2, np.int8)
    if not 1 <= query.shape[1] <= _MAX_DIM:
        raise ValueError(f"query has {query.shape[1]} dimensions, but must have 1 to {_MAX_DIM}")
    check_array("query_scale", query_scale, 1, np.float32)
    check_length("query_scale", query_scale, len(query), "query row")


def check_score_columns(name: str, scores: np.ndarray, n: int) -> None:
    """Raises unless the matrix has the columns that ``n`` query rows take."""
    check_integer("n", n)
    expected = reference.padded_rows(n)
    if n < 0 or scores.shape[1] != expected:
        raise ValueError(
            f"{name} has {scores.shape[1]} columns for {n} query rows, but must have {expected}: the number of rows, "
            "rounded up to a multiple of 16"
        )


def check_coded_tokens(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
) -> None:
    """Raises unless these are a query as bytes, its scores of centroids, and tokens as codes that it can score."""
    check_query_bytes(query, query_scale)
    check_array("query_bias", query_bias, 1, np.float32)
    check_length("query_bias", query_bias, len(query), "query row")
    check_array("centroid_scores", centroid_scores, 2, np.float32)
    check_score_columns("centroid_scores", centroid_scores, len(query))
    check_array("codes", codes, 1, np.uint16, np.int32)
    check_array("packed", packed, 2, np.uint8)
    check_nbits(nbits)
    check_level_table(level_table, nbits)
    check_width(packed, query.shape[1], nbits)
    check_length("packed", packed, len(codes), "code")
    check_inv_norm(inv_norm, inv_norm_table, len(codes))


def check_inv_norm(
    inv_norm: npt.NDArray[np.uint8] | None, inv_norm_table: npt.NDArray[np.float32] | None, num_tokens: int
) -> None:
    """Raises unless each token has a factor, or none has."""
    if inv_norm is None and inv_norm_table is None:
        return
    if inv_norm is None or inv_norm_table is None:
        raise ValueError("inv_norm and inv_norm_table belong together: give both, or None for both")
    check_array("inv_norm", inv_norm, 1, np.uint8)
    check_length("inv_norm", inv_norm, num_tokens, "code")
    check_array("inv_norm_table", inv_norm_table, 1, np.float32)
    if len(inv_norm_table) != 256:
        raise ValueError(f"inv_norm_table has {len(inv_norm_table)} values, but a byte has 256; give one for each")


def check_nbits(nbits: int) -> None:
    """Raises unless a value can have so many bits."""
    check_integer("nbits", nbits)
    if nbits not in (1, 2, 4, 8):
        raise ValueError(f"nbits is {nbits}, but must be 1, 2, 4 or 8")


def check_level_table(level_table: npt.NDArray[np.uint8] | None, nbits: int) -> None:
    """Raises unless every level of so many bits has an entry of at most 127, or there is no table."""
    if level_table is None:
        return
    check_array("level_table", level_table, 1, np.uint8)
    if nbits == 8:
        raise ValueError("level_table is given for 8 bits, but is for 1, 2 and 4; store table[levels] and give None")
    if len(level_table) != 2**nbits:
        raise ValueError(f"level_table has {len(level_table)} entries, but {nbits} bits have {2**nbits} levels")
    if level_table.max() > _MAX_LEVEL:
        raise ValueError(f"level_table contains {level_table.max()}, but entries must be 0 to {_MAX_LEVEL}")


def check_width(packed: npt.NDArray[np.uint8], dim: int, nbits: int) -> None:
    """Raises unless packed rows hold so many values."""
    check_integer("dim", dim)
    if dim < 1:
        raise ValueError(f"the rows have {dim} dimensions, but must have at least 1")
    width = reference.packed_width(dim, nbits)
    if packed.shape[1] != width:
        raise ValueError(
            f"packed has rows of {packed.shape[1]} bytes, but {dim} dimensions of {nbits} bits take {width}; "
            "were they packed with other settings?"
        )


def check_num_threads(num_threads: int) -> None:
    """Raises unless there is a thread to do the work."""
    check_integer("num_threads", num_threads)
    if num_threads < 1:
        raise ValueError(f"num_threads is {num_threads}, but at least 1 thread must do the work")
    if num_threads > MAX_THREADS:
        raise ValueError(f"num_threads is {num_threads}, but must be at most {MAX_THREADS}; give one for each core")


def as_bits(x: npt.NDArray[np.floating[Any]], kernels: ModuleType) -> npt.NDArray[Any]:
    """``x`` as ``kernels`` take it: C++ has no half-precision type, so compiled ones get its bits."""
    return x.view(np.uint16) if kernels is not reference and x.dtype == np.float16 else x


def document_ranges(
    offsets: npt.NDArray[np.int64], docids: npt.NDArray[np.int64] | None, num_tokens: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First token and end of every document to score; raises unless all of them lie within the tokens."""
    check_array("offsets", offsets, 1, np.int64)
    if len(offsets) == 0:
        raise ValueError("offsets is empty, but N documents have N + 1 offsets; for no documents give [0]")
    if docids is None:
        starts, ends = offsets[:-1], offsets[1:]
    else:
        check_array("docids", docids, 1, np.int64)
        num_docs = len(offsets) - 1
        outside = (docids < 0) | (docids >= num_docs)
        if outside.any():
            raise ValueError(
                f"docids contains {docids[outside][0]}, but there are {num_docs} documents, 0 to {num_docs - 1}; "
                "do the ids come from another index?"
            )
        starts, ends = offsets[docids], offsets[docids + 1]
    wrong = (starts < 0) | (starts > ends) | (ends > num_tokens)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"offsets gives document {k if docids is None else docids[k]} the tokens {starts[k]} to {ends[k]}, but "
            f"offsets must not decrease and lie within 0 to {num_tokens}, the number of tokens; "
            "are the tokens cut off, or from another index?"
        )
    return starts, ends
