"""Matryoshka for multi-vectors: one forward pass, then the loss of every prefix of the dimensions.

Kusupati et al.: Matryoshka Representation Learning. NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class MatryoshkaLoss(nn.Module):
    """``sum_k w_k loss(prefixes of d_k dimensions, at unit length)``.

    Args:
        loss: A loss of sentence-transformers for multi-vectors, which encodes with its attribute ``model``.
        dims: The lengths of the prefixes.
        weights: Of each.
    """

    def __init__(self, loss: nn.Module, dims: Sequence[int], weights: Sequence[float]) -> None:
        super().__init__()
        self.loss = loss
        self.dims, self.weights = tuple(dims), tuple(weights)

    def forward(self, sentence_features: Sequence[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The weighted sum; queries and documents are encoded once."""
        model = self.loss.model
        encoded = _Encoded(model)
        total: Tensor | float = 0.0
        try:
            for dim, weight in zip(self.dims, self.weights, strict=True):
                self.loss.model = encoded.cut(dim)
                total = total + weight * self.loss([dict(features) for features in sentence_features], labels)
        finally:
            self.loss.model = model
        return total  # type: ignore[return-value]


class _Encoded(nn.Module):
    """Stands in for the model: the first prefix runs it, the others get what it gave, call by call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.call = model.__call__  # not a submodule
        self.outputs: list[dict[str, Any]] = []

    def cut(self, dim: int) -> _Encoded:
        self.dim, self.turn = dim, 0
        return self

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if self.turn == len(self.outputs):
            self.outputs.append(dict(self.call(features, **kwargs)))
        whole = self.outputs[self.turn]
        self.turn += 1
        prefix = functional.normalize(whole["token_embeddings"][..., : self.dim], dim=-1)
        return {**whole, "token_embeddings": prefix}
