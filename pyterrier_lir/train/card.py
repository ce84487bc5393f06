"""The card of a checkpoint: what it was trained from, on what, how, by which versions, and what it measured."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import pandas as pd

from pyterrier_lir import __version__

PACKAGES = ("torch", "transformers", "sentence-transformers", "pyterrier")


def versions() -> dict[str, str]:
    """Of all that decides about the weights."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"pyterrier-lir": __version__, "python": platform.python_version(), **found}


def describe(name: str, data: pd.DataFrame, checksum: str) -> str:
    """One data set in a line."""
    relevant = data["label"] > 0
    return (
        f"{name}: {data['qid'].nunique():,} queries, {int(relevant.sum()):,} positives, {int((~relevant).sum()):,} "
        f"negatives (sha256 {checksum[:16]})"
    )


def write(recipe: Mapping[str, Any], data: Mapping[str, str], curve: pd.DataFrame) -> str:
    """The card in Markdown, with the head that model hubs read.

    Args:
        recipe: What the weights depend on, by name.
        data: A line for each data set.
        curve: What was measured, see `dev.curve`.
    """
    shown = {name: value for name, value in recipe.items() if name != "data"}
    lines = [
        "---", "library_name: sentence-transformers", "tags:", "- sentence-transformers", "- multi-vector", "- colbert",
        "- late-interaction", "---", "", "# A late-interaction model", "",
        "Trained with pyterrier_lir over sentence-transformers. It is loaded by",
        "`pyterrier_lir.LateInteractionEncoder(folder)` and `sentence_transformers.MultiVectorEncoder(folder)`.", "",
        "| | |", "| --- | --- |", *(f"| {name} | `{value}` |" for name, value in shown.items()),
        *(f"| data | {line} |" for line in data.values()),
        *(f"| {name} | {version} |" for name, version in versions().items()), "",
    ]  # fmt: skip
    if len(curve):
        lines += ["While it was trained:", "", *_table(curve), ""]
    return "\n".join(lines)


def _table(curve: pd.DataFrame) -> list[str]:
    cells = [[_cell(value) for value in row] for row in curve.itertuples(index=False)]
    rule = ["---:"] * len(curve.columns)
    return ["| " + " | ".join(row) + " |" for row in [list(curve.columns), rule, *cells]]


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
