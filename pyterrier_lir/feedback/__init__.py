"""Better queries: pseudo-relevance feedback, query-row pruning, weights."""

from pyterrier_lir.feedback.colbert_prf import ColbertPRF
from pyterrier_lir.feedback.mask_weighting import MaskWeighting
from pyterrier_lir.feedback.query_pruning import QueryPruning

__all__ = ["ColbertPRF", "MaskWeighting", "QueryPruning"]
