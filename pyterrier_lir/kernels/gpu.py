"""The MaxSim kernel on a GPU, in torch. Same arguments and results as `kernels.maxsim`, with tokens on the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

BLOCK = 1 << 20  # tokens whose similarities with the query are in memory at once


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


def _token_rows(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The token rows of documents that begin at ``starts``: ``[s, s + 1, ..., s + length - 1]`` of each."""
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts, lengths) + within
