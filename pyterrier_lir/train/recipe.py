"""All that the weights of a training depend on, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from pyterrier_lir import arguments
from pyterrier_lir.train import data
from pyterrier_lir.train.losses import Loss
from pyterrier_lir.train.schedule import Schedule

if TYPE_CHECKING:
    from pyterrier_lir.encode.late_interaction import LateInteractionEncoder
    from pyterrier_lir.train.pooling import Pooling

Data: TypeAlias = pd.DataFrame | Mapping[str, pd.DataFrame]
ALONE = "data"  # the name of a data set that has none


@dataclass(frozen=True, eq=False)
class Recipe:
    """What `pyterrier_lir.train.trainer.train` was given, checked; see there."""

    encoder: LateInteractionEncoder
    sets: Mapping[str, pd.DataFrame]
    losses: Mapping[str, Loss]
    schedule: Schedule
    negatives: int
    pooling: Pooling | None
    seed: int

    @classmethod
    def of(
        cls, encoder: LateInteractionEncoder, given: Data, loss: Loss | Mapping[str, Loss], schedule: Schedule,
        *, negatives: int, pooling: Pooling | None, seed: int,
    ) -> Recipe:  # fmt: skip
        """Names what has no name.

        Raises:
            ValueError: If losses and data sets have other names, or a loss needs more negatives.
        """
        arguments.check_counts(0, negatives=negatives)
        arguments.check_seed(seed)
        sets = {ALONE: given} if isinstance(given, pd.DataFrame) else dict(given)
        losses = dict.fromkeys(sets, loss) if isinstance(loss, Loss) else dict(loss)
        if not sets or sets.keys() != losses.keys():
            raise ValueError(
                f"there are losses for {sorted(losses)} and data for {sorted(sets)}; expected the same names, and at "
                "least one. Give one loss for all, or one for each."
            )
        for objective in losses.values():
            if negatives < objective.least_negatives:
                raise ValueError(
                    f"negatives is {negatives}, but {objective} compares documents; expected at least "
                    f"{objective.least_negatives}."
                )
        return cls(encoder, sets, losses, schedule, negatives, pooling, seed)

    @cached_property
    def examples(self) -> dict[str, data.Examples]:
        """The columns of each data set; the draws of its negatives do not depend on the others."""
        return {
            name: data.examples(frame, negatives=self.negatives, scores=self.losses[name].scores, seed=self.seed)
            for name, frame in self.sets.items()
        }

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What tells it from other recipes, for people and for `resume`."""
        losses = {name: repr(loss) for name, loss in self.losses.items()}
        return {
            "model": self.encoder.fingerprint,
            "data": {name: data.checksum(frame) for name, frame in self.sets.items()},
            "loss": losses if len(set(losses.values())) > 1 else next(iter(losses.values())),
            "schedule": repr(self.schedule),
            "negatives": self.negatives,
            "pooling": repr(self.pooling),
            "seed": self.seed,
        }

    @property
    def steps(self) -> int:
        """About how many steps the optimiser makes."""
        batches = sum(-(-len(columns["query"]) // self.schedule.batch_size) for columns in self.examples.values())
        return self.schedule.steps or max(-(-batches // self.schedule.accumulate) * self.schedule.epochs, 1)
