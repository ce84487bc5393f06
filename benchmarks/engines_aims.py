"""What was aimed at for our engine beside its peers, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from engines_systems import (
    EXACT,
    OLD_PLAID,
    PLAID2,
    PLAID4,
    PLAID4_ARRAYS,
    PLAID8,
    REFINED_WARP,
    WARP,
    WARP_32,
    WARP_ARRAYS,
    WARP_AUTO,
    XTR,
)
from engines_table import Table
from mdtable import markdown


@dataclass(frozen=True)
class Aim:
    """What was aimed at: the value found, for times also by the processor's time, and the bound."""

    what: str
    found: float
    sign: str
    bound: float
    by_cpu: float | None = None

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.sign == ">=" else self.found <= self.bound


def aims(table: Table, dataset: str) -> Iterator[Aim]:
    """The aims for k = 10."""
    part, peers = table.part(dataset, 10), table.peers(dataset, 10)
    if len(peers) < 2 or not {EXACT, REFINED_WARP, XTR} <= set(part.index):
        return

    def times(what: str, one: str, other: str, sign: str, bound: float) -> Aim:
        ms, cpu = part["ms"], part["cpu_ms"]
        return Aim(what, ms[one] / ms[other], sign, bound, cpu[one] / cpu[other])

    fast, over, ndcg = peers["fast-plaid"], part["overlap@10"], part["nDCG@10"]
    for peer, reference in peers.items():
        built = part["build_cpu_s"]
        yield Aim(f"CPU seconds of the build: {peer} / 4 bits", built[reference] / built[PLAID4], ">=", 15)
    yield Aim("4 bits: overlap with exact", over[PLAID4], ">=", 0.97)
    yield Aim("4 bits: overlap with its exhaustive", part["engine_overlap@10"][PLAID4], ">=", 0.99)
    yield times(f"time: {fast} / 4 bits", fast, PLAID4, ">=", 35)
    yield times(f"time: {WARP_AUTO} / 4 bits", WARP_AUTO, PLAID4, ">=", 4)
    yield times(f"time: {fast} / 4 bits, both in arrays", fast, PLAID4_ARRAYS, ">=", 35)
    yield times(f"time: {WARP_AUTO} / 4 bits, both in arrays", WARP_AUTO, PLAID4_ARRAYS, ">=", 4)
    if OLD_PLAID in part.index:
        yield times("time: 4 bits / 4 bits, old commit", PLAID4, OLD_PLAID, "<=", 0.5)
    yield Aim("8 bits: overlap with exact", over[PLAID8], ">=", 0.99)
    yield times("time: 8 bits / 4 bits", PLAID8, PLAID4, "<=", 2)
    yield Aim("4 bits: nDCG@10 below exhaustive fp16", ndcg[EXACT] - ndcg[PLAID4], "<=", 0.005)
    yield Aim("2 bits: nDCG@10 below exhaustive fp16", ndcg[EXACT] - ndcg[PLAID2], "<=", 0.015)
    yield from warp_aims(part)
    yield Aim("4 bits: MB without derived data / fast-plaid", part["bare_mb"][PLAID4] / part["index_mb"][fast], "<=", 1)


def warp_aims(part: pd.DataFrame) -> Iterator[Aim]:
    """WARP against xtr-warp-rs: our fastest setting that is as good, and what it takes alone and in batch."""
    ours = part[part.index.str.startswith("WARP, ") & ~part.index.str.contains(">>|old commit|in arrays")]
    for reference in (WARP_AUTO, WARP_32):
        peer = part.loc[reference]
        good = ours[(ours["overlap@10"] >= peer["overlap@10"]) & (ours["nDCG@10"] >= peer["nDCG@10"])]
        if not len(good):
            yield Aim(f"{reference}: settings of WARP that are as good", 0, ">=", 1)
            continue
        name = good["ms"].idxmin()
        ms, cpu, batch = (peer[column] / good.loc[name, column] for column in ("ms", "cpu_ms", "batch_ms"))
        yield Aim(f"time: {reference} / {name}", ms, ">=", 5, cpu)
        yield Aim(f"time in batch, 2 threads: {reference} / {name}", batch, ">=", 1)
    ms, cpu = (part[column][WARP_32] / part[column][WARP_ARRAYS] for column in ("ms", "cpu_ms"))
    yield Aim(f"time: {WARP_32} / {WARP}, both in arrays", ms, ">=", 5, cpu)
    over, ndcg = part["overlap@10"], part["nDCG@10"]
    yield Aim(f"{REFINED_WARP}: overlap with exact", over[REFINED_WARP], ">=", 0.97)
    yield Aim("WARP, defaults: nDCG@10 below XTR, defaults", ndcg[XTR] - ndcg[WARP], "<=", 0.005)


def aim_lines(table: Table, dataset: str) -> list[str]:
    rows = [
        [aim.what, f"{aim.found:.3g}", "" if aim.by_cpu is None else f"{aim.by_cpu:.3g}", f"{aim.sign} {aim.bound:g}",
         "yes" if aim.met else "no"]
        for aim in aims(table, dataset)
    ]  # fmt: skip
    header = ["aim", "found", "by CPU time", "wanted", "met"]
    return [f"### {dataset}: aims, k = 10", "", *markdown(header, rows), ""] if rows else []
