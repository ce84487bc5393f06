"""Times as a user waits for them: one query at a time, after a warm-up that is not counted; systems take turns."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyterrier as pt

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

    Times = np.ndarray[Any, np.dtype[np.float64]]

WARM_UP = 3
TURN = 25  # queries in a row: so many that the first, which finds the caches as others left them, is no 95th percentile


def encode(topics: pd.DataFrame, encoder: Encoder, *, warm_up: int = WARM_UP) -> pd.DataFrame:
    """The topics with their embeddings, and the milliseconds that each took: ``encode_ms``."""
    frame, times = run_timed(encoder.query_encoder(), topics, warm_up=warm_up, name="encoding queries")
    return frame.assign(encode_ms=times)


def run_timed(
    system: pt.Transformer, topics: pd.DataFrame, *, warm_up: int = WARM_UP, name: str = "system"
) -> tuple[pd.DataFrame, Times]:
    """Runs one system on one topic at a time: see `run_in_turns`."""
    return run_in_turns({name: system}, {name: topics}, warm_up=warm_up, desc=name)[name]


def run_in_turns(
    systems: Mapping[str, pt.Transformer],
    topics: Mapping[str, pd.DataFrame],
    *,
    warm_up: int = WARM_UP,
    keep: Sequence[str] | None = None,
    desc: str = "systems in turns",
) -> dict[str, tuple[pd.DataFrame, Times]]:
    """Runs systems on one topic at a time, all on the same `TURN` topics before any goes on to the next ones.

    What disturbs the machine for a while disturbs all systems alike, then. The one that begins a round ends the next:
    A B C, B C A, C A B.

    Args:
        systems: From topics to whatever, by name.
        topics: What each system is given: one row per query, the same queries in the same order.
        warm_up: So many topics, the last ones, are run before, untimed: the first call opens files and loads models.
        keep: Columns of the output to keep, where they are there; None for all.
        desc: For the progress bar.

    Returns:
        For each system all output, in the order of the topics, and the milliseconds of each topic.
    """
    count = max(map(len, topics.values()))
    for name, system in systems.items():
        for row in _rows(topics[name], max(0, count - warm_up), count)[::-1]:  # no cache knows the first that is timed
            system(row)
    outputs: dict[str, list[pd.DataFrame]] = {name: [] for name in systems}
    times: dict[str, list[float]] = {name: [] for name in systems}
    order = deque(systems)
    with pt.tqdm(total=count * len(systems), desc=desc, unit="q") as bar:
        for start in range(0, count, TURN):
            for name in order:
                for row in _rows(topics[name], start, start + TURN):
                    clock = time.perf_counter()
                    output = systems[name](row)
                    times[name].append((time.perf_counter() - clock) * 1000)
                    outputs[name].append(output if keep is None else output[output.columns.intersection(keep)])
                    bar.update()
            order.rotate(-1)
    return {name: (pd.concat(outputs[name], ignore_index=True), np.array(times[name])) for name in systems}


def _rows(topics: pd.DataFrame, start: int, end: int) -> list[pd.DataFrame]:
    return [topics.iloc[[i]].reset_index(drop=True) for i in range(start, min(end, len(topics)))]
