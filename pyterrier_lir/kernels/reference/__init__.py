"""The kernels in NumPy: what the compiled ones must compute.

These functions are the specification that the compiled kernels are tested against, and stand in for them where none
could be built. They take checked arguments; see the functions of the same names in :mod:`pyterrier_lir.kernels`. Each
file here belongs to the one of the same name there.
"""

from pyterrier_lir.kernels.reference.cells import (
    candidates,
    centroid_maxsim,
    centroid_scores,
    score_table,
    top_cells,
    top_cells_in_groups,
)
from pyterrier_lir.kernels.reference.codes import (
    code_similarities,
    encode_residuals,
    maxsim_codes,
    nearest,
    nearest_groups,
    pack,
    packed_width,
    unpack,
    unpack_levels,
)
from pyterrier_lir.kernels.reference.exact import maxsim, top_k
from pyterrier_lir.kernels.reference.fde import encode_fde, inner_products
from pyterrier_lir.kernels.reference.shared import integer_products, padded_rows, sum_in_order
from pyterrier_lir.kernels.reference.tokens import (
    BLOCK,
    blocks_shape,
    scan_cells,
    score_triples,
    top_tokens,
    top_tokens_codes,
)

__all__ = [
    "BLOCK",
    "blocks_shape",
    "candidates",
    "centroid_maxsim",
    "centroid_scores",
    "code_similarities",
    "encode_fde",
    "encode_residuals",
    "inner_products",
    "integer_products",
    "maxsim",
    "maxsim_codes",
    "nearest",
    "nearest_groups",
    "pack",
    "packed_width",
    "padded_rows",
    "scan_cells",
    "score_table",
    "score_triples",
    "sum_in_order",
    "top_cells",
    "top_cells_in_groups",
    "top_k",
    "top_tokens",
    "top_tokens_codes",
    "unpack",
    "unpack_levels",
]
