"""The table of `engines.py`: its rows, and the lines that show them."""

from __future__ import annotations

from typing import Any

import pandas as pd
from engines_systems import INDEXES, SYSTEMS, WARP_AUTO
from mdtable import markdown

DEPTHS = (10, 100)


class Table:
    """The rows, and the figures that are read off them."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = pd.DataFrame(rows)
        self.datasets = list(self.rows["dataset"].unique())

    def part(self, dataset: str, k: int) -> pd.DataFrame:
        """The rows of one collection and depth, by system."""
        chosen = (self.rows["dataset"] == dataset) & (self.rows["k"] == k)
        return self.rows[chosen].set_index("system")

    def peers(self, dataset: str, k: int) -> dict[str, str]:
        """The rows that ratios refer to, where there are such."""
        part = self.part(dataset, k)
        fast = part[part.index.str.startswith("fast-plaid")]
        good = fast[fast["overlap@10"] >= fast["overlap@10"].max() - 0.005]
        found = {"fast-plaid": good["ms"].idxmin()} if len(good) else {}
        return found | ({"xtr-warp-rs": WARP_AUTO} if WARP_AUTO in part.index else {})


def search_lines(table: Table, dataset: str, k: int) -> list[str]:
    """What the systems do with single queries, and how often the ratios' peers would have fitted into their time."""
    part, peers = table.part(dataset, k), table.peers(dataset, k)
    measures = ["overlap@10", "engine_overlap@10", "nDCG@10", *(["R@100"] if k >= 100 else [])]
    header = [
        "system",
        "ms",
        "p95 ms",
        "CPU ms",
        "ms, 2 threads",
        *(f"{peer} / this" for peer in peers),
        "queries",
        *measures,
    ]
    rows = [
        [name + "".join(f" ({peer})" for peer, reference in peers.items() if name == reference),
         f"{one['ms']:.2f}", f"{one['p95_ms']:.2f}", f"{one['cpu_ms']:.2f}", f"{one['batch_ms']:.2f}",
         *(f"{part['ms'][reference] / one['ms']:.1f}" for reference in peers.values()), str(one["queries"]),
         *(f"{one[measure]:.3f}" for measure in measures)]
        for name, one in part.iterrows()
    ]  # fmt: skip
    return [f"### {dataset}, k = {k}", "", *markdown(header, rows), ""]


def build_lines(table: Table, dataset: str) -> list[str]:
    """What the builds cost, and how big the indexes are."""
    indexes = {system.name: system.index for system in SYSTEMS}
    part = table.part(dataset, DEPTHS[0]).rename(index=indexes)
    part = part[~part.index.duplicated()]
    peers = [name for name in part.index if not (INDEXES[name].ours or INDEXES[name].older)]
    header = [
        "index",
        "build s",
        "CPU s",
        "peak MB",
        "index MB",
        "without derived data",
        "derived by WARP, MUVERA, LEMUR",
        *(f"{p} / this" for p in peers),
    ]
    rows = [
        [name, f"{one['build_s']:.1f}", f"{one['build_cpu_s']:.1f}", f"{one['build_mb']:.0f}", f"{one['index_mb']:.1f}",
         f"{one['bare_mb']:.1f}", f"{one['derived_mb']:.1f}",
         *(f"{part['build_cpu_s'][peer] / one['build_cpu_s']:.1f}" for peer in peers)]
        for name, one in part.iterrows()
    ]  # fmt: skip
    return [f"### {dataset}: builds", "", *markdown(header, rows), ""]
