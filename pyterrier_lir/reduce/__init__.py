"""Fewer or smaller vectors: token pooling, static pruning, dimension cuts, all ``doc_embs -> doc_embs``."""

from pyterrier_lir.reduce.pooling import TokenPooling
from pyterrier_lir.reduce.pruning import TokenPruning
from pyterrier_lir.reduce.truncate import Truncate

__all__ = ["TokenPooling", "TokenPruning", "Truncate"]
