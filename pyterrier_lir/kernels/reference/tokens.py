"""Single tokens, and documents made of them, in NumPy; see :mod:`pyterrier_lir.kernels.tokens`."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.reference.codes import code_similarities, packed_width, unpack_levels
from pyterrier_lir.kernels.reference.shared import check_cells, integer_products

BLOCK = 16  # tokens that lie next to each other for scan_cells


def blocks_shape(num_tokens: int, dim: int, nbits: int) -> tuple[int, int, int, int]:
    """The shape of packed tokens in blocks, four bytes of each of 16 tokens next to each other; see `scan_cells`."""
    return -(-num_tokens // BLOCK), -(-packed_width(dim, nbits) // 4), BLOCK, 4


def scan_cells(
    cells: npt.NDArray[np.int32],
    cell_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    cell_offsets: npt.NDArray[np.int64],
    token_docs: npt.NDArray[np.int32],
    blocks: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Triples of all tokens in each row's cells."""
    check_cells(cells.ravel(), cell_offsets, len(token_docs))
    width = packed_width(query.shape[1], nbits)
    docs, scores, counts = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)], np.zeros(len(query), np.int64)
    for i, row in enumerate(cells):
        for cell, cell_score in zip(row, cell_scores[i], strict=True):
            t = np.arange(cell_offsets[cell], cell_offsets[cell + 1])
            packed = blocks[t // BLOCK, :, t % BLOCK].reshape(len(t), 4 * blocks.shape[1])[:, :width]
            levels = unpack_levels(packed, query.shape[1], nbits, level_table)
            products = integer_products(levels, query[i : i + 1])[:, 0]
            found = (cell_score + query_bias[i]) + query_scale[i] * products
            if inv_norm is not None and inv_norm_table is not None:
                found = found * inv_norm_table[inv_norm[t]]
            docs.append(token_docs[t])
            scores.append(found)
            counts[i] += len(t)
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(docs), np.concatenate(scores)


def top_tokens(
    query: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    count: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The documents and scores of each row's best ``count`` tokens, in the order of the documents."""
    return _best_of_documents(lambda t: tokens[t].astype(np.float32) @ query.T, len(query), starts, ends, count)


def top_tokens_codes(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None,
    count: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """As `top_tokens`, with the similarities of `maxsim_codes`."""

    def similarities(t: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return code_similarities(
            centroid_scores, query, query_scale, query_bias, codes, packed, inv_norm, inv_norm_table, t, nbits,
            level_table,
        )  # fmt: skip

    return _best_of_documents(similarities, len(query), starts, ends, count)


def score_triples(
    row_offsets: npt.NDArray[np.int64],
    docs: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    imputed: npt.NDArray[np.float32],
    num_docs: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For every document the sum over rows of its best triple, or of what is imputed where it has none."""
    outside = (docs < 0) | (docs >= num_docs)
    if outside.any():
        raise ValueError(
            f"docs contains {docs[outside][0]}, but there are {num_docs} documents; are they from another index?"
        )
    found = np.unique(docs)
    sums = np.zeros(len(found), dtype=np.float32)
    for i, missing in enumerate(imputed):
        row = slice(row_offsets[i], row_offsets[i + 1])
        best = np.full(len(found), -np.inf, dtype=np.float32)
        np.maximum.at(best, np.searchsorted(found, docs[row]), scores[row])
        sums += np.where(best > -np.inf, best, missing)
    return found.astype(np.int64), sums


def _best_of_documents(
    similarities: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]],
    n: int,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    count: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The best tokens of each of ``n`` rows as documents and scores, looking at a few documents at a time."""
    count = min(count, int((ends - starts).sum()))
    docs, scores = np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32)
    for first in range(0, len(starts) if count else 0, 64):
        tokens = [np.arange(starts[k], ends[k]) for k in range(first, min(first + 64, len(starts)))]
        here = np.repeat(np.arange(first, first + len(tokens)), [len(part) for part in tokens])
        docs = np.concatenate([docs, np.tile(here, (n, 1))], axis=1)
        scores = np.concatenate([scores, similarities(np.concatenate(tokens)).T], axis=1)
        kept = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :count], axis=1)  # of equal ones the first
        docs, scores = np.take_along_axis(docs, kept, axis=1), np.take_along_axis(scores, kept, axis=1)
    return docs, scores
