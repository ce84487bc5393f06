"""MaxSim of one query over the vectors that the index stores: from fp16 if it kept them, else straight from codes.

The one place where the processor is chosen.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import kernels
from pyterrier_lir.columns import Floats
from pyterrier_lir.index.cell_tokens import CellTokens
from pyterrier_lir.index.codec import Codec, to_bytes
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.store import Store
from pyterrier_lir.kernels.checks import MAX_THREADS, is_whole

if TYPE_CHECKING:
    from pyterrier_lir.frames import Query


def check_device(device: str) -> None:
    """Refuses a device that is not there.

    Raises:
        ValueError: If it is neither ``"cpu"`` nor a GPU that torch sees.
    """
    if device == "cpu":
        return
    gpu = str(device).startswith("cuda")
    if gpu:
        import torch

        if torch.cuda.is_available():
            return
    expected = '"cpu", as torch sees no GPU here' if gpu else '"cpu" or "cuda"'
    raise ValueError(f'device is {device!r}; expected {expected}. Use device="cpu".')


def threads(num_threads: int | None) -> int:
    """The number of threads asked for; by default the cores that this process may use.

    Raises:
        ValueError: If it is less than 1, or more than any machine has.
    """
    if num_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not is_whole(num_threads) or num_threads < 1:
        raise ValueError(f"num_threads is {num_threads!r}; expected at least 1, or None for all cores.")
    if num_threads > MAX_THREADS:
        raise ValueError(f"num_threads is {num_threads}; expected at most {MAX_THREADS}, or None for all cores.")
    return num_threads


class CodedQuery:
    """A query as the kernels over codes want it, rounded to 8 bits a value; its weights are multiplied in.

    Attributes:
        levels: The rows times the codec's steps, int8 ``(n, dim)``, in units of ``scale``, float32 ``(n,)``.
        bias: Products of the rows with the codec's lowest level, float32 ``(n,)``.
        weighted: The rows times their weights, float32 ``(n, dim)``.
    """

    def __init__(self, embs: Floats, weights: Floats | None, codec: Codec, num_threads: int) -> None:
        weighted = embs if weights is None else embs * weights[:, None]
        self.codec = codec
        self.num_threads = num_threads
        self.levels, self.scale = to_bytes(weighted * codec.step)
        self.bias = (weighted * codec.lo).sum(axis=1)
        self.weighted = weighted

    @cached_property
    def centroid_scores(self) -> Floats:
        """Products with all centroids, float32 ``(K, L)``."""
        levels, scale = to_bytes(self.weighted)
        centroids, scales = self.codec.centroid_bytes
        return kernels.centroid_scores(levels, scale, centroids, scales, num_threads=self.num_threads)

    def best_cells(self, p: int, groups: int | None = None) -> tuple[npt.NDArray[np.int32], Floats]:
        """The centroids with the largest products, and these.

        Args:
            p: How many for each row; at most K.
            groups: Look at the centroids of each row's best so many coarse groups only; None for all. With all, the
                result is the same.

        Returns:
            int32 ``(n, p)``, best first, ties by number, and float32 ``(n, p)``.
        """
        coarse, scales = self.codec.coarse_bytes
        if groups is None or groups >= len(coarse):
            cells = kernels.top_cells(self.centroid_scores, len(self.levels), p)
            return cells, self.centroid_scores[cells, np.arange(len(cells))[:, None]]
        levels, scale = to_bytes(self.weighted)
        coarse_scores = kernels.centroid_scores(levels, scale, coarse, scales, num_threads=self.num_threads)
        sizes = np.diff(self.codec.centroids.offsets)
        while True:
            chosen = kernels.top_cells(coarse_scores, len(levels), groups)
            if groups == len(coarse) or sizes[chosen].sum(axis=1).min() >= p:
                break
            groups = min(2 * groups, len(coarse))
        return kernels.top_cells_in_groups(
            levels, scale, *self.codec.centroid_bytes, self.codec.centroids.offsets, chosen, p
        )

    def scan(
        self, tokens: CellTokens, cells: npt.NDArray[np.int32], cell_scores: Floats, *, normalise: bool
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
        """Triples of all tokens in each row's cells: see `kernels.scan_cells`.

        Args:
            tokens: Of a segment.
            cells: int32 ``(n, p)``, with the products of their centroids.
            cell_scores: float32 ``(n, p)``.
            normalise: Whether decompressed vectors are scaled back to unit length, where the index recorded that.
        """
        inv_norms = tokens.inv_norms if normalise else None
        return kernels.scan_cells(
            cells, cell_scores, self.levels, self.scale, self.bias, tokens.offsets, tokens.docs, tokens.blocks,
            inv_norms, None if inv_norms is None else self.codec.inv_norm_table,
            nbits=self.codec.nbits, level_table=self.codec.level_table, num_threads=self.num_threads,
        )  # fmt: skip

    def top_tokens(
        self, segment: Segment, docids: npt.NDArray[np.int64] | None, count: int
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        """Each row's best tokens of all in a segment, or in some of its documents: see `kernels.top_tokens_codes`."""
        assert segment.codes is not None
        assert segment.residuals is not None
        return kernels.top_tokens_codes(
            self.centroid_scores, self.levels, self.scale, self.bias, segment.codes, segment.residuals,
            segment.inv_norms, self.codec.inv_norm_table, segment.offsets, docids,
            nbits=self.codec.nbits, level_table=self.codec.level_table, count=count, num_threads=self.num_threads,
        )  # fmt: skip

    def maxsim(self, segment: Segment, docids: npt.NDArray[np.int64] | None) -> Floats:
        """MaxSim with documents of a segment, from their codes."""
        assert segment.codes is not None
        assert segment.residuals is not None
        return kernels.maxsim_codes(
            self.centroid_scores, self.levels, self.scale, self.bias, segment.codes, segment.residuals,
            segment.inv_norms, self.codec.inv_norm_table, segment.offsets, docids,
            nbits=self.codec.nbits, level_table=self.codec.level_table, num_threads=self.num_threads,
        )  # fmt: skip


class Scorer:
    """Scores documents of a store.

    Args:
        store: The opened index.
        num_threads: Threads on the processor; None for all cores.
        device: ``"cpu"`` or a GPU.
    """

    def __init__(self, store: Store, *, num_threads: int | None, device: str) -> None:
        self.store = store
        self.num_threads = threads(num_threads)
        self.device = device

    def prepare(self, query: Query) -> Query | CodedQuery:
        """What is computed once per query."""
        codec = self.store.codec
        if self.store.manifest["keep_embs"] or self.device != "cpu" or codec is None:
            return query
        return CodedQuery(query.embs, query.weights, codec, self.num_threads)

    def vectors(self, segment: Segment) -> Any:
        """What is made ready once per segment: on a GPU its vectors there, else None."""
        if self.device == "cpu":
            return None
        from pyterrier_lir.kernels import gpu

        rows = segment.num_tokens
        blocks = (slice(start, min(start + gpu.BLOCK, rows)) for start in range(0, rows, gpu.BLOCK))
        return gpu.upload((self.store.vectors(segment, block) for block in blocks), (rows, self.store.dim), self.device)

    def maxsim(
        self, query: Query | CodedQuery, segment: Segment, docids: npt.NDArray[np.int64] | None, vectors: Any = None
    ) -> Floats:
        """``sum_i w_i max_j <q_i, d_j>`` for documents of a segment.

        Args:
            query: From `prepare`, with at least one row.
            segment: Holds the documents.
            docids: Numbers of documents in the segment, or None for all of them.
            vectors: From `vectors`.

        Returns:
            float32 ``(m,)``; -inf for a document without tokens.
        """
        if not segment.num_tokens:
            return np.full(len(segment) if docids is None else len(docids), -np.inf, dtype=np.float32)
        if isinstance(query, CodedQuery):
            return query.maxsim(segment, docids)
        if self.device == "cpu":
            assert segment.tokens is not None
            return kernels.maxsim(
                query.embs, segment.tokens, segment.offsets, docids, weights=query.weights, num_threads=self.num_threads
            )
        from pyterrier_lir.kernels import gpu

        return gpu.maxsim(query.embs, vectors, segment.offsets, docids, weights=query.weights)

    def documents(self, query: Query | CodedQuery, docids: npt.NDArray[np.int64]) -> Floats:
        """As `maxsim` on the processor, for documents anywhere in the index: float32 ``(m,)``."""
        scores = np.full(len(docids), -np.inf, dtype=np.float32)
        for start, segment in self.store.parts():
            here = (docids >= start) & (docids < start + len(segment))
            if here.any():
                scores[here] = self.maxsim(query, segment, docids[here] - start)
        return scores
