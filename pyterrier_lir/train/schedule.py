"""How long, how fast and in what portions a model is trained, as a value."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pyterrier_lir import arguments

DECAYS = ("linear", "cosine", "constant")
MIXES = ("proportional", "round_robin")


@dataclass(frozen=True)
class Schedule:
    """The optimisation: AdamW over batches, with a warm-up and a decay of the learning rate.

    Attributes:
        epochs: How often all examples are seen.
        steps: Steps of the optimiser instead of epochs; None to count epochs.
        batch_size: Examples in a batch, each with its positive and negatives; in-batch negatives come from it.
        accumulate: Batches whose gradients are summed for one step.
        learning_rate: At its highest.
        warmup: The part of all steps in which the learning rate rises from 0.
        decay: How it then falls to 0, ``"linear"`` or ``"cosine"``; or ``"constant"``.
        weight_decay: Of AdamW.
        clip: Gradients are scaled down to this norm.
        query_length: Tokens of a query in training at most; None for the model's own.
        document_length: Tokens of a document in training at most; None for the model's own. Shorter is faster; the
            checkpoint keeps the model's own lengths.
        mix: Of several data sets: ``"proportional"`` to their sizes, or ``"round_robin"`` in turns, until one ends.
        checkpoint_steps: Steps from one checkpoint to the next, from which an interrupted training goes on.

    Raises:
        ValueError: If a value has no meaning.
    """

    epochs: int = 1
    steps: int | None = None
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 3e-5
    warmup: float = 0.1
    decay: str = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0
    query_length: int | None = None
    document_length: int | None = None
    mix: str = "proportional"
    checkpoint_steps: int = 100

    def __post_init__(self) -> None:
        needed = ("epochs", "batch_size", "accumulate", "checkpoint_steps")
        arguments.check_counts(**{name: getattr(self, name) for name in needed})
        arguments.check_optional_counts(
            steps=self.steps, query_length=self.query_length, document_length=self.document_length
        )
        if not (self.learning_rate > 0 and self.clip > 0 and self.weight_decay >= 0):
            raise ValueError(
                f"learning_rate is {self.learning_rate}, clip {self.clip}, weight_decay {self.weight_decay}; expected "
                "the first two above 0, the last at least 0."
            )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}; expected a part of all steps, from 0 to below 1.")
        arguments.check_choice("decay", self.decay, DECAYS)
        arguments.check_choice("mix", self.mix, MIXES)

    def changed(self) -> dict[str, object]:
        """The values that are not the defaults, and those that say most."""
        always = {"epochs", "batch_size", "learning_rate"}
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name in always or getattr(self, field.name) != field.default
        }
