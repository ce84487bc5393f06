"""Work in a few threads behind a short queue: who comes when it is full is told so at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any


class BusyError(Exception):
    """The queue is full."""


class LateError(Exception):
    """The work was not done in time."""


class BoundedPool:
    """Threads with a bounded queue.

    Args:
        workers: Threads.
        waiting: Requests that may wait for one.
        timeout: Seconds from the arrival of a request, waiting included.
    """

    def __init__(self, workers: int, waiting: int, timeout: float) -> None:
        self.limit = workers + waiting
        self.timeout = timeout
        self.pending = 0
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="search")

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the work.

        A late request keeps its place until its thread is done with it: what goes on in threads is never more than
        the limit.

        Raises:
            BusyError: If too many are waiting.
            LateError: If it takes too long.
        """
        with self._lock:
            if self.pending >= self.limit:
                raise BusyError
            self.pending += 1
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.timeout)
        except TimeoutError as error:
            raise LateError from error

    def close(self) -> None:
        """Waits for what is being done, and drops what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _leave(self, _: Future[Any]) -> None:
        with self._lock:
            self.pending -= 1
