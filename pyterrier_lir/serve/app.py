"""The server: search, explain, health, metrics, and a page, over one index.

======== ===================== =========================================================================
path     parameters            answer
======== ===================== =========================================================================
/        ``query``, ``docno``  a page to search and to see which tokens met
/search  ``query``, ``k``      ``results``: ``docno``, ``score``, ``rank``; ``manifest``: the state that was searched
/explain ``query``, ``docno``  ``doc_words``, and for each row of the query the word that it met
/health                        200 and counts, or 503
/metrics                       for Prometheus
======== ===================== =========================================================================

422 a parameter that does not fit, 404 an unknown document, 503 a full queue, 504 a late answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyterrier_lir import arguments
from pyterrier_lir.installing import pip_install
from pyterrier_lir.serve.reader import Reader

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pyterrier_lir.encode.base import Encoder

PACKAGES = ("fastapi", "uvicorn", "prometheus-client")


@dataclass(frozen=True)
class Settings:
    """What a server allows.

    Attributes:
        method: How to search: ``"exhaustive"``, ``"plaid"``, ``"warp"`` or ``"xtr"``.
        workers: Searches at a time, each on one thread; None for the cores.
        waiting: Requests that may wait; more get 503.
        timeout: Seconds that a request may take, waiting included; then it gets 504.
        max_query: Characters of a query.
        max_results: Results of a query.
        host: The address that it is bound to; on a loopback address requests for other host names are refused, so that
            no page of a stranger reads what is served to this machine alone.
    """

    method: str = "plaid"
    workers: int | None = None
    waiting: int = 32
    timeout: float = 10
    max_query: int = 2000
    max_results: int = 1000
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        arguments.check_counts(max_query=self.max_query, max_results=self.max_results)
        arguments.check_optional_counts(workers=self.workers)
        arguments.check_counts(0, waiting=self.waiting)
        arguments.check_number("timeout", self.timeout, 1e-3, 1e6, "seconds, more than 0")


def create_app(path: str | Path, encoder: Encoder, settings: Settings | None = None) -> FastAPI:
    """The server as an ASGI application, for uvicorn or any other server; ``python -m pyterrier_lir serve`` runs it.

    Args:
        path: The folder of the index; changes of the index are seen by the next request.
        encoder: The encoder of its documents.
        settings: What it allows; None for the defaults.

    Raises:
        ImportError: If FastAPI or prometheus-client is not installed.
        FileNotFoundError: If the index is not built.
        ValueError: If it was made with another encoder.
    """
    try:
        from fastapi import FastAPI
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from pyterrier_lir.serve.endpoints import Endpoints
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed; expected it for the server: {pip_install(*PACKAGES)}"
        ) from error
    settings = settings or Settings()
    endpoints = Endpoints(Reader(path, encoder, settings.method), settings)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        endpoints.close()

    app = FastAPI(title="pyterrier_lir", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    if _is_loopback(settings.host):
        hosts = ["127.0.0.1", "localhost", "[::1]", settings.host]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.middleware("http")(endpoints.measure)
    for where, endpoint in endpoints.by_path.items():
        app.add_api_route(where, endpoint, methods=["GET"], response_model=None)
    return app


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
