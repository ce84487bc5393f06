"""Better queries: pseudo-relevance feedback, query-row pruning, weights, fewer rows."""

from pyterrier_lir.feedback.ball_carving import BallCarving
from pyterrier_lir.feedback.colbert_prf import ColbertPRF
from pyterrier_lir.feedback.mask_weighting import MaskWeighting
from pyterrier_lir.feedback.mean_weighting import MeanWeighting
from pyterrier_lir.feedback.query_pruning import QueryPruning

__all__ = ["BallCarving", "ColbertPRF", "MaskWeighting", "MeanWeighting", "QueryPruning"]
