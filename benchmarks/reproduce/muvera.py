"""MUVERA: recall of its candidates by the length of the encoding, without re-ranking; and PLAID.

python benchmarks/reproduce/muvera.py --dataset irds:msmarco-passage/dev/small --encoder colbert-ir/colbertv2.0
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyterrier as pt
from kit import Paper, Setting, parser, run
from pyterrier.measures import R, nDCG

# reps, k_sim, d_proj by the dimensions of the encoding
PARAMETERS = {2560: (20, 4, 8), 5120: (20, 5, 8), 10240: (20, 5, 16), 20480: (20, 5, 32)}
PAPER = Paper(
    "Jayaram et al.: MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings. NeurIPS 2024",
    "arXiv:2405.19504, MS MARCO, ColBERTv2: recall of the encodings without a final projection, and of PLAID.",
    {
        "MUVERA, 2560": {"R@100": 0.7775, "R@1000": 0.9185},
        "MUVERA, 5120": {"R@100": 0.8046, "R@1000": 0.9367},
        "MUVERA, 10240": {"R@100": 0.8282, "R@1000": 0.9488},
        "MUVERA, 20480": {"R@100": 0.8368, "R@1000": 0.9537},
        "PLAID": {"R@100": 0.903, "R@1000": 0.975},
    },
    [
        "The encodings are searched exactly and are not centred, as in the paper; --center changes that.",
        "The re-ranked row orders the 200 candidates of the shortest encoding by MaxSim.",
    ],
)


def systems(setting: Setting) -> dict[str, pt.Transformer]:
    index, threads = setting.index, setting.threads
    found = {"exhaustive": index.exhaustive(num_results=1000, **threads)}
    for dim, (reps, k_sim, d_proj) in PARAMETERS.items():
        options = {"reps": reps, "k_sim": k_sim, "d_proj": d_proj, "center": setting.args.center, **threads}
        found[f"MUVERA, {dim}"] = index.muvera(**options)
        if dim == min(PARAMETERS):
            found[f"MUVERA, {dim}, re-ranked"] = index.muvera(**options) % 200 >> index.maxsim(**threads)
    found["PLAID"] = index.plaid(preset="paper", **threads)
    return found


def main(argv: Sequence[str] | None = None) -> pd.DataFrame:
    made = parser(__doc__)
    made.add_argument("--center", action="store_true", help="subtract the mean token before encoding")
    return run(PAPER, systems, [R @ 100, R @ 1000, nDCG @ 10], made.parse_args(argv))


if __name__ == "__main__":
    main()
