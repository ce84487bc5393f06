"""Single tokens: those of some cells, the best of all, and what documents they make.

A *triple* is a query row, a document and a score: one token that was looked at. Triples lie row after row in two
arrays, ``docs`` and ``scores``; those of row ``i`` are ``row_offsets[i] .. row_offsets[i + 1] - 1``.
"""

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels import reference
from pyterrier_lir.kernels.builds import active_module
from pyterrier_lir.kernels.checks import (
    as_bits,
    check_array,
    check_coded_tokens,
    check_integer,
    check_inv_norm,
    check_length,
    check_level_table,
    check_nbits,
    check_num_threads,
    check_query_bytes,
    document_ranges,
)


def blocks_shape(num_tokens: int, dim: int, nbits: int) -> tuple[int, int, int, int]:
    """The shape of what :func:`scan_cells` calls blocks, for so many tokens."""
    check_nbits(nbits)
    return reference.blocks_shape(num_tokens, dim, nbits)


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
    *,
    nbits: int,
    level_table: npt.NDArray[np.uint8] | None = None,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Scores of all tokens in some cells, each cell for one row of the query (WARP's implicit decompression).

    A token ``t`` of cell ``c = cells[i, k]`` scores with row ``i``

    ``((cell_scores[i, k] + query_bias[i]) + query_scale[i] * sum_j query[i, j] * levels[t, j]) * r[t]``

    with ``r[t] = inv_norm_table[inv_norm[t]]``, or without it; the sum is an integer, and all builds and NumPy agree
    bit for bit (Scheerer et al., WARP, SIGIR 2025, over a uniform codec). A ``level_table`` is used as by
    ``maxsim_codes``.

    Args:
        cells: ``(n, p)`` cells of each row.
        cell_scores: ``(n, p)`` products of the row with the cell's centroid.
        query: ``(n, d)``, the rows times the codec's step, in units of ``query_scale``; ``d`` up to 65,536.
        query_scale: ``(n,)`` what one unit of a row is.
        query_bias: ``(n,)`` products of the rows with the codec's ``lo``.
        cell_offsets: ``(K + 1,)``, not decreasing, within ``0 .. T``: where each cell's tokens begin.
        token_docs: ``(T,)`` document of each token.
        blocks: ``(ceil(T / 16), G, 16, 4)``: the packed levels of token ``t``, as from `encode_residuals` and filled up
            with zeros to ``4 G`` bytes, are ``blocks[t // 16, :, t % 16]``.
        inv_norm: ``(T,)`` entry of ``inv_norm_table`` for each token; ``None`` for no normalisation.
        inv_norm_table: ``(256,)`` factors; ``None`` together with ``inv_norm``.
        nbits: 1, 2, 4 or 8.
        level_table: ``(2 ** nbits,)``, 0 to 127: what each level counts as; ``None`` for itself. Not with 8 bits.
        num_threads: threads that share the cells.

    Returns:
        Triples: ``row_offsets (n + 1,)``, ``docs (E,)``, ``scores (E,)``; each row's in the order of its cells.

    Raises:
        ValueError: an argument has the wrong type or shape, or names cells that do not exist.
    """
    check_query_bytes(query, query_scale)
    check_array("query_bias", query_bias, 1, np.float32)
    check_length("query_bias", query_bias, len(query), "query row")
    for name, array, dtype in (("cells", cells, np.int32), ("cell_scores", cell_scores, np.float32)):
        check_array(name, array, 2, dtype)
        check_length(name, array, len(query), "query row")
    if cells.shape != cell_scores.shape:
        raise ValueError(f"cell_scores has shape {cell_scores.shape}, but cells has {cells.shape}; give each a score")
    check_array("cell_offsets", cell_offsets, 1, np.int64)
    if len(cell_offsets) == 0:
        raise ValueError("cell_offsets is empty, but K cells have K + 1 offsets; for no cells give [0]")
    check_array("token_docs", token_docs, 1, np.int32)
    check_nbits(nbits)
    check_level_table(level_table, nbits)
    check_array("blocks", blocks, 4, np.uint8)
    shape = blocks_shape(len(token_docs), query.shape[1], nbits)
    if blocks.shape != shape:
        raise ValueError(
            f"blocks has shape {blocks.shape}, but {len(token_docs)} tokens of {query.shape[1]} dimensions of {nbits} "
            f"bits take {shape}; were they packed with other settings?"
        )
    check_inv_norm(inv_norm, inv_norm_table, len(token_docs))
    check_num_threads(num_threads)
    return active_module().scan_cells(
        cells, cell_scores, query, query_scale, query_bias, cell_offsets, token_docs, blocks, inv_norm, inv_norm_table,
        nbits, level_table, num_threads,
    )  # fmt: skip


def top_tokens(
    query: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    docids: npt.NDArray[np.int64] | None = None,
    *,
    count: int,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The ``count`` tokens with the largest inner products, for each row of the query (XTR's token retrieval).

    Args:
        query: ``(n, d)``, finite.
        tokens: ``(T, d)``, finite, float16 or float32; may be a read-only memory map.
        offsets: ``(N + 1,)``, not decreasing, within ``0 .. T``: where each document's tokens begin.
        docids: ``(m,)`` documents whose tokens to look at, ascending; ``None`` for all.
        count: how many tokens for each row, at least 1.
        num_threads: threads that share the documents.

    Returns:
        ``(n, k)`` documents of the tokens, ascending, and ``(n, k)`` their scores; ``k`` is ``count``, or the number of
        tokens where there are fewer. Of equal scores the first are kept.

    Raises:
        ValueError: an argument has the wrong type or shape, or names documents or tokens that do not exist.
    """
    check_array("query", query, 2, np.float32)
    check_array("tokens", tokens, 2, np.float16, np.float32)
    if query.shape[1] != tokens.shape[1] or query.shape[1] == 0:
        raise ValueError(
            f"query has {query.shape[1]} dimensions and tokens have {tokens.shape[1]}; expected equally many"
        )
    starts, ends = _ascending_ranges(offsets, docids, len(tokens), count, num_threads)
    module = active_module()
    docs, scores = module.top_tokens(query, as_bits(tokens, module), starts, ends, count, num_threads)
    return docs if docids is None else docids[docs], scores


def top_tokens_codes(
    centroid_scores: npt.NDArray[np.float32],
    query: npt.NDArray[np.int8],
    query_scale: npt.NDArray[np.float32],
    query_bias: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16] | npt.NDArray[np.int32],
    packed: npt.NDArray[np.uint8],
    inv_norm: npt.NDArray[np.uint8] | None,
    inv_norm_table: npt.NDArray[np.float32] | None,
    offsets: npt.NDArray[np.int64],
    docids: npt.NDArray[np.int64] | None = None,
    *,
    nbits: int,
    count: int,
    level_table: npt.NDArray[np.uint8] | None = None,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """As :func:`top_tokens`, from the codes of the tokens; scores and arguments are those of ``maxsim_codes``.

    ``score[t, i] = ((S[codes[t], i] + query_bias[i]) + query_scale[i] * sum_j query[i, j] * levels[t, j]) * r[t]``; all
    builds and NumPy agree bit for bit.
    """
    check_coded_tokens(
        centroid_scores, query, query_scale, query_bias, codes, packed, inv_norm, inv_norm_table, nbits, level_table
    )
    starts, ends = _ascending_ranges(offsets, docids, len(codes), count, num_threads)
    docs, scores = active_module().top_tokens_codes(
        centroid_scores, query, query_scale, query_bias, codes, packed, inv_norm, inv_norm_table, starts, ends, nbits,
        level_table, count, num_threads,
    )  # fmt: skip
    return docs if docids is None else docids[docs], scores


def score_triples(
    row_offsets: npt.NDArray[np.int64],
    docs: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    imputed: npt.NDArray[np.float32],
    num_docs: int,
    *,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Scores of documents from scores of single tokens, for XTR and WARP.

    ``score(D) = sum_i (the largest score of a triple of row i and D, or imputed[i] if there is none)`` (Lee et al.,
    XTR, NeurIPS 2023; Scheerer et al., WARP, SIGIR 2025). Rows are summed in order, in float32: all builds and NumPy
    agree bit for bit, on any number of threads.

    Args:
        row_offsets: ``(n + 1,)``, from 0 to ``E``, not decreasing: where each row's triples begin.
        docs: ``(E,)`` documents, each below ``num_docs``; in any order.
        scores: ``(E,)``, without NaN.
        imputed: ``(n,)`` what a row adds to a document of which it has no triple.
        num_docs: the number of documents; memory does not depend on it.
        num_threads: threads that share the documents.

    Returns:
        ``(m,)`` the documents that have a triple, ascending, and ``(m,)`` their scores.

    Raises:
        ValueError: an argument has the wrong type or shape, or names documents that do not exist.
    """
    check_array("row_offsets", row_offsets, 1, np.int64)
    check_array("imputed", imputed, 1, np.float32)
    check_length("row_offsets", row_offsets, len(imputed) + 1, "query row and one more")
    check_array("docs", docs, 1, np.int32)
    check_array("scores", scores, 1, np.float32)
    check_length("scores", scores, len(docs), "document")
    if row_offsets[0] != 0 or row_offsets[-1] != len(docs) or (np.diff(row_offsets) < 0).any():
        raise ValueError(
            f"row_offsets is {row_offsets}, but must not decrease and go from 0 to {len(docs)}, the number of triples"
        )
    check_integer("num_docs", num_docs, bits=64)
    if not 0 <= num_docs <= 1 << 31:
        raise ValueError(f"num_docs is {num_docs}, but must be 0 to {1 << 31}")
    check_num_threads(num_threads)
    return active_module().score_triples(row_offsets, docs, scores, imputed, num_docs, num_threads)


def _ascending_ranges(
    offsets: npt.NDArray[np.int64], docids: npt.NDArray[np.int64] | None, num_tokens: int, count: int, num_threads: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    check_integer("count", count, bits=64)
    if count < 1:
        raise ValueError(f"count is {count}, but at least 1 token must be wanted")
    check_num_threads(num_threads)
    starts, ends = document_ranges(offsets, docids, num_tokens)
    if docids is not None and (np.diff(docids) <= 0).any():
        raise ValueError("docids must ascend, each once; sort them with np.unique")
    return starts, ends
