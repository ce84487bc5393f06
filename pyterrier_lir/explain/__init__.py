"""Ranking -> alignment: which query token met which document token, as columns, pictures and HTML."""

from pyterrier_lir.explain.alignment import Explain
from pyterrier_lir.explain.heatmap import heatmap
from pyterrier_lir.explain.highlight import Highlight, highlight
from pyterrier_lir.explain.page_html import page_html
from pyterrier_lir.explain.page_map import page_map, page_similarities
from pyterrier_lir.explain.proportions import match_proportions

__all__ = [
    "Explain",
    "Highlight",
    "heatmap",
    "highlight",
    "match_proportions",
    "page_html",
    "page_map",
    "page_similarities",
]
