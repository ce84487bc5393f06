"""CONTRIBUTING.md says what is there, and the limits of length that it names hold."""

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHAPE = ROOT / "benchmarks" / "shape.py"
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WRITTEN = sorted(set(re.findall(r"`((?:pyterrier_lir|tests|benchmarks|notebooks|docs|\.ci)(?:/[\w.*-]+)+/?)", PAGE)))


@pytest.fixture(scope="module")
def shape():
    spec = spec_from_file_location("shape", SHAPE)
    module = sys.modules["shape"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["shape"]


def test_many_paths_are_named():
    assert len(WRITTEN) > 40


@pytest.mark.parametrize("path", WRITTEN)
def test_a_path_that_is_named_exists(path):
    assert list(ROOT.glob(path.rstrip("/"))), f"CONTRIBUTING.md names {path}"


def test_every_room_is_on_the_map():
    rooms = [path.parent.name for path in (ROOT / "pyterrier_lir").glob("*/__init__.py")]
    for room in rooms:
        assert f"`pyterrier_lir/{room}/`" in PAGE, room


def test_every_test_that_is_named_exists():
    for path, name in re.findall(r"`(tests/\w+\.py)::(\w+)`", PAGE):
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


@pytest.mark.parametrize("folder", ["pyterrier_lir", "tests", "benchmarks"])
def test_no_file_is_longer_than_400_lines_and_no_function_longer_than_80(folder, shape):
    for module in map(shape.read, shape.python_files(folder)):
        assert module.lines <= 400, module.path
        for function in module.functions:
            assert module.length(function) <= 80, f"{module.path}: {function.name}"


def test_no_source_of_the_kernels_is_longer_than_400_lines():
    for path in (ROOT / "pyterrier_lir/kernels/src").iterdir():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_the_table_of_shape_can_be_printed():
    done = subprocess.run([sys.executable, SHAPE], capture_output=True, text=True, check=True)
    (header,) = re.findall(r"^\| what .*$", PAGE, re.MULTILINE)
    assert header in done.stdout


def test_lengths_are_counted_without_docstrings_comments_and_blank_lines(shape, tmp_path):
    path = tmp_path / "short.py"
    lines = ['"""Doc."""', "", "", "def f(a: int, b):", '    """Doc.', "", "    More.", '    """']
    path.write_text("\n".join([*lines, "    # why", "    return (", "        a", "    )", ""]))
    module = shape.read(path)
    (function,) = module.functions
    assert (module.lines, len(module.code), module.comments) == (12, 4, 1)
    assert module.length(function) == 4
