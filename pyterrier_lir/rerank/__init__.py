"""Ranking -> ranking: exact MaxSim from the index, from columns, from text; all of a list, less of it, or more."""

from pyterrier_lir.rerank.candidate_pruning import CandidatePruning
from pyterrier_lir.rerank.lite import Lite

__all__ = ["CandidatePruning", "Lite"]
