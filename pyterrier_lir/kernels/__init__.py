"""Arrays in, arrays out: the inner loops of late interaction.

Every kernel exists twice: compiled from C++, once per instruction set, and in NumPy (:mod:`.reference`), which is the
specification and does the work where nothing could be compiled. The best build that the processor can run is chosen
at the first call. The environment variable ``PYTERRIER_LIR_KERNELS`` (one of ``auto``, ``numpy``, ``plain``,
``x86_64_v2``, ``x86_64_v3``, ``icelake``) or :func:`forced` choose another one.
"""

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels import reference

__all__ = ["active", "available", "forced", "maxsim", "top_k"]

_VARIABLE = "PYTERRIER_LIR_KERNELS"
_COMPILED = ("icelake", "x86_64_v3", "x86_64_v2", "plain")  # best first
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
    _check_array("query", query, 2, np.float32)
    _check_array("tokens", tokens, 2, np.float16, np.float32)
    if query.shape[1] != tokens.shape[1] or query.shape[1] == 0:
        raise ValueError(
            f"query has {query.shape[1]} dimensions and tokens have {tokens.shape[1]}, but both must have the same "
            "number, at least 1; encode queries and documents with the same model"
        )
    if weights is not None:
        _check_array("weights", weights, 1, np.float32)
        if len(weights) != len(query):
            raise ValueError(f"weights has {len(weights)} values for {len(query)} query rows; give one for each row")
    if num_threads < 1:
        raise ValueError(f"num_threads is {num_threads}, but at least 1 thread must do the work")
    starts, ends = _document_ranges(offsets, docids, len(tokens))
    kernels = _active_module()
    if kernels is not reference and tokens.dtype == np.float16:
        tokens = tokens.view(np.uint16)  # C++ has no half-precision type: it takes the bits
    return kernels.maxsim(query, tokens, starts, ends, weights, num_threads)


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
    _check_array("scores", scores, 1, np.float16, np.float32, np.float64)
    if k < 0:
        raise ValueError(f"k is {k}, but the number of results cannot be negative")
    return reference.top_k(scores, k)


def _document_ranges(
    offsets: npt.NDArray[np.int64], docids: npt.NDArray[np.int64] | None, num_tokens: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First token and end of every document to score; raises unless all of them lie within the tokens."""
    _check_array("offsets", offsets, 1, np.int64)
    if len(offsets) == 0:
        raise ValueError("offsets is empty, but N documents have N + 1 offsets; for no documents give [0]")
    if docids is None:
        starts, ends = offsets[:-1], offsets[1:]
    else:
        _check_array("docids", docids, 1, np.int64)
        num_docs = len(offsets) - 1
        outside = (docids < 0) | (docids >= num_docs)
        if outside.any():
            raise ValueError(
                f"docids contains {docids[outside][0]}, but there are {num_docs} documents, 0 to {num_docs - 1}; "
                "do the ids come from another index?"
            )
        starts, ends = offsets[docids], offsets[docids + 1]
    wrong = (starts < 0) | (starts > ends) | (ends > num_tokens)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"offsets gives document {k if docids is None else docids[k]} the tokens {starts[k]} to {ends[k]}, but "
            f"offsets must not decrease and lie within 0 to {num_tokens}, the number of tokens; "
            "are the tokens cut off, or from another index?"
        )
    return starts, ends


def _check_array(name: str, array: np.ndarray, ndim: int, *dtypes: type[np.generic]) -> None:
    expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
    if not isinstance(array, np.ndarray) or array.dtype not in dtypes:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} is {got}, but must be a NumPy array of {expected}; convert it with np.asarray")
    if array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}, but must have {ndim} dimension{'s' if ndim > 1 else ''}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous; copy it with np.ascontiguousarray")


def _checked_name(name: str, source: str) -> str:
    if name not in available():
        known = ("numpy", *_COMPILED)
        reason = "is not built or not supported by this processor" if name in known else "does not exist"
        raise ValueError(
            f"{source} asks for the kernels {name!r}, which {reason}; choose one of {', '.join(available())}"
        )
    return name


def _active_module() -> ModuleType:
    name = active()
    if name == "numpy" and _forced is None and os.environ.get(_VARIABLE, "auto") == "auto":
        _warn_once()
    return _modules()[name]


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
    # The build for the oldest processors says what this one can run: the others may not even be loadable.
    oldest = _import("plain") or _import("x86_64_v2")
    for name in oldest.supported() if oldest is not None else []:
        module = _import(name)
        if module is not None:
            modules[name] = module
    return {**modules, "numpy": reference}


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"{__name__}._{name}")
    except ImportError:
        return None
