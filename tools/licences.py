"""Writes `docs/licences.md`: what an environment has installed, and under which licences. Used by ``make sbom``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "licences.md"
PERMISSIVE = ("MIT", "BSD", "Apache", "ISC", "PSF", "Python Software Foundation", "HPND", "CNRI", "Unlicense",
              "Zlib", "CMU", "CC0", "BSL-1.0")  # fmt: skip
NOTE = """\
# Licences

What an installation of this package brings with it, extras aside, and under which licences: written by `make sbom`
from what the packages say of themselves. This package is under the MIT licence; its compiled kernels hold parts of
pybind11, under the BSD licence in `LICENSE.pybind11`. MPL 2.0, where it stands below, asks whoever changes files of
that package to publish those files; who uses it or ships it unchanged need not publish anything else. Listed with a
torch for the processor: where pip brings one for CUDA, packages of NVIDIA (`nvidia-*`) come with it, under NVIDIA's
own, proprietary licence.

"""


def main(python: str) -> None:
    """Writes the page for the environment of a Python, those that are not plainly permissive first."""
    command = [sys.executable, "-m", "piplicenses", "--python", python, "--from=mixed", "--format=json", "--with-urls"]
    command += ["--with-system", "--ignore-packages", "pyterrier-lir"]  # what else is there was brought
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found = sorted(json.loads(done.stdout), key=lambda row: row["Name"].lower())
    open_questions = [row for row in found if not is_permissive(row["License"])]
    text = NOTE + section("Not only permissive", open_questions)
    text += "\n" + section("Permissive", [row for row in found if row not in open_questions])
    PAGE.write_text(text, encoding="utf-8")
    print(f"{len(found)} packages, {len(open_questions)} not only permissive: {PAGE}")


def is_permissive(licence: str) -> bool:
    """Whether all that is named in a licence is of a permissive family."""
    parts = licence.replace("(", " ").replace(")", " ").replace(" AND ", ";").replace(" OR ", ";").split(";")
    return all(any(name in part for name in PERMISSIVE) and "GPL" not in part for part in parts)


def section(title: str, rows: list[dict[str, str]]) -> str:
    """A heading and a table."""
    lines = [f"| [{row['Name']}]({row['URL']}) | {row['Version']} | {short(row['License'])} |" for row in rows]
    return "\n".join([f"## {title}", "", "| package | version | licence |", "|---|---|---|", *lines, ""])


def short(licence: str) -> str:
    """One line, even of a package that puts the whole text there."""
    return licence.strip().splitlines()[0][:120].replace("|", "/") if licence.strip() else "not said"


if __name__ == "__main__":
    main(sys.argv[1])
