"""Arrays in, arrays out: the inner loops of late interaction.

Every kernel exists twice: compiled from C++, once per instruction set, and in NumPy (:mod:`.reference`), which is the
specification and does the work where nothing could be compiled. The best build that the processor can run is chosen
at the first call. The environment variable ``PYTERRIER_LIR_KERNELS`` (one of ``auto``, ``numpy``, ``x86_64_v2``,
``x86_64_v3``, ``icelake``, ``dotprod``, ``plain``) or :func:`forced` choose another one.

:mod:`.exact` scores token vectors, :mod:`.codes` compresses them and scores them compressed, :mod:`.cells` finds the
documents that are worth it, :mod:`.tokens` scores single tokens and makes documents of them, :mod:`.fde` makes one long
vector of many. :mod:`.searcher` does all stages of a search in one call.
"""

from pyterrier_lir.kernels.builds import active, available, forced
from pyterrier_lir.kernels.cells import (
    candidates,
    centroid_maxsim,
    centroid_scores,
    score_table,
    top_cells,
    top_cells_in_groups,
)
from pyterrier_lir.kernels.codes import encode_residuals, maxsim_codes, nearest, nearest_groups, pack, unpack
from pyterrier_lir.kernels.exact import maxsim, top_k
from pyterrier_lir.kernels.fde import encode_fde, inner_products
from pyterrier_lir.kernels.searcher import compiled
from pyterrier_lir.kernels.tokens import blocks_shape, scan_cells, score_triples, top_tokens, top_tokens_codes

__all__ = [
    "active",
    "available",
    "compiled",
    "forced",
    # exact scores
    "maxsim",
    "top_k",
    # compressed token vectors
    "pack",
    "unpack",
    "nearest",
    "nearest_groups",
    "encode_residuals",
    "maxsim_codes",
    # centroids and cells
    "centroid_scores",
    "score_table",
    "top_cells",
    "top_cells_in_groups",
    "candidates",
    "centroid_maxsim",
    # single tokens
    "blocks_shape",
    "scan_cells",
    "top_tokens",
    "top_tokens_codes",
    "score_triples",
    # fixed dimensional encodings
    "encode_fde",
    "inner_products",
]
