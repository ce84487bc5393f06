"""Exact scores of token vectors, and the best of them."""

from numbers import Integral

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels import reference
from pyterrier_lir.kernels.builds import active_module
from pyterrier_lir.kernels.checks import as_bits, check_array, check_num_threads, document_ranges


def maxsim(
    query: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    docids: npt.NDArray[np.int64] | None = None,
    *,
    weights: npt.NDArray[np.float32] | None = None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Exact MaxSim of one query with many documents.

    ``scores[k] = sum_i weights[i] * max_t <query[i], tokens[t]>`` with ``t`` over the tokens of document ``docids[k]``,
    ``offsets[docids[k]] <= t < offsets[docids[k] + 1]`` (Khattab and Zaharia, ColBERT, SIGIR 2020).

    Products and sums are accumulated in float32, in order; the maximum is over the document's own tokens only. A
    score is the same bit for bit whatever other documents are scored with it and on how many threads. All builds
    with a fused multiply-add agree bit for bit; ``x86_64_v2`` and ``numpy`` round differently.

    Args:
        query: ``(n, d)``, C-contiguous. Without rows (``n == 0``) every document with tokens scores 0.
        tokens: ``(T, d)``, float16 or float32, C-contiguous, finite; may be a read-only memory map.
        offsets: ``(N + 1,)``, not decreasing, within ``0 .. T``: where each document's tokens begin.
        docids: ``(m,)`` documents to score, in any order, repeated or not; ``None`` for all ``N``.
        weights: ``(n,)`` weights of the query's rows; ``None`` for ones.
        num_threads: threads that share the documents.

    Returns:
        ``(m,)`` scores; minus infinity for a document without tokens.

    Raises:
        ValueError: an argument has the wrong type or shape, or names documents or tokens that do not exist.
    """
    check_array("query", query, 2, np.float32)
    check_array("tokens", tokens, 2, np.float16, np.float32)
    if query.shape[1] != tokens.shape[1] or query.shape[1] == 0:
        raise ValueError(
            f"query has {query.shape[1]} dimensions and tokens have {tokens.shape[1]}, but both must have the same "
            "number, at least 1; encode queries and documents with the same model"
        )
    if weights is not None:
        check_array("weights", weights, 1, np.float32)
        if len(weights) != len(query):
            raise ValueError(f"weights has {len(weights)} values for {len(query)} query rows; give one for each row")
    check_num_threads(num_threads)
    starts, ends = document_ranges(offsets, docids, len(tokens))
    kernels = active_module()
    return kernels.maxsim(query, as_bits(tokens, kernels), starts, ends, weights, num_threads)


def top_k(scores: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int64]:
    """Indices of the best scores: score descending, then index ascending.

    Args:
        scores: ``(m,)`` floats without NaN. Minus infinity means "not retrieved" and is left out.
        k: how many to return at most; exact also where scores tie at the border.

    Returns:
        ``(min(k, number of finite scores),)`` indices into ``scores``, best first.

    Raises:
        ValueError: ``scores`` is not a vector of floats, or ``k`` is negative.
    """
    check_array("scores", scores, 1, np.float16, np.float32, np.float64)
    if not isinstance(k, Integral):
        raise ValueError(f"k is {k!r}, but must be a whole number")
    k = min(int(k), len(scores))
    if k < 0:
        raise ValueError(f"k is {k}, but the number of results cannot be negative")
    return (active_module() if scores.dtype == np.float32 else reference).top_k(scores, k)
