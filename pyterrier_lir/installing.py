"""How to get what is optional: a command that works for a checkout as well as for a released package."""

from __future__ import annotations

import importlib.metadata
import re
import shlex

DISTRIBUTION = "pyterrier-lir"


def pip_install(*packages: str) -> str:
    """The command that installs packages of the extras, in the versions that fit.

    Versions are those that the installed distribution declares; from a bare source folder there are none.

    Example:
        >>> pip_install("nothing-known-of-it")
        'pip install nothing-known-of-it'
    """
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        declared = []
    versions = {_name(requirement): requirement.split(";")[0].strip() for requirement in reversed(declared)}
    return f"pip install {shlex.join(versions.get(_name(package), package) for package in packages)}"


def _name(requirement: str) -> str:
    """A distribution's name as PyPI compares names."""
    (name,) = re.findall(r"^[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name).lower()
