"""What a result depends on besides the code: versions, processor, threads. No user, host or home folder is named."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_DISTRIBUTIONS = (
    "pyterrier-lir", "pyterrier", "numpy", "pandas", "torch", "transformers", "sentence-transformers", "tokenizers",
    "ir-datasets", "ir-measures", "pyterrier-pisa", "bm25s", "faiss-cpu", "matplotlib",
)  # fmt: skip

# Instruction sets that the kernels or torch make use of.
_FLAGS = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve",
)  # fmt: skip


def describe(num_threads: int | None = None) -> dict[str, Any]:
    """The software and the machine that a process runs on.

    Args:
        num_threads: Threads that the methods were told to use; None for all cores.
    """
    import torch

    from pyterrier_lir import kernels

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "processor": _processor(),
        "memory_gb": _memory(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": {"methods": num_threads or cores(), "torch": torch.get_num_threads()},
        "kernels": kernels.active(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that take part, as far as they are installed."""
    import pyterrier_lir

    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "pyterrier-lir": pyterrier_lir.__version__}


def public_path(path: str | Path) -> str:
    """The path as it may be published: relative to here where possible, the home folder as ``~``."""
    absolute = Path(path).expanduser().resolve()
    for base, short in ((Path.cwd(), ""), (Path.home(), "~")):
        if absolute.is_relative_to(base):
            return (Path(short) / absolute.relative_to(base)).as_posix()
    return str(path)


def _processor() -> dict[str, Any]:
    fields = dict(_cpuinfo())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "flags": [flag for flag in _FLAGS if flag in flags],
    }


def _cpuinfo() -> list[tuple[str, str]]:
    path = Path("/proc/cpuinfo")
    first = path.read_text(errors="replace").split("\n\n")[0] if path.exists() else ""
    return [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in first.splitlines())]


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
