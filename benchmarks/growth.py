"""WARP and PLAID from 0.1 to 100 million tokens: building in bounded memory, searching with a warm and a cold disk.

    python benchmarks/growth.py                  # writes benchmarks/results/growth.md; needs `make engines` once

Collections are synthetic but no copies (``benchmarks/synthetic.py``, and ``results/synthetic.md`` for how near they are
to real ones). The field's rule chooses the centroids; defaults choose everything else, but beside them are what they
were: WARP with 32 cells, PLAID with ``ndocs=512``. One thread, ten results, 100 queries: the median of the processor's
milliseconds, and of those that passed, in which other work has its part. *Cold*: the pages of the index's files are
dropped (``posix_fadvise``), then the index is opened and asked one query, 8 times; *warm*: all files are read first.
*MB read*: what the disk gave meanwhile, with what the system reads around it (8 MB on this machine, where a search does
not ask ahead). *MB counted*: the bytes of the index that a query needs. *Overlap* is with exhaustive search over the
same index. *Peak MB* is anonymous memory while building, with Python and the generator of the collection. What is done
is kept in ``benchmarks/.cache/growth``, so that the script goes on where it was stopped; the section "By hand" of
``growth.md`` stays as it is.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from embedded import CACHE, DATASETS, Data
from growth_reach import Reach, reach
from mdtable import markdown
from memory import Peak
from synthetic import Collection, Model

import pyterrier_lir as lir
from pyterrier_lir.experiment import environment
from pyterrier_lir.index.files import folder_size
from pyterrier_lir.index.segment import Segment
from pyterrier_lir.index.spool import spooled
from pyterrier_lir.retrieve.warp import ALL_GROUPS

RESULTS = Path(__file__).parent / "results"
FOLDER = CACHE.parent / "growth"
TOKENS = (100_000, 1_000_000, 10_000_000, 30_000_000, 100_000_000)
QUERIES, COLD, K, RERANKED = 100, 8, 10, 64
ONE: dict[str, Any] = {"num_results": K, "num_threads": 1, "stats": True}
SYSTEMS: dict[str, Callable[[lir.LirIndex], pt.Transformer]] = {
    "WARP": lambda index: index.warp(**ONE),
    "WARP, 32 cells": lambda index: index.warp(nprobe=32, t_prime=128 * tokens_of_cell(index), **ONE),
    "WARP, re-ranked": lambda index: index.warp(**{**ONE, "num_results": RERANKED}) >> index.maxsim(num_threads=1) % K,
    "PLAID": lambda index: index.plaid(**ONE),
    "PLAID, 512 documents": lambda index: index.plaid(ndocs=512, **ONE),
}


def tokens_of_cell(index: lir.LirIndex) -> int:
    """On average, rounded up."""
    info = index.info()
    return -(-info["tokens"] // info["centroids"])


class Size:
    """A collection of one size, its index, and the figures that are known of it."""

    def __init__(self, model: Model, tokens: int) -> None:
        self.collection = Collection(model, tokens)
        self.path = FOLDER / str(tokens)
        self.path.mkdir(parents=True, exist_ok=True)
        self.queries = self.collection.queries(QUERIES)
        self.index = lir.LirIndex(self.path / "index")

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What is kept under this name, or is made now and kept."""
        file = self.path / f"{name}.json"
        if not file.exists():
            made = make()
            file.write_text(json.dumps(made))
        return json.loads(file.read_text())

    def build(self) -> dict[str, float]:
        """Builds the index, or goes on with an interrupted build; seconds and memory are those of this call."""
        stored = sum(len(Segment(folder)) for folder in spooled(self.path / "index"))
        documents = enumerate(self.collection.documents(stored), stored)
        records = ({"docno": str(i), "doc_embs": embs} for i, embs in documents)
        clock, start = time.perf_counter(), time.process_time()
        with Peak() as peak:
            if not self.index.built:
                self.index.indexer(resume=True, verbose=False).index(records)
            at = time.perf_counter(), time.process_time()
            self.index.warp(**ONE)(self.queries[:1])  # sorts the tokens by cell
        return {
            "seconds": at[0] - clock, "cpu": at[1] - start, "warp_seconds": time.perf_counter() - at[0],
            "peak_mb": peak.megabytes, "load": os.getloadavg()[0], "stored": stored,
        }  # fmt: skip

    def exact(self) -> list[list[str]]:
        """The best documents of each query by exhaustive search."""
        found = self.index.exhaustive(num_results=K)(self.queries)
        return [found[found["qid"] == qid]["docno"].tolist() for qid in self.queries["qid"]]

    def search(self, name: str) -> dict[str, Any]:
        """Times, bytes and overlap of a system."""
        system, best = SYSTEMS[name](self.index), self.once("exact", self.exact)
        system(self.queries[:1])
        times, passed, found = [], [], []
        for i in range(QUERIES):
            clock, start = time.perf_counter(), time.process_time()
            found.append(system(self.queries[i : i + 1]))
            times.append(1000 * (time.process_time() - start))
            passed.append(1000 * (time.perf_counter() - clock))
        overlap = [len({*one["docno"]} & {*top}) / len(top) for one, top in zip(found, best, strict=True)]
        stats = pd.concat([one[:1] for one in found])
        kept = {column: float(stats[column].mean()) for column in stats if column.startswith(("warp_", "plaid_"))}
        medians = {"cpu": float(np.median(times)), "ms": float(np.median(passed))}
        return {**medians, "overlap": float(np.mean(overlap)), "stats": kept}

    def opened(self, name: str, *, cold: bool) -> dict[str, float]:
        """The median seconds to open the index and answer one query, and the mean of the megabytes that were read."""
        times, given = [], []
        for i in range(COLD):
            self.index = lir.LirIndex(self.path / "index")  # lets go of what the one before had mapped
            gc.collect()
            (evict if cold else read)(self.path / "index")
            before, clock = read_bytes(), time.perf_counter()
            SYSTEMS[name](self.index)(self.queries[i : i + 1])
            times.append(time.perf_counter() - clock)
            given.append((read_bytes() - before) / 1e6)
        return {"seconds": float(np.median(times)), "mb": float(np.mean(given))}

    def reach(self) -> list[Reach]:
        return reach(self.index, self.queries, self.once("exact", self.exact))


def evict(folder: Path) -> None:
    """Drops the pages of all files from the page cache."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(folder: Path) -> None:
    """Reads all files, so that they are in the page cache."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                while opened.read(1 << 24):
                    pass


def read_bytes() -> int:
    """What this process has had from the disk so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def counted(index: lir.LirIndex, stats: dict[str, float], reranked: int) -> float:
    """Megabytes that a query needs: centroids, inverted lists, documents' centroids, scored tokens."""
    info, sizes = index.info(), index.info()["bytes"]
    dim, tokens = info["dim"], info["tokens"]
    token = dim * info["nbits"] / 8
    read = info["centroids"] * (dim + 4)
    if "warp_tokens" in stats:
        if info["centroids"] > ALL_GROUPS:  # those of the coarse groups, and of 32 of them
            read = 33 * np.sqrt(info["centroids"]) * (dim + 4)
        read += reranked * tokens / info["documents"] * (token + 3)
        return (read + stats["warp_tokens"] * (token + 4)) / 1e6
    code = sizes.get("codes.u16", sizes.get("codes.i32", 0)) / tokens
    distinct = sizes.get("doc_codes.u16", sizes.get("doc_codes.i32", 0)) / info["documents"]
    read += stats["plaid_candidates"] * (distinct + 4)
    return (read + stats["plaid_scored"] * tokens / info["documents"] * (token + code + 1)) / 1e6


def rows(size: Size) -> Iterator[list[str]]:
    """A row of the table for each system."""
    size.once("build", size.build)
    for name in SYSTEMS:
        file = name.replace(", ", "-").replace(" ", "-")
        one = size.once(f"search-{file}", lambda name=name: size.search(name))
        cold = size.once(f"cold-{file}", lambda name=name: size.opened(name, cold=True))
        warm = size.once(f"warm-{file}", lambda name=name: size.opened(name, cold=False))
        yield row(size, name, one, cold, warm)


def row(size: Size, name: str, one: dict[str, Any], cold: dict[str, float], warm: dict[str, float]) -> list[str]:
    info, folder = size.index.info(), size.path / "index"
    megabytes = folder_size(folder) / 1e6 - (folder_size(folder / "derived") / 1e6 if name.startswith("PLAID") else 0)
    stages = {key.split("_")[1]: value for key, value in one["stats"].items() if key.endswith("_ms")}
    needed = counted(size.index, one["stats"], RERANKED if name == "WARP, re-ranked" else 0)
    return [
        f"{info['tokens']:,}", f"{info['documents']:,}", f"{info['centroids']:,}", name, f"{one['cpu']:.2f}",
        f"{one['ms']:.2f}", ", ".join(f"{stage} {value:.2f}" for stage, value in stages.items()),
        f"{needed:.2f}", f"{one['overlap']:.3f}", f"{warm['seconds']:.2f}",
        f"{cold['seconds']:.2f}", f"{cold['mb']:.0f}", f"{megabytes:.0f}",
    ]  # fmt: skip


def build_row(size: Size) -> list[str]:
    made, info = size.once("build", size.build), size.index.info()
    return [
        f"{info['tokens']:,}", f"{info['centroids']:,}", f"{made['seconds']:.0f}", f"{made['cpu']:.0f}",
        f"{made['warp_seconds']:.0f}", f"{made['peak_mb']:.0f}", f"{made['load']:.1f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--no-search", action="store_true", help="build, and see what cells reach, but measure nothing")
    args = parser.parse_args()
    model, builds, searches, reached = Model.cached(Data(DATASETS[0])), [], [], []
    for tokens in args.tokens:
        size = Size(model, tokens)
        builds.append(build_row(size))
        print(*builds[-1], sep="  ", flush=True)
        more = [[f"{size.index.info()['tokens']:,}", *one] for one in size.once("reach", size.reach)]
        print(*more, sep="\n", flush=True)
        reached += more
        if args.no_search:
            continue
        for found in rows(size):
            searches.append(found)
            print(*found, sep="  ", flush=True)
        report(builds, searches, reached)


def report(builds: list[list[str]], searches: list[list[str]], reached: list[list[str]]) -> None:
    """Writes what is known so far, before what was written by hand."""
    file = RESULTS / "growth.md"
    _, heading, by_hand = file.read_text().partition("## By hand\n")
    here = environment.describe()
    text = [
        "# Growth", "", *(__doc__ or "").strip().splitlines()[4:], "",
        f"{here['processor']['model']}, {here['processor']['cores']} cores, {here['memory_gb']} GB, shared with other "
        f"work; kernel build `{here['kernels']}`.", "",
        *unmeasured(len(builds)), "## Searching", "",
        *markdown(["tokens", "documents", "centroids", "method", "CPU ms", "ms passed", "stages, ms", "MB counted",
                   "overlap", "warm, s", "cold, s", "cold, MB read", "index MB"], searches), "",
        "## Building, two threads", "",
        *markdown(["tokens", "centroids", "s", "CPU s, with drawing the collection", "WARP's copy, s", "peak MB",
                   "load"], builds), "",
        "## What WARP's cells reach", "",
        *markdown(["tokens", *(field.replace("_", " ") for field in Reach._fields)], reached), "",
    ]  # fmt: skip
    file.write_text("\n".join(text) + (f"\n{heading}{by_hand}" if heading else ""))


def unmeasured(done: int) -> list[str]:
    """A sentence on the sizes that were not reached, the smallest ones being done first."""
    left = [f"{tokens // 1_000_000} million" for tokens in TOKENS[done:]]
    return [f"Not measured yet: {' and '.join(left)} tokens.", ""] if left else []


if __name__ == "__main__":
    main()
