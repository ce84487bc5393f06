"""The search tool for whatever speaks the Model Context Protocol, by the official package ``mcp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pyterrier_lir.agents.search_tool import SearchTool
from pyterrier_lir.installing import pip_install

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer


def mcp_server(tool: SearchTool, *, name: str = "pyterrier-lir") -> MCPServer:
    """A server with one tool; ``mcp_server(tool).run()`` serves it over standard input and output.

    What the tool refuses (a used-up budget, a blank query) is a tool error, with a message that the model can read. The
    command line serves an index: ``python -m pyterrier_lir mcp my.lir --texts documents.jsonl``.

    Args:
        tool: Its name, description and limits are those of the server's tool. Its log is that of all clients.
        name: The server's.

    Raises:
        ImportError: If mcp 2 or later is not installed.
        ValueError: If it is given something else than a tool.
    """
    if not isinstance(tool, SearchTool):
        raise ValueError(
            f"tool is {tool!r:.60}; expected a SearchTool. Make one of your pipeline: lir.agents.SearchTool(pipeline)."
        )
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise ImportError(
            f"serving a search tool needs the package mcp, version 2 or later. Run: {pip_install('mcp')}"
        ) from error
    from pydantic import Field

    properties = tool.schema["parameters"]["properties"]
    server = MCPServer(name, instructions=tool.description)

    def search(query: str, k: int = tool.k) -> dict[str, Any]:
        try:
            return {"results": tool.search(query, k)}
        except ValueError as error:
            raise ToolError(str(error)) from error

    # the protocol's schema is made of these; they hold values that differ from tool to tool
    search.__annotations__ = {
        "query": Annotated[str, Field(description=properties["query"]["description"])],
        "k": Annotated[int, Field(ge=1, le=tool.max_k, description=properties["k"]["description"])],
        "return": dict[str, Any],
    }
    server.add_tool(search, name=tool.name, description=tool.description)
    return server
