"""XTR's token_k and imputation on one index, beside WARP and exhaustive search over the same vectors.

    python benchmarks/xtr.py                     # writes benchmarks/results/xtr.md; needs `make engines` once

The embeddings are those of `engines.py`, of a model that was not trained for XTR. One thread; the first 100 queries.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyterrier as pt
from embedded import DATASETS, Data, Rankings
from judged import judge, overlap
from mdtable import markdown

import pyterrier_lir as lir

RESULTS = Path(__file__).parent / "results"
QUERIES = 100
TOKEN_K = (100, 1_000, 10_000, 40_000)
IMPUTE = ("kth", "zero", 0.2, "none")


def search(system: pt.Transformer, data: Data) -> tuple[float, Rankings]:
    """Milliseconds and rankings."""
    times, rankings = [], []
    for i in range(len(data.frame)):
        query = data.frame[i : i + 1]
        clock = time.perf_counter()
        found = system(query)
        times.append(1000 * (time.perf_counter() - clock))
        rankings.append(found["docno"].astype(int).tolist())
    return float(np.median(times)), rankings


def rows(data: Data) -> list[list[str]]:
    """A row for each setting."""
    index = lir.LirIndex(data.folder / "4-bits")
    one = {"num_results": 100, "num_threads": 1}
    systems = {
        f"token_k={token_k:,}, impute={impute}": index.xtr(token_k=token_k, impute=impute, **one)
        for token_k in TOKEN_K
        for impute in IMPUTE
    }
    systems |= {f"token_k=10,000, nprobe={nprobe}": index.xtr(nprobe=nprobe, **one) for nprobe in (32, 128)}
    systems |= {"WARP": index.warp(**one), "exhaustive": index.exhaustive(**one)}
    table = []
    for name, system in systems.items():
        ms, rankings = search(system, data)
        judged, found = judge(data, rankings), overlap(rankings, data.exact)
        table.append([name, f"{judged['nDCG@10']:.4f}", f"{judged['R@100']:.4f}", f"{found:.3f}", f"{ms:.1f}"])
        print(data.dataset.name, *table[-1], sep="  ", flush=True)
    return table


def main() -> None:
    text = ["# XTR: token_k and imputation", "", *__doc__.strip().splitlines()[4:], ""]
    for dataset in DATASETS:
        data = Data(dataset, QUERIES)
        tokens = lir.LirIndex(data.folder / "4-bits").info()["tokens"]
        text += [f"## {dataset.name}, {tokens:,} tokens", ""]
        text += [*markdown(["setting", "nDCG@10", "R@100", "overlap@10", "ms"], rows(data)), ""]
    (RESULTS / "xtr.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
