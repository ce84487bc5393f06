"""What `engines.py` compares: indexes, and ways to search them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyterrier as pt
from embedded import Data

import pyterrier_lir as lir
from pyterrier_lir.experiment.first_stage import bm25

OLD = "pyterrier_lir, old"
Search = Callable[..., pt.Transformer]  # from what is opened, num_results and num_threads


@dataclass(frozen=True)
class IndexSpec:
    """An index: which engine builds it, and with which options."""

    engine: str
    options: dict[str, Any]

    @property
    def ours(self) -> bool:
        return self.engine == "pyterrier_lir"

    @property
    def older(self) -> bool:
        """Ours, at an earlier commit: see ``--old`` of `engines.py`."""
        return self.engine == OLD


@dataclass(frozen=True)
class System:
    """A way to search an index.

    Attributes:
        name: In the table.
        index: One of `INDEXES`.
        search: Ours: makes the transformer from what is opened, with ``num_results`` and ``num_threads``.
        settings: Peers: arguments of their search.
        kernels: The kernel build to force.
        slow: Answers the timed queries only, and few of them at once.
        arrays: Ours: from the query's matrix to docids and scores, as the peers are timed, not from frame to frame.
    """

    name: str
    index: str
    search: Search | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    kernels: str | None = None
    slow: bool = False
    arrays: bool = False


def plaid(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.plaid(**options)


def paper_plaid(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.plaid(preset="paper", **options)


def warp(nprobe: int | None = None) -> Search:
    return lambda opened, **options: opened.index.warp(nprobe=nprobe, **options)


def refined_warp(opened: Opened, *, num_results: int, num_threads: int) -> pt.Transformer:
    found = opened.index.warp(num_results=max(64, num_results), nprobe=32, num_threads=num_threads)
    return found >> opened.index.maxsim(num_threads=num_threads) % num_results


def xtr(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.xtr(**options)


def one_vector(name: str) -> Search:
    """MUVERA or LEMUR: the best 200 by one vector, with exact scores."""
    return lambda opened, *, num_results, num_threads: (
        getattr(opened.index, name)(num_results=200, num_threads=num_threads)
        >> opened.index.maxsim(num_threads=num_threads) % num_results
    )


def exhaustive(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.exhaustive(**options)


def bm25_reranked(opened: Opened, *, num_results: int, num_threads: int) -> pt.Transformer:
    return opened.bm25 % 100 >> opened.index.maxsim(num_threads=num_threads) % num_results


def probe(cells: int, docs: int) -> dict[str, Any]:
    return {"n_ivf_probe": cells, "n_full_scores": docs}


INDEXES = {
    "4 bits": IndexSpec("pyterrier_lir", {"nbits": 4}),
    "8 bits": IndexSpec("pyterrier_lir", {"nbits": 8}),
    "2 bits": IndexSpec("pyterrier_lir", {"nbits": 2}),
    "fp16": IndexSpec("pyterrier_lir", {"nbits": 4, "keep_embs": True}),
    "fast-plaid": IndexSpec("fast-plaid", {"nbits": 4}),
    "xtr-warp-rs": IndexSpec("xtr-warp-rs", {"nbits": 4}),
    "old-4-bits": IndexSpec(OLD, {"nbits": 4}),
}


AVX2 = "x86_64_v3"
PLAID4, PLAID8, PLAID2, PLAID4_AVX2 = "PLAID, 4 bits", "PLAID, 8 bits", "PLAID, 2 bits", "PLAID, 4 bits, AVX2"
EXACT, WARP_AUTO, WARP_32 = "exhaustive, fp16", "xtr-warp-rs, automatic", "xtr-warp-rs, probe 32"
WARP, REFINED_WARP, XTR = "WARP, defaults", "WARP, probe 32 % 64 >> maxsim", "XTR, defaults"
OLD_PLAID, OLD_WARP = "PLAID, 4 bits, old commit", "WARP, defaults, old commit"
PLAID4_ARRAYS, WARP_ARRAYS = "PLAID, 4 bits, in arrays", "WARP, defaults, in arrays"
SYSTEMS = [
    System(PLAID4, "4 bits", plaid),
    System(PLAID4_ARRAYS, "4 bits", plaid, arrays=True),
    System(PLAID4_AVX2, "4 bits", plaid, kernels=AVX2),
    System("PLAID, 4 bits, paper", "4 bits", paper_plaid),
    System(PLAID8, "8 bits", plaid),
    System(PLAID2, "2 bits", plaid),
    *(System(f"WARP, probe {nprobe}", "4 bits", warp(nprobe)) for nprobe in (4, 8, 16, 24, 48, 64)),
    System(WARP, "4 bits", warp()),
    System(WARP_ARRAYS, "4 bits", warp(), arrays=True),
    System(REFINED_WARP, "4 bits", refined_warp),
    System(XTR, "4 bits", xtr),
    System("MUVERA % 200 >> maxsim", "4 bits", one_vector("muvera")),
    System("LEMUR % 200 >> maxsim", "4 bits", one_vector("lemur")),
    System("exhaustive, 4 bits", "4 bits", exhaustive),
    System(EXACT, "fp16", exhaustive),
    System("BM25 % 100 >> maxsim, 4 bits", "4 bits", bm25_reranked),
    System("fast-plaid, probe 8, score 4096", "fast-plaid", settings=probe(8, 4096), slow=True),
    System("fast-plaid, probe 4, score 1024", "fast-plaid", settings=probe(4, 1024), slow=True),
    System("fast-plaid, probe 2, score 256", "fast-plaid", settings=probe(2, 256), slow=True),
    System(WARP_AUTO, "xtr-warp-rs"),
    System(WARP_32, "xtr-warp-rs", settings={"nprobe": 32}),
    System(OLD_PLAID, "old-4-bits", settings={"method": "plaid"}),
    System(OLD_WARP, "old-4-bits", settings={"method": "warp"}),
    System("exhaustive, 4 bits, old commit", "old-4-bits", settings={"method": "exhaustive"}),
]


class Opened:
    """What our systems are made from: the index and its collection."""

    def __init__(self, data: Data, name: str) -> None:
        self.data = data
        self.index = lir.LirIndex(data.folder / name.replace(" ", "-"))

    @cached_property
    def bm25(self) -> pt.Transformer:
        """BM25 whose docnos are those of the index: positions in the collection."""
        fields = self.data.dataset.text_field
        texts = (" ".join(document[name] for name in fields) for document in self.data.dataset.corpus())
        corpus = ({"docno": str(docid), "text": text} for docid, text in enumerate(texts))
        return bm25(corpus, self.data.folder / "bm25", num_results=100)
