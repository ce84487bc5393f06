"""XTR: what to impute for tokens that were not retrieved.

    python benchmarks/reproduce/xtr.py --dataset irds:beir/scifact/test --encoder google/xtr-base-en

What SciFact takes, estimated: the index as in warp.py, 130 MB and an hour of encoding on a processor. Tokens are
searched exactly, some .5 s for 480,000 of them, so 2 s a query: five rows of 300 queries take 50 minutes. MS MARCO has
600 million tokens, where that is ten minutes a query: its ablation is out of reach of exact search.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import pyterrier as pt
from kit import Setting, Systems, exhaustive, parser, run
from page import Paper
from pyterrier.measures import RR, R, nDCG

IMPUTED: dict[str, str | float] = {"nothing imputed": "none", "0": "zero", "0.2": 0.2, "k'-th score": "kth"}
PAPER = Paper(
    "Lee et al.: Rethinking the Role of Token Retrieval in Multi-Vector Retrieval. NeurIPS 2023",
    "MS MARCO: the ablation of the imputation, arXiv:2304.01982; SciFact: the authors' notebook, k' = 1,000, exact "
    "search of tokens.",
    {
        "irds:msmarco-passage/dev/small": {
            "XTR nothing imputed": {"RR@10": 0.226},
            "XTR 0": {"RR@10": 0.362},
            "XTR 0.2": {"RR@10": 0.364},
            "XTR k'-th score": {"RR@10": 0.374},
        },
        "irds:beir/scifact/test": {"XTR k'-th score k'=1000": {"nDCG@10": 0.717, "R@100": 0.931}},
    },
    [
        "k' is 40,000 in the paper, and the number of all tokens where there are fewer; --token-k changes it.",
        "Where k' is a large share of all tokens, as on a small collection, few tokens are missing and it matters "
        "little what is imputed: take a smaller k' there.",
        "The paper's model is trained for token retrieval. The packaged one is not, nor is ColBERTv2.",
        "Tokens are scored from their codes; the authors' notebook searches uncompressed vectors.",
    ],
)


def xtr(setting: Setting, impute: str | float = "kth", token_k: int | None = None) -> pt.Transformer:
    return setting.index.xtr(token_k=token_k or setting.args.token_k, impute=impute, **setting.threads)


SYSTEMS: Systems = {
    "exhaustive": exhaustive,
    **{f"XTR {name}": partial(xtr, impute=impute) for name, impute in IMPUTED.items()},
    "XTR k'-th score k'=1000": partial(xtr, token_k=1000),
}


def main(argv: Sequence[str] | None = None) -> pd.DataFrame:
    made = parser(__file__, __doc__)
    made.add_argument("--token-k", type=int, default=40_000, help="tokens retrieved for each row of a query, k'")
    return run(PAPER, SYSTEMS, [RR @ 10, nDCG @ 10, R @ 100], made.parse_args(argv), columns=["xtr_docs"])


if __name__ == "__main__":
    main()
