"""The projection of a dense model's token vectors to fewer dimensions: a sample of texts, and its principal axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pyterrier_lir.columns import Floats


def sample(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """A uniform sample of at most ``size`` texts of a stream, blank ones left out, in the stream's order."""
    rng = np.random.default_rng(seed)
    kept: list[tuple[int, str]] = []
    for i, text in enumerate(text for text in texts if text.strip()):
        if i < size:
            kept.append((i, text))
        elif (place := int(rng.integers(i + 1))) < size:
            kept[place] = (i, text)
    return [text for _, text in sorted(kept)]


def principal_axes(batches: Iterable[Floats], dim: int) -> Floats:
    """The uncentred principal axes of unit vectors: the projection that keeps most of their dot products.

    Only the second-moment matrix is kept, however many rows there are.

    Args:
        batches: Matrices float32 ``(n, width)``.
        dim: How many axes.

    Returns:
        float32 ``(width, dim)``: orthonormal columns in order of decreasing variance, each with its component
        of largest magnitude positive, so that the same vectors give the same matrix.

    Raises:
        ValueError: If ``dim`` exceeds the width, or there are fewer rows than ``dim``.
    """
    moment: Any = 0.0
    rows = 0
    for batch in batches:
        exact = batch.astype(np.float64)
        moment = moment + exact.T @ exact
        rows += len(batch)
    if rows < dim:
        raise ValueError(f"dim={dim}, but the texts have {rows} tokens; expected at least {dim}. Give more texts.")
    if dim > len(moment):
        raise ValueError(f"dim={dim}, but the model's token vectors have {len(moment)}; give at most {len(moment)}.")
    axes = np.linalg.eigh(moment)[1][:, ::-1][:, :dim]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(dim)]
    signed: Floats = (axes * np.sign(largest)).astype(np.float32)
    return signed
