"""A call of each kernel with arguments that are drawn, and ways to spoil an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyterrier_lir import kernels

Arguments = dict[str, Any]
DIMS, ROWS, NBITS = (1, 2, 3, 8, 16, 17, 33), (0, 1, 2, 15, 16, 17, 33), (1, 2, 4, 8)


class Draw:
    """Small arrays of every kind a kernel takes."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.dim, self.n, self.nbits = self.one(DIMS), self.one(ROWS), self.one(NBITS)
        self.centroids, self.tokens, self.docs = self.upto(1, 20), self.upto(0, 50), self.upto(0, 9)

    def one(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def upto(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def floats(self, *shape: int, dtype: Any = np.float32) -> np.ndarray:
        return self.rng.standard_normal(shape, dtype=np.float32).astype(dtype)

    def whole(self, low: int, high: int, *shape: int, dtype: Any) -> np.ndarray:
        return self.rng.integers(low, max(high, low + 1), shape).astype(dtype)

    def offsets(self, parts: int, end: int) -> np.ndarray:
        """Bounds of some parts of a range, which may be empty."""
        return np.concatenate(
            [[0], np.sort(self.rng.integers(0, end + 1, max(parts - 1, 0))), [end][: parts > 0]]
        ).astype(np.int64)

    def docids(self, *, ascending: bool = False) -> np.ndarray | None:
        if self.rng.random() < 0.5:
            return None
        drawn = self.whole(0, self.docs, self.upto(0, 8) if self.docs else 0, dtype=np.int64)
        return np.unique(drawn) if ascending else drawn

    def vectors(self, rows: int) -> np.ndarray:
        return self.floats(rows, self.dim, dtype=self.one((np.float16, np.float32)))

    def query_bytes(self) -> Arguments:
        query = self.whole(-128, 128, self.n, self.dim, dtype=np.int8)
        return {"query": query, "query_scale": np.abs(self.floats(self.n))}

    def scores(self) -> np.ndarray:
        """Scores of centroids, with the columns that a query's rows take."""
        scores = self.floats(self.centroids, -(-self.n // 16) * 16)
        scores[:, self.n :] = 0
        return scores

    def levels(self) -> Arguments:
        table = None
        if self.nbits < 8 and self.rng.random() < 0.3:
            table = self.whole(0, 128, 1 << self.nbits, dtype=np.uint8)
        return {"nbits": self.nbits, "level_table": table}

    def norms(self) -> Arguments:
        if self.rng.random() < 0.5:
            return {"inv_norm": None, "inv_norm_table": None}
        return {"inv_norm": self.whole(0, 256, self.tokens, dtype=np.uint8), "inv_norm_table": np.abs(self.floats(256))}

    def width(self) -> int:
        return -(-self.dim * self.nbits // 8) if self.nbits == 8 else -(-self.dim // (8 // self.nbits))

    def coded(self) -> Arguments:
        return {
            "centroid_scores": self.scores(),
            **self.query_bytes(),
            "query_bias": self.floats(self.n),
            "codes": self.whole(0, self.centroids, self.tokens, dtype=self.one((np.uint16, np.int32))),
            "packed": self.whole(0, 256, self.tokens, self.width(), dtype=np.uint8),
            **self.norms(),
            "offsets": self.offsets(self.docs, self.tokens),
            **self.levels(),
        }

    def threads(self) -> int:
        return self.upto(1, 4)


def _documents(d: Draw) -> Arguments:
    return {"query": d.floats(d.n, d.dim), "tokens": d.vectors(d.tokens), "offsets": d.offsets(d.docs, d.tokens)}


def _maxsim(d: Draw) -> Arguments:
    return {**_documents(d), "docids": d.docids(), "weights": d.one((None, np.abs(d.floats(d.n))))}


def _scan_cells(d: Draw) -> Arguments:
    shape = (d.n, d.upto(0, 5))
    blocks = kernels.blocks_shape(d.tokens, d.dim, d.nbits)
    return {
        **d.query_bytes(),
        "query_bias": d.floats(d.n),
        "cells": d.whole(0, d.centroids, *shape, dtype=np.int32),
        "cell_scores": d.floats(*shape),
        "cell_offsets": d.offsets(d.centroids, d.tokens),
        "token_docs": d.whole(0, 9, d.tokens, dtype=np.int32),
        "blocks": d.whole(0, 256, *blocks, dtype=np.uint8),
        **d.norms(),
        **d.levels(),
    }


def _groups(d: Draw) -> Arguments:
    count = d.upto(1, 4)
    groups = np.array([d.rng.permutation(count) for _ in range(d.n)], np.int32).reshape(d.n, count)
    return {
        **d.query_bytes(),
        "centroids": d.whole(-128, 128, d.centroids, d.dim, dtype=np.int8),
        "centroid_scale": np.abs(d.floats(d.centroids)),
        "group_offsets": d.offsets(count, d.centroids),
        "groups": groups[:, : d.upto(1, count)].copy(),
        "p": d.upto(1, 3),
    }


def _triples(d: Draw) -> Arguments:
    entries = d.upto(0, 40)
    return {
        "row_offsets": d.offsets(d.n, entries if d.n else 0),
        "docs": d.whole(0, 9, entries if d.n else 0, dtype=np.int32),
        "scores": d.floats(entries if d.n else 0),
        "imputed": d.floats(d.n),
        "num_docs": 9,
    }


def _fde(d: Draw) -> Arguments:
    reps, bits, width = d.upto(1, 3), d.upto(1, 4), d.one((None, 1, 5))
    size = reps * (width or d.dim) << bits
    final = d.one((None, 1, 7))
    plain = d.rng.random() < 0.5
    return {
        "vectors": d.floats(d.tokens, d.dim),
        "offsets": d.offsets(d.docs, d.tokens),
        "planes": d.floats(reps, bits, d.dim),
        "thresholds": 0.3 * d.floats(reps, bits),
        "projections": width and d.floats(reps, width, d.dim),
        "places": final and d.whole(0, final, size, dtype=np.int32),
        "signs": final and np.sign(d.floats(size)),
        "final_dim": final,
        "mean": not plain,
        "fill": not plain and d.rng.random() < 0.5,
        "weights": np.abs(d.floats(d.tokens)) if plain else None,
    }


def _residuals(d: Draw) -> Arguments:
    return {
        "x": d.vectors(d.tokens),
        "centroids": d.floats(d.centroids, d.dim),
        "codes": d.whole(0, d.centroids, d.tokens, dtype=np.int32),
        "step": np.abs(d.floats(d.dim)) + np.float32(0.01),
        "lo": d.floats(d.dim),
        "nbits": d.nbits,
    }


THREADED: dict[str, Callable[[Draw], Arguments]] = {
    "maxsim": _maxsim,
    "nearest": lambda d: {"x": d.vectors(d.tokens), "centroids": d.floats(d.centroids, d.dim)},
    "nearest_groups": lambda d: {
        "x": d.vectors(d.tokens),
        "centroids": d.floats(d.centroids, d.dim),
        "count": d.upto(1, d.centroids),
    },
    "encode_residuals": _residuals,
    "maxsim_codes": lambda d: {**d.coded(), "docids": d.docids()},
    "centroid_scores": lambda d: {
        **d.query_bytes(),
        "centroids": d.whole(-128, 128, d.centroids, d.dim, dtype=np.int8),
        "centroid_scale": np.abs(d.floats(d.centroids)),
    },
    "score_table": lambda d: {"scores": d.scores(), "n": d.n},
    "centroid_maxsim": lambda d: {
        "table": d.whole(0, 256, d.centroids, -(-d.n // 16) * 16, dtype=np.uint8),
        "n": d.n,
        "doc_codes": d.whole(0, d.centroids, d.tokens, dtype=d.one((np.uint16, np.int32))),
        "doc_offsets": d.offsets(d.docs, d.tokens),
        "docids": d.docids(),
    },
    "scan_cells": _scan_cells,
    "top_tokens": lambda d: {**_documents(d), "docids": d.docids(ascending=True), "count": d.upto(1, 9)},
    "top_tokens_codes": lambda d: {**d.coded(), "docids": d.docids(ascending=True), "count": d.upto(1, 9)},
    "score_triples": _triples,
    "encode_fde": _fde,
    "inner_products": lambda d: {
        "vectors": d.floats(d.upto(0, 5), d.dim),
        "parts": [d.floats(d.tokens, d.dim, dtype=np.float16), d.floats(d.docs, d.dim, dtype=np.float16)],
        "numbers": d.one((None, d.whole(0, d.tokens + d.docs, 0 if d.tokens + d.docs == 0 else 9, dtype=np.int64))),
    },
}
CALLS: dict[str, Callable[[Draw], Arguments]] = {
    **{name: (lambda d, make=make: {**make(d), "num_threads": d.threads()}) for name, make in THREADED.items()},
    "top_k": lambda d: {
        "scores": d.floats(d.tokens, dtype=d.one((np.float16, np.float32, np.float64))),
        "k": d.upto(0, 60),
    },
    "pack": lambda d: {"levels": d.whole(0, 1 << d.nbits, d.tokens, d.dim, dtype=np.uint8), "nbits": d.nbits},
    "unpack": lambda d: {
        "packed": d.whole(0, 256, d.tokens, d.width(), dtype=np.uint8),
        "dim": d.dim,
        "nbits": d.nbits,
    },
    "top_cells": lambda d: {"scores": d.scores(), "n": d.n, "p": d.upto(1, d.centroids)},
    "top_cells_in_groups": _groups,
    "candidates": lambda d: {
        "cells": d.whole(0, d.centroids, d.upto(0, 9), dtype=np.int32),
        "cell_offsets": d.offsets(d.centroids, d.tokens),
        "cell_docs": d.whole(0, 9, d.tokens, dtype=np.int32),
        "num_docs": 9,
    },
}
# Products are added up in another order, or without being fused, than in NumPy: equal up to rounding.
ROUNDED = ("maxsim", "nearest", "nearest_groups", "top_tokens", "encode_fde", "inner_products")
NUMBERS = (
    -1,
    0,
    1,
    3,
    5,
    100,
    2**31 - 1,
    2**31,
    -(2**31),
    2**63 - 1,
    2**63,
    2**70,
    0.5,
    float("nan"),
    "4",
    None,
    True,
    [1],
)
DTYPES = ("f2", "f4", "f8", "i1", "u1", "u2", "i4", "i8", ">f4", ">i8", "c8", "O", "?")


def spoiled(rng: np.random.Generator, value: Any) -> Any:
    """Something else in the place of an argument."""
    if not isinstance(value, np.ndarray) or value.dtype == object:  # objects that were spoiled before need not fit
        return NUMBERS[int(rng.integers(len(NUMBERS)))]
    how = int(rng.integers(9))
    with np.errstate(all="ignore"):
        if how == 0:
            return value.astype(DTYPES[int(rng.integers(len(DTYPES)))])
        if how == 1:
            return value.repeat(2, axis=-1)[..., ::2]
        if how == 2:
            return value[None] if rng.random() < 0.5 else value.T
        if how == 3:
            return value[: int(rng.integers(len(value) + 1))].copy()
        if how == 4:
            return np.concatenate([value, value[-1:]])
        if how == 5:
            return (None, value.tolist(), "x", 1.5)[int(rng.integers(4))]
        return _extreme(rng, value.copy(), all_of_it=how == 6)


def _extreme(rng: np.random.Generator, value: np.ndarray, *, all_of_it: bool) -> np.ndarray:
    """Numbers at which careless arithmetic breaks, in a few places or everywhere."""
    if not value.size or value.dtype.kind not in "fiu":
        return value
    if value.dtype.kind == "f":
        most = np.finfo(value.dtype)
        numbers = np.array(
            [np.nan, np.inf, -np.inf, 0, -0.0, most.max, -most.max, most.tiny, most.smallest_subnormal], value.dtype
        )
    else:
        info = np.iinfo(value.dtype)
        numbers = np.array([info.min, info.max, 0, 1, info.max // 2, *([-1] if info.min else [])], value.dtype)
    places = slice(None) if all_of_it else rng.integers(0, value.size, 1 + value.size // 20)
    flat = value.reshape(-1)
    flat[places] = rng.choice(numbers, flat[places].shape)
    return value
