"""Which build of the kernels runs, and what is said where there is none or one cannot be loaded."""

import importlib
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest

from pyterrier_lir import kernels

COMPILED = [name for name in kernels.available() if name != "numpy"]


def test_every_build_that_is_there_is_loaded() -> None:
    """Several at once: types of the same name must not get into each other's way."""
    cpu = importlib.import_module("pyterrier_lir.kernels._cpu")
    there = {path.name.split(".")[0][1:] for path in Path(kernels.__file__).parent.glob("_*" + EXTENSION_SUFFIXES[0])}
    assert kernels.available() == [*(name for name in cpu.supported() if name in there), "numpy"]


def test_a_build_that_cannot_be_loaded_is_no_secret(tmp_path: Path) -> None:
    """A damaged file warns, with its name and the reason; what is left does the work."""
    package = tmp_path / "pyterrier_lir"
    shutil.copytree(Path(kernels.__file__).parents[1], package, ignore=shutil.ignore_patterns("*.so"))
    cpu = importlib.import_module("pyterrier_lir.kernels._cpu")
    shutil.copy(cpu.__file__, package / "kernels")
    (package / "kernels" / f"_{cpu.supported()[0]}{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    code = "from pyterrier_lir import kernels; print(kernels.available())"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['numpy']"
    assert f"pyterrier_lir.kernels._{cpu.supported()[0]} is there but cannot be loaded" in found.stderr


def test_forced_build() -> None:
    before = kernels.active()
    for name in kernels.available():
        with kernels.forced(name):
            assert kernels.active() == name
            with kernels.forced("numpy"):
                assert kernels.active() == "numpy"
            assert kernels.active() == name
    assert kernels.active() == before
    with pytest.raises(ValueError, match="'z80', which does not exist; choose one of"), kernels.forced("z80"):
        pass
    with pytest.raises(RuntimeError), kernels.forced("numpy"):
        raise RuntimeError
    assert kernels.active() == before


@pytest.mark.parametrize("name", kernels.available())
def test_environment_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PYTERRIER_LIR_KERNELS", name)
    assert kernels.active() == name
    other = next(other for other in [*kernels.available(), "numpy"] if other != name or len(COMPILED) == 0)
    with kernels.forced(other):
        assert kernels.active() == other
    monkeypatch.setenv("PYTERRIER_LIR_KERNELS", "auto")
    assert kernels.active() == kernels.available()[0]
    monkeypatch.delenv("PYTERRIER_LIR_KERNELS")
    assert kernels.active() == kernels.available()[0]


def test_unknown_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTERRIER_LIR_KERNELS", "z80")
    with pytest.raises(ValueError, match="PYTERRIER_LIR_KERNELS asks for the kernels 'z80', which does not exist"):
        kernels.maxsim(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), np.array([0, 1]))


WITHOUT_BUILDS = """
import sys, warnings
for name in ("plain", "dotprod", "x86_64_v2", "x86_64_v3", "icelake"):
    sys.modules["pyterrier_lir.kernels._" + name] = None  # importing it fails
warnings.simplefilter("error")
import numpy as np
from pyterrier_lir import kernels
warnings.simplefilter("always")
assert kernels.available() == ["numpy"]
one = np.ones((1, 1), dtype=np.float32)
with warnings.catch_warnings(record=True) as caught:
    for _ in range(2):
        assert kernels.maxsim(one, one, np.array([0, 1])).tolist() == [1.0]
print(len(caught))
"""


@pytest.mark.parametrize(("variable", "expected"), [("auto", "1"), ("numpy", "0")])
def test_without_compiled_kernels(monkeypatch: pytest.MonkeyPatch, variable: str, expected: str) -> None:
    """NumPy does the work and says so once, at the first call; not when it was asked for."""
    monkeypatch.setenv("PYTERRIER_LIR_KERNELS", variable)
    result = subprocess.run([sys.executable, "-c", WITHOUT_BUILDS], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == expected


def test_import_is_light() -> None:
    code = "import sys, pyterrier_lir.kernels; print([m for m in ('torch', 'pandas', 'faiss') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
