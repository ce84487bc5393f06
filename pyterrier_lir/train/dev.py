"""A curve of PyTerrier's measures on a development set, drawn while a model is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments

PREFIX = "eval_dev_"  # of measures in a trainer's log

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder


@dataclass(frozen=True, eq=False)
class Dev:
    """What is measured while a model is trained.

    Attributes:
        system: Makes the pipeline that is evaluated from the encoder of the moment; re-ranking is quick:
            ``lambda encoder: bm25 % 50 >> dataset.text_loader() >> encoder.text_scorer()``.
        topics: ``qid, query``.
        qrels: ``qid, docno, label``.
        measures: Measures of ir_measures.
        every: Steps from one measurement to the next; None for ten in all. One more is made before the first step.
        best: Keep the weights of the step where the first measure was highest, instead of the last ones.

    Raises:
        ValueError: If there is no measure, or no topic has a relevant document.

    >>> Dev(lambda encoder: bm25 >> encoder.text_scorer(), topics, qrels, [nDCG @ 10])  # doctest: +SKIP
    """

    system: Callable[[Encoder], pt.Transformer]
    topics: pd.DataFrame
    qrels: pd.DataFrame
    measures: Sequence[Any]
    every: int | None = None
    best: bool = False

    def __post_init__(self) -> None:
        arguments.check_optional_counts(every=self.every)
        if not len(self.measures):
            raise ValueError("measures is empty; expected at least one, such as [nDCG @ 10].")
        relevant = self.qrels[self.qrels["label"] > 0]
        if not self.topics["qid"].isin(relevant["qid"]).any():
            raise ValueError(
                "no topic of the development set has a relevant document in its qrels; expected at least one. Do their "
                "qids match?"
            )

    def measure(self, encoder: Encoder) -> dict[str, float]:
        """The measures of the encoder's pipeline, by name."""
        table = pt.Experiment([self.system(encoder)], self.topics, self.qrels, list(self.measures))
        return {str(measure): float(table[str(measure)].iloc[0]) for measure in self.measures}


def curve(history: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What a trainer has logged, one row for each step: ``step``, ``epoch``, ``loss``, ``learning_rate``, measures."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in history:
        row = rows.setdefault(entry["step"], {"step": entry["step"], "epoch": entry.get("epoch")})
        row |= {name: entry[name] for name in ("loss", "learning_rate") if name in entry}
        row |= {name.removeprefix(PREFIX): entry[name] for name in entry if name.startswith(PREFIX)}
    table = pd.DataFrame([rows[step] for step in sorted(rows)], columns=_columns(rows))
    return table.reset_index(drop=True)


def _columns(rows: dict[int, dict[str, Any]]) -> list[str]:
    first = ["step", "epoch", "loss", "learning_rate"]
    return [*first, *dict.fromkeys(name for row in rows.values() for name in row if name not in first)]
