"""PLAID's three steps on a GPU, in torch: what `plaid` does on the processor, with all that is read on the device.

Products are in float32 of the query as it came, where the processor rounds it to 8 bits a value for scores from codes,
and to bytes for the interaction with centroids: scores agree to about a hundredth of a row's, and rankings but for
documents that near to each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyterrier_lir.columns import Docids
from pyterrier_lir.kernels import gpu

if TYPE_CHECKING:
    import torch

    from pyterrier_lir.frames import Query
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.store import Store
    from pyterrier_lir.index.subset import Subset


class Part(NamedTuple):
    """A segment on the device, and the docid of its first document."""

    start: int
    documents: int
    offsets: torch.Tensor
    tokens: torch.Tensor
    doc_codes: torch.Tensor
    doc_code_offsets: torch.Tensor
    cell_docs: torch.Tensor
    cell_offsets: torch.Tensor


class DevicePlaid:
    """An index on a device: token vectors in float16, decoded once, centroids and inverted lists.

    Args:
        store: The opened index, with a codec.
        device: ``"cuda"``, or one of several GPUs. 2 bytes for each dimension of a token must fit.
    """

    def __init__(self, store: Store, device: str) -> None:
        import torch

        assert store.codec is not None
        self.device = device
        self.count = len(store)
        self.centroids = torch.from_numpy(np.array(store.codec.centroids.vectors)).to(device)
        self.parts = [self._part(store, *part) for part in store.parts() if part[1].num_tokens]

    def search(
        self, query: Query, nprobe: int, keep: tuple[int, int], threshold: float | None, quantile: float | None,
        least: int, wanted: Subset | None,
    ) -> tuple[int, Docids, np.ndarray[Any, np.dtype[np.float32]]]:  # fmt: skip
        """Candidates, centroid interaction, exact scores.

        Args:
            query: With at least one row.
            nprobe: Cells of each row; doubled where they hold fewer documents than ``least``.
            keep: Documents that are kept after the interaction with all centroids, and, if there is a threshold, after
                that with the centroids above it.
            threshold: As of `plaid.Plaid`.
            quantile: As of `plaid.Plaid`.
            least: Documents at least.
            wanted: Documents to search; None for all.

        Returns:
            How many candidates there were, docids, ascending, and their scores.
        """
        import torch

        rows = torch.from_numpy(np.array(query.embs)).to(self.device)
        weights = None if query.weights is None else torch.from_numpy(np.array(query.weights)).to(self.device)
        if weights is not None:
            rows = rows * weights[:, None]
        table = self.centroids @ rows.T
        allowed = None if wanted is None else torch.from_numpy(np.array(wanted.mask)).to(self.device)
        docids = self._candidates(table, nprobe, least, allowed)
        met = len(docids)
        if threshold is not None or quantile is not None:
            best = (table if weights is None else table / weights).amax(dim=1)
            bar = torch.quantile(best, quantile) if threshold is None else threshold
            # A centroid that takes no part counts as the worst one does, as on the processor.
            pruned = torch.where((best >= bar)[:, None], table, table.min())
            docids = _best(docids, self._interaction(pruned, docids), keep[1])
        docids = _best(docids, self._interaction(table, docids), keep[0])
        return met, docids.cpu().numpy(), self._exact(rows, docids).cpu().numpy()

    def _part(self, store: Store, start: int, segment: Segment) -> Part:
        import torch

        size = segment.num_tokens
        blocks = (slice(at, min(at + gpu.BLOCK, size)) for at in range(0, size, gpu.BLOCK))
        tokens = gpu.upload((store.vectors(segment, rows) for rows in blocks), (size, store.dim), self.device)
        names = ("offsets", "doc_codes", "doc_code_offsets", "cell_docs", "cell_offsets")
        arrays = (np.asarray(getattr(segment, name)).astype(np.int64) for name in names)
        offsets, *lists = (torch.from_numpy(array).to(self.device) for array in arrays)
        return Part(start, len(segment), offsets, tokens, *lists)

    def _candidates(self, table: torch.Tensor, nprobe: int, least: int, allowed: torch.Tensor | None) -> torch.Tensor:
        """The documents in the best cells of each row, ascending."""
        import torch

        nprobe = min(nprobe, len(table))
        while True:
            found = torch.zeros(self.count, dtype=torch.bool, device=self.device)
            cells = table.topk(nprobe, dim=0).indices.unique()
            for part in self.parts:
                starts = part.cell_offsets[cells]
                found[part.start + part.cell_docs[gpu.ragged_rows(starts, part.cell_offsets[cells + 1] - starts)]] = (
                    True
                )
            docids = (found if allowed is None else found & allowed).nonzero()[:, 0]
            if len(docids) >= least or nprobe == len(table):
                return docids
            nprobe = min(2 * nprobe, len(table))

    def _interaction(self, table: torch.Tensor, docids: torch.Tensor) -> torch.Tensor:
        """MaxSim of documents with every token replaced by its centroid."""
        return self._maxsim(docids, lambda part, rows: table[part.doc_codes[rows]], "doc_code_offsets")

    def _exact(self, rows: torch.Tensor, docids: torch.Tensor) -> torch.Tensor:
        """MaxSim of documents."""
        return self._maxsim(docids, lambda part, places: part.tokens[places].float() @ rows.T, "offsets")

    def _maxsim(self, docids: torch.Tensor, similarities: Any, offsets: str) -> torch.Tensor:
        """``sum_i max_j`` over the rows of each document, of which ``offsets`` tells."""
        import torch

        scores = torch.full((len(docids),), -torch.inf, device=self.device)
        for part in self.parts:
            here = ((docids >= part.start) & (docids < part.start + part.documents)).nonzero()[:, 0]
            bounds, local = getattr(part, offsets), docids[here] - part.start
            lengths = bounds[local + 1] - bounds[local]
            here, local, lengths = here[lengths > 0], local[lengths > 0], lengths[lengths > 0]
            for chosen in _blocks(lengths):
                found = similarities(part, gpu.ragged_rows(bounds[local[chosen]], lengths[chosen]))
                best = torch.segment_reduce(found.contiguous(), "max", lengths=lengths[chosen], axis=0)
                scores[here[chosen]] = best.sum(dim=1)
        return scores


def _blocks(lengths: torch.Tensor) -> list[torch.Tensor]:
    """Runs of documents with about `gpu.BLOCK` rows each."""
    import torch

    if not len(lengths):
        return []
    block = torch.cumsum(lengths, 0) // gpu.BLOCK
    cuts = ((block[1:] != block[:-1]).nonzero()[:, 0] + 1).cpu()
    return list(torch.tensor_split(torch.arange(len(lengths), device=lengths.device), cuts))


def _best(docids: torch.Tensor, scores: torch.Tensor, count: int) -> torch.Tensor:
    """The best documents, ascending."""
    return docids if len(docids) <= count else docids[scores.topk(count).indices.sort().values]
