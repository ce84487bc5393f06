"""Ray, as little of it as is needed: a cluster, and a handful of actors that work off a stream of jobs.

Actors of Ray's core, and not Ray Data: what is written are numbered parts of a fixed size, in the order of the corpus,
each in one step on disk; Ray Data would cut the stream into blocks of its own, ship matrices through Arrow, and bring
a scheduler of memory for data that are on disk already.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyterrier_lir.installing import pip_install

RETRIES = 3  # how often a job is given out again whose worker died
LOCAL_STORE = 256 << 20  # bytes of shared memory of a cluster on this machine


def require_ray() -> Any:
    """Ray, or an error that says how to get it."""
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            f"Ray is not installed; expected it for several machines. Run: {pip_install('ray')}"
        ) from error
    return ray


@contextmanager
def cluster(num_workers: int) -> Iterator[Any]:
    """Ray, connected: to what it is connected to, to ``RAY_ADDRESS``, or to a cluster on this machine until the end.

    Args:
        num_workers: The processors that a cluster on this machine pretends to have.
    """
    ray = require_ray()
    started = not ray.is_initialized()
    if started:
        local = {"num_cpus": num_workers, "include_dashboard": False, "object_store_memory": LOCAL_STORE}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own reports to nobody
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if "RAY_ADDRESS" in os.environ else local))
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


class Workers:
    """Actors that work off jobs; one that dies is started again by Ray, and its job given out again.

    Args:
        ray: Ray, connected.
        count: How many.
        options: Ray's options of each, such as ``{"num_cpus": 4, "num_gpus": 1}``.
        kind: The class of the actors.
        arguments: Of its constructor.
    """

    def __init__(self, ray: Any, count: int, options: dict[str, Any], kind: type, *arguments: Any) -> None:
        self.ray = ray
        made = ray.remote(kind).options(max_restarts=-1, max_task_retries=RETRIES, **options)
        self.actors = [made.remote(*arguments) for _ in range(count)]

    def run(self, method: str, jobs: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        """Calls a method of whatever actor is free with each job; yields the results as they come.

        Jobs are taken from the iterator when there is somebody to do them. Actors that the cluster has no room for
        take no part.

        Raises:
            Exception: What the method raised.
            RuntimeError: If actors died again and again over one job.
        """
        ready = {actor.__ray_ready__.remote(): (actor, False) for actor in self.actors}
        working, more = 0, True
        while more or working:
            (done,), _ = self.ray.wait(list(ready), num_returns=1)
            actor, had_job = ready.pop(done)
            result = self._get(done)
            if had_job:
                working -= 1
                yield result
            job = next(jobs, None) if more else None
            more = job is not None
            if job is not None:
                working += 1
                ready[getattr(actor, method).remote(*job)] = (actor, True)

    def close(self) -> None:
        """Ends all actors, and with them what they hold in memory."""
        for actor in self.actors:
            self.ray.kill(actor)

    def _get(self, done: Any) -> Any:
        try:
            return self.ray.get(done)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self.ray.exceptions.RayActorError as error:
            raise RuntimeError(
                f"Workers died over one job {RETRIES + 1} times ({error}); expected it to be done. Most often "
                "memory is short: use fewer workers for each machine, or smaller parts. What is finished is kept."
            ) from error
