"""What arguments must be, in one set of words: whatever takes an argument checks it here before it does anything."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral, Real

import numpy as np

from pyterrier_lir.kernels.checks import is_whole


def check_counts(least: int = 1, /, **values: float) -> None:
    """Refuses arguments that are not whole numbers of at least ``least``."""
    for name, value in values.items():
        if not is_whole(value) or value < least:
            raise ValueError(f"{name} is {value!r}; expected at least {least}, as a whole number.")


def check_optional_counts(least: int = 1, /, **values: float | None) -> None:
    """As `check_counts`, of arguments for which None stands for a default."""
    check_counts(least, **{name: value for name, value in values.items() if value is not None})


def check_seed(seed: object) -> None:
    """Refuses what not every generator of random numbers takes, NumPy's and torch's."""
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}; expected a whole number from 0 to 2**32 - 1.")


def check_flags(**values: object) -> None:
    """Refuses what is neither True nor False: ``"no"`` would be taken for True."""
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} is {value!r}; expected True or False.")


def check_number(name: str, value: object, low: float, high: float, expected: str) -> None:
    """Refuses an argument that is no number, or not within ``low`` and ``high``."""
    if not isinstance(value, Real) or not low <= float(value) <= high:
        raise ValueError(f"{name} is {value!r}; expected {expected}.")


def check_choice(name: str, value: object, choices: Collection[str | int]) -> None:
    """Refuses an argument that is not one of some words or numbers."""
    if not isinstance(value, (str, Integral)) or value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}.")


def check_missing(missing: str) -> None:
    """Refuses a ``missing`` that is not known."""
    check_choice("missing", missing, ("error", "drop"))
