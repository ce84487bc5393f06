"""xtr-warp-rs: LightOn's WARP in Rust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pyterrier_lir import arguments
from pyterrier_lir.columns import Floats
from pyterrier_lir.index.scoring import threads
from pyterrier_lir.peers.peer import Hits, Peer, documents

if TYPE_CHECKING:
    from pyterrier_lir.index.artifact import LirIndex
    from pyterrier_lir.index.store import Store

NUMBERS = "docids.npy"  # xtr-warp-rs numbers documents as they come


class XtrWarp(Peer):
    """Searches an xtr-warp-rs index, built anew from the vectors of ours, with centroids and codec of its own.

    Expected columns: ``qid``, ``query_embs``. Output: the columns of the query, and ``docno``, ``score``, ``rank``;
    scores are WARP's, with imputed values.

    Args:
        index_: The index that it is filled from.
        num_results: Documents per query.
        nbits: Bits per dimension.
        nprobe: Cells probed for each row; None for its own choice.
        num_threads: Threads; None for all cores.
        folder: Where it lies; None for a temporary folder.

    Raises:
        ImportError: If xtr-warp-rs is not installed; it wants a torch of its own version, with CUDA's libraries.
        ValueError: If the query's encoder or dimension is not the index's, or the folder holds other things.
    """

    LABEL = "xtr-warp-rs"
    PACKAGES: ClassVar[dict[str, str]] = {"xtr_warp": "xtr-warp-rs"}
    FILLING = ("nbits",)

    def __init__(
        self,
        index_: LirIndex,
        *,
        num_results: int = 1000,
        nbits: int = 4,
        nprobe: int | None = None,
        num_threads: int | None = None,
        folder: str | Path | None = None,
    ) -> None:
        arguments.check_counts(nbits=nbits)
        arguments.check_optional_counts(nprobe=nprobe)
        threads(num_threads)
        self._begin(index_, num_results, folder)
        self.nbits = nbits
        self.nprobe = nprobe
        self.num_threads = num_threads

    def open(self, folder: Path, store: Store, *, new: bool) -> Any:
        """The index in the folder, and the docids of its documents."""
        import torch
        from xtr_warp.search import XTRWarp

        index = XTRWarp(str(folder / "index"), "cpu")
        if new:
            parts = list(documents(store))
            vectors = [torch.from_numpy(rows) for _, embs in parts for rows in embs]
            index.create(vectors, device="cpu", show_progress=False, nbits=self.nbits)
            np.save(folder / NUMBERS, np.concatenate([docids for docids, _ in parts]))
        index.load("cpu")
        return index, np.load(folder / NUMBERS)

    def ask(self, opened: Any, rows: Floats) -> Hits:
        """One query."""
        import torch

        index, docids = opened
        chosen = {} if self.nprobe is None else {"nprobe": self.nprobe}
        (found,) = index.search(
            [torch.from_numpy(np.array(rows))], top_k=self.num_results, num_threads=threads(self.num_threads),
            show_progress=False, **chosen,
        )  # fmt: skip
        numbers = np.array([number for number, _ in found], np.int64)
        return Hits(docids[numbers], np.array([score for _, score in found], np.float64))
