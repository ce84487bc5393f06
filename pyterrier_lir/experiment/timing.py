"""Times as a user waits for them: one query at a time, after a warm-up that is not counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyterrier as pt

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

WARM_UP = 3


def encode(topics: pd.DataFrame, encoder: Encoder, *, warm_up: int = WARM_UP) -> pd.DataFrame:
    """The topics with their embeddings, and the milliseconds that each took: ``encode_ms``."""
    frame, times = run_timed(encoder.query_encoder(), topics, warm_up=warm_up, name="encoding queries")
    return frame.assign(encode_ms=times)


def run_timed(
    system: pt.Transformer, topics: pd.DataFrame, *, warm_up: int = WARM_UP, name: str = "system"
) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.float64]]]:
    """Runs a system on one topic at a time.

    Args:
        system: From topics to whatever.
        topics: One row per query.
        warm_up: So many topics, the last ones, are run before, untimed: the first call opens files and loads models.
        name: For the progress bar.

    Returns:
        All output, in the order of the topics, and the milliseconds of each topic.
    """
    rows = [topics.iloc[[i]].reset_index(drop=True) for i in range(len(topics))]
    for row in rows[::-1][:warm_up]:  # the last ones, so that no cache knows the first that is timed
        system(row)
    times, outputs = np.zeros(len(rows)), []
    for i, row in enumerate(pt.tqdm(rows, desc=name, unit="q")):
        start = time.perf_counter()
        output = system(row)
        times[i] = (time.perf_counter() - start) * 1000
        outputs.append(output)
    return pd.concat(outputs, ignore_index=True), times
