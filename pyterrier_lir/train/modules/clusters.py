"""Clustering while training: each text's token vectors are replaced by the means of a few clusters.

Veneroso, Jayaram, Rao, Hernández Ábrego, Hadian, Cer: CRISP: Clustering Multi-Vector Representations for Denoising and
Pruning. 2025.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling
from torch import Tensor
from torch.nn import functional

ITERATIONS = 5


class ClusterPooling(BaseTokenPooling):
    """k-means over the unit token vectors of each text; a cluster becomes its mean, at unit length.

    ``c_k = normalised mean of { x_j : argmax_l <x_j, m_l> = k }``. Which cluster a token is in has no gradient; the
    mean has. A text of at most k tokens stays as it is. Centres m begin with the first token, then always the one that
    is least like all before, so that the same text gives the same clusters.

    Args:
        queries: k of a query; 0 leaves queries as they are.
        documents: k of a document; 0 leaves documents as they are.
    """

    config_keys = ("queries", "documents")

    def __init__(self, queries: int = 8, documents: int = 32) -> None:
        super().__init__(tasks=[task for task, k in (("query", queries), ("document", documents)) if k])
        self.queries, self.documents = queries, documents

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        """Replaces the token vectors and their mask."""
        self.k = self.queries if task == "query" else self.documents
        return super().forward(features, task=task)

    def pool_one(self, embedding: Tensor, **kwargs: Any) -> Tensor:
        """One text: ``(n, dim)`` to ``(min(n, k), dim)``."""
        return clustered(embedding, self.k)


def clustered(vectors: Tensor, k: int) -> Tensor:
    """The means of the clusters, at unit length, in the order of their first tokens."""
    if len(vectors) <= k:
        return vectors
    labels = assignments(vectors.detach(), k)
    members = functional.one_hot(labels, k).to(vectors.dtype)
    kept = members[:, members.any(dim=0)]
    return functional.normalize(kept.T @ vectors / kept.sum(dim=0)[:, None], dim=-1)


def assignments(vectors: Tensor, k: int) -> Tensor:
    """The cluster of each vector: spherical k-means, `ITERATIONS` rounds from centres far from each other."""
    chosen = [0]
    nearest = vectors @ vectors[0]
    while len(chosen) < k:
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, vectors @ vectors[chosen[-1]])
    centres = vectors[torch.tensor(chosen, device=vectors.device)]
    for _ in range(ITERATIONS):
        labels = (vectors @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, labels, vectors)
        filled = (sums != 0).any(dim=1, keepdim=True)
        centres = torch.where(filled, functional.normalize(sums, dim=-1), centres)
    return (vectors @ centres.T).argmax(dim=1)
