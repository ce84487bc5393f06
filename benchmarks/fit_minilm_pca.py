"""Fits the projection that is shipped for ``LateInteractionEncoder("minilm", dim=...)``.

The text is neutral, not of any test collection: the docstrings of the running Python's standard library.

    python benchmarks/fit_minilm_pca.py pyterrier_lir/encode/minilm_pca.npy
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DIM, SEED, MAX_TEXTS = 128, 0, 1000


def stdlib_docstrings() -> Iterator[str]:
    """The docstrings of at least 200 characters, each once, by file name; tests left out."""
    root = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"} & set(path.relative_to(root).parts):
            continue
        for text in _docstrings(path):
            if len(text) >= 200 and text not in seen:
                seen.add(text)
                yield text


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # some files are templates
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield inspect.cleandoc(text)


def main() -> None:
    """Fits with `LateInteractionEncoder.adapt` and writes the matrix alone, float32 (384, 128)."""
    from pyterrier_lir import LateInteractionEncoder

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        encoder = LateInteractionEncoder.adapt(
            "minilm", stdlib_docstrings(), DIM, SEED, Path(folder, "checkpoint"), max_texts=MAX_TEXTS
        )
        matrix = encoder.load()[1].linear.weight.detach().float().cpu().numpy().T
    np.save(output, np.ascontiguousarray(matrix))
    print(matrix.shape, matrix.dtype, hashlib.sha256(output.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
