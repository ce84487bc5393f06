"""The package itself: a light import, signatures that can be shown, public names."""

import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import pyterrier_lir as lir

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "faiss", "transformers", "sentence_transformers", "matplotlib", "ir_datasets"}


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_light():
    allowed = modules_after("import pyterrier") & HEAVY  # PyTerrier may load what it likes
    assert modules_after("import pyterrier_lir") & HEAVY <= allowed
    searching = "import pyterrier_lir as l; i = l.LirIndex.example(); (l.ToyEncoder() >> i.exhaustive()).search('day')"
    assert not modules_after(searching) & (HEAVY - {"ir_datasets"})
    assert "torch" in modules_after("import torch")


def test_signatures_that_the_api_page_shows():
    """PyTerrier's artifacts and transformers take ``*args`` in ``__new__``, which Sphinx would show."""
    assert list(lir.LirIndex.__signature__.parameters) == ["path"]
    assert list(type(lir.LirIndex("i.lir").indexer()).__signature__.parameters)[:3] == ["index_", "mode", "resume"]


def test_pytest_of_everything_collects_no_benchmarks():
    """They have files of the same name, and need other engines."""
    tests = ["--ignore=tests", "--ignore=pyterrier_lir"]  # which are collected in any case
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", ".", *tests]
    bare = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout


def test_public_names():
    for name in lir.__all__:
        assert getattr(lir, name)
    rooms = {
        "adapters", "agents", "datasets", "distributed", "experiment", "explain", "feedback", "pages", "peers",
        "reduce", "rerank", "serve", "train",
    }  # fmt: skip
    assert {*lir.__all__, *rooms} == set(dir(lir))
    for room in rooms:
        assert getattr(lir, room).__name__ == f"pyterrier_lir.{room}"
        for name in getattr(lir, room).__all__:
            assert getattr(getattr(lir, room), name)
    with pytest.raises(AttributeError, match=r"expected one of .*PlaidFolder, .*feedback, .*index\.plaid\(\)"):
        lir.Plaid  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        lir.Nonsense  # noqa: B018


def test_no_file_takes_the_place_of_a_public_name():
    """A file that is imported becomes an attribute of its room, over what the room makes when it is asked for."""
    rooms = [path.parent for path in (ROOT / "pyterrier_lir").glob("*/__init__.py")]
    both = [
        (importlib.import_module(f"pyterrier_lir.{room.name}"), name)
        for room in rooms
        for name in {path.stem for path in room.glob("*.py")}
        & {*getattr(importlib.import_module(f"pyterrier_lir.{room.name}"), "__all__", [])}
    ]
    assert both  # explain.heatmap, for one
    for room, name in both:
        importlib.import_module(f"{room.__name__}.{name}")
        assert not isinstance(getattr(room, name), types.ModuleType), name
