"""A training's random numbers are its own: they begin with its seed, and the caller's go on where they were."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """All generators are afterwards where they were before."""
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (what the trainer uses)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All generators begin with the seed, for a while."""
    import torch

    with kept():
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
