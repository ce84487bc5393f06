"""Whether the kernels compute the same bits for other processors: compiled for each, run here or emulated.

    apt-get install g++-aarch64-linux-gnu qemu-user      # for 64-bit ARM
    python benchmarks/elsewhere.py                       # writes benchmarks/results/elsewhere.md

``elsewhere.cpp`` prints digests of centroids' scores, of exact scores from codes and of scanned cells, for many sizes.
They must be equal everywhere, as their floats are computed one operation at a time. AVX-512 is compiled too, and runs
where the processor has it. The times of an emulator say nothing, and are left out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mdtable import markdown

HERE = Path(__file__).parent
SOURCES = HERE.parent / "pyterrier_lir" / "kernels" / "src"
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pthread", "-static"]
ARM = "aarch64-linux-gnu-g++"
# instruction set: compiler, its option, what runs it
BUILDS = {
    "x86_64_v2": ("g++", "x86-64-v2", []),
    "x86_64_v3": ("g++", "x86-64-v3", []),
    "icelake": ("g++", "icelake-server", []),
    "plain, on ARM (NEON)": (ARM, "armv8-a", ["qemu-aarch64"]),
    "dotprod, on ARM": (ARM, "armv8.2-a+dotprod", ["qemu-aarch64"]),
}


def digests(compiler: str, march: str, emulator: list[str], folder: Path) -> list[str] | str:
    """What a build prints, line by line, or why there is nothing."""
    if shutil.which(compiler) is None:
        return f"{compiler} is not installed"
    program = folder / march
    source = str(HERE / "elsewhere.cpp")
    subprocess.run([compiler, *FLAGS, f"-march={march}", f"-I{SOURCES}", source, "-o", str(program)], check=True)
    if emulator and shutil.which(emulator[0]) is None:
        return f"compiles; {emulator[0]} is not installed"
    found = subprocess.run([*emulator, str(program)], capture_output=True, text=True, check=False)
    return found.stdout.splitlines() if found.returncode == 0 else "compiles; this processor cannot run it"


def main() -> None:
    rows, expected = [], None
    with tempfile.TemporaryDirectory() as folder:
        for name, build in BUILDS.items():
            found = digests(*build, Path(folder))
            if isinstance(found, str):
                rows.append([name, found])
                continue
            expected = expected or found
            different = sum(a != b for a, b in zip(expected, found, strict=True))
            rows.append([name, f"{len(found)} digests, {different} different"])
            if different:
                print(*(f"{a}  {b}" for a, b in zip(expected, found, strict=True) if a != b), sep="\n", file=sys.stderr)
    text = [
        "# Kernels for other processors",
        "",
        *(__doc__ or "").strip().splitlines()[5:],
        "",
        *markdown(["build", "found"], rows),
        "",
    ]
    (HERE / "results" / "elsewhere.md").write_text("\n".join(text))
    print("\n".join(text))
    sys.exit(any("0 different" not in row[1] and "digests" in row[1] for row in rows))


if __name__ == "__main__":
    main()
