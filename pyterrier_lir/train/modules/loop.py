"""sentence-transformers' trainer, with what it lacks: refusal of losses that are no numbers, our measures, our bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyterrier as pt
import torch
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.multi_vector_encoder.trainer import MultiVectorEncoderTrainer
from transformers import TrainerCallback

from pyterrier_lir.train import randomness
from pyterrier_lir.train.resume import COMPLETE


class Loop(MultiVectorEncoderTrainer):
    """Stops at a loss that is no number; leaves the card to us, and nothing to the network."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No card of its own."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch.

        Raises:
            ValueError: If it is not finite.
        """
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        value = loss[0] if return_outputs else loss
        if not torch.isfinite(value.detach()):
            raise ValueError(
                f"the loss is {value.item()} at step {self.state.global_step + 1}; expected a finite number. Lower the "
                f"learning rate ({self.args.learning_rate}) or raise the temperature, and begin again: the last "
                "checkpoint may be spoilt already."
            )
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measures; training goes on as if it had not."""
        with randomness.kept():
            found: dict[str, float] = super().evaluate(*args, **kwargs)
            return found

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(str(folder), create_model_card=False)
        torch.save(self.args, folder / "training_args.bin")


class Measures(BaseEvaluator):
    """Asks a function for measures; the trainer logs them with its prefix."""

    def __init__(self, measure: Callable[[int], dict[str, float]], prefix: str) -> None:
        super().__init__()
        self.measure, self.prefix = measure, prefix

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """The measures by name."""
        return {f"{self.prefix}{name}": value for name, value in self.measure(steps).items()}


class Marks(TrainerCallback):
    """Marks states that were written to their end."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The trainer has written everything."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class Bar(TrainerCallback):
    """A progress bar over steps, with the last loss."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Shows where it begins or goes on."""
        self.bar = pt.tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step further."""
        self.bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Shows the loss."""
        if logs and "loss" in logs and hasattr(self, "bar"):
            self.bar.set_postfix(loss=f"{float(logs['loss']):.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Done."""
        self.bar.close()
