"""Hypencoder: a query becomes a little neural network, which scores documents' vectors.

For hidden states ``H`` of the query, every layer of the network is written by attention from learnt rows ``Q_i``:

    A_i = softmax(Q_i (H K_i)' / sqrt(d_i)) H V_i        W_i = B_i + P_i LayerNorm(ReLU(A_i))

and a document's vector ``x``, its [CLS], passes through ``x <- LayerNorm(f(W_i' x + b_i)) + x`` to one number.

Killingback, Zeng, Zamani: Hypencoder: Hypernetworks for Information Retrieval. SIGIR 2025.
"""

from __future__ import annotations

import json
import math
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pyterrier_lir import arguments, frames
from pyterrier_lir.encode.base import checked_texts
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu", "leaky_relu": "leaky_relu"}


class Hypencoder(LirTransformer):
    """Re-ranks texts with a checkpoint of Hypencoder.

    Expected columns: ``qid``, ``query``, ``docno``, ``text``. Output: all rows and columns, with new ``score`` and
    ``rank``. A blank query or text scores -inf. Scores are those of one query's network, and compare with no others.

    It reads the files that the paper's checkpoints have: ``config.json`` with ``query_encoder_kwargs`` and
    ``passage_encoder_kwargs``, ``model.safetensors``, and the tokenizer. The backbone's configuration is that of the
    model which they name. The published checkpoints could not be tried here; the format is tested on random ones.

    ``bm25 % 100 >> dataset.text_loader() >> Hypencoder("jfkback/hypencoder.2_layer")``; late interaction may follow.

    Args:
        model: A folder, or a name on the Hugging Face hub. It is loaded when the first row is scored.
        query_length: Tokens of a query at most.
        document_length: Tokens of a document at most.
        batch_size: Documents in one forward pass.
        device: Such as ``"cpu"`` or ``"cuda:1"``.

    Raises:
        ValueError: If a number has no meaning; on loading, if the checkpoint is none of Hypencoder's.
    """

    LABEL = "Hypencoder"

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        query_length: int = 64,
        document_length: int = 512,
        batch_size: int = 32,
        device: str = "cpu",
    ) -> None:
        arguments.check_counts(query_length=query_length, document_length=document_length, batch_size=batch_size)
        self.model = str(model)
        self.query_length = query_length
        self.document_length = document_length
        self.batch_size = batch_size
        self.device = device
        self._loaded: _Loaded | None = None

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Scores every row; equal queries and texts are encoded once."""
        with frames.validated(inp, self) as v:
            v.result_frame(["query", "text"])
        scores = np.full(len(inp), -np.inf, np.float32)
        if len(inp):
            self._score(inp["query"].fillna("").str.strip(), inp["text"].fillna("").str.strip(), scores)
        return frames.rescored(inp, scores)

    def load(self) -> _Loaded:
        """Loads the checkpoint, unless it is loaded."""
        if self._loaded is None:
            self._loaded = _Loaded(self.model, self.device)
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def _score(self, queries: pd.Series, texts: pd.Series, scores: Any) -> None:
        import torch

        loaded = self.load()
        distinct = [text for text in dict.fromkeys(texts) if text]
        with torch.inference_mode():
            vectors = [
                loaded.documents(distinct[i : i + self.batch_size], self.document_length)
                for i in range(0, len(distinct), self.batch_size)
            ]
            stacked = torch.cat(vectors) if vectors else None
            places = {text: i for i, text in enumerate(distinct)}
            for query in dict.fromkeys(queries):
                rows = np.flatnonzero((queries == query) & (texts != "")) if query else np.zeros(0, np.int64)
                if stacked is not None and len(rows):
                    chosen = stacked[[places[texts.iloc[row]] for row in rows]]
                    scores[rows] = loaded.network(query, self.query_length)(chosen).cpu().numpy()


class _Loaded:
    """The weights of a checkpoint, its backbones and its tokenizer."""

    def __init__(self, name: str, device: str) -> None:
        from safetensors.torch import load_file
        from transformers import AutoTokenizer

        config = json.loads(Path(_file(name, "config.json")).read_text("utf-8"))
        if "query_encoder_kwargs" not in config or "converter_kwargs" not in config["query_encoder_kwargs"]:
            raise ValueError(
                f"{name!r} has no query_encoder_kwargs with converter_kwargs in its config.json; expected a checkpoint "
                "of Hypencoder's. Late-interaction checkpoints: LateInteractionEncoder."
            )
        self.device = device
        self.pooling = config["passage_encoder_kwargs"].get("pooling_type", "cls")
        self.settings = config["query_encoder_kwargs"]["converter_kwargs"]
        tensors = {key: value.to(device).float() for key, value in load_file(_file(name, "model.safetensors")).items()}
        self.head = {key.removeprefix("query_encoder."): value for key, value in tensors.items()}
        shared = bool(config.get("shared_encoder"))
        self.query_backbone = _backbone(config, tensors, "query_encoder", shared, device)
        self.document_backbone = _backbone(config, tensors, "passage_encoder", shared, device)
        self.tokenizer = AutoTokenizer.from_pretrained(name)

    def documents(self, texts: Sequence[str], length: int) -> Tensor:
        """The vector of each text: the hidden state of [CLS], or the mean as the checkpoint has it."""
        texts = checked_texts(texts)
        tokens = self._tokens(texts, length)
        hidden = self.document_backbone(**tokens).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        mask = tokens["attention_mask"].unsqueeze(-1)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    def network(self, query: str, length: int) -> Any:
        """The network of a query: a function from vectors ``(n, d)`` to scores ``(n,)``."""
        import torch

        hidden = self.query_backbone(**self._tokens([query], length)).last_hidden_state[0]
        sizes = self.settings["vector_dimensions"]
        layers = len(sizes) - 1
        weights = [self._written(hidden, i, "weight", i, sizes[i + 1]) for i in range(layers)]
        biases = [self._written(hidden, layers + i, "bias", i, 1) for i in range(layers - 1)]
        activation = getattr(torch.nn.functional, _ACTIVATIONS[self.settings.get("activation_type", "relu")])

        def score(x: Tensor) -> Tensor:
            for i in range(layers - 1):
                y = self._normalised(activation(x @ weights[i].T + biases[i]), before=True)
                residual = self.settings.get("do_residual", True)
                if i == layers - 2:
                    residual = residual and bool(self.settings.get("do_residual_on_last", False))
                x = self._normalised(y + x if residual else y, before=False)
            return (x @ weights[-1].T)[:, 0]

        return score

    def _normalised(self, x: Tensor, *, before: bool) -> Tensor:
        """Normalised by layer, before or after the residual, as the checkpoint says."""
        from torch.nn.functional import layer_norm

        wanted = self.settings.get("do_layer_norm", True)
        here = self.settings.get("layer_norm_before_residual", True) == before
        return layer_norm(x, x.shape[-1:]) if wanted and here else x

    def _written(self, hidden: Tensor, projection: int, kind: str, i: int, size: int) -> Tensor:
        """One matrix ``(out, in)`` or bias ``(1, in)`` of the network, as the query writes it."""
        import torch
        from torch.nn.functional import layer_norm

        head = self.head
        keys = self._linear(hidden, f"key_projections.{projection}")
        values = self._linear(hidden, f"value_projections.{projection}")
        rows = head[f"{kind}_query_embeddings.{i}"][0]
        attended = torch.softmax(rows @ keys.T / math.sqrt(size), dim=-1) @ values
        changed = self._linear(layer_norm(attended.relu(), attended.shape[-1:]), f"{kind}_hyper_projection.{i}")
        base = head[f"hyper_base_matrices.{i}"][0] if kind == "weight" else head[f"hyper_base_vectors.{i}"]
        return changed + base

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.head[f"{name}.weight"].T + self.head[f"{name}.bias"]

    def _tokens(self, texts: Sequence[str], length: int) -> dict[str, Tensor]:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        return {key: tokens[key].to(self.device) for key in ("input_ids", "attention_mask")}


def _backbone(config: dict[str, Any], tensors: dict[str, Tensor], side: str, shared: bool, device: str) -> Any:
    from transformers import AutoConfig, AutoModel

    model = AutoModel.from_config(AutoConfig.from_pretrained(config[f"{side}_kwargs"]["model_name_or_path"]))
    prefix = f"{side}.transformer."
    if shared and not any(name.startswith(prefix) for name in tensors):  # weights of both are stored once
        prefix = next((f"{other}.transformer." for other in ("query_encoder", "passage_encoder") if other != side), "")
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    missing = [name for name in model.load_state_dict(own, strict=False).missing_keys if "pooler" not in name]
    if missing:
        raise ValueError(f"the checkpoint has no {prefix}{missing[0]}; expected all weights of its backbone.")
    return model.float().eval().to(device)


def _file(name: str, filename: str) -> str:
    from sentence_transformers.util import load_file_path

    path: str | None = load_file_path(name, filename)
    if path is None:
        raise ValueError(f"{name!r} has no {filename}; expected a checkpoint of Hypencoder's.")
    return path
