"""Engines on the same embeddings: ours, fast-plaid and xtr-warp-rs, in turns, in one run on one machine.

    make peers                                   # once: the other engines, in an environment of their own
    python benchmarks/engines.py                 # writes benchmarks/results/engines.csv, engines.md and engines.png
    python benchmarks/engines.py --queries 20    # a quick look
    LIR_OLD=../old python benchmarks/engines.py  # an earlier commit beside this one: a checkout, its kernels compiled

Collections: 2,000 documents of SciFact (all that are relevant to a test query, filled up in collection order) and
Vaswani, from ir_datasets (``IR_DATASETS_HOME``), encoded by the packaged model with 128 dimensions. Embeddings, and the
indexes of the peers with the figures of their builds, are kept in ``benchmarks/.cache/engines``; delete a folder there
to have it made again. Our indexes are built anew in each run.

Every engine builds from float32 matrices in memory, in a fresh process. Searches: single queries on one thread, where
the engines take turns of ten queries, then many in one call on two threads. The times are those of the first 100
queries; slow systems answer no others. Ours is timed as a transformer, from a data frame with the encoded query to a
data frame with the ranking; the peers from tensors to a list, and ours too where it says "in arrays".

To add an engine of ours, add a line to `SYSTEMS` in ``engines_systems.py``; another library goes into
``benchmarks/peers/worker.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np
from embedded import DATASETS, Data, Dataset, Rankings
from engines_builds import OLD_FOLDER, PEERS_PYTHON, build, size_mb
from engines_report import report
from engines_searches import TIMED, Measured, OurSearcher, PeerSearcher, Searcher, take_turns
from engines_systems import INDEXES, SYSTEMS, IndexSpec, System
from engines_table import DEPTHS, Table
from judged import judge, overlap

from pyterrier_lir import kernels


def row(data: Data, system: System, k: int, built: dict[str, Any], found: Measured, own: Rankings) -> dict[str, Any]:
    """A row of the table."""
    judged = judge(data, found.rankings)
    return {
        "dataset": data.dataset.name,
        "system": system.name,
        "k": k,
        "queries": len(found.rankings),
        "ms": np.median(found.ms[:TIMED]),
        "p95_ms": np.percentile(found.ms[:TIMED], 95),
        "cpu_ms": np.median(found.cpu_ms[:TIMED]),
        "batch_ms": found.batch_ms,
        "overlap@10": overlap(found.rankings, data.exact),
        "engine_overlap@10": overlap(found.rankings, own),
        "nDCG@10": judged["nDCG@10"],
        "R@100": judged["R@100"] if k >= 100 else float("nan"),
        "build_s": built["seconds"],
        "build_cpu_s": built["cpu_seconds"],
        "build_mb": built["peak_mb"],
        "index_mb": built["index_mb"],
        "bare_mb": built["bare_mb"],
        "derived_mb": size_mb(data.folder / system.index.replace(" ", "-") / "derived"),
    }


def measure(dataset: Dataset, systems: list[System], num_queries: int | None) -> list[dict[str, Any]]:
    """All rows of one collection."""
    data = Data(dataset, num_queries)
    built = {name: build(data, name) for name in dict.fromkeys(system.index for system in systems)}
    searchers: dict[str, Searcher] = {
        system.name: (OurSearcher if INDEXES[system.index].ours else PeerSearcher)(system, data) for system in systems
    }
    own: dict[str, Rankings] = {}
    for system in systems:
        own.setdefault(system.index, [])
        own[system.index] = own[system.index] or searchers[system.name].exhaustive()
    rows = []
    for k in DEPTHS:
        print(f"{dataset.name}: k={k}", file=sys.stderr, flush=True)
        found = take_turns(searchers, len(data.frame), k)
        rows += [row(data, one, k, built[one.index], found[one.name], own[one.index]) for one in systems]
    for searcher in searchers.values():
        searcher.close()
    return rows


def there(spec: IndexSpec) -> bool:
    """Whether what makes this index is installed."""
    return spec.ours or (OLD_FOLDER in os.environ if spec.older else PEERS_PYTHON.exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, help="use the first so many only")
    parser.add_argument("--datasets", nargs="+", choices=[dataset.name for dataset in DATASETS])
    args = parser.parse_args()
    systems = [
        system
        for system in SYSTEMS
        if there(INDEXES[system.index]) and (system.kernels is None or system.kernels in kernels.available())
    ]
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for dataset in DATASETS:
        if args.datasets is None or dataset.name in args.datasets:
            rows += measure(dataset, systems, args.queries)
    print(report(Table(rows), load, args.queries))


if __name__ == "__main__":
    main()
