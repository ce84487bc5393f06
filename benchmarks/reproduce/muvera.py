"""MUVERA: recall of its encodings by their length; then re-ranked, against PLAID.

    python benchmarks/reproduce/muvera.py --dataset irds:msmarco-passage/dev/small --queries 200 \\
        --encoder colbert-ir/colbertv2.0 --device cuda --systems "MUVERA 2560,MUVERA 10240,MUVERA 10240 re-ranked,PLAID"

Flat encodings are large: documents x values x 2 bytes. On MS MARCO's 8.8 million passages that is 45 GB for 2,560
values, 181 GB for 10,240 and 362 GB for 20,480; all four lengths take 680 GB. Each query reads all of them: at 10 GB/s
from memory 4.5 s, 18 s and 36 s. --systems leaves rows out. The index itself and exhaustive search are as in plaid.py:
with the 4 bits of this kit 600 M x (64 + 4) bytes = 41 GB, and 34 s a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import pyterrier as pt
from kit import Setting, Systems, exhaustive, parser, run
from page import TIMES, Paper
from pyterrier.measures import R, nDCG

# reps, k_sim, d_proj by the dimensions of the encoding
PARAMETERS = {2560: (20, 4, 8), 5120: (20, 5, 8), 10240: (20, 5, 16), 20480: (20, 5, 32)}
PAPER = Paper(
    "Jayaram et al.: MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings. NeurIPS 2024",
    "arXiv:2405.19504, MS MARCO, ColBERTv2: recall of the encodings without a final projection; MUVERA re-ranked and "
    "PLAID end to end.",
    {
        "irds:msmarco-passage/dev/small": {
            "MUVERA 2560": {"R@100": 0.7775, "R@1000": 0.9185},
            "MUVERA 5120": {"R@100": 0.8046, "R@1000": 0.9367},
            "MUVERA 10240": {"R@100": 0.8282, "R@1000": 0.9488},
            "MUVERA 20480": {"R@100": 0.8368, "R@1000": 0.9537},
            "MUVERA 10240 re-ranked": {"R@100": 0.902, "R@1000": 0.971},
            "PLAID": {"R@100": 0.903, "R@1000": 0.975},
        }
    },
    [
        "Rows that are not re-ranked are first stages: compare them with each other. PLAID's scores are exact; compare "
        "it with what is re-ranked.",
        "The encodings are searched exactly and are not centred, as in the paper; --center changes that.",
        "The re-ranked rows order --candidates documents by MaxSim, but 200 of the shortest encoding. With 1,000 of "
        "them R@1000 would be that of the encoding. End to end, the paper's encodings are searched approximately.",
        TIMES,
    ],
)


def muvera(setting: Setting, dim: int, num_results: int = 1000) -> pt.Transformer:
    reps, k_sim, d_proj = PARAMETERS[dim]
    return setting.index.muvera(
        num_results=num_results, reps=reps, k_sim=k_sim, d_proj=d_proj, center=setting.args.center, **setting.threads
    )


def reranked(setting: Setting, dim: int, candidates: int | None = None) -> pt.Transformer:
    first = muvera(setting, dim, candidates or setting.args.candidates)
    return first >> setting.index.maxsim(**setting.threads)


def plaid(setting: Setting) -> pt.Transformer:
    return setting.index.plaid(preset="paper", **setting.threads)


SYSTEMS: Systems = {
    "exhaustive": exhaustive,
    **{f"MUVERA {dim}": partial(muvera, dim=dim) for dim in PARAMETERS},
    "MUVERA 2560 re-ranked": partial(reranked, dim=2560, candidates=200),
    "MUVERA 10240 re-ranked": partial(reranked, dim=10240),
    "PLAID": plaid,
}


def main(argv: Sequence[str] | None = None) -> pd.DataFrame:
    made = parser(__file__, __doc__)
    made.add_argument("--center", action="store_true", help="subtract the mean token before encoding")
    made.add_argument("--candidates", type=int, default=2000, help="documents that are re-ranked, at least 1,000")
    args = made.parse_args(argv)
    if args.candidates < 1000:
        raise ValueError(f"--candidates is {args.candidates}; expected at least 1,000, for R@1000.")
    return run(PAPER, SYSTEMS, [R @ 100, R @ 1000, nDCG @ 10], args)


if __name__ == "__main__":
    main()
