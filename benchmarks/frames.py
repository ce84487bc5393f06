"""What a user waits for with 1,000 queries in one frame: `pt.Experiment` whole, on one thread and on two.

    python benchmarks/frames.py                  # writes benchmarks/results/frames.md; needs `make engines` once

The queries of SciFact are asked again under other names until there are so many. A system's ranking is the transformer
alone, from frame to frame; of it, the kernels' part is their one call for all queries; the experiment also evaluates
the ranking. The systems take turns, and the best of some rounds counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyterrier as pt
from cached import BY_NAME, RESULTS, Collection, header
from mdtable import markdown
from pyterrier.measures import AP, R, nDCG

import pyterrier_lir as lir
from pyterrier_lir.kernels.cell_searcher import CellSearcher
from pyterrier_lir.kernels.searcher import Searcher

METHODS = ("plaid", "warp")
THREADS = (1, 2)


def many(topics: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many queries: those that there are, again and again."""
    parts = [topics.assign(qid=topics["qid"] + f"/{i}") for i in range(-(-count // len(topics)))]
    return pd.concat(parts, ignore_index=True)[:count]


def judged(qrels: pd.DataFrame, topics: pd.DataFrame) -> pd.DataFrame:
    """The judgements under the queries' new names."""
    names = topics[["qid"]].assign(old=topics["qid"].str.split("/").str[0])
    return names.merge(qrels.rename(columns={"qid": "old"}), on="old").drop(columns="old")


def seconds(work: Callable[[], Any]) -> float:
    clock = time.perf_counter()
    work()
    return time.perf_counter() - clock


class KernelTime:
    """Adds up the seconds in the kernels' calls while it is entered."""

    def __enter__(self) -> KernelTime:
        self.seconds = 0.0
        self.kept = [(kind, name, getattr(kind, name)) for kind, name in CALLS]
        for kind, name, call in self.kept:
            setattr(kind, name, self._timed(call))
        return self

    def __exit__(self, *_: object) -> None:
        for kind, name, call in self.kept:
            setattr(kind, name, call)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            clock = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - clock

        return timed


CALLS = [(Searcher, "plaid"), (CellSearcher, "warp")]


def measured(index: lir.LirIndex, topics: pd.DataFrame, qrels: pd.DataFrame, rounds: int) -> list[list[str]]:
    """A row for each method and number of threads."""
    best: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for method in METHODS:
            for threads in THREADS:
                system = getattr(index, method)(num_results=100, num_threads=threads)
                system(topics[:2])
                with KernelTime() as inside:
                    alone = seconds(lambda system=system: system(topics))  # type: ignore[misc]
                whole = seconds(
                    lambda system=system: pt.Experiment([system], topics, qrels, [nDCG @ 10, R @ 100, AP])  # type: ignore[misc]
                )
                found = [alone, inside.seconds, whole]
                best[method, threads] = [
                    min(a, b) for a, b in zip(best.get((method, threads), found), found, strict=True)
                ]
    rows = []
    for (method, threads), (alone, inside, whole) in best.items():
        ratios = ["", ""] if threads == 1 else [f"{best[method, 1][i] / best[method, threads][i]:.2f}" for i in (0, 2)]
        rows.append(
            [
                method,
                str(threads),
                f"{alone:.2f}",
                f"{inside:.2f}",
                f"{1 - inside / alone:.1%}",
                f"{whole:.2f}",
                *ratios,
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    collection = Collection(BY_NAME["scifact-2k"])
    index = lir.LirIndex(collection.data.folder / "4-bits")
    topics = many(collection.topics, args.queries)
    rows = measured(index, topics, judged(collection.dataset.qrels, topics), args.rounds)
    text = header(
        "Frames of many queries",
        [f"{len(topics):,} queries in one frame: SciFact's, asked again under other names. 100 results each."],
        None,
        times=f"s: of the whole frame, best of {args.rounds}",
    )
    columns = ["system", "threads", "ranking, s", "in kernels, s", "outside of them", "experiment, s",
               "ranking: times one thread", "experiment: times one thread"]  # fmt: skip
    table = "\n".join([*text, *markdown(columns, rows), ""])
    print(table)
    (RESULTS / "frames.md").write_text(table)


if __name__ == "__main__":
    main()
