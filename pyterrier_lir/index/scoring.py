"""Exact MaxSim of one query over the stored vectors of a segment: the one place where the processor is chosen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Floats

if TYPE_CHECKING:
    from pyterrier_lir.index.segment import Segment

Vectors = Any  # the token vectors of a segment, where they are scored: a memory map, or a tensor on a GPU


def check_device(device: str) -> None:
    """Refuses a device that is not there.

    Raises:
        ValueError: If it is neither ``"cpu"`` nor a GPU that torch sees.
    """
    if device == "cpu":
        return
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        raise ValueError(
            f'device is {device!r}; expected "cpu"{", as torch sees no GPU here" if device.startswith("cuda") else ""} '
            'or "cuda". Use device="cpu".'
        )


def threads(num_threads: int | None) -> int:
    """The number of threads asked for; by default the cores that this process may use.

    Raises:
        ValueError: If it is less than 1.
    """
    if num_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if num_threads < 1:
        raise ValueError(f"num_threads is {num_threads}; expected at least 1, or None for all cores.")
    return num_threads


def vectors(segment: Segment, device: str) -> Vectors:
    """The token vectors of a segment on the device."""
    if device == "cpu":
        return segment.tokens
    from pyterrier_lir.kernels import gpu

    return gpu.upload(segment.tokens, device)


def maxsim(
    query: Floats,
    weights: Floats | None,
    tokens: Vectors,
    segment: Segment,
    docids: npt.NDArray[np.int64] | None,
    *,
    num_threads: int,
    device: str,
) -> Floats:
    """MaxSim of a query with documents of a segment.

    Args:
        query: float32 ``(n, dim)``, n > 0.
        weights: float32 ``(n,)``, or None where all weigh 1.
        tokens: `vectors` of the segment on the device.
        segment: Holds the documents.
        docids: Numbers of documents in the segment, or None for all of them.
        num_threads: Threads on the processor.
        device: ``"cpu"`` or a GPU.

    Returns:
        float32 ``(m,)``; -inf for a document without tokens.
    """
    if not segment.dim:  # only empty documents
        return np.full(len(segment) if docids is None else len(docids), -np.inf, dtype=np.float32)
    if device == "cpu":
        return kernels.maxsim(query, tokens, segment.offsets, docids, weights=weights, num_threads=num_threads)
    from pyterrier_lir.kernels import gpu

    return gpu.maxsim(query, tokens, segment.offsets, docids, weights=weights)
