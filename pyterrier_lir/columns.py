"""The columns that pass between transformers: names, dtypes, meaning, and the checks at the boundary.

============== ===================== ===========================================================
column         dtype                 meaning
============== ===================== ===========================================================
query_embs     float32 (n, dim)      one row per query token
doc_embs       float32 (m, dim)      one row per document token
query_weights  float32 (n,)          weight of each query row, finite and >= 0
query_tok_ids  int32 (n,)            vocabulary id of each row of query_embs
doc_tok_ids    int32 (m,)            vocabulary id of each row of doc_embs
query_encoder  str                   fingerprint of the encoder that made query_embs
doc_encoder    str                   fingerprint of the encoder that made doc_embs
query_vec      float32 (size,)       a query as one vector (MUVERA)
doc_vec        float32 (size,)       a document as one vector (MUVERA)
doc_grid       int32 (2,)            rows and columns of the patches that a page was cut into
============== ===================== ===========================================================

In frames the matrices are NumPy arrays; torch tensors are accepted on input. Rows that are all zero are
padding, never tokens, and are stripped here together with their weights and token ids.

A patch of a page is no token of a vocabulary. Its id in ``doc_tok_ids`` is ``-2 - p``, where p counts the patches of
the page line by line; -1 is a row that stands for several tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

QUERY_EMBS = "query_embs"
QUERY_WEIGHTS = "query_weights"
QUERY_TOK_IDS = "query_tok_ids"
QUERY_ENCODER = "query_encoder"
DOC_EMBS = "doc_embs"
DOC_TOK_IDS = "doc_tok_ids"
DOC_ENCODER = "doc_encoder"
QUERY_VEC = "query_vec"
DOC_VEC = "doc_vec"
DOC_GRID = "doc_grid"
ON_ERROR = ("raise", "skip")  # what a stage does with a document that it cannot read

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Docids = npt.NDArray[np.int64]


def as_matrix(value: Any, column: str, dim: int | None = None) -> Floats:
    """Checks one cell of ``query_embs`` or ``doc_embs`` and gives it as float32 ``(n, dim)``.

    Args:
        value: A NumPy array, a torch tensor or nested lists. An empty one-dimensional value has no rows.
        column: The column's name, for the error.
        dim: The dimension that is expected; None or 0 where any will do.

    Raises:
        ValueError: If the value is no matrix, has another dimension, or holds NaN or infinite numbers.
    """
    matrix = _as_floats(value, column, "a matrix of numbers (tokens, dim)")
    if matrix.size == 0 and matrix.ndim < 2:
        return np.zeros((0, dim or 0), dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError(
            f"{column} has a value of shape {matrix.shape}; expected a matrix (tokens, dim). "
            "A single vector belongs into query_vec or doc_vec; as a one-token text give it as vec[None, :]."
        )
    if len(matrix) and not matrix.shape[1]:
        raise ValueError(f"{column} has {len(matrix)} rows without dimensions; expected a matrix (tokens, dim).")
    if dim and len(matrix) and matrix.shape[1] != dim:
        raise ValueError(
            f"{column} has {matrix.shape[1]} dimensions; expected {dim}. "
            "Encode queries and documents with the same encoder."
        )
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise ValueError(
            f"{column} has a NaN or infinite value in row {row}; expected finite numbers. Encode it again."
        )
    return np.ascontiguousarray(matrix)


def as_query(embs: Any, weights: Any = None, dim: int | None = None) -> tuple[Floats, Floats | None]:
    """Checks one query and strips its padding: rows that are zero or weigh nothing.

    Returns:
        The rows as float32 ``(n, dim)`` and their weights as float32 ``(n,)``, or None where all weigh 1.

    Raises:
        ValueError: As `as_matrix`; or if the weights are not as many as the rows, negative or not finite.
    """
    matrix = as_matrix(embs, QUERY_EMBS, dim)
    keep = matrix.any(axis=1)
    if weights is None:
        return (matrix if keep.all() else matrix[keep]), None
    row_weights = _as_weights(weights, matrix)
    keep &= row_weights > 0
    return np.ascontiguousarray(matrix[keep]), np.ascontiguousarray(row_weights[keep])


def as_aligned_query(embs: Any, tok_ids: Any = None, weights: Any = None) -> tuple[Floats, Ints | None, Floats]:
    """Checks one query and keeps its padding, so that what is written next to it stays aligned.

    Returns:
        The rows, float32 ``(n, dim)``, their token ids, int32 ``(n,)``, if they are known, and their weights, float32
        ``(n,)``: ones where there are none.

    Raises:
        ValueError: As `as_query`; or if the token ids are not as many as the rows.
    """
    matrix = as_matrix(embs, QUERY_EMBS)
    ids = None if tok_ids is None else _as_tok_ids(tok_ids, matrix, QUERY_TOK_IDS, QUERY_EMBS)
    return matrix, ids, np.ones(len(matrix), np.float32) if weights is None else _as_weights(weights, matrix)


def _as_weights(weights: Any, matrix: Floats) -> Floats:
    row_weights = _as_floats(weights, QUERY_WEIGHTS, "one number per row of query_embs")
    if row_weights.shape != (len(matrix),):
        raise ValueError(
            f"{QUERY_WEIGHTS} has shape {row_weights.shape}; expected ({len(matrix)},), one weight per row of "
            f"{QUERY_EMBS}. Build both columns together, or drop {QUERY_WEIGHTS}."
        )
    if not np.isfinite(row_weights).all() or (row_weights < 0).any():
        bad = row_weights[~(np.isfinite(row_weights) & (row_weights >= 0))][0]
        raise ValueError(f"{QUERY_WEIGHTS} holds {bad}; expected finite weights >= 0. Use 0 to leave a row out.")
    return row_weights


def _as_tok_ids(tok_ids: Any, matrix: Floats, column: str, embs: str) -> Ints:
    try:
        ids: Ints = np.asarray(_to_numpy(tok_ids), dtype=np.int32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{column} holds {tok_ids!r:.60} ({error}); expected one id per row of {embs}.") from error
    if ids.shape != (len(matrix),):
        raise ValueError(
            f"{column} has shape {ids.shape}; expected ({len(matrix)},), one id per row of {embs}. "
            f"Build both columns together, or drop {column}."
        )
    return ids


def as_document(embs: Any, tok_ids: Any = None, dim: int | None = None) -> tuple[Floats, Ints | None]:
    """Checks one document and strips its padding (zero rows, with their token ids).

    Raises:
        ValueError: As `as_matrix`; or if the token ids are not as many as the rows.
    """
    matrix = as_matrix(embs, DOC_EMBS, dim)
    keep = matrix.any(axis=1)
    ids = None if tok_ids is None else _as_tok_ids(tok_ids, matrix, DOC_TOK_IDS, DOC_EMBS)[keep]
    return (matrix if keep.all() else np.ascontiguousarray(matrix[keep])), ids


def needed_ids(tok_ids: Ints | None, column: str) -> Ints:
    """The token ids of a row, where something cannot do without.

    Raises:
        ValueError: If there are none.
    """
    if tok_ids is None:
        raise ValueError(f"{column} is None in a row; expected token ids. Encode it with an encoder that gives them.")
    return tok_ids


def patch_ids(patches: npt.ArrayLike) -> Ints:
    """The token ids of patches: ``-2 - p``."""
    return (-2 - np.asarray(patches)).astype(np.int32)


def patch_numbers(tok_ids: npt.ArrayLike) -> Ints:
    """The patch of each row, by its token id; -1 for rows that are none.

    Example:
        >>> patch_numbers([101, -2, -3, -1]).tolist()
        [-1, 0, 1, -1]
    """
    ids = np.asarray(tok_ids)
    return np.where(ids <= -2, -2 - ids, -1).astype(np.int32)


def as_grid(value: Any) -> tuple[int, int]:
    """Checks one cell of ``doc_grid`` and gives its rows and columns.

    Raises:
        ValueError: If it is not two positive whole numbers.
    """
    grid = np.asarray(_to_numpy(value))
    if grid.shape != (2,) or not np.issubdtype(grid.dtype, np.integer) or (grid < 1).any():
        raise ValueError(f"{DOC_GRID} is {value!r:.60}; expected rows and columns of patches, such as [32, 32].")
    return int(grid[0]), int(grid[1])


def patches_on_grid(tok_ids: Ints, grid: Any) -> tuple[Ints, tuple[int, int]]:
    """The patch of each row, as `patch_numbers`, and the grid, as `as_grid`.

    Raises:
        ValueError: If the grid has no such patch.
    """
    patches, (rows, width) = patch_numbers(tok_ids), as_grid(grid)
    if patches.max(initial=-1) >= rows * width:
        raise ValueError(
            f"{DOC_TOK_IDS} has patch {patches.max()}, {DOC_GRID} is {rows} x {width}; expected patches 0 to "
            f"{rows * width - 1}. Encode the page again, or keep the grid that came with its patches."
        )
    return patches, (rows, width)


def check_encoder(found: Any, expected: str | None, *, what: object) -> None:
    """Refuses to score vectors of one encoder against vectors of another.

    Args:
        found: The fingerprint that came with the vectors, or None where it is not known.
        expected: The fingerprint of the other side, or None where it is not known.
        what: Who compares, for the error.

    Raises:
        ValueError: If both are known and differ.
    """
    if found is not None and expected is not None and found != expected:
        raise ValueError(
            f"{what}: the query was encoded by {found!r}, the documents by {expected!r}; expected the same encoder. "
            "Encode the query with the encoder that made the documents."
        )


def object_column(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """A frame's column of matrices; left to itself pandas takes matrices of equal length for one big one."""
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return column


def _as_floats(value: Any, column: str, expected: str) -> Floats:
    try:
        array = np.asarray(_to_numpy(value))
        if not np.iscomplexobj(array):
            return array.astype(np.float32, copy=False)
        problem = "complex numbers"
    except (TypeError, ValueError) as error:  # text, rows of unequal length
        problem = str(error).partition("\n")[0].rstrip(".")
    raise ValueError(
        f"{column} holds {value!r:.60} ({problem}); expected {expected}. Give a NumPy array, a tensor, or lists of "
        "equal length."
    )


def _to_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray) or not hasattr(value, "detach"):
        return value
    return value.detach().float().cpu().numpy()  # a torch tensor; bfloat16 has no NumPy dtype
