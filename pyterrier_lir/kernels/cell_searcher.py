"""A whole search by WARP in one call; see :mod:`.searcher`."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyterrier_lir.kernels.builds import active_module
from pyterrier_lir.kernels.checks import check_array, check_length, check_level_table, check_nbits
from pyterrier_lir.kernels.searcher import MOST, QueryArrays, Results, check_search
from pyterrier_lir.kernels.tokens import blocks_shape


class CellArrays(NamedTuple):
    """The tokens of N neighbouring documents cell after cell, which may be memory maps.

    Attributes:
        first_doc: The docid of the first document.
        num_docs: N.
        offsets: ``(K + 1,)`` where each centroid's tokens begin.
        docs: ``(T,)`` the document of each token, 0 to N - 1.
        blocks: The packed levels, as :func:`scan_cells` wants them.
    """

    first_doc: int
    num_docs: int
    offsets: npt.NDArray[np.int64]
    docs: npt.NDArray[np.int32]
    blocks: npt.NDArray[np.uint8]


class CellSearcher:
    """An index cell after cell, to be searched by the build that is active when this is made.

    Args:
        num_docs: Documents of the index, with those of no part.
        nbits: Bits of a level.
        centroids: ``(K, dim)`` in units of ``centroid_scale``.
        centroid_scale: ``(K,)``.
        level_table: See :func:`scan_cells`.
        coarse: ``(G, dim)`` vectors of groups of centroids, in units of ``coarse_scale``.
        coarse_scale: ``(G,)``.
        group_offsets: ``(G + 1,)`` where each group's centroids begin.
        sizes: ``(K,)`` how many tokens each centroid has.
        parts: In the order of their documents.

    Raises:
        ValueError: An array has the wrong type or length. What it holds is checked where it is read.
    """

    def __init__(
        self,
        num_docs: int,
        nbits: int,
        centroids: npt.NDArray[np.int8],
        centroid_scale: npt.NDArray[np.float32],
        level_table: npt.NDArray[np.uint8] | None,
        coarse: npt.NDArray[np.int8],
        coarse_scale: npt.NDArray[np.float32],
        group_offsets: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        parts: list[CellArrays],
    ) -> None:
        check_array("centroids", centroids, 2, np.int8)
        check_array("centroid_scale", centroid_scale, 1, np.float32)
        check_length("centroid_scale", centroid_scale, len(centroids), "centroid")
        check_nbits(nbits)
        check_level_table(level_table, nbits)
        check_array("group_offsets", group_offsets, 1, np.int64)
        check_array("coarse", coarse, 2, np.int8)
        check_length("coarse", coarse, len(group_offsets) - 1, "group")
        check_array("sizes", sizes, 1, np.int64)
        check_length("sizes", sizes, len(centroids), "centroid")
        module = active_module()
        self.dim, self.num_docs = centroids.shape[1], num_docs
        self._queries = module.Queries
        self._index: Any = module.CellIndex(
            nbits, centroids, centroid_scale, level_table, coarse, coarse_scale, group_offsets, sizes
        )
        for part in parts:
            check_array("offsets", part.offsets, 1, np.int64)
            check_length("offsets", part.offsets, len(centroids) + 1, "centroid, and one more")
            check_array("docs", part.docs, 1, np.int32)
            check_array("blocks", part.blocks, 4, np.uint8)
            if part.blocks.shape != blocks_shape(len(part.docs), self.dim, nbits):
                raise ValueError(f"blocks has shape {part.blocks.shape} for {len(part.docs)} tokens; is it cut off?")
            self._index.add_part(*part)

    def warp(
        self,
        queries: QueryArrays,
        *,
        nprobe: int,
        t_prime: int,
        bound: int,
        groups: int | None,
        at_least: int,
        num_results: int,
        wanted: npt.NDArray[np.bool_] | None,
        num_threads: int,
    ) -> Results:
        """WARP, as the steps of `pyterrier_lir.retrieve.warp.Warp.retrieve`.

        Args:
            queries: Each with a row at least.
            nprobe: Cells of each row.
            t_prime: Tokens after which a centroid's score is imputed.
            bound: Cells among which these are looked for.
            groups: Coarse groups in which each row looks for its cells; None for all.
            at_least: Documents that are found, by probing more cells if need be.
            num_results: Documents of each query.
            wanted: ``(num_docs,)`` which documents to search; None for all.
            num_threads: One query uses all; of several, each uses one.

        Returns:
            With the stats tokens and documents scored, and the milliseconds of the three steps.
        """
        check_search(queries, wanted, num_threads, self.dim, self.num_docs)
        counts = (min(count, MOST) for count in (nprobe, t_prime, bound, groups or 0, at_least, num_results))
        found = self._index.warp(self._queries(*queries), *counts, wanted, num_threads)
        return Results(*found)
