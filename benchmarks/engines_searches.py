"""Searches of `engines.py`: ours in this process, the peers in theirs, in turns."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from embedded import Data, Rankings
from engines_builds import BATCH_THREADS, SINGLE_THREADS, Process, build
from engines_systems import INDEXES, Opened, System

from pyterrier_lir import frames, kernels

TURN = 10  # queries in a row
TIMED = 100  # the first queries: their times count, for all systems
SLOW_BATCH = 20  # queries in one call, where the system is slow


@dataclass
class Measured:
    """What one system did at one depth."""

    ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rankings: Rankings = field(default_factory=list)
    batch_ms: float = float("nan")

    def extend(self, more: Measured) -> None:
        self.ms += more.ms
        self.cpu_ms += more.cpu_ms
        self.rankings += more.rankings


class OurSearcher:
    """Searches in this process, by calling the transformer or what it calls."""

    def __init__(self, system: System, data: Data) -> None:
        assert system.search is not None
        self.system, self.data = system, data
        self.opened = Opened(data, system.index)

    def single(self, queries: list[int], k: int) -> Measured:
        search, measured = self._search(k, SINGLE_THREADS), Measured()
        asked = [self._asked(self.data.frame[i : i + 1]) for i in queries]
        with self._kernels():
            for query in asked:
                clock, cpu = time.perf_counter(), time.process_time()
                found = search(query)
                measured.ms.append(1000 * (time.perf_counter() - clock))
                measured.cpu_ms.append(1000 * (time.process_time() - cpu))
                measured.rankings.append(self._docids(found))
        return measured

    def batch(self, count: int, k: int) -> float:
        search, asked = self._search(k, BATCH_THREADS), self._asked(self.data.frame[:count])
        with self._kernels():
            clock = time.perf_counter()
            search(asked)
            return 1000 * (time.perf_counter() - clock) / count

    def exhaustive(self) -> Rankings:
        found = self.opened.index.exhaustive(num_results=10)(self.data.frame)
        return [found[found["qid"] == qid]["docno"].astype(int).tolist() for qid in self.data.frame["qid"]]

    def close(self) -> None:
        """Nothing to be closed."""

    def _search(self, k: int, threads: int) -> Callable[[Any], Any]:
        assert self.system.search is not None
        transformer: Any = self.system.search(self.opened, num_results=k, num_threads=threads)
        store = self.opened.index.store
        return (lambda asked: transformer.retrieve_all(store, asked, None)) if self.system.arrays else transformer

    def _asked(self, frame: pd.DataFrame) -> Any:
        """What a search takes: a frame, or the queries in it."""
        return frames.queries(frame, self.opened.index.store.dim) if self.system.arrays else frame

    def _docids(self, found: Any) -> list[int]:
        ranking: list[int] = (found[0].docids if self.system.arrays else found["docno"].astype(int)).tolist()
        return ranking

    def _kernels(self) -> contextlib.AbstractContextManager[None]:
        return kernels.forced(self.system.kernels) if self.system.kernels else contextlib.nullcontext()


class PeerSearcher:
    """Searches in a process with one thread, or in one with two."""

    def __init__(self, system: System, data: Data) -> None:
        self.system, self.data = system, data
        self.processes: dict[int, Process] = {}

    def single(self, queries: list[int], k: int) -> Measured:
        found = self._process(SINGLE_THREADS).ask("search", queries=queries, k=k, settings=self.system.settings)
        return Measured(found["ms"], found["cpu_ms"], found["docids"])

    def batch(self, count: int, k: int) -> float:
        queries = list(range(count))
        process = self._process(BATCH_THREADS)
        process.ask("search", queries=queries[:2], k=k, settings=self.system.settings)  # opens the index
        return process.ask("batch", queries=queries, k=k, settings=self.system.settings)["ms"] / count

    def exhaustive(self) -> Rankings:
        return build(self.data, self.system.index)["exhaustive"][: len(self.data.frame)]

    def close(self) -> None:
        for process in self.processes.values():
            process.close()

    def _process(self, threads: int) -> Process:
        if threads not in self.processes:
            path = self.data.folder / self.system.index
            process = Process(INDEXES[self.system.index], path, self.data.folder, threads)
            process.ask("open")
            self.processes[threads] = process
        return self.processes[threads]


Searcher = OurSearcher | PeerSearcher


def take_turns(searchers: dict[str, Searcher], num_queries: int, k: int) -> dict[str, Measured]:
    """Every system searches for ten queries, then for the next ten; then for the timed ones at once, twice."""
    measured = {name: Measured() for name in searchers}
    for searcher in searchers.values():
        searcher.single(list(range(min(5, num_queries))), k)  # warms up
    for start in range(0, num_queries, TURN):
        for name, searcher in searchers.items():
            if start < TIMED or not searcher.system.slow:
                measured[name].extend(searcher.single(list(range(start, min(start + TURN, num_queries))), k))
    for name, searcher in searchers.items():
        count = min(SLOW_BATCH if searcher.system.slow else TIMED, num_queries)
        measured[name].batch_ms = min(searcher.batch(count, k) for _ in range(2))
    return measured
