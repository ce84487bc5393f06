"""The documentation: its code runs, prints what it says, and Sphinx builds it without a warning."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest import mock

import pyterrier as pt
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "pyterrier_lir" / "pt_docs").glob("*.rst"))
BLOCK = re.compile(r"^(?P<margin> *)\.\. (?P<kind>code-block|schematic)::(?P<language>.*)\n", re.M)


def blocks(page):
    """Yields (line, kind, options, code) of every code block and schematic of a page."""
    text = page.read_text()
    for match in BLOCK.finditer(text):
        kind = match["language"].strip() or match["kind"]
        margin = re.escape(match["margin"])
        body = re.match(rf"(?:(?:{margin} +\S.*)?\n)*", text[match.end() :])[0]
        lines = textwrap.dedent(body).splitlines()
        options = [line for line in lines if re.match(r":\w+:", line)]
        yield text.count("\n", 0, match.start()) + 1, kind, options, "\n".join(lines[len(options) :]).strip("\n")


def beginning():
    """The first block of the overview, from which the examples of all pages go on."""
    return next(blocks(ROOT / "pyterrier_lir" / "pt_docs" / "overview.rst"))[3]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_runs_and_prints_what_it_says(page, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    if page.stem != "overview":
        exec(compile(beginning(), "overview.rst", "exec"), names)
    printed = None
    for line, kind, options, code in blocks(page):
        if kind == "python" and ":class: not-run" in options:
            compile(code, page.name, "exec")
        elif kind == "python":
            # blank lines before the code, so that a traceback names the line of the page
            exec(compile("\n" * line + code, str(page), "exec"), names)
            printed = capsys.readouterr().out
        elif kind == "text":
            assert printed.split() == code.split(), f"{page.name}:{line}"
        elif kind == "schematic":
            with mock.patch.object(pt.documentation, "url_for_class", return_value=None):
                assert "pts-transformer" in pt.schematic.draw(_last_value(code))


def _last_value(code):
    *body, last = code.split("\n\n") if "\n\n" in code else code.rsplit("\n", 1)
    names = {"pt": pt}
    exec("\n\n".join(body), names)
    return eval(f"({last})", names)


def test_the_pages_can_be_read_by_the_test():
    """What is neither run nor compared would go unnoticed."""
    kinds = {kind for page in PAGES for _, kind, _, _ in blocks(page)}
    assert kinds == {"python", "schematic", "text", "console"}
    assert sum(kind == "python" for page in PAGES for _, kind, _, _ in blocks(page)) >= 25


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_is_no_wider_than_a_page(page):
    for line, kind, _, code in blocks(page):
        assert max(map(len, code.splitlines())) <= 86, f"{page.name}:{line}: {kind}"


def test_sphinx_builds_the_pages_without_warnings(tmp_path):
    pytest.importorskip("sphinx", reason="needs Sphinx: pip install '.[docs]'")
    pytest.importorskip("furo", reason="needs furo: pip install '.[docs]'")
    pytest.importorskip("sphinx_design", reason="needs sphinx-design: pip install '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "--nitpicky", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run(
        [*command, "-c", "docs", "pyterrier_lir/pt_docs", tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "retrieval.html").read_text()
    assert "PLAID: An Efficient Engine" in page  # a reference
    assert "pts-pipeline" in page  # a schematic
