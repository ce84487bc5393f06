"""Kernels on a GPU, in torch: those of the same names in `kernels`, with what is large on the device.

Products are torch's: on a GPU in float32, or in TensorFloat-32 where the process has allowed that. Sums are rounded in
another order than on the processor, so that scores agree to about 1e-5 of their size, and equal ones may part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

BLOCK = 1 << 20  # tokens whose similarities with the query are in memory at once
PRODUCTS = 1 << 26  # products with centroids in memory at once: a quarter of a gigabyte


def upload(blocks: Iterable[npt.NDArray[np.float32]], shape: tuple[int, int], device: str) -> torch.Tensor:
    """Copies packed tokens, ``(T, dim)`` in blocks of rows, to the device as float16."""
    import torch

    tokens = torch.empty(shape, dtype=torch.float16, device=device)
    start = 0
    for block in blocks:
        tokens[start : start + len(block)] = torch.from_numpy(block).to(device)
        start += len(block)
    return tokens


def maxsim(
    query: npt.NDArray[np.float32],
    tokens: torch.Tensor,
    offsets: npt.NDArray[np.int64],
    docids: npt.NDArray[np.int64] | None = None,
    *,
    weights: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """``sum_i w_i max_{t in document} <q_i, p_t>`` in float32, by blocks of whole documents.

    Args:
        query: float32 ``(n, dim)``.
        tokens: float16 or float32 ``(T, dim)``, on the device that shall compute.
        offsets: int64 ``(N + 1,)``, on the host.
        docids: int64 ``(m,)``, documents to score; None for all.
        weights: float32 ``(n,)``; None for ones.

    Returns:
        float32 ``(m,)`` on the host; -inf for a document without tokens.
    """
    import torch

    device = tokens.device
    rows = torch.from_numpy(np.array(query)).to(device)
    scale = torch.ones(len(query), device=device) if weights is None else torch.from_numpy(np.array(weights)).to(device)
    docids = np.arange(len(offsets) - 1) if docids is None else docids
    lengths = (offsets[1:] - offsets[:-1])[docids]
    scores = torch.full((len(docids),), -torch.inf, device=device)
    filled = np.flatnonzero(lengths > 0)
    block = np.cumsum(lengths[filled]) // BLOCK
    for part in np.split(filled, np.flatnonzero(np.diff(block)) + 1) if len(filled) else []:
        taken = torch.from_numpy(_token_rows(offsets[docids[part]], lengths[part])).to(device)
        sizes = torch.from_numpy(lengths[part]).to(device)
        similarities = tokens[taken].float() @ rows.T
        best = torch.segment_reduce(similarities, "max", lengths=sizes, axis=0)
        scores[torch.from_numpy(part).to(device)] = best @ scale
    return scores.cpu().numpy()


def nearest(
    x: npt.NDArray[np.floating], centroids: npt.NDArray[np.float32], *, device: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The centroid with the largest inner product, for each row, as `kernels.nearest`, by blocks of rows.

    Args:
        x: ``(n, d)``, float16 or float32.
        centroids: ``(K, d)``.
        device: Where it is computed.

    Returns:
        int32 ``(n,)``, and float32 ``(n,)`` products. Of nearly equal centroids it may be another one.
    """
    groups, best = _largest(x, centroids, 1, device)
    return groups[:, 0], best[:, 0]


def nearest_groups(
    x: npt.NDArray[np.floating], centroids: npt.NDArray[np.float32], count: int, *, device: str
) -> npt.NDArray[np.int32]:
    """The ``count`` centroids with the largest inner products, as `kernels.nearest_groups`: int32 ``(n, count)``."""
    return _largest(x, centroids, count, device)[0]


def _largest(
    x: npt.NDArray[np.floating], centroids: npt.NDArray[np.float32], count: int, device: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(centroids)).to(device).T
    step = max(1, PRODUCTS // len(centroids))
    found = np.empty((len(x), count), np.int32)
    best = np.empty((len(x), count), np.float32)
    for start in range(0, len(x), step):
        rows = torch.from_numpy(np.array(x[start : start + step])).to(device).float()
        values, places = (rows @ columns).topk(count, dim=1)
        found[start : start + step], best[start : start + step] = places.int().cpu().numpy(), values.cpu().numpy()
    return found, best


def ragged_rows(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The rows of runs that begin at ``starts``, int64 on their device: ``[s, s + 1, ..., s + length - 1]`` of each."""
    import torch

    ends = torch.cumsum(lengths, 0)
    shift = torch.repeat_interleave(starts - ends + lengths, lengths)
    return shift + torch.arange(int(ends[-1]) if len(ends) else 0, device=starts.device)


def _token_rows(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The token rows of documents that begin at ``starts``: ``[s, s + 1, ..., s + length - 1]`` of each."""
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts, lengths) + within
