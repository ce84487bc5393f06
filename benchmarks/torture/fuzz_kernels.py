"""kernels are called with arguments that are drawn, half of them spoiled.

    OMP_NUM_THREADS=1 python benchmarks/torture/fuzz_kernels.py --rounds 1000000 --write

Each round draws a kernel, its arguments, and in every second round one or two arguments of another type, shape, memory
layout or value. The build that is active must then do what NumPy does: give the same result (bit for bit; up to
rounding where products are added up in another order), or an error of the package. Where floats are not finite, or so
large that sums are not, although the documentation asks for finite ones, results are not compared: nothing may crash.
The calls run in processes of 5,000, so that one that ends its process or hangs is seen.
"""

from __future__ import annotations

import linecache
import mmap
import os
import resource
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import rounds
from kernel_calls import CALLS, ROUNDED, Draw, spoiled

from pyterrier_lir import kernels

BATCH, LARGE = 5_000, 1e4
PACKAGE = str(Path(kernels.__file__).parent)
Outcome = tuple[str, Any]


def drawn(seed: int, number: int) -> tuple[str, dict[str, Any], bool]:
    """The kernel, the arguments and whether they were spoiled, of a round."""
    rng = np.random.default_rng([seed, number])
    name = [*CALLS][number % len(CALLS)]
    arguments = CALLS[name](Draw(rng))
    spoil = rng.random() < 0.5
    for _ in range(int(rng.integers(1, 3)) if spoil else 0):
        which = [*arguments][int(rng.integers(len(arguments)))]
        arguments[which] = spoiled(rng, arguments[which])
    return name, arguments, spoil


def called(name: str, arguments: dict[str, Any]) -> Outcome:
    """What a call comes to."""
    try:
        result = getattr(kernels, name)(**arguments)
        return "result", result if isinstance(result, tuple) else (result,)
    except (ValueError, TypeError) as error:
        return "error", error
    except MemoryError:
        return "too large", None


def of_the_package(error: BaseException) -> bool:
    """Whether the package wrote an error: raised by one of its lines, or by its C++."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    file = trace.tb_frame.f_code.co_filename
    line = linecache.getline(file, trace.tb_lineno).strip()
    if "incompatible function arguments" in str(error) or not file.startswith(PACKAGE):
        return False
    # A raise may begin some lines before; compiled functions have no lines.
    above = "".join(linecache.getline(file, trace.tb_lineno - back) for back in range(3))
    return "raise " in above or any(
        call in line for call in ("active_module()", "kernels.", "module.", "inv_norm_table,")
    )


def unspecified(arguments: dict[str, Any]) -> bool:
    """Whether there are floats that the documentation does not allow, or whose sums are not finite."""
    floats = [a for a in arguments.values() if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    return any(not np.isfinite(a).all() or (np.abs(a) > LARGE).any() for a in floats if a.size)


def differ(name: str, got: Any, expected: Any) -> bool:
    """Whether two results differ more than they may."""
    for a, b in zip(got, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype != b.dtype or a.shape != b.shape:
            return True
        if name not in ROUNDED or a.dtype.kind != "f":
            if name not in ROUNDED and (a + 0).tobytes() != (b + 0).tobytes():  # -0.0 is 0.0
                return True
        elif not np.allclose(a, b, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))):
            return True
    return False


def judged(seed: int, number: int) -> str:
    """What a round came to; raises an AssertionError where that is not allowed."""
    name, arguments, _ = drawn(seed, number)
    kind, got = called(name, arguments)
    with kernels.forced("numpy"), np.errstate(all="ignore"):
        twin, expected = called(name, arguments)
    where = (
        f"{name} { ({n: (a if not isinstance(a, np.ndarray) else (a.dtype, a.shape)) for n, a in arguments.items()}) }"
    )
    if kind == "too large":
        assert arguments.get("final_dim", 0) > 1 << 20, where  # so long a result was asked for
        return "not compared"
    if kind == "error":
        assert of_the_package(got), f"{where}: {type(got).__name__}: {got}"
        assert twin == "error" or unspecified(arguments), f"{where}: NumPy takes what was refused: {got}"
        return "refused"
    if unspecified(arguments) or (name == "centroid_maxsim" and arguments["n"] == 0):  # then no code is looked at
        return "not compared"
    assert twin in ("result", "too large"), f"{where}: NumPy refuses what was taken: {expected}"
    assert twin == "too large" or not differ(name, got, expected), f"{where}: {got} and not {expected}"
    return "equal"


def batch(seed: int, first: int, count: int, at: mmap.mmap) -> Counter[tuple[str, str]]:
    if "LD_PRELOAD" not in os.environ:  # a sanitizer keeps its books in a large address space, and has a limit itself
        resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
    warnings.simplefilter("ignore")
    seen = Counter[tuple[str, str]]()
    for number in range(first, first + count):
        at[:8] = number.to_bytes(8, "little")
        seen[[*CALLS][number % len(CALLS)], judged(seed, number)] += 1
    return seen


def main() -> None:
    args = rounds.arguments(__doc__, 4_000)
    at, seen = mmap.mmap(-1, 8), Counter[tuple[str, str]]()
    for first, count in rounds.numbers(args, BATCH):
        kind, result = rounds.child(batch, args.seed, first, count, at, seconds=1000)
        with rounds.named_round(seed=args.seed, first=int.from_bytes(at[:8], "little"), rounds=1):
            assert kind == "result", f"{kind} {result}"
        seen.update(result)
    kinds = ("equal", "refused", "not compared")
    table = [[name, *(f"{seen[name, kind]:,}" for kind in kinds), "0"] for name in CALLS]
    table.append(["all", *(f"{sum(seen[name, kind] for name in CALLS):,}" for kind in kinds), "0"])
    rounds.write("fuzz_kernels", __doc__, [f"kernel ({kernels.active()})", *kinds, "wrong, crash or hang"], table, args)


if __name__ == "__main__":
    main()
