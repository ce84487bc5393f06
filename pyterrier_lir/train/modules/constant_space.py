"""Constant-space documents: a learned mixture of a document's token positions into a fixed number of vectors.

MacAvaney, Mallia, Tonellotto: Efficient Constant-Space Multi-Vector Retrieval. ECIR 2025.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling
from torch import Tensor


class ConstantSpacePooling(BaseTokenPooling):
    """``P = W H``: row c of P is ``sum_j W[c, j] h_j``, over the positions j of a document.

    H holds the token vectors before normalisation, ``(positions, dim)``, zero where there is no token; W is learned,
    ``(vectors, positions)``. A weight belongs to a position, so documents of all lengths share it, and longer ones are
    cut.

    W begins as the mean of every ``vectors``-th position: then a document of at most ``vectors`` tokens keeps them as
    they are, and its score is MaxSim. A row that is zero, because nothing was mixed into it, is no vector.

    Args:
        vectors: C, of a document.
        positions: L, how many tokens a document can have.
        tasks: What is pooled.
    """

    config_keys = ("vectors", "positions", "tasks")

    def __init__(self, vectors: int, positions: int, tasks: list[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        self.vectors, self.positions = vectors, positions
        places = torch.arange(positions)
        weight = (places[None] % vectors == torch.arange(vectors)[:, None]).float()
        self.weight = torch.nn.Parameter(weight / weight.sum(dim=1, keepdim=True).clamp_(min=1))

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        """Replaces the token vectors and their mask; other tasks pass."""
        if not self.applies_to(task):
            return features
        mask = features["attention_mask"].bool()
        pooled = self.pool_padded(features["token_embeddings"] * mask[..., None])
        features["token_embeddings"] = pooled
        features["attention_mask"] = (pooled != 0).any(dim=-1)
        return features

    def pool_padded(self, tokens: Tensor) -> Tensor:
        """``(batch, length, dim)``, zero where there is no token, to ``(batch, vectors, dim)``."""
        length = min(tokens.shape[1], self.positions)
        return self.weight[:, :length].to(tokens.dtype) @ tokens[:, :length]

    def pool_one(self, embedding: Tensor, **kwargs: Any) -> Tensor:
        """One document."""
        pooled = self.pool_padded(embedding[None])[0]
        return pooled[(pooled != 0).any(dim=-1)]

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Settings and weights, beside each other."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> ConstantSpacePooling:
        """Reads what `save` wrote."""
        names = ("token", "cache_folder", "revision", "local_files_only")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **hub)
        module: ConstantSpacePooling = cls.load_torch_weights(
            model_name_or_path, subfolder=subfolder, model=cls(**config), **hub
        )
        return module
