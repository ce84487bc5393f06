"""Better queries and cheaper or broader re-ranking: effectiveness against the plain run, whatever the sign.

    python benchmarks/feedback.py            # writes benchmarks/results/feedback.md, .csv and .png
    python benchmarks/feedback.py --quick    # few queries, nothing written

Needs the embeddings that ``benchmarks/engines.py`` makes (``IR_DATASETS_HOME`` for the collections). Queries with
[MASK] are encoded anew.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from cached import BY_NAME, MEASURES, RESULTS, Collection, compared, header, markdown, shown, timed

import pyterrier_lir as lir
from pyterrier_lir.experiment.plots import tradeoff_plot
from pyterrier_lir.feedback import MaskWeighting
from pyterrier_lir.rerank import CandidatePruning

NOTES = [
    "p: paired t-test against the first row of each table, Holm over its rows. 'scored': share of the list that MaxSim "
    "looked at.",
    "[MASK]: 32 rows for each query, as ColBERT makes them; the model was never trained for that.",
]
DEPTH = 100
THREADS = {"num_threads": 1}
Systems = Iterator[tuple[str, pt.Transformer, pd.DataFrame]]


def reformulations(index: lir.LirIndex, collection: Collection) -> Systems:
    """ColBERT-PRF as ranker and as re-ranker, and query-row pruning."""
    topics, plaid, maxsim = collection.topics, index.plaid(num_results=DEPTH, **THREADS), index.maxsim(**THREADS)
    yield "plain: PLAID", plaid, topics
    for beta in (0.1, 0.25, 0.5, 1.0):
        yield f"ColBERT-PRF, beta {beta}", plaid >> index.colbert_prf(beta=beta) >> plaid, topics
    for beta in (0.25, 1.0):
        prf = index.colbert_prf(beta=beta, return_docs=True)
        yield f"ColBERT-PRF, re-ranking, beta {beta}", plaid >> prf >> maxsim, topics
    for keep in (3, 5, 9):
        pruned = index.query_pruning(keep=keep) >> plaid >> pt.apply.query_weights(drop=True) >> maxsim
        yield f"query pruning, {keep} rows", pruned, topics


def masks(index: lir.LirIndex, collection: Collection) -> Systems:
    """Queries without [MASK], with, and with [MASK] as weights."""
    plaid, plain = index.plaid(num_results=DEPTH, **THREADS), collection.topics
    yield "no [MASK]", plaid, plain
    encoder = lir.LateInteractionEncoder("minilm", dim=128)
    encoder.load()[0].query_expansion = {"strategy": "fixed", "length": 32, "attend": False}
    mask = encoder.load().tokenizer.mask_token_id
    filled = encoder.query_encoder()(plain[["qid", "query"]]).drop(columns="query_encoder")
    yield "[MASK] as rows", plaid, filled
    yield "[MASK] as weights of all rows", MaskWeighting(mask) >> plaid, filled
    words_only = encoder.mask_weighting(structure=False)
    yield "[MASK] as weights of words", words_only >> plaid, filled


def re_ranking(index: lir.LirIndex, collection: Collection) -> Systems:
    """The list of BM25: all of it, part of it, and more than it."""
    bm25, topics, maxsim = collection.bm25(DEPTH), collection.topics, index.maxsim(**THREADS)
    yield f"BM25 % {DEPTH} >> maxsim", bm25 >> maxsim, topics
    for beta in (2, 4, 8, 16, 32):
        yield f"early exit, beta {beta}", bm25 >> index.early_exit_maxsim(beta, k=10, **THREADS), topics
    for alpha in (0.1, 0.25, 0.5):
        pruned = bm25 >> CandidatePruning(alpha, k=10)
        yield f"candidate pruning, alpha {alpha}", pruned >> maxsim, topics
        yield (
            f"the same, early exit, beta 4, alpha {alpha}",
            pruned >> index.early_exit_maxsim(4, k=10, **THREADS),
            topics,
        )
    graph = index.corpus_graph(k=16)
    graph.neighbours(0)  # made now, not while the clock runs
    yield "LADR, proactive", bm25 >> index.ladr(graph, depth=None, **THREADS) % DEPTH, topics
    yield "LADR, adaptive, depth 20", bm25 >> index.ladr(graph, depth=20, **THREADS) % DEPTH, topics


BLOCKS: dict[str, Callable[[lir.LirIndex, Collection], Systems]] = {
    "reformulation": reformulations, "[MASK]": masks, "re-ranking": re_ranking,
}  # fmt: skip


def measure(block: str, index: lir.LirIndex, collection: Collection) -> list[dict[str, Any]]:
    """Runs the systems of a block."""
    found, rows = {}, []
    for name, system, topics in BLOCKS[block](index, collection):
        found[name], ms = timed(system, topics)
        scored = int(np.isfinite(found[name]["score"]).sum())
        rows.append({"dataset": collection.dataset.name, "block": block, "system": name, "ms": ms, "scored": scored})
    table = compared(found, collection)
    whole = rows[0]["scored"]
    for row in rows:
        row["scored"] /= whole
        for m in MEASURES:
            row |= {str(m): table.loc[row["system"], str(m)], f"{m} shown": shown(table, row["system"], m)}
    return rows


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table of one block."""
    names = [str(m) for m in MEASURES]
    listed = rows[0]["block"] == "re-ranking"
    cells = []
    for row in rows:
        share = [f"{row['scored']:.0%}" if not row["system"].startswith("LADR") else ""] if listed else []
        cells.append([row["system"], *(row[f"{name} shown"] for name in names), f"{row['ms']:.1f}", *share])
    head = ["system", *names, "ms", *(["scored"] if listed else [])]
    return [f"## {rows[0]['dataset']}: {rows[0]['block']}", "", *markdown(head, cells), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few queries; prints, writes nothing")
    parser.add_argument("--datasets", nargs="+", choices=list(BY_NAME), default=list(BY_NAME))
    args = parser.parse_args()
    queries = 50 if args.quick else None
    text, rows = header("Better queries, and re-ranking less or more", NOTES, queries), []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.datasets:
            collection = Collection(BY_NAME[name], queries)
            index = collection.index(Path(folder) / name)
            for block in BLOCKS:
                found = measure(block, index, collection)
                text, rows = text + lines(found), rows + found
    text.append("Written by `benchmarks/feedback.py`.\n")
    print("\n".join(text))
    if args.quick:
        return
    table = pd.DataFrame(rows)
    table[[name for name in table if "shown" not in name]].round(5).to_csv(RESULTS / "feedback.csv", index=False)
    (RESULTS / "feedback.md").write_text("\n".join(text), encoding="utf-8")
    for name in args.datasets:
        part = table[(table["dataset"] == name) & (table["block"] != "[MASK]")]
        figure = tradeoff_plot(part, x="ms", y="nDCG@10", label="system", title=name, figsize=(9.5, 6.4),
                               xlabel="milliseconds per query, 1 thread (median)")  # fmt: skip
        figure.savefig(RESULTS / f"feedback-{name}.png")


if __name__ == "__main__":
    main()
