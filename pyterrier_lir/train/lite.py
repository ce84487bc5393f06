"""Trains LITE's interaction over the vectors of an encoder, which stays as it is: minutes, on a processor."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.rerank.lite import Lite, padded, save, similarities
from pyterrier_lir.train import data as examples
from pyterrier_lir.train import randomness
from pyterrier_lir.train.losses import Contrastive, KLDivergence, Loss, MarginMSE

if TYPE_CHECKING:
    from torch import Tensor

CONTRASTIVE = Contrastive()
LOSSES = (Contrastive, KLDivergence, MarginMSE)


class _List(NamedTuple):
    """One positive and the negatives of its query: similarities ``(1 + n, N, M)``, MaxSim and scores ``(1 + n,)``."""

    similarities: Floats
    maxsim: Floats
    scores: Floats


def fit_lite(
    data: pd.DataFrame,
    path: str | PathLike[str],
    *,
    loss: Loss = CONTRASTIVE,
    query_rows: int = 32,
    doc_rows: int = 128,
    hidden: int = 64,
    negatives: int = 7,
    epochs: int = 5,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
    verbose: bool = True,
) -> Lite:
    """Trains a `pyterrier_lir.rerank.lite.Lite`.

    Args:
        data: Training data with vectors, ``qid, query, docno, text, label, query_embs, doc_embs``:
            ``encoder.doc_encoder()(encoder.query_encoder()(data))``, or those that an index has:
            ``index.embs_loader()(encoder.query_encoder()(data))``. And a teacher's ``score`` for distillation.
            ``query_weights`` are honoured if they are there, as the re-ranker does.
        path: The folder of the model.
        loss: `Contrastive` among an example's own documents, or, as in the paper, `MarginMSE`, or `KLDivergence`.
        query_rows: N; further rows of a query only count in MaxSim.
        doc_rows: M; likewise.
        hidden: Units of both networks.
        negatives: For each positive, drawn at random from its query's.
        epochs: How often all examples are seen.
        batch_size: Examples in a step.
        learning_rate: Of Adam.
        seed: Of everything that is drawn.
        verbose: Show a progress bar.

    Returns:
        The re-ranker.

    Raises:
        FileExistsError: If there is something at ``path``.
        ValueError: If the loss is another, a column is missing, there is no positive or no negative, encoders differ,
        or
            the loss is no number.
    """
    target = Path(path)
    if target.exists():
        raise FileExistsError(f"{target} exists; give a path that does not, or remove it first.")
    if not isinstance(loss, LOSSES):
        raise ValueError(f"loss is {loss!r}; expected one of {', '.join(kind.__name__ for kind in LOSSES)}.")
    arguments.check_counts(
        query_rows=query_rows,
        doc_rows=doc_rows,
        hidden=hidden,
        negatives=negatives,
        epochs=epochs,
        batch_size=batch_size,
    )
    arguments.check_seed(seed)
    lists = _lists(data, loss, query_rows, doc_rows, negatives, seed)
    settings = {"query_rows": query_rows, "doc_rows": doc_rows, "hidden": hidden, "encoder": _encoder(data)}
    with randomness.seeded(seed):
        from pyterrier_lir.train.modules.lite import Interaction

        network = Interaction(query_rows, doc_rows, hidden)
        _fit(network, lists, loss, epochs, batch_size, learning_rate, verbose)
    save(target, settings | {"loss": repr(loss), "seed": seed, "examples": len(lists)}, network.arrays())
    return Lite(target)


def _fit(
    network: Any, lists: list[_List], loss: Loss, epochs: int, batch_size: int, learning_rate: float, verbose: bool
) -> None:
    import torch

    stacked = [torch.from_numpy(np.stack(part)) for part in zip(*lists, strict=True)]
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for _ in pt.tqdm(range(epochs), desc="training LITE", unit="epoch", disable=not verbose):
        for rows in torch.randperm(len(lists)).split(batch_size):
            s, maxsim, teacher = (part[rows] for part in stacked)
            value = objective(loss, maxsim + network(s), teacher)
            if not torch.isfinite(value):
                raise ValueError(
                    f"the loss is {value.item()}; expected a finite number. Lower learning_rate ({learning_rate})."
                )
            optimiser.zero_grad()
            value.backward()
            optimiser.step()


def objective(loss: Loss, scores: Tensor, teacher: Tensor) -> Tensor:
    """The loss of lists of documents, the positive first: both ``(examples, 1 + negatives)``."""
    from torch.nn import functional

    if isinstance(loss, MarginMSE):
        return functional.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])
    if isinstance(loss, KLDivergence):
        student = functional.log_softmax(scores / loss.temperature, dim=1)
        wanted = functional.log_softmax(teacher / (loss.teacher_temperature or loss.temperature), dim=1)
        return functional.kl_div(student, wanted, reduction="batchmean", log_target=True) * loss.temperature**2
    assert isinstance(loss, Contrastive)
    return functional.cross_entropy(scores / loss.temperature, scores.new_zeros(len(scores)).long())


def _lists(data: pd.DataFrame, loss: Loss, query_rows: int, doc_rows: int, negatives: int, seed: int) -> list[_List]:
    missing = [name for name in (columns.QUERY_EMBS, columns.DOC_EMBS) if name not in data.columns]
    if missing:
        raise ValueError(
            f"the training data has no {', '.join(missing)}; expected vectors: "
            "encoder.doc_encoder()(encoder.query_encoder()(data))."
        )
    lists = []
    for rows in examples.draw(data, negatives=negatives, scores=loss.scores, seed=seed):
        chosen = data.iloc[rows]
        row_weights = frames.cells(chosen, columns.QUERY_WEIGHTS)[0]
        query, weights = columns.as_query(chosen[columns.QUERY_EMBS].iloc[0], row_weights)
        documents = [columns.as_document(embs, dim=query.shape[1])[0] for embs in chosen[columns.DOC_EMBS]]
        if not len(query) or not all(map(len, documents)):
            continue  # nothing to compare
        matrices = [similarities(query, weights, document) for document in documents]
        teacher = chosen["score"] if loss.scores else chosen["label"]
        lists.append(
            _List(
                np.stack([padded(s, query_rows, doc_rows) for s in matrices]),
                np.array([s.max(axis=1).sum() for s in matrices], np.float32),
                teacher.to_numpy(np.float32),
            )
        )
    if not lists:
        raise ValueError("no example has vectors; expected some. Were query_embs and doc_embs encoded?")
    return lists


def _encoder(data: pd.DataFrame) -> str | None:
    """The encoder of both sides, if it is known."""
    known = frames.doc_encoder(data)
    if columns.QUERY_ENCODER in data.columns:
        for found in data[columns.QUERY_ENCODER].dropna().unique():
            columns.check_encoder(found, known, what="LITE's training data")
    return known
