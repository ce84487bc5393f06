"""``python -m pyterrier_lir serve``: its arguments, and the server until it is interrupted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyterrier_lir.installing import pip_install

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

HELP = "search an index over HTTP, with a page"
DESCRIPTION = """\
Serves one index over HTTP: a page to search it and to see which tokens met,
and /search, /explain, /health and /metrics. Whoever reaches the address can
search: it is bound to this machine alone unless --host says otherwise. There
is no encryption and no password; put a proxy before it where these are needed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments, but for those of the encoder."""
    add = parser.add_argument
    add("index", help="the folder of the index")
    add("--method", default="plaid", help="exhaustive, plaid, warp or xtr (default: %(default)s)")
    add("--host", default="127.0.0.1", help="the address to bind to; 0.0.0.0 for all (default: %(default)s)")
    add("--port", type=int, default=8000, help="(default: %(default)s)")
    add("--workers", type=int, metavar="N", help="searches at a time (default: the cores)")
    add(
        "--waiting",
        type=int,
        default=32,
        metavar="N",
        help="requests that may wait; more get 503 (default: %(default)s)",
    )
    add("--timeout", type=float, default=10, metavar="S", help="seconds for an answer, then 504 (default: %(default)s)")
    add("--max-query", type=int, default=2000, metavar="N", help="characters of a query (default: %(default)s)")
    add("--max-results", type=int, default=1000, metavar="N", help="results of a query (default: %(default)s)")


def run(args: argparse.Namespace, encoder: Encoder) -> None:
    """Serves until it is interrupted."""
    from pyterrier_lir.serve.app import PACKAGES, Settings, create_app

    try:
        import uvicorn
    except ImportError as error:
        raise ImportError(f"uvicorn is not installed; expected it for the server: {pip_install(*PACKAGES)}") from error
    settings = Settings(
        args.method, args.workers, args.waiting, args.timeout, args.max_query, args.max_results, args.host
    )
    app: Any = create_app(args.index, encoder, settings)
    # Connections are bounded as well, with room for those that only ask for the page or the metrics.
    most = 4 * ((args.workers or 8) + args.waiting) + 64
    uvicorn.run(
        app, host=args.host, port=args.port, limit_concurrency=most, timeout_keep_alive=5, access_log=False,
        server_header=False, log_level="info" if args.verbose else "warning",
    )  # fmt: skip
