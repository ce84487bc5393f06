"""``python -m pyterrier_lir mcp``: its arguments, and the server until its client is gone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

HELP = "an index as a search tool for agents (Model Context Protocol)"
DESCRIPTION = """\
Serves an index as a search tool to agents, by the Model Context Protocol over
standard input and output. What it gives of a document is the part of its text
that fits the query best.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments, but for those of the encoder."""
    add = parser.add_argument
    add("index", help="the folder of the index")
    add("--texts", required=True, metavar="FILE", help="the documents: a JSON object with docno and fields a line")
    add("--fields", default="title,text", metavar="A,B", help="the fields of their text (default: %(default)s)")
    add("--k", type=int, default=5, help="results of a search that does not say (default: %(default)s)")
    add("--snippet-size", type=int, default=400, metavar="N", help="characters of each (default: %(default)s)")
    add("--max-searches", type=int, metavar="N", help="refuse further ones (default: no limit)")
    add("--max-characters", type=int, metavar="N", help="of snippets in all (default: no limit)")


def run(args: argparse.Namespace, encoder: Encoder) -> None:
    """Serves until the client is gone."""
    from pyterrier_lir.agents.index_tool import index_tool, read_texts
    from pyterrier_lir.agents.protocol import mcp_server
    from pyterrier_lir.index.artifact import LirIndex

    texts = read_texts(args.texts, tuple(args.fields.split(",")))
    options = {name: getattr(args, name) for name in ("k", "snippet_size", "max_searches", "max_characters")}
    mcp_server(index_tool(LirIndex(args.index), encoder, texts, **options)).run()
