"""Fewer or smaller vectors, all ``doc_embs -> doc_embs``: token pooling, static pruning, dimension cuts, patches."""

from pyterrier_lir.reduce.blank import BlankPruning
from pyterrier_lir.reduce.grid import GridPooling
from pyterrier_lir.reduce.pooling import TokenPooling
from pyterrier_lir.reduce.pruning import TokenPruning
from pyterrier_lir.reduce.truncate import Truncate

__all__ = ["BlankPruning", "GridPooling", "TokenPooling", "TokenPruning", "Truncate"]
