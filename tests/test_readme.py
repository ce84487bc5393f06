"""The README's Python code runs, in the order in which it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(
    r"^```python(?P<flags>[^\n]*)\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.M | re.S
)


def blocks():
    return [match.groupdict() for match in BLOCK.finditer(README.read_text())]


def test_the_code_runs_and_prints_what_it_says(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    executed = 0
    for block in blocks():
        if "needs-network" in block["flags"]:
            compile(block["code"], "README.md", "exec")
            continue
        exec(compile(block["code"], "README.md", "exec"), names)
        printed = capsys.readouterr().out
        executed += 1
        if block["output"] is not None:
            assert printed.split() == block["output"].split()
    assert executed >= 2


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_its_commands_exist(command):
    assert command in README.read_text()
    assert re.search(rf"^{command.removeprefix('make ')}:", (README.parent / "Makefile").read_text(), re.M)


def test_the_map_names_files_that_exist():
    rows = re.findall(r"^\| [^|]+ \| (`pyterrier_lir/[^|]+) \|", README.read_text(), re.M)
    named = []
    for row in rows:
        first, *others = (README.parent / path for path in re.findall("`([^`]+)`", row))
        named += [first, *(first.parent / other.name for other in others)]
    assert len(named) > len(rows) >= 25
    assert [path for path in named if not path.is_file()] == []
    assert sorted(set(named)) == sorted(named)  # each once
