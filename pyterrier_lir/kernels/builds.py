"""Which build of the kernels runs: the best that this processor can, or the one that was asked for."""

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from pyterrier_lir.kernels import reference

_VARIABLE = "PYTERRIER_LIR_KERNELS"
_COMPILED = ("icelake", "x86_64_v3", "x86_64_v2", "dotprod", "plain")  # best first
_forced: str | None = None


def available() -> list[str]:
    """Names of the builds that this machine can run, best first; ``"numpy"`` is always among them, last."""
    return [*_modules()]


def active() -> str:
    """Name of the build that the kernels run on now."""
    if _forced is not None:
        return _forced
    name = os.environ.get(_VARIABLE, "auto")
    return available()[0] if name == "auto" else _checked_name(name, f"the environment variable {_VARIABLE}")


@contextmanager
def forced(name: str) -> Iterator[None]:
    """Runs the kernels of the block on one build, for tests and measurements.

    Args:
        name: one of :func:`available`. Holds for the whole process, whatever ``PYTERRIER_LIR_KERNELS`` says.

    Raises:
        ValueError: this machine cannot run that build.
    """
    global _forced
    previous, _forced = _forced, _checked_name(name, "forced()")
    try:
        yield
    finally:
        _forced = previous


def active_module() -> ModuleType:
    """The build that the kernels run on now; says so once where NumPy has to stand in."""
    name = active()
    if name == "numpy" and _forced is None and os.environ.get(_VARIABLE, "auto") == "auto":
        _warn_once()
    return _modules()[name]


def _checked_name(name: str, source: str) -> str:
    if name not in available():
        known = ("numpy", *_COMPILED)
        reason = "is not built or not supported by this processor" if name in known else "does not exist"
        raise ValueError(
            f"{source} asks for the kernels {name!r}, which {reason}; choose one of {', '.join(available())}"
        )
    return name


@cache
def _warn_once() -> None:
    warnings.warn(
        "pyterrier_lir has no compiled kernels here and uses NumPy, which is several times slower; install a C++ "
        f"compiler and reinstall pyterrier-lir, or set {_VARIABLE}=numpy to accept this",
        RuntimeWarning,
        stacklevel=4,
    )


@cache
def _modules() -> dict[str, ModuleType]:
    """The builds that exist and that the processor can run, best first, and NumPy."""
    modules = {}
    cpu = _import("cpu")
    for name in cpu.supported() if cpu is not None else []:
        module = _import(name)
        if module is not None:
            modules[name] = module
    return {**modules, "numpy": reference}


def _import(name: str) -> ModuleType | None:
    """The build of this name; None where it was not compiled, or with a warning where it cannot be loaded."""
    module = f"{__package__}._{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        warnings.warn(
            f"{module} is there but cannot be loaded ({error}); slower kernels stand in. Reinstall pyterrier-lir: was "
            "this file compiled together with the others, and for this Python and C library?",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
