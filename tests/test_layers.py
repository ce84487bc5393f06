"""Who may import whom: read from the source, so that imports inside functions count as well."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyterrier_lir"
SHARED = {"kernels", "ragged", "columns"}  # every room may import these, and they import nothing of ours

# room -> rooms that it may import when it is imported
MAY = {
    "kernels": set(),
    "ragged": set(),
    "columns": set(),
    "arguments": set(),  # which every room of this table may import as well
    "options": set(),
    "transformer": {"options"},
    "facts": set(),
    "figures": set(),
    "installing": set(),
    "frames": {"columns"},
    "pages": {"transformer", "frames", "installing"},
    "encode": {"transformer", "frames", "facts", "installing", "pages"},
    "reduce": {"transformer", "frames", "pages"},
    "index": {"transformer", "facts", "options"},
    "retrieve": {"transformer", "frames", "index"},
    "rerank": {"transformer", "frames", "index"},
    "feedback": {"transformer", "frames", "index"},
    "explain": {"transformer", "frames", "index", "figures", "pages"},
}
# The face of an index stands above all rooms whose methods it offers; below it, nobody imports it but for types, or to
# ask whether a value is one.
FACE = "index/artifact.py"
# Inside functions of these files: the delegates of the face and of the encoder.
DELEGATES = {
    FACE: {"encode"},
    "encode/late_interaction.py": {"feedback"},
    "encode/base.py": {"rerank", "explain"},
    "encode/page_model.py": {"rerank", "explain"},
}
ANYTHING = {  # may import all; nobody imports them
    "experiment", "datasets", "train", "agents", "adapters", "distributed", "peers", "serve", "__main__",
}  # fmt: skip
# Classes of PyTorch are made where torch is there: these files load it, and others import them inside functions only.
MODULES = "train/modules/"
# heavy library -> rooms in which it may be imported, inside functions only
HEAVY = {
    "torch": {"encode", "retrieve", "rerank", "index", "kernels", "train", "experiment", "peers", "__main__"},
    "transformers": {"encode", "train"},
    "sentence_transformers": {"encode", "train"},
    "datasets": {"train"},
    "faiss": {"retrieve"},
    "scipy": {"experiment", "reduce"},  # Ward's tree; sentence-transformers' pooling does not say which rows it merged
    "matplotlib": {"experiment", "explain", "figures", "pages"},
    "PIL": {"pages", "encode", "explain", "datasets"},
    "pypdfium2": {"pages"},
    "av": {"pages"},
    "pyarrow": {"datasets", "peers"},
    "ir_datasets": {"datasets", "experiment"},
    "ray": {"distributed"},
    "qdrant_client": {"peers"},
    "lancedb": {"peers"},
    "pymilvus": {"peers"},
    "fast_plaid": {"peers"},
    "xtr_warp": {"peers"},
    "pylate": {"peers"},
    "duckdb": {"peers"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def room(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imports(path):
    """Yields (module, at the top of the file) for every import but those for type checkers only."""
    tree = ast.parse(path.read_text())
    typing = {node for block in ast.walk(tree) if _for_types(block) for node in ast.walk(block)}
    inside = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f) if n is not f}
    for node in ast.walk(tree):
        if node in typing:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from ((name, node not in inside) for name in names)


def _for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def ours(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "pyterrier_lir" and len(parts) > 1 else None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports(path):
    here = room(path)
    if here in {"__init__"} | ANYTHING:
        return
    allowed = MAY[here] | SHARED | {here, "arguments", "__version__"} if here not in SHARED else {here}
    if str(path.relative_to(PACKAGE)) == FACE:
        allowed |= {"retrieve", "rerank", "feedback", "explain"}
    delegated = DELEGATES.get(str(path.relative_to(PACKAGE)), set())
    for module, top in imports(path):
        target = ours(module)
        if target is not None:
            assert target in allowed or (not top and target in delegated), f"{path} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_load_late(path):
    for module, top in imports(path):
        library = module.split(".")[0]
        if library in HEAVY:
            assert room(path) in HEAVY[library], f"{path} imports {library}"
            assert not top or _is_module(path), f"{path} imports {library} when it is imported"
        if module.startswith(f"pyterrier_lir.{MODULES.strip('/').replace('/', '.')}."):
            assert not top or _is_module(path), f"{path} imports {module} when it is imported"


def _is_module(path):
    return str(path.relative_to(PACKAGE)).startswith(MODULES)


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "index"], ids=lambda p: p.name)
def test_the_index_is_numpy(path):
    with_pyterrier = {"artifact.py", "indexer.py", "plaid_folder.py", "unseen.py"}
    for module, _ in imports(path):
        assert module.split(".")[0] != "pandas"
        assert module.split(".")[0] != "pyterrier" or path.name in with_pyterrier


def test_the_walk_sees_imports():
    seen = dict(imports(PACKAGE / "index" / "artifact.py"))
    assert seen["pyterrier_lir.encode.toy"] is False
    assert seen["pyterrier_lir.retrieve.exhaustive"] is True
    assert seen["pyterrier"] is True
    assert "pandas" not in seen
