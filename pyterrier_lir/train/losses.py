"""What is learned, as values: each builds a loss of sentence-transformers for a model.

S is the score of a query Q and a document D: ``MaxSim(Q, D) = sum_i max_j <q_i, d_j>``, or XTR's. D+ is the positive of
an example, and its documents are D+ and its negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pyterrier_lir import arguments

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder


@dataclass(frozen=True)
class Loss:
    """A recipe's objective; equal arguments make equal ones."""

    SCORES: ClassVar[bool] = False  # whether it needs a teacher's scores
    NEGATIVES: ClassVar[int] = 0  # how many an example must have at least

    @property
    def scores(self) -> bool:
        """Whether the data needs a teacher's ``score``."""
        return self.SCORES

    @property
    def least_negatives(self) -> int:
        """How many negatives an example needs at least."""
        return self.NEGATIVES

    def build(self, model: MultiVectorEncoder) -> Any:
        """The loss of sentence-transformers."""
        raise NotImplementedError


@dataclass(frozen=True)
class Contrastive(Loss):
    """Cross-entropy of the positive among all documents of the batch: in-batch and mined negatives.

    ``-log( exp(S(Q, D+) / T) / sum_D exp(S(Q, D) / T) )``, D over the documents of all examples. Batches hold no text
    twice.

    Attributes:
        temperature: T. MaxSim grows with the query, so 1 is usual.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("temperature", self.temperature)

    def build(self, model: MultiVectorEncoder) -> Any:
        """``MultiVectorMultipleNegativesRankingLoss``."""
        from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss

        return MultiVectorMultipleNegativesRankingLoss(model, scale=1 / self.temperature)


@dataclass(frozen=True)
class Xtr(Loss):
    """XTR's in-batch token retrieval: `Contrastive`, where only retrieved tokens count.

    For each query token the ``top_k`` tokens of the whole batch are retrieved; a document's score is
    ``S(Q, D) = (1 / Z) sum_i max_{j retrieved for i} <q_i, d_j>``, with Z the number of query tokens that retrieved a
    token of it; 0 where none did. So documents learn to be found by their tokens, as `LirIndex.xtr` searches them.

    Attributes:
        top_k: Tokens that each query token retrieves from the batch.
        temperature: As of `Contrastive`; scores are means of similarities, so 1 is soft.

    Lee et al.: Rethinking the Role of Token Retrieval in Multi-Vector Retrieval. NeurIPS 2023.
    """

    top_k: int = 256
    temperature: float = 1.0

    def __post_init__(self) -> None:
        arguments.check_counts(top_k=self.top_k)
        _check_positive("temperature", self.temperature)

    def build(self, model: MultiVectorEncoder) -> Any:
        """``MultiVectorMultipleNegativesRankingLoss`` with ``XTRScores``."""
        from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
        from sentence_transformers.multi_vector_encoder.scoring import XTRScores

        return MultiVectorMultipleNegativesRankingLoss(
            model, scale=1 / self.temperature, similarity_fct=XTRScores(self.top_k)
        )


@dataclass(frozen=True)
class KLDivergence(Loss):
    """Distillation: the distribution of the teacher's scores t over an example's documents is learned.

    ``KL( softmax(t / T_t) || softmax(S / T) )``, times ``T ** 2``. Both sides need scores of some spread: choose the
    temperatures to match.

    Attributes:
        temperature: T.
        teacher_temperature: T_t; None for T.

    Santhanam et al.: ColBERTv2. NAACL 2022.
    """

    temperature: float = 1.0
    teacher_temperature: float | None = None

    SCORES: ClassVar[bool] = True
    NEGATIVES: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check_positive("temperature", self.temperature)
        if self.teacher_temperature is not None:
            _check_positive("teacher_temperature", self.teacher_temperature)

    def build(self, model: MultiVectorEncoder) -> Any:
        """``MultiVectorDistillKLDivLoss``."""
        from sentence_transformers.multi_vector_encoder.losses import MultiVectorDistillKLDivLoss

        return MultiVectorDistillKLDivLoss(
            model, temperature=self.temperature, teacher_temperature=self.teacher_temperature
        )


@dataclass(frozen=True)
class MarginMSE(Loss):
    """Distillation: the teacher's margins between the positive and each negative are learned.

    ``mean over the negatives of ( (S(Q, D+) - S(Q, D-)) - (t(Q, D+) - t(Q, D-)) ) ** 2``. The teacher's scores must be
    on the scale of MaxSim, 0 to the number of query tokens.

    Hofstätter et al.: Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation. 2020.
    """

    SCORES: ClassVar[bool] = True
    NEGATIVES: ClassVar[int] = 1

    def build(self, model: MultiVectorEncoder) -> Any:
        """``MultiVectorMarginMSELoss``."""
        from sentence_transformers.multi_vector_encoder.losses import MultiVectorMarginMSELoss

        return MultiVectorMarginMSELoss(model)


@dataclass(frozen=True)
class Matryoshka(Loss):
    """Another loss, summed over prefixes of the dimensions, so that vectors can be cut by `Truncate`.

    ``sum_k w_k loss(first d_k dimensions, at unit length)``.

    Attributes:
        loss: What is learned of each prefix.
        dims: d_k. The model's own dimensions should be among them.
        weights: w_k; None for 1 each.

    Kusupati et al.: Matryoshka Representation Learning. NeurIPS 2022.
    """

    loss: Loss
    dims: tuple[int, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.dims:
            raise ValueError("dims is empty; expected at least one number of dimensions, such as (128, 64, 32).")
        for dim in self.dims:
            arguments.check_counts(dims=dim)
        if self.weights is not None and len(self.weights) != len(self.dims):
            raise ValueError(f"{len(self.weights)} weights for {len(self.dims)} dims; expected one for each.")

    @property
    def scores(self) -> bool:
        """As of the loss within."""
        return self.loss.scores

    @property
    def least_negatives(self) -> int:
        """As of the loss within."""
        return self.loss.least_negatives

    def build(self, model: MultiVectorEncoder) -> Any:
        """`pyterrier_lir.train.modules.matryoshka.MatryoshkaLoss` over the loss within."""
        from pyterrier_lir.train.modules.matryoshka import MatryoshkaLoss

        width = int(model.get_embedding_dimension())
        if max(self.dims) > width:
            raise ValueError(f"dims has {max(self.dims)}, but the model has {width} dimensions; give at most {width}.")
        return MatryoshkaLoss(self.loss.build(model), self.dims, self.weights or (1.0,) * len(self.dims))


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value!r}; expected a number above 0.")
