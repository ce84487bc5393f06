"""What each path of the server does. FastAPI is imported here, and this file when a server is made."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from fastapi.responses import HTMLResponse, Response
from prometheus_client import generate_latest

from pyterrier_lir.index.scoring import threads
from pyterrier_lir.serve.metrics import Metrics
from pyterrier_lir.serve.pool import BoundedPool, BusyError, LateError

if TYPE_CHECKING:
    from pyterrier_lir.serve.app import Settings
    from pyterrier_lir.serve.reader import Answer, Reader

PAGE = Path(__file__).parent / "page.html"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Endpoints:
    """The paths of one server; see `pyterrier_lir.serve.app`.

    Args:
        reader: Searches and explains.
        settings: What is allowed.
    """

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self.reader = reader
        self.settings = settings
        self.pool = BoundedPool(threads(settings.workers), settings.waiting, settings.timeout)
        self.counted = Metrics(reader, self.pool)
        self.html, self.policy = _page()
        self.by_path: dict[str, Callable[..., Any]] = {
            "/": self.page, "/search": self.search, "/explain": self.explain, "/health": self.health,
            "/metrics": self.metrics,
        }  # fmt: skip

    async def search(self, query: str, k: int = 10) -> Answer:
        """The k best documents."""
        if not 1 <= k <= self.settings.max_results:
            raise HTTPException(422, f"k is {k}; expected 1 to {self.settings.max_results}.")
        began = time.perf_counter()
        found = await self._answer(self.reader.search, query, k)
        return {**found, "ms": 1000 * (time.perf_counter() - began)}

    async def explain(self, query: str, docno: str) -> Answer:
        """Which tokens of a document met those of the query."""
        return await self._answer(self.reader.explain, query, docno)

    def health(self) -> Answer:
        """What is open."""
        try:
            return self.reader.health()
        except (OSError, ValueError) as error:
            raise HTTPException(503, f"The index cannot be opened: {error}") from error

    def metrics(self) -> Any:
        """The counters."""
        return Response(generate_latest(self.counted.registry), media_type=PROMETHEUS)

    def page(self) -> Any:
        """The page."""
        return HTMLResponse(self.html, headers={"Content-Security-Policy": self.policy})

    async def measure(self, request: Any, call_next: Any) -> Any:
        """Counts each request, by its path and what came of it."""
        began = time.perf_counter()
        response = await call_next(request)
        where = request.url.path if request.url.path in self.by_path else "other"
        self.counted.count(where, response.status_code, time.perf_counter() - began)
        return response

    def close(self) -> None:
        """Ends the threads."""
        self.pool.close()

    async def _answer(self, work: Callable[..., Answer], query: str, *arguments: Any) -> Answer:
        """What the reader says, or the status of what is wrong."""
        most = self.settings.max_query
        if not query.strip():
            raise HTTPException(422, "query is blank; expected some words.")
        if len(query) > most:
            raise HTTPException(422, f"query has {len(query)} characters; expected at most {most}.")
        try:
            found: Answer = await self.pool.run(work, query, *arguments)
        except BusyError:
            raise HTTPException(503, "Too many requests are waiting; try again.", {"Retry-After": "1"}) from None
        except LateError:
            raise HTTPException(504, f"There was no answer within {self.settings.timeout:g} s.") from None
        except KeyError as error:
            raise HTTPException(404, f"The index has no document {error.args[0]!r}.") from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return found


def _page() -> tuple[str, str]:
    """The page, and a policy under which nothing runs but its own script."""
    html = PAGE.read_text(encoding="utf-8")
    script = html.split("<script>", 1)[1].split("</script>", 1)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'"
    return html, f"{policy}; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
