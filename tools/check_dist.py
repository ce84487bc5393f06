"""Looks into built archives: ``python tools/check_dist.py dist``. Exits with what is wrong.

The sdist must hold what is committed, a wheel the package, the licences of all that is compiled into it and nothing
else, with modes that do not depend on who made it; compiled kernels must be for the wheel's Python, load nothing but
the system's libraries, from nowhere else, and carry no debug information.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}
NAME = re.compile(r"pyterrier_lir-[\w.]+-cp(?P<python>3\d+)-cp(?P=python)-manylinux_\d+_\d+_x86_64\.whl")
KERNELS = ("_cpu", "_x86_64_v2", "_x86_64_v3", "_icelake")  # what chooses, and what it chooses from
MADE = {"PKG-INFO", "setup.cfg"}  # by setuptools, beside its egg-info
NOT_IN_SDIST = (".gitignore", ".ci/")  # of the repository, not of the project
NOT_IN_WHEEL = ("pyterrier_lir/kernels/src/",)
WHEEL_MEGABYTES = 5


def main(arguments: Sequence[str]) -> None:
    """Checks all archives of a folder, prints their sizes and checksums."""
    archives = sorted(path for path in Path(arguments[0]).iterdir() if path.name.endswith((".whl", ".tar.gz")))
    if not archives:
        sys.exit(f"{arguments[0]} holds no archives; expected some. Make them: make wheels")
    wrong = []
    for path in archives:
        wrong += [f"{path.name}: {what}" for what in (in_wheel(path) if path.suffix == ".whl" else in_sdist(path))]
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.stat().st_size / 1e6:5.2f} MB  {path.name}")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)], check=True)
    if wrong:
        sys.exit("\n".join(wrong))


def committed() -> set[str]:
    """The files that git knows."""
    listed = subprocess.run(["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    return {*listed.stdout.decode().splitlines()}


def in_sdist(path: Path) -> Iterator[str]:
    """What an sdist has too much, or lacks."""
    with tarfile.open(path) as archive:
        names = {member.name.split("/", 1)[1] for member in archive if member.isfile()}
    found = {name for name in names if name not in MADE and ".egg-info/" not in name}
    yield from compared(found, {name for name in committed() if not name.startswith(NOT_IN_SDIST)})


def in_wheel(path: Path) -> Iterator[str]:
    """What a wheel has too much, or lacks, and what is wrong with its kernels."""
    named = NAME.fullmatch(path.name)
    if named is None:
        yield "its name is strange; expected such as pyterrier_lir-0.1.0-cp311-cp311-manylinux_2_34_x86_64.whl"
        return
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
        files = {name: archive.read(name) for name in entries}
    if sum(map(len, files.values())) > 3e6 * WHEEL_MEGABYTES or path.stat().st_size > 1e6 * WHEEL_MEGABYTES:
        yield f"it is larger than {WHEEL_MEGABYTES} MB"
    kernels = {f"pyterrier_lir/kernels/{name}.cpython-{named['python']}-x86_64-linux-gnu.so" for name in KERNELS}
    known = committed()
    own = {name for name in known if name.startswith("pyterrier_lir/") and not name.startswith(NOT_IN_WHEEL)}
    licences = {name for name in known if name.startswith("LICENSE")}
    yield from compared({name for name in files if ".dist-info/" not in name}, own | kernels)
    yield from compared({name.split("/licenses/")[1] for name in files if "/licenses/" in name}, licences)
    for name, entry in entries.items():
        mode = entry.external_attr >> 16 & 0o777
        if mode != (0o755 if name in kernels else 0o664 if name.endswith("/RECORD") else 0o644):
            yield f"{name} has the mode {mode:o}"
    for name in sorted(kernels & {*files}):
        yield from (f"{name}: {what}" for what in in_kernel(files[name]))


def compared(found: set[str], expected: set[str]) -> Iterator[str]:
    """What is there too much, and what is not there."""
    yield from (f"it holds {name}" for name in sorted(found - expected))
    yield from (f"it lacks {name}" for name in sorted(expected - found))


def in_kernel(data: bytes) -> Iterator[str]:
    """What a shared object says of where it was made."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    yield from (f"it has {section.name}" for section in elf.iter_sections() if section.name.startswith(".debug"))
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    yield f"it looks for libraries in {getattr(tag, 'rpath', '') or getattr(tag, 'runpath', '')}"
                if tag.entry.d_tag == "DT_NEEDED" and tag.needed not in LIBRARIES:
                    yield f"it needs {tag.needed}"


if __name__ == "__main__":
    main(sys.argv[1:])
