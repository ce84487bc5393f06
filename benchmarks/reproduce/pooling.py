"""Token pooling: how many vectors a document needs.

python benchmarks/reproduce/pooling.py --dataset irds:beir/scifact/test --encoder colbert-ir/colbertv2.0
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyterrier as pt
from kit import Paper, Setting, parser, run
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


def systems(setting: Setting) -> dict[str, pt.Transformer]:
    options = {"num_results": 100, **setting.threads}
    found = {"all tokens": _indexed(setting, "all", None).exhaustive(**options)}
    for method, factors in FACTORS.items():
        for factor in factors:
            pooled = _indexed(setting, f"{method}-{factor}", lir.TokenPooling(factor, method=method))
            found[f"{method}, factor {factor}"] = pooled.exhaustive(**options)
    return found


def _indexed(setting: Setting, name: str, reduction: pt.Transformer | None) -> lir.LirIndex:
    index = lir.LirIndex(setting.folder / f"pooling-{setting.encoder.fingerprint}-{setting.args.nbits}bit-{name}.lir")
    if not index.built:
        indexer = index.unseen() >> index.indexer(nbits=setting.args.nbits, resume=True, **setting.threads)
        (indexer if reduction is None else reduction >> indexer).index(setting.index.get_corpus_iter())
    return index


def main(argv: Sequence[str] | None = None) -> pd.DataFrame:
    args = parser(__doc__, keep_embs=True).parse_args(argv)
    return run(PAPER, systems, [nDCG @ 10, R @ 100], args, columns=["index_mb", "bytes_per_doc"])


if __name__ == "__main__":
    main()
