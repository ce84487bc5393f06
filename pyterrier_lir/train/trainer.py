"""`train`: data and a recipe in, a checkpoint out. The loop is sentence-transformers'."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from pyterrier_lir.encode import checkpoint
from pyterrier_lir.encode.late_interaction import LateInteractionEncoder
from pyterrier_lir.installing import pip_install
from pyterrier_lir.train import card, leaks, randomness, resume
from pyterrier_lir.train.dev import PREFIX, Dev, curve
from pyterrier_lir.train.losses import Contrastive, Loss
from pyterrier_lir.train.recipe import Data, Recipe
from pyterrier_lir.train.schedule import Schedule

if TYPE_CHECKING:
    from pyterrier_lir.train.pooling import Pooling

CONTRASTIVE, DEFAULT = Contrastive(), Schedule()
NEEDED = ("accelerate", "datasets")  # of sentence-transformers' trainer


class Trained(NamedTuple):
    """What a training gives.

    Attributes:
        encoder: Of the new checkpoint.
        curve: ``step, epoch, loss, learning_rate`` and the measures of the development set; a row for each step where
            something was measured.
        path: The checkpoint.
    """

    encoder: LateInteractionEncoder
    curve: pd.DataFrame
    path: Path


def train(
    model: str | PathLike[str] | LateInteractionEncoder,
    data: Data,
    path: str | PathLike[str],
    *,
    loss: Loss | Mapping[str, Loss] = CONTRASTIVE,
    schedule: Schedule = DEFAULT,
    negatives: int = 1,
    pooling: Pooling | None = None,
    seed: int = 0,
    dev: Dev | None = None,
    test: pd.DataFrame | None = None,
    allow_leaks: bool = False,
    verbose: bool = True,
) -> Trained:
    """Trains a late-interaction model, over sentence-transformers' trainer, and writes a checkpoint.

    The same model, data, recipe, seed and versions give the same weights on a processor with the same number of
    threads, also where a training was killed in between: call it again with the same arguments, and it goes on.

    Args:
        model: What to begin with: a checkpoint, or an encoder, whose dimensions, lengths and prompts are then kept.
        data: ``qid, query, docno, text, label``, as `mine` makes it, and a teacher's ``score`` for distillation; or
            several such frames by name, for a mix of them.
        path: The folder of the checkpoint. It is there only when it is finished.
        loss: What is learned; of a mix one for all, or one for each name.
        schedule: How long, how fast, in what portions.
        negatives: For each positive, drawn at random from its query's; in-batch negatives come on top.
        pooling: Other vectors than one for each token; see ``pyterrier_lir.train.pooling``.
        seed: Of the draw, the order of examples, dropout, and weights that are new.
        dev: Measures a development set while training.
        test: The test topics, ``qid, query``: training data that hold one of them are refused. The development set's
            are compared in any case.
        allow_leaks: Do not compare.
        verbose: Show a progress bar.

    Returns:
        The encoder of the checkpoint, the curve, and the path.

    Raises:
        FileExistsError: If there is something at ``path``.
        ImportError: If the extra ``train`` is not installed.
        ValueError: If there is no positive, if a test or development query is in the data, if the checkpoint has no
            tokenizer, if the loss is no number, or if an interrupted training with other arguments is in the way.

    >>> data = lir.train.mine(topics, qrels, dataset.get_corpus_iter(), bm25 % 100)  # doctest: +SKIP
    >>> trained = lir.train("minilm", data, "my-model", test=test_topics)  # doctest: +SKIP
    """
    target = Path(path)
    if target.exists():
        raise FileExistsError(f"{target} exists; give a path that does not, or remove it first.")
    _check_installed()
    recipe = Recipe.of(_to_train(model), data, loss, schedule, negatives=negatives, pooling=pooling, seed=seed)
    if not allow_leaks:
        _check_leaks(recipe, test, dev)
    _ = recipe.examples  # whatever is wrong with the data is said before a model is loaded
    with randomness.seeded(seed):
        table = _to_checkpoint(recipe, dev, target, verbose)
    return Trained(LateInteractionEncoder(target, text_field=recipe.encoder.text_field), table, target)


def _to_checkpoint(recipe: Recipe, dev: Dev | None, target: Path, verbose: bool) -> pd.DataFrame:
    """Trains, from where it was interrupted if it was, and writes the checkpoint; returns the curve."""
    training = resume.folder(target)
    state = resume.begin(training, recipe.facts)
    table = curve(_run(recipe, dev, training, state, verbose))
    sets = {name: card.describe(name, frame, recipe.facts["data"][name]) for name, frame in recipe.sets.items()}
    checkpoint.save(recipe.encoder.load(), target, card=card.write(recipe.facts, sets, table))
    shutil.rmtree(training)
    return table


def _run(recipe: Recipe, dev: Dev | None, training: Path, state: str | None, verbose: bool) -> list[dict[str, Any]]:
    """The trainer's loop, over the model of the recipe's encoder; returns its log."""
    import torch
    from transformers.trainer_callback import PrinterCallback

    from pyterrier_lir.train.modules.loop import Bar, Loop, Marks, Measures

    network = recipe.encoder.load()
    if recipe.pooling is not None:
        recipe.pooling.put_into(network)
    losses = {name: recipe.losses[name].build(network) for name in recipe.sets}
    sets = _datasets(recipe)
    alone = len(sets) == 1
    loop = Loop(
        model=network,
        args=_arguments(recipe, dev, training),
        train_dataset=next(iter(sets.values())) if alone else sets,
        loss=next(iter(losses.values())) if alone else losses,
        evaluator=None if dev is None else Measures(lambda step: dev.measure(_of_the_moment(recipe, step)), PREFIX),
        callbacks=[Marks(), *([Bar()] if verbose else [])],
    )
    loop.remove_callback(PrinterCallback)
    with checkpoint.quiet():
        loop.train(resume_from_checkpoint=state)
    if not all(bool(torch.isfinite(weights).all()) for weights in network.parameters()):
        raise ValueError(
            "the trained weights are no finite numbers; expected finite ones. Lower the learning rate, remove "
            f"{training} and begin again."
        )
    return list(loop.state.log_history)


def _arguments(recipe: Recipe, dev: Dev | None, training: Path) -> Any:
    """The recipe in the words of sentence-transformers."""
    from sentence_transformers.multi_vector_encoder.training_args import MultiVectorEncoderTrainingArguments

    schedule, network = recipe.schedule, recipe.encoder.load()
    every = (dev.every if dev else None) or max(recipe.steps // 10, 1)
    lengths = {"query": schedule.query_length, "document": schedule.document_length}
    prompts = {
        column: network.prompts.get("query" if column == "query" else "document") or ""
        for columns in recipe.examples.values()
        for column in columns
        if column != "label"
    }
    return MultiVectorEncoderTrainingArguments(
        output_dir=str(training),
        num_train_epochs=schedule.epochs,
        max_steps=schedule.steps or -1,
        per_device_train_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.accumulate,
        learning_rate=schedule.learning_rate,
        warmup_steps=schedule.warmup,
        lr_scheduler_type="constant_with_warmup" if schedule.decay == "constant" else schedule.decay,
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.clip,
        max_length={task: length for task, length in lengths.items() if length is not None} or None,
        prompts=prompts if any(prompts.values()) else None,
        batch_sampler="no_duplicates",
        multi_dataset_batch_sampler=schedule.mix,
        seed=recipe.seed,
        logging_steps=every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=every if dev and dev.best else schedule.checkpoint_steps,
        save_total_limit=2,
        eval_strategy="steps" if dev else "no",
        eval_steps=every,
        eval_on_start=dev is not None,
        load_best_model_at_end=bool(dev and dev.best),
        metric_for_best_model=f"{PREFIX}{dev.measures[0]}" if dev and dev.best else None,
        greater_is_better=True,
        use_cpu=network.device.type == "cpu",
        dataloader_pin_memory=network.device.type != "cpu",
        report_to=[],
        disable_tqdm=True,
    )


def _datasets(recipe: Recipe) -> dict[str, Any]:
    from datasets import Dataset

    return {name: Dataset.from_dict(columns) for name, columns in recipe.examples.items()}


def _of_the_moment(recipe: Recipe, step: int) -> LateInteractionEncoder:
    """The encoder with the weights of this step, whose vectors no index mistakes for another step's."""
    encoder = recipe.encoder
    name = f"{encoder.fingerprint}-step{step}"
    return LateInteractionEncoder.around(encoder.load(), name, text_field=encoder.text_field)


def _to_train(model: str | PathLike[str] | LateInteractionEncoder) -> LateInteractionEncoder:
    """A fresh encoder, in float32 and torch; the one that is given keeps its weights."""
    given = model if isinstance(model, LateInteractionEncoder) else LateInteractionEncoder(model)
    if isinstance(given.device, list):
        raise ValueError(f"device is {given.device!r}; expected one device for training. Give the first.")
    return given.in_torch()


def _check_leaks(recipe: Recipe, test: pd.DataFrame | None, dev: Dev | None) -> None:
    for topics, what in ((test, "test"), (dev.topics if dev else None, "development")):
        if topics is not None:
            leaks.check(recipe.sets.values(), topics, what)


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"training needs {' and '.join(missing)}, not installed. Run: {pip_install(*missing)}")
