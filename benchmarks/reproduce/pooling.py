"""Token pooling: how many vectors a document needs.

    python benchmarks/reproduce/pooling.py --dataset irds:beir/scifact/test --encoder colbert-ir/colbertv2.0

What SciFact takes, estimated: 5,200 documents are 1.9 million tokens, so the first index, which keeps the vectors in 16
bits, is 1.9 M x (256 + 64 + 4) bytes = 600 MB, and the nine made from it are 130 MB divided by their factors: 600 MB in
all. Encoding is an hour at 100 GFLOP/s; hierarchical pooling is minutes, each exhaustive row is .1 s a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import pyterrier as pt
from kit import Setting, Systems, parser, run
from page import Paper
from pyterrier.measures import R, nDCG

import pyterrier_lir as lir

FACTORS = {"hierarchical": (2, 3, 4, 6), "kmeans": (2, 4), "sequential": (2, 4)}
PAPER = Paper(
    "Clavié, Chaffin, Adams: Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via "
    "Token Pooling. 2024",
    "",
    {},
    [
        "The paper's figures (arXiv:2409.14683) are not quoted here, for want of a source that we have read.",
        "Pooled vectors are scaled to unit length. All indexes are made from the tokens that the first one stores, in "
        "16 bits if it was made by this kit, and searched exhaustively.",
    ],
)


def pooled(setting: Setting, method: str, factor: int) -> pt.Transformer:
    pooling, nbits = lir.TokenPooling(factor, method=method), setting.args.nbits
    index = setting.reduced(f"pooling-{method}-{factor}-{nbits}bit", pooling, nbits=nbits)
    return index.exhaustive(num_results=100, **setting.threads)


SYSTEMS: Systems = {
    "all tokens": partial(pooled, method="sequential", factor=1),
    **{f"{m} factor {f}": partial(pooled, method=m, factor=f) for m, factors in FACTORS.items() for f in factors},
}


def main(argv: Sequence[str] | None = None) -> pd.DataFrame:
    args = parser(__file__, __doc__, keep_embs=True).parse_args(argv)
    return run(PAPER, SYSTEMS, [nDCG @ 10, R @ 100], args, columns=["index_mb", "bytes_per_doc"])


if __name__ == "__main__":
    main()
