"""PLAID against re-ranking BM25, and against LADR: is the engine needed?

    python benchmarks/reproduce/plaid_reproducibility.py --dataset irds:msmarco-passage/dev/small --queries 200 \\
        --encoder colbert-ir/colbertv2.0 --document-length 300 --device cuda

The main measure is the rank-biased overlap with the ranking of exhaustive search, which must be among the systems.

What MS MARCO takes, estimated: index and exhaustive search as in plaid.py, 22 GB and 34 s a query. The corpus graph of
LADR is one search for each document: 8.8 million x 100 ms = 10 days on one core, divided by the cores of the machine,
and 8.8 M x 128 x 4 bytes = 4.5 GB; --systems with the names of the other rows leaves LADR out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import pyterrier as pt
from kept import read
from kit import Setting, Systems, exhaustive, parser, run
from page import Paper
from pyterrier.measures import RR, R

from pyterrier_lir.rerank.corpus_graph import CorpusGraph

P = 0.99  # persistence: how likely a reader is to go on to the next document
DEPTH = 1000
RBO = f"RBO(p={P:g})"
NEIGHBOURS = (64, 128)
PAPER = Paper(
    "MacAvaney, Tonellotto: A Reproducibility Study of PLAID. SIGIR 2024",
    "arXiv:2404.14989 and its notebooks, MS MARCO dev, ColBERTv2 with 2 bits, documents of up to 300 tokens; ms on one "
    "thread, the mean of a batch of encoded queries.",
    {
        "irds:msmarco-passage/dev/small": {
            "exhaustive": {"RR@10": 0.397, "R@1000": 0.984, RBO: 1.0},
            "PLAID 1/.5/256": {"RR@10": 0.394, "R@1000": 0.833, RBO: 0.612, "ms": 80.5},
            "PLAID 2/.45/1024": {"RR@10": 0.397, "R@1000": 0.933, RBO: 0.890, "ms": 103.4},
            "PLAID 4/.4/4096": {"RR@10": 0.397, "R@1000": 0.975, RBO: 0.983, "ms": 163.9},
            "LADR 100/64/10": {"RR@10": 0.381, "R@1000": 0.853, "ms": 23.1},
            "LADR 1000/128/50": {"RR@10": 0.395, "R@1000": 0.964, "ms": 180.0},
        }
    },
    [
        "PLAID nprobe/threshold/ndocs returns at most ndocs / 4 documents in the study; the rows here ask for so many. "
        "LADR documents of BM25/neighbours/depth, adaptive.",
        "R@1000 is the recall of all that a system returns, as in the study, also where it returns fewer than 1,000.",
        f"RBO(p={P:g}) is that with exhaustive search, to depth 1,000 and divided by what equal rankings get there, as "
        "in the authors' code; on a collection with fewer documents, to their number.",
        "The study's figures of re-ranked BM25 are not quoted here.",
        "The neighbours of LADR are those of late interaction here and of BM25 in the study; the graph with "
        f"{NEIGHBOURS[0]} neighbours is the one with {NEIGHBOURS[1]}, cut, as in the study.",
        "Our ms are medians of single queries; retrieve_ms_mean is nearer to the study's mean.",
    ],
    deeper=True,
)


@dataclass(frozen=True)
class FirstNeighbours:
    """A corpus graph with the first k neighbours of another."""

    graph: CorpusGraph
    k: int

    def neighbours(self, document: str) -> list[str]:
        """The docnos near a docno."""
        return self.graph.neighbours(document)[: self.k]


def plaid(setting: Setting, nprobe: int, threshold: float, ndocs: int) -> pt.Transformer:
    return setting.index.plaid(
        num_results=min(ndocs // 4, 1000), nprobe=nprobe, threshold=threshold, ndocs=ndocs, min_docs=1,
        **setting.threads,
    )  # fmt: skip


def reranked(setting: Setting, num: int) -> pt.Transformer:
    return setting.bm25(num) >> setting.index.maxsim(**setting.threads)


def ladr(setting: Setting, num: int, neighbours: int, depth: int) -> pt.Transformer:
    graph = setting.index.corpus_graph(k=min(max(NEIGHBOURS), len(setting.index) - 1))
    return setting.bm25(num) >> setting.index.ladr(FirstNeighbours(graph, neighbours), depth=depth, **setting.threads)


SYSTEMS: Systems = {
    "exhaustive": exhaustive,
    "PLAID 1/.5/256": partial(plaid, nprobe=1, threshold=0.5, ndocs=256),
    "PLAID 2/.45/1024": partial(plaid, nprobe=2, threshold=0.45, ndocs=1024),
    "PLAID 4/.4/4096": partial(plaid, nprobe=4, threshold=0.4, ndocs=4096),
    **{f"BM25 {num} re-ranked": partial(reranked, num=num) for num in (50, 100, 200, 500, 1000)},
    "LADR 100/64/10": partial(ladr, num=100, neighbours=64, depth=10),
    "LADR 1000/128/50": partial(ladr, num=1000, neighbours=128, depth=50),
}


def rbo(one: Sequence[str], other: Sequence[str], depth: int, p: float = P) -> float:
    """Rank-biased overlap to a depth, as a share of what equal rankings of so many documents get.

    ``RBO = sum_d p^(d-1) |one[:d] & other[:d]| / d  /  sum_d p^(d-1)``, d from 1 to ``depth``.

    Webber, Moffat, Zobel: A Similarity Measure for Indefinite Rankings. TOIS 2010.
    """
    score = norm = 0.0
    weight, common = 1.0, 0
    seen_one: set[str] = set()
    seen_other: set[str] = set()
    for d in range(depth):
        for ranking, seen, opposite in ((one, seen_one, seen_other), (other, seen_other, seen_one)):
            if d < len(ranking):
                seen.add(ranking[d])
                common += ranking[d] in opposite
        score += weight * common / (d + 1)
        norm += weight
        weight *= p
    return score / norm if norm else 0.0


def rbo_to_exhaustive(results: pd.DataFrame) -> pd.Series:
    """The mean over queries for each system; nothing where exhaustive search was not measured."""
    rankings = results.set_index("name")["ranking"]
    if "exhaustive" not in rankings:
        return pd.Series(float("nan"), index=results.index)
    exact = docnos(read(rankings["exhaustive"]))
    found = []
    for path in results["ranking"]:
        there = docnos(read(path))
        overlaps = [rbo(exact[qid], there.get(qid, []), min(DEPTH, len(exact[qid]))) for qid in exact]
        found.append(sum(overlaps) / len(overlaps))
    return pd.Series(found, index=results.index)


def docnos(ranking: pd.DataFrame) -> dict[str, list[str]]:
    """The docnos of each query, best first."""
    return ranking.sort_values(["qid", "rank"]).groupby("qid")["docno"].agg(list).to_dict()


def main(argv: Sequence[str] | None = None) -> pd.DataFrame:
    args = parser(__file__, __doc__, nbits=2).parse_args(argv)
    further = {RBO: rbo_to_exhaustive}
    return run(PAPER, SYSTEMS, [RR @ 10, R @ 1000], args, columns=["retrieve_ms_mean", "plaid_scored"], further=further)


if __name__ == "__main__":
    main()
