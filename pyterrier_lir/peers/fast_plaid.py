"""fast-plaid: LightOn's PLAID in Rust, on which PyLate's index stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.columns import Floats
from pyterrier_lir.peers.peer import Hits, Peer, documents

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store

NUMBERS = "docids.npy"  # fast-plaid numbers documents as they come


class FastPlaid(Peer):
    """Searches a fast-plaid index, built anew from the vectors of ours, with centroids and codec of its own.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query, and ``docno``, ``score``, ``rank``.
    ``LirIndex.from_plaid`` reads such an index instead. PyLate's ``indexes.PLAID`` is this one with names.

    Args:
        index_: The index that it is filled from.
        num_results: Documents per query; at most ``ndocs // 4`` come back.
        nbits: Bits per dimension.
        nprobe: Its ``n_ivf_probe``.
        ndocs: Its ``n_full_scores``.
        folder: Where it lies; None for a temporary folder.

    Raises:
        ImportError: If fast-plaid is not installed; it wants a torch of its own version.
        ValueError: If the query's encoder or dimension is not the index's, or the folder holds other things.
    """

    LABEL = "fast-plaid"
    PACKAGES: ClassVar[dict[str, str]] = {"fast_plaid": "fast-plaid"}
    FILLING = ("nbits",)

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        nbits: int = 4,
        nprobe: int = 8,
        ndocs: int = 4096,
        folder: str | Path | None = None,
    ) -> None:
        arguments.check_counts(nbits=nbits, nprobe=nprobe, ndocs=ndocs)
        self._begin(index_, num_results, folder)
        self.nbits = nbits
        self.nprobe = nprobe
        self.ndocs = ndocs

    def open(self, folder: Path, store: Store, *, new: bool) -> Any:
        """The index in the folder, and the docids of its documents."""
        import torch
        from fast_plaid.search import FastPlaid as Index

        index = Index(str(folder / "index"), device="cpu")
        if new:
            parts = list(documents(store))
            index.create([torch.from_numpy(rows) for _, embs in parts for rows in embs], nbits=self.nbits)
            np.save(folder / NUMBERS, np.concatenate([docids for docids, _ in parts]))
        return index, np.load(folder / NUMBERS)

    def ask(self, opened: Any, rows: Floats) -> Hits:
        """One query."""
        import torch

        index, docids = opened
        (found,) = index.search(
            [torch.from_numpy(np.array(rows))], top_k=self.num_results, n_ivf_probe=self.nprobe,
            n_full_scores=self.ndocs, show_progress=False,
        )  # fmt: skip
        numbers = np.array([number for number, _ in found], np.int64)
        return Hits(docids[numbers], np.array([score for _, score in found], np.float64))
