"""What looks into built archives finds what is wrong with them; nothing is built here."""

import importlib.util
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KERNELS = {f"pyterrier_lir/kernels/_{name}.cpython-311-x86_64-linux-gnu.so" for name in
           ("cpu", "x86_64_v2", "x86_64_v3", "icelake")}  # fmt: skip
NAME = "pyterrier_lir-0.1.0-cp311-cp311-manylinux_2_34_x86_64.whl"


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def check():
    known = subprocess.run(["git", "ls-files", "tools"], cwd=ROOT, capture_output=True).stdout
    if not known:
        pytest.skip("needs a checkout of the repository: archives are compared with what git holds")
    module = tool("check_dist")
    module.in_kernel = lambda data: [data.decode()] if data else []  # needs pyelftools and something compiled
    return module


def wheel(path, names, modes=None):
    """An archive of empty files, of the modes that they have everywhere."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            mode = 0o755 if name.endswith(".so") else 0o664 if name.endswith("/RECORD") else 0o644
            entry.external_attr = (modes or {}).get(name, mode) << 16
            archive.writestr(entry, "")
    return path


def sdist(path, names):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"pyterrier_lir-0.1.0/{name}"), io.BytesIO())
    return path


def test_a_wheel_holds_the_package_and_nothing_else(check, tmp_path):
    own = {name for name in check.committed() if name.startswith("pyterrier_lir/") and "/kernels/src/" not in name}
    info = "pyterrier_lir-0.1.0.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "RECORD", "licenses/LICENSE", "licenses/LICENSE.pybind11")}
    whole = {*own, *KERNELS, *about}
    assert list(check.in_wheel(wheel(tmp_path / NAME, whole))) == []
    without = {*whole, "tests/test_plaid.py"} - {"pyterrier_lir/py.typed"}
    assert [*check.in_wheel(wheel(tmp_path / NAME, without))] == [
        "it holds tests/test_plaid.py", "it lacks pyterrier_lir/py.typed",
    ]  # fmt: skip
    without = whole - {min(KERNELS), f"{info}/licenses/LICENSE.pybind11"}
    assert [*check.in_wheel(wheel(tmp_path / NAME, without))] == [
        f"it lacks {min(KERNELS)}", "it lacks LICENSE.pybind11",
    ]  # fmt: skip
    modes = {f"{info}/METADATA": 0o600, min(KERNELS): 0o700}
    assert {*check.in_wheel(wheel(tmp_path / NAME, whole, modes))} == {
        f"{info}/METADATA has the mode 600", f"{min(KERNELS)} has the mode 700",
    }  # fmt: skip
    others = [*check.in_wheel(wheel(tmp_path / NAME.replace("311", "312"), whole))]
    assert others[:4] == [f"it holds {name}" for name in sorted(KERNELS)]  # of another Python
    assert others[4:8] == [f"it lacks {name.replace('311', '312')}" for name in sorted(KERNELS)]
    (found,) = check.in_wheel(wheel(tmp_path / NAME.replace("manylinux_2_34", "linux"), whole))
    assert found.startswith("its name is strange")


def test_an_sdist_holds_what_is_committed(check, tmp_path):
    whole = {name for name in check.committed() if not name.startswith((".ci/", ".gitignore"))}
    assert {"setup.py", "tests/fixtures/index-0.1-uniform.txt", "pyterrier_lir/kernels/src/module.cpp"} <= whole
    made = {"PKG-INFO", "pyterrier_lir.egg-info/SOURCES.txt"}
    assert list(check.in_sdist(sdist(tmp_path / "a.tar.gz", {*whole, *made}))) == []
    assert list(check.in_sdist(sdist(tmp_path / "b.tar.gz", {*whole, ".secret"} - {"setup.py"}))) == [
        "it holds .secret", "it lacks setup.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT License", True),
        ("Apache-2.0 AND (BSD-3-Clause OR MIT)", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", False),
        ("MIT OR GPL-2.0-only", False),  # somebody has to look
        ("UNKNOWN", False),
    ],
)
def test_a_licence_that_is_not_plainly_permissive_is_listed(licence, permissive):
    assert tool("licences").is_permissive(licence) is permissive
