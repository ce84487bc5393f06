"""LITE: a learned interaction over the similarity matrix of a query and a document, as a re-ranker.

With S the matrix of ``<q_i, d_j>``, filled up with zeros (or cut) to N query rows and M document rows:

1. *Rows*: each query row's similarities pass a small network over the document's positions,
   ``R = norm(S + relu(S A1 + a1) A2 + a2)``.
2. *Columns*: each document position then passes one over the query's rows,
   ``C = norm(R^T + relu(R^T B1 + b1) B2 + b2)^T``.
3. *Score*: ``MaxSim(Q, D) + <W, C> + b``.

The paper's score is the second term alone. Beside MaxSim it learns what MaxSim misses, and needs fewer examples: W
begins as zero, so an untrained model *is* MaxSim. `norm` is layer normalisation with a learned scale and shift.

Ji, Jain, Veit, Reddi, Jayasumana, Rawat, Menon, Yu, Kumar: Efficient Document Ranking with Learnable Late
Interactions. 2024.
"""

from __future__ import annotations

import json
import tempfile
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyterrier_lir import columns, frames
from pyterrier_lir.columns import Floats
from pyterrier_lir.transformer import LirTransformer

EPSILON = 1e-5  # of the normalisation, as in torch
SETTINGS, WEIGHTS = "lite.json", "lite.npz"

Weights = dict[str, npt.NDArray[Any]]


def shapes(query_rows: int, doc_rows: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The learned arrays: of the rows, of the columns, of the score."""
    rows = {"A1": (doc_rows, hidden), "a1": (hidden,), "A2": (hidden, doc_rows), "a2": (doc_rows,)}
    cols = {"B1": (query_rows, hidden), "b1": (hidden,), "B2": (hidden, query_rows), "b2": (query_rows,)}
    norms = {"row_scale": (doc_rows,), "row_shift": (doc_rows,), "col_scale": (query_rows,), "col_shift": (query_rows,)}
    return {**rows, **cols, **norms, "W": (query_rows, doc_rows), "b": ()}


def padded(similarities: npt.NDArray[Any], query_rows: int, doc_rows: int) -> npt.NDArray[Any]:
    """S in the model's size: zeros where there is no row, nothing of what is beyond."""
    whole = np.zeros((query_rows, doc_rows), dtype=similarities.dtype)
    part = similarities[:query_rows, :doc_rows]
    whole[: part.shape[0], : part.shape[1]] = part
    return whole


def interaction(s: npt.NDArray[Any], w: Weights) -> float:
    """``<W, C> + b`` of one padded matrix, in its precision."""
    r = _norm(s + _relu(s @ w["A1"] + w["a1"]) @ w["A2"] + w["a2"], w["row_scale"], w["row_shift"])
    t = r.T
    c = _norm(t + _relu(t @ w["B1"] + w["b1"]) @ w["B2"] + w["b2"], w["col_scale"], w["col_shift"])
    return float((w["W"] * c.T).sum() + w["b"])


def _relu(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.maximum(x, 0)


def _norm(x: npt.NDArray[Any], scale: npt.NDArray[Any], shift: npt.NDArray[Any]) -> npt.NDArray[Any]:
    centred = x - x.mean(axis=-1, keepdims=True)
    normed: npt.NDArray[Any] = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * scale + shift
    return normed


class Lite(LirTransformer):
    """Re-ranks by a learned interaction over all similarities of query and document vectors, see the file.

    Expected columns: ``qid``, ``query_embs``, ``docno``, ``doc_embs``; ``query_weights`` is honoured if it is there (a
    row of S is multiplied by its weight), and ``query_encoder`` must equal ``doc_encoder`` where both are, and the
    encoder that the model was trained with. Output: all rows, with new ``score`` and ``rank`` and without the
    document's vectors. A row whose document or query has no vectors scores -inf. Equal scores are in the order of the
    rows.

    `pyterrier_lir.train.lite.fit_lite` makes a model: ``... >> index.embs_loader() >> lir.rerank.Lite("my.lite")``.

    Args:
        path: The folder of the model.

    Raises:
        FileNotFoundError: If there is no model at the path.
        ValueError: If the model is damaged, encoders differ, or a cell is no matrix.
    """

    LABEL = "LITE"

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = str(path)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores every row, each by itself."""
        frames.check_result_frame(inp, self, [columns.DOC_EMBS])
        drop = (columns.DOC_EMBS, columns.DOC_TOK_IDS, columns.DOC_ENCODER)
        if not len(inp):
            return frames.rescored(inp, np.zeros(0), drop=drop)
        inp = frames.with_query_embs(inp)
        settings, weights = self._model
        known = frames.doc_encoder(inp)
        columns.check_encoder(settings["encoder"], known, what=self)
        scores = np.full(len(inp), -np.inf, dtype=np.float32)
        documents = inp[columns.DOC_EMBS].tolist()
        for query in frames.queries(inp, None, encoder=known or settings["encoder"], what=self):
            for row in query.rows if len(query.embs) else ():
                document, _ = columns.as_document(documents[row], dim=query.embs.shape[1])
                if len(document):
                    s = similarities(query.embs, query.weights, document)
                    learned = interaction(padded(s, settings["query_rows"], settings["doc_rows"]), weights)
                    scores[row] = s.max(axis=1).sum() + learned
        return frames.rescored(inp, scores, drop=drop)

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """Every row is scored."""
        return {"scored": len(inp)}

    @cached_property
    def _model(self) -> tuple[dict[str, Any], Weights]:
        return load(Path(self.path))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_model"}


def similarities(query: Floats, query_weights: Floats | None, document: Floats) -> Floats:
    """S, each row times its weight: float32 ``(n, m)``."""
    products: Floats = query @ document.T
    return products if query_weights is None else products * query_weights[:, None]


def save(path: Path, settings: dict[str, Any], weights: Weights) -> None:
    """Writes a model; the folder is there only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        unfinished = Path(folder, path.name)
        unfinished.mkdir()
        (unfinished / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        np.savez(unfinished / WEIGHTS, **weights)  # type: ignore[arg-type]
        unfinished.rename(path)


def load(path: Path) -> tuple[dict[str, Any], Weights]:
    """Reads a model, and checks that its arrays are what its settings say.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    if not (path / SETTINGS).is_file():
        raise FileNotFoundError(f"{path} is no LITE model; expected a folder that lir.train.fit_lite has written.")
    try:
        settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        with np.load(path / WEIGHTS, allow_pickle=False) as arrays:
            weights = {name: arrays[name] for name in arrays.files}
        wanted = shapes(settings["query_rows"], settings["doc_rows"], settings["hidden"])
        sound = {name: array.shape for name, array in weights.items()} == wanted and "encoder" in settings
        sound = sound and all(array.dtype == np.float32 and np.isfinite(array).all() for array in weights.values())
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}); expected what fit_lite has written. Train it again.") from error
    if not sound:
        raise ValueError(f"{path} is damaged; expected arrays of the shapes in {SETTINGS}. Train it again.")
    return settings, weights
