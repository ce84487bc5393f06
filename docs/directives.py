"""The directives of PyTerrier's documentation that our pages use, without its network look-ups.

``.. schematic::`` runs a pipeline's code and draws it, ``.. cite.dblp::`` names a paper, ``.. how-to::`` is a section
with a question for its title. PyTerrier's own versions do more (BibTeX, an index of all questions); the pages are the
same.
"""

import ast
from pathlib import Path
from typing import Any
from unittest import mock

import pyterrier as pt
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# One line per paper: the key of dblp, a tabulator, the reference.
REFERENCES = dict(
    line.split("\t") for line in (Path(__file__).parent / "references.tsv").read_text(encoding="utf-8").splitlines()
)


class Schematic(SphinxDirective):
    """Draws the transformer that the code's last expression gives; lines up to ``# FOLD`` run, but are not shown."""

    has_content = True
    option_spec = {"show_code": directives.flag, "input_columns": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Gives the code, if it is to be shown, and the drawing."""
        code = "\n".join(self.content)
        columns = self.options.get("input_columns")
        with mock.patch.object(pt.documentation, "url_for_class", return_value=None):  # it asks the network
            drawing = pt.schematic.draw(
                evaluate(code), input_columns=[name.strip() for name in columns.split(",")] if columns else None
            )
        out: list[nodes.Node] = [nodes.raw("", f'<div class="schematic">{drawing}</div>', format="html")]
        if "show_code" in self.options:
            shown = code.split("# FOLD")[-1].strip()
            out.insert(0, nodes.literal_block(shown, shown, language="python"))
        return out


class CiteDblp(SphinxDirective):
    """Names a paper by its key at dblp."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Gives a paragraph: the reference as a link to dblp."""
        key = self.arguments[0]
        if key not in REFERENCES:
            raise self.error(f"{key} is not in docs/references.tsv; expected a line with its reference.")
        link = nodes.reference("", REFERENCES[key], refuri=f"https://dblp.org/rec/{key}")
        return [nodes.paragraph("", "", nodes.inline("", "Paper: "), link)]


class HowTo(SphinxDirective):
    """A section whose title is a question."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Gives the section, with its content parsed."""
        title = self.arguments[0]
        words, messages = self.state.inline_text(title, self.lineno)
        section = nodes.section("", nodes.title(title, "", *words), names=[nodes.fully_normalize_name(title)])
        self.state.document.note_implicit_target(section)
        self.state.nested_parse(self.content, self.content_offset, section)
        return [section, *messages]


def evaluate(code: str) -> Any:
    """Runs code and gives the value of its last line, which is an expression."""
    *body, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        raise ValueError(f"the code ends with {ast.unparse(last)!r}; expected an expression that is a pipeline.")
    names: dict[str, Any] = {"pt": pt}
    exec(compile(ast.Module(body, []), "<schematic>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<schematic>", "eval"), names)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directives."""
    app.add_directive("schematic", Schematic)
    app.add_directive("cite.dblp", CiteDblp)
    app.add_directive("how-to", HowTo)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
