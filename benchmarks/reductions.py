"""Smaller indexes: what token pooling and static pruning save, and what they cost.

    python benchmarks/reductions.py              # writes benchmarks/results/reductions.md, .csv and .png
    python benchmarks/reductions.py --quick      # few settings, few queries, nothing written

Needs the embeddings that ``benchmarks/engines.py`` makes (``IR_DATASETS_HOME`` for the collections).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from cached import BY_NAME, RESULTS, Collection, compared, header, markdown, shown, timed
from pyterrier.measures import nDCG

import pyterrier_lir as lir
from pyterrier_lir.experiment.plots import tradeoff_plot
from pyterrier_lir.index.token_stats import TokenStats
from pyterrier_lir.reduce.pooling import METHODS

WHOLE = "all tokens"
SHARES = (0.75, 0.5, 0.25)
QUOTED = (
    "hierarchical, factor 2",
    "hierarchical, factor 3",
    "idf, 50 %",
    "first, 50 %",
)  # searched exhaustively as well
QUICK = (WHOLE, "hierarchical, factor 2", "kmeans, factor 4", "idf, 50 %", "stopwords, 50 %")
NOTES = [
    "Searched by `index.warp() % 64 >> index.maxsim()`; the last column by `index.exhaustive()`.",
    "MB: the index without what WARP derives from it. p: paired t-test against all tokens, Holm.",
    "Pooling keeps the first row; pruning keeps a share of the tokens: of each document (first, idf), or of the "
    "collection without its tau most frequent tokens (stopwords).",
]


def settings(stats: TokenStats) -> Iterator[tuple[str, pt.Transformer | None]]:
    """All reductions by name."""
    yield WHOLE, None
    for method in METHODS:
        for factor in range(2, 7):
            yield f"{method}, factor {factor}", lir.TokenPooling(factor, method=method)
    for share in SHARES:
        yield f"first, {share:.0%}".replace("%", " %"), lir.TokenPruning("first", keep=share)
        yield f"idf, {share:.0%}".replace("%", " %"), lir.TokenPruning("idf", keep=share, stats=stats)
        pruning = lir.TokenPruning("stopwords", tau=tau_for(stats, share), stats=stats)
        yield f"stopwords, {share:.0%}".replace("%", " %"), pruning


def tau_for(stats: TokenStats, share: float) -> int:
    """How many of the most frequent tokens go, so that nearest to this share of all tokens is left."""
    ordered = stats.collection_frequency(stats.most_frequent(len(stats.ids)))
    left = 1 - np.concatenate([[0], np.cumsum(ordered)]) / ordered.sum()
    return int(np.abs(left - share).argmin())


def measure(collection: Collection, quick: bool) -> list[dict[str, Any]]:
    """Builds and searches an index for every setting."""
    stats, rows, found = TokenStats.count(collection.doc_tok_ids), [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, reduction in settings(stats):
            if quick and name not in QUICK:
                continue
            index = collection.index(Path(folder) / "index", reduction)
            info = index.info()
            found[name], ms = timed(index.warp(num_threads=1) % 64 >> index.maxsim(num_threads=1), collection.topics)
            row = {"setting": name, "tokens": info["tokens"], "MB": info["megabytes"], "ms": ms}
            if name in (WHOLE, *QUOTED):
                exact = {name: index.exhaustive(num_results=100)(collection.topics)}
                row["exhaustive"] = compared(exact, collection)["nDCG@10"].iloc[0]
            rows.append(row)
    table = compared(found, collection)
    for row in rows:
        row |= {"dataset": collection.dataset.name, "nDCG@10": table.loc[row["setting"], "nDCG@10"]}
        row["shown"] = shown(table, row["setting"], nDCG @ 10)
    return rows


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table of one collection."""
    whole, cells = rows[0], []
    for row in rows:
        exact = f"{row['exhaustive']:.3f}" if "exhaustive" in row else ""
        share = f"{row['tokens'] / whole['tokens']:.0%}"
        cells.append([row["setting"], share, f"{row['MB']:.1f}", row["shown"], f"{row['ms']:.1f}", exact])
    return [
        f"## {whole['dataset']}",
        "",
        *markdown(["setting", "tokens", "MB", "nDCG@10", "ms", "exhaustive"], cells),
        "",
    ]


def picture(table: pd.DataFrame, name: str, path: Path) -> None:
    """Size and quality of all settings of a collection."""
    figure = tradeoff_plot(
        table[table["dataset"] == name], x="MB", y="nDCG@10", label="setting", title=f"{name}: reductions",
        xlabel="megabytes of the index", figsize=(9.5, 6.4),
    )  # fmt: skip
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few settings and queries; prints, writes nothing")
    parser.add_argument("--datasets", nargs="+", choices=list(BY_NAME), default=list(BY_NAME))
    args = parser.parse_args()
    queries = 50 if args.quick else None
    text, rows = header("Smaller indexes", NOTES, queries), []
    for name in args.datasets:
        found = measure(Collection(BY_NAME[name], queries), args.quick)
        text, rows = text + lines(found), rows + found
    text.append("Written by `benchmarks/reductions.py`.\n")
    print("\n".join(text))
    if args.quick:
        return
    table = pd.DataFrame(rows)
    table.drop(columns="shown").round(5).to_csv(RESULTS / "reductions.csv", index=False)
    (RESULTS / "reductions.md").write_text("\n".join(text), encoding="utf-8")
    for name in args.datasets:
        picture(table, name, RESULTS / f"reductions-{name}.png")


if __name__ == "__main__":
    main()
