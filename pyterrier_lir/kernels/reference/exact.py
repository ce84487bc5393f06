"""Exact scores in NumPy; see :mod:`pyterrier_lir.kernels.exact`."""

import numpy as np
import numpy.typing as npt


def maxsim(
    query: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.float16] | npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32] | None,
    num_threads: int = 1,
) -> npt.NDArray[np.float32]:
    """MaxSim of documents ``tokens[starts[k]:ends[k]]``; ``num_threads`` is left to NumPy."""
    if weights is None:
        weights = np.ones(len(query), dtype=np.float32)
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue  # no tokens, no maximum
        similarities = query @ tokens[start:end].astype(np.float32).T
        scores[k] = (weights * similarities.max(axis=1)).sum()
    return scores


def top_k(scores: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int64]:
    """Indices of the ``k`` best scores, ties by index, without those that are minus infinity."""
    found = np.flatnonzero(scores > -np.inf)
    k = min(k, len(found))
    if 0 < k < len(found):
        # Keep everything that ties with the k-th best: which of them are in is decided by index below.
        values = scores[found]
        found = found[values >= np.partition(values, len(found) - k)[len(found) - k]]
    return found[np.argsort(-scores[found], kind="stable")[:k]]
