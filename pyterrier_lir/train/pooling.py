"""Vectors that are not tokens: what a model gives instead, as values; each puts a module into a model that is trained.

The module is part of the checkpoint, so indexing and searching give what training saw. `LateInteractionEncoder` loads
all of them; sentence-transformers itself loads `Hierarchical` as it is, the others where this package is installed,
with ``trust_remote_code=True``, as it asks of modules that are not its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyterrier_lir import arguments
from pyterrier_lir.encode import checkpoint

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder


class Pooling:
    """A recipe's pooling of token vectors, part of the model from the first step on."""

    def put_into(self, model: MultiVectorEncoder) -> None:
        """Puts the module where it belongs, in place."""
        raise NotImplementedError


@dataclass(frozen=True)
class ConstantSpace(Pooling):
    """Documents of a fixed number of learned vectors (ConstBERT); queries keep their tokens.

    See ``train.modules.constant_space`` for the formula. The paper mixes the
    backbone's vectors before the projection to fewer dimensions; as both are linear, it is the same behind it.

    Attributes:
        vectors: Of a document.

    MacAvaney, Mallia, Tonellotto: Efficient Constant-Space Multi-Vector Retrieval. ECIR 2025.
    """

    vectors: int = 32

    def __post_init__(self) -> None:
        arguments.check_counts(vectors=self.vectors)

    def put_into(self, model: MultiVectorEncoder) -> None:
        """Before the normalisation; as many positions as a document may have tokens."""
        from pyterrier_lir.train.modules.constant_space import ConstantSpacePooling

        _, positions = checkpoint.lengths(model)
        _insert_before_normalisation(model, ConstantSpacePooling(self.vectors, positions))


@dataclass(frozen=True)
class Clusters(Pooling):
    """Queries and documents of the means of their clusters, in training and after (CRISP).

    See ``train.modules.clusters``.

    Attributes:
        queries: Clusters of a query; 0 leaves queries as they are.
        documents: Clusters of a document; 0 leaves documents as they are.

    Veneroso et al.: CRISP: Clustering Multi-Vector Representations for Denoising and Pruning. 2025.
    """

    queries: int = 8
    documents: int = 32

    def __post_init__(self) -> None:
        arguments.check_counts(0, queries=self.queries, documents=self.documents)
        if not self.queries and not self.documents:
            raise ValueError("queries and documents are 0; expected clusters of one of them. Leave the pooling out.")

    def put_into(self, model: MultiVectorEncoder) -> None:
        """Behind everything else."""
        from pyterrier_lir.train.modules.clusters import ClusterPooling

        model.append(ClusterPooling(self.queries, self.documents))


@dataclass(frozen=True)
class Hierarchical(Pooling):
    """Token pooling while training: documents of the means of Ward's clusters, a part of their tokens.

    Attributes:
        factor: Keeps about one of so many vectors.

    Clavié, Chaffin, Adams: Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token
    Pooling. 2024.
    """

    factor: float = 2.0

    def __post_init__(self) -> None:
        arguments.check_number("factor", self.factor, 1, float("inf"), "a number of at least 1")

    def put_into(self, model: MultiVectorEncoder) -> None:
        """Behind everything else."""
        from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

        model.append(HierarchicalTokenPooling(self.factor))


def _insert_before_normalisation(model: MultiVectorEncoder, module: object) -> None:
    from sentence_transformers.base.modules import Normalize

    place = next((i for i, found in enumerate(model) if isinstance(found, Normalize)), len(model))
    model.insert(place, module.to(model.device))  # type: ignore[attr-defined]
