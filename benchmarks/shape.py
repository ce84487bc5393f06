"""The shape of this repository in one table: how long functions and files are, what is typed, documented and tested.

``python benchmarks/shape.py`` prints it, ``--write`` also puts it into CONTRIBUTING.md. Code lines are those that are
neither blank nor comment nor docstring; "typed" is the share of parameters with an annotation; a public function has no
leading underscore and stands in a module, or in a class, without one. Function lengths are code lines.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARKS = "<!-- shape -->", "<!-- /shape -->"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """What one Python file holds."""

    path: Path
    lines: int = 0
    code: set[int] = field(default_factory=set)
    comments: int = 0
    functions: list[Function] = field(default_factory=list)
    public: list[Function] = field(default_factory=list)
    raises: int = 0
    asserts: int = 0
    prints: int = 0

    def length(self, function: Function) -> int:
        """Code lines of a function, without its decorators."""
        assert function.end_lineno is not None
        return sum(number in self.code for number in range(function.lineno, function.end_lineno + 1))


def read(path: Path) -> Module:
    """Measures a file."""
    text = path.read_text(encoding="utf-8")
    tree, module = ast.parse(text), Module(path, lines=len(text.splitlines()))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            module.comments += 1
        elif token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            module.code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            module.code -= docstring_lines(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            module.functions.append(node)
        module.raises += isinstance(node, ast.Raise)
        module.asserts += isinstance(node, ast.Assert)
        module.prints += isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    module.public = list(public_functions(tree))
    return module


def docstring_lines(node: ast.AST) -> set[int]:
    """The lines of the docstring of a module, class or function."""
    body = node.body  # type: ignore[attr-defined]
    first = body[0] if body else None
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if not is_docstring or not isinstance(first.value.value, str):  # type: ignore[union-attr]
        return set()
    return set(range(first.lineno, first.end_lineno + 1))  # type: ignore[union-attr, operator]


def public_functions(body: ast.AST) -> Iterator[Function]:
    """Functions and methods that others may call."""
    for node in ast.iter_child_nodes(body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                yield from public_functions(node)
            else:
                yield node


def parameters(function: Function) -> list[ast.arg]:
    """Its parameters, without ``self`` and ``cls``."""
    found = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    found += [extra for extra in (function.args.vararg, function.args.kwarg) if extra]
    return [parameter for parameter in found if parameter.arg not in ("self", "cls")]


def row(name: str, modules: list[Module]) -> dict[str, str]:
    """One line of the table."""
    code = sum(len(module.code) for module in modules)
    lengths = sorted(module.length(function) for module in modules for function in module.functions)
    longest = max(modules, key=lambda module: module.lines)
    typed = [bool(p.annotation) for module in modules for function in module.functions for p in parameters(function)]
    documented = [bool(ast.get_docstring(function)) for module in modules for function in module.public]
    return {
        "what": name,
        "files": str(len(modules)),
        "lines": f"{sum(module.lines for module in modules):,}",
        "code": f"{code:,}",
        "median file": f"{statistics.median(module.lines for module in modules):.0f}",
        "longest file": f"{longest.path.name} {longest.lines}",
        "function: median / 90 % / longest": (
            f"{statistics.median(lengths):.0f} / {lengths[int(0.9 * len(lengths))]} / {lengths[-1]}"
        ),
        "over 50": percent([length > 50 for length in lengths]),
        "typed": percent(typed),
        "documented": percent(documented),
        "comments per 100": f"{100 * sum(module.comments for module in modules) / code:.0f}",
        "raise / assert / print": " / ".join(
            str(sum(getattr(module, kind) for module in modules)) for kind in ("raises", "asserts", "prints")
        ),
    }


def percent(values: list[bool]) -> str:
    """The share of what is true."""
    return f"{100 * sum(values) / len(values):.0f} %" if values else ""


def table() -> str:
    """The table, in Markdown."""
    rooms = {name: [read(path) for path in python_files(name)] for name in ("pyterrier_lir", "tests", "benchmarks")}
    rows = [row(name, modules) for name, modules in rooms.items()]
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(found.values()) + " |" for found in rows]
    code = {name: sum(len(module.code) for module in modules) for name, modules in rooms.items()}
    sources = sorted((ROOT / "pyterrier_lir/kernels/src").iterdir(), key=lambda path: -lines_of(path))
    tests = sum(f.name.startswith("test_") for module in rooms["tests"] for f in module.functions)
    lines += [
        "",
        f"{public_names()} public names; {tests:,} test functions, {code['tests'] / code['pyterrier_lir']:.2f} lines "
        f"of tests to one of code. C++: {len(sources)} files, {sum(map(lines_of, sources)):,} lines, the longest "
        f"{sources[0].name} with {lines_of(sources[0])}.",
    ]
    return "\n".join(lines)


def python_files(folder: str) -> list[Path]:
    """Its Python files, in order; not what is kept in hidden folders, such as packages to compare with."""
    found = (ROOT / folder).rglob("*.py")
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(ROOT).parts))


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def public_names() -> int:
    """How many names the package offers."""
    (found,) = re.findall(r"__all__ = \[(.*?)\]", (ROOT / "pyterrier_lir/__init__.py").read_text(), re.DOTALL)
    return len(re.findall('"', found)) // 2


def main() -> None:
    """Prints the table, or also puts it into CONTRIBUTING.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into CONTRIBUTING.md as well")
    shown = table()
    print(shown)
    if parser.parse_args().write:
        page = ROOT / "CONTRIBUTING.md"
        before, rest = page.read_text().split(MARKS[0])
        page.write_text(f"{before}{MARKS[0]}\n{shown}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    main()
