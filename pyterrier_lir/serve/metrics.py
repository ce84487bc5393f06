"""What a server counts, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from pyterrier_lir.serve.pool import BoundedPool
    from pyterrier_lir.serve.reader import Reader

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counters of one server; another one in the same process has its own."""

    def __init__(self, reader: Reader, pool: BoundedPool) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("lir_requests", "Requests", ["path", "status"], registry=self.registry)
        self._seconds = Histogram(
            "lir_request_seconds", "Seconds of a request", ["path"], buckets=SECONDS, registry=self.registry
        )
        pending = Gauge("lir_pending", "Searches that run or wait", registry=self.registry)
        documents = Gauge("lir_documents", "Documents of the index", registry=self.registry)
        pending.set_function(lambda: pool.pending)
        documents.set_function(lambda: len(reader.index()))

    def count(self, path: str, status: int, seconds: float) -> None:
        """Notes an answered request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)
