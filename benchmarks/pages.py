"""Pages: size and time of 2,000 of them by every method, and what fewer patches save and cost.

    python benchmarks/pages.py              # writes benchmarks/results/pages.md and pages.csv
    python benchmarks/pages.py --quick      # few pages, queries and settings, nothing written

The collection is ``lir:pages``, drawn by the package: text, tables and plots. Its encoder is the toy, 1,024 patches a
page in 128 dimensions by a random projection of their pixels: sizes are those of any model with as many patches,
quality is that of a toy that finds words drawn as it draws them. No package of the registry was found that brings a
trained model of images and text.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from mdtable import markdown
from pyterrier.measures import R, nDCG

import pyterrier_lir as lir
from pyterrier_lir.datasets import visual
from pyterrier_lir.experiment import environment
from pyterrier_lir.experiment.first_stage import bm25
from pyterrier_lir.experiment.timing import run_timed
from pyterrier_lir.reduce import BlankPruning, GridPooling

RESULTS = Path(__file__).parent / "results"
MEASURES = [nDCG @ 5, nDCG @ 10, R @ 100]
TIMED = 20  # queries whose time is taken, one by one
WHOLE = "all patches"
FACTORS = {2: 4, 3: 9, 5: 25, 7: 49}  # a block's side, and Light-ColPali's factor
GRID = np.array([32, 32], dtype=np.int32)
Rows = list[dict[str, Any]]


class Pages:
    """So many pages, of text first but with all tables and plots among them, and the queries that they answer."""

    def __init__(self, count: int, num_queries: int) -> None:
        found = visual.page_collection()
        drawn = [docno for docno in found.pages if ":" in docno][: count // 10]
        text = [docno for docno in found.pages if ":" not in docno]
        asked = {docno for docnos in found.relevant.values() for docno in docnos if ":" not in docno}
        text = sorted(text, key=lambda docno: docno not in asked)[: count - len(drawn)]
        self.pages = {docno: found.pages[docno] for docno in sorted([*text, *drawn])}
        pairs = [(q, d, 1) for q, docnos in found.relevant.items() for d in docnos if d in self.pages]
        qids = sorted({q for q, _, _ in pairs}, key=lambda q: hash_of(q))[:num_queries]
        self.qrels = pd.DataFrame([pair for pair in pairs if pair[0] in qids], columns=["qid", "docno", "label"])
        self.topics = pd.DataFrame({"qid": qids, "query": [found.queries[q] for q in qids]})
        self.texts = [{"docno": docno, "text": found.texts[docno]} for docno in self.pages]

    def records(self) -> Iterator[dict[str, Any]]:
        return ({"docno": docno, "image": page} for docno, page in self.pages.items())


def hash_of(name: str) -> bytes:
    from pyterrier_lir.datasets.docstrings import draw

    return draw(name)


def methods(index: lir.LirIndex, small: lir.LirIndex) -> dict[str, pt.Transformer]:
    """What is compared, exhaustive search first; one thread."""
    one = {"num_threads": 1}
    again = index.maxsim(**one)
    return {
        "`exhaustive()`": index.exhaustive(num_results=100, **one),
        "`plaid()`": index.plaid(num_results=100, **one),
        "`warp()`": index.warp(num_results=100, **one),
        "`warp() % 64 >> maxsim()`": index.warp(num_results=100, **one) % 64 >> again,
        "`xtr()`": index.xtr(num_results=100, **one),
        "`muvera() % 200 >> maxsim()`": index.muvera(num_results=200, **one) % 200 >> again % 100,
        "lines and columns `% 200 >> maxsim()`": small.exhaustive(num_results=200, **one) >> again % 100,
    }


def settings() -> Iterator[tuple[str, pt.Transformer | None]]:
    """All reductions by name."""
    yield WHOLE, None
    for method in ("hierarchical", "kmeans"):
        for factor in FACTORS.values():
            yield (
                f"merged by likeness ({method}), factor {factor}",
                lir.TokenPooling(factor, method=method, protected=0),
            )
    for side, factor in FACTORS.items():
        yield f"blocks of {side} x {side}, factor {factor}", GridPooling("blocks", size=side)
    for by in ("rows", "columns", "both"):
        yield {"rows": "lines", "columns": "columns", "both": "lines and columns"}[by], GridPooling(by)
    yield "without blank patches", BlankPruning()
    yield "without blank patches, then factor 4", BlankPruning() >> lir.TokenPooling(4, protected=0)
    yield "without blank patches, then factor 9", BlankPruning() >> lir.TokenPooling(9, protected=0)


def measured(results: dict[str, pd.DataFrame], pages: Pages) -> pd.DataFrame:
    kept = {name: frame[["qid", "docno", "score", "rank"]] for name, frame in results.items()}
    table = pt.Experiment(kept, pages.topics, pages.qrels, MEASURES, baseline=0, correction="holm", validate="ignore")
    return table.set_index("name")


def overlap(found: pd.DataFrame, exact: pd.DataFrame) -> float:
    """Share of the exact top 10 that is in the top 10."""
    best = [set(map(tuple, frame.loc[frame["rank"] < 10, ["qid", "docno"]].to_numpy())) for frame in (found, exact)]
    return len(best[0] & best[1]) / len(best[1])


def median_ms(system: pt.Transformer, topics: pd.DataFrame) -> float:
    system(topics[:1])  # what is derived is made
    return statistics.median(run_timed(system, topics[:TIMED], name="queries")[1].tolist())


def size_and_time(pages: Pages, folder: Path) -> tuple[Rows, list[str]]:
    """Builds an index of all pages and searches it by every method."""
    encoder = lir.ToyPageEncoder()
    index, small, facts = built(encoder, pages, folder)
    topics = encoder.query_encoder()(pages.topics)
    systems = methods(index, small)
    found = {name: system(topics) for name, system in systems.items()}
    found["BM25 of the printed text"] = bm25(pages.texts, folder / "bm25", 100)(pages.topics)
    table, exact = measured(found, pages), next(iter(found.values()))
    rows = [
        {"system": name, **{str(m): table.loc[name, str(m)] for m in MEASURES}, "overlap@10": overlap(frame, exact),
         "ms": median_ms(systems[name], topics) if name in systems else np.nan}
        for name, frame in found.items()
    ]  # fmt: skip
    return rows, facts


def built(encoder: lir.ToyPageEncoder, pages: Pages, folder: Path) -> tuple[lir.LirIndex, lir.LirIndex, list[str]]:
    """The index of all patches, that of lines and columns, and what they took; what is there is not made again."""
    whole, index, small = (lir.LirIndex(folder / name) for name in ("pages.lir", "coded.lir", "small.lir"))
    if not whole.built:
        (encoder >> whole.indexer(verbose=False, keep_embs=True)).index(pages.records())
    if not (folder / "facts.json").exists():
        clock = time.process_time()
        index.indexer(mode="overwrite", verbose=False).index(whole.get_corpus_iter())
        building = time.process_time() - clock
        (GridPooling("both") >> small.indexer(mode="overwrite", verbose=False)).index(stored(whole))
        facts = facts_of(encoder, pages, index, small, building)
        (folder / "facts.json").write_text(json.dumps(facts))
    return index, small, json.loads((folder / "facts.json").read_text())


def facts_of(
    encoder: lir.ToyPageEncoder, pages: Pages, index: lir.LirIndex, small: lir.LirIndex, building: float
) -> list[str]:
    count, some = len(pages.pages), list(pages.pages.values())[:50]
    clock = time.process_time()
    drawn = [page.open() for page in some]
    drawing = (time.process_time() - clock) / len(some)
    clock = time.process_time()
    encoder.encode_docs(drawn)
    encoding = (time.process_time() - clock) / len(some)
    info, both = index.info(), small.info()
    return [
        f"{count:,} pages, {info['tokens']:,} vectors of 128 dimensions, {info['centroids']:,} centroids, 4 bits: "
        f"{info['megabytes']:.0f} MB, {info['megabytes'] / count * 1000:.0f} kB a page (fp16 vectors would be "
        f"{info['tokens'] * 256 / 1e6:.0f} MB). Lines and columns alone: {both['tokens']:,} vectors, "
        f"{both['megabytes']:.1f} MB.",
        f"CPU time a page: drawing {drawing * 1000:.0f} ms, the toy encoder {encoding * 1000:.0f} ms; clustering and "
        f"coding all {building:.0f} s, {building / count * 1000:.0f} ms a page.",
    ]


def stored(index: lir.LirIndex) -> Iterator[dict[str, Any]]:
    """The encoded pages again, with their grid."""
    return (record | {"doc_grid": GRID} for record in index.get_corpus_iter())


def reductions(pages: Pages, folder: Path, quick: bool) -> Rows:
    """Builds and searches an index for every reduction."""
    encoder, whole, rows, found = lir.ToyPageEncoder(), lir.LirIndex(folder / "some.lir"), [], {}
    (encoder >> whole.indexer(mode="overwrite", verbose=False, keep_embs=True)).index(pages.records())
    topics = encoder.query_encoder()(pages.topics)
    for number, (name, reduction) in enumerate(settings()):
        if quick and number % 5:
            continue
        index = lir.LirIndex(folder / "reduced.lir")
        records = (record | {"image": pages.pages[record["docno"]]} for record in stored(whole))
        clock = time.process_time()
        steps = index.indexer(mode="overwrite", verbose=False)
        (steps if reduction is None else reduction >> steps).index(records)
        seconds = time.process_time() - clock
        system, info = index.exhaustive(num_results=100, num_threads=1), index.info()
        found[name] = system(topics)
        rows.append({"setting": name, "vectors a page": info["tokens"] / len(pages.pages), "MB": info["megabytes"],
                     "CPU s": seconds, "ms": median_ms(system, topics)})  # fmt: skip
    table = measured(found, pages)
    for row in rows:
        row |= {str(m): table.loc[row["setting"], str(m)] for m in MEASURES}
        row["p"] = table.loc[row["setting"]].get("nDCG@5 p-value corrected", np.nan)
    return rows


def shown(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if name == "p" and value < 0.001:
        return "< 0.001"
    digits = {"MB": 1, "ms": 1, "CPU s": 0, "vectors a page": 0}.get(name, 3)
    return "" if value != value else f"{value:,.{digits}f}"


def lines(title: str, rows: Rows, names: list[str], notes: list[str]) -> list[str]:
    cells = [[shown(row, name) for name in names] for row in rows]
    return [f"## {title}", "", *(f"- {note}" for note in notes), "", *markdown(names, cells), ""]


def header() -> list[str]:
    here = environment.describe()
    processor, found = here["processor"], here["versions"]
    ours = ", ".join(f"{name} {found[name]}" for name in ("pyterrier-lir", "pyterrier", "numpy") if name in found)
    return [
        "# Pages", "",
        f"- {processor['model']}, {processor['cores']} cores, {here['memory_gb']} GB; load at the start "
        f"{os.getloadavg()[0]:.1f}; {ours}, Python {here['python']}, kernels `{here['kernels']}`.",
        "- The collection is `lir:pages`: docstrings as pages of text, tables and plots. The encoder is the toy: 32 x "
        "32 patches by a random projection of their pixels, queries as pictures of their words. **It is no model**: "
        "sizes and times are about those of any encoder with 1,024 patches, quality is not. No package of the registry "
        "was found that brings a trained model of images and text.",
        f"- 60 queries of about 35 rows; ms: median of {TIMED} single ones, 1 thread, from encoded query to ranking, "
        "on a busy machine. p: paired t-test of nDCG@5 against the first row, Holm.",
        "",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pages and queries; prints, writes nothing")
    parser.add_argument("--folder", type=Path, help="keeps the indexes, so that a run that breaks off goes on")
    args = parser.parse_args()
    many, some, queries = (100, 60, 20) if args.quick else (2000, 160, 60)
    text, quick = header(), args.quick
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        rows, facts = size_and_time(Pages(many, queries), folder)
        names = ["system", *map(str, MEASURES), "overlap@10", "ms"]
        text += lines(f"Every method on {many:,} pages", rows, names, facts)
        keep(text, rows, quick)
        reduced = reductions(Pages(some, queries), folder, quick)
        names = ["setting", "vectors a page", "MB", "nDCG@5", "p", "nDCG@10", "R@100", "CPU s", "ms"]
        notes = ["Searched by `exhaustive()`. CPU s: reducing and building, on the processor. MB: 4 bits."]
        text += lines(f"Fewer patches, on {some:,} pages", reduced, names, notes)
    keep([*text, "Written by `benchmarks/pages.py`.\n"], [*rows, *reduced], quick)


def keep(text: list[str], rows: Rows, quick: bool) -> None:
    """Writes what is there so far, or shows it."""
    if quick:
        print("\n".join(text))
        return
    pd.DataFrame(rows).round(5).to_csv(RESULTS / "pages.csv", index=False)
    (RESULTS / "pages.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
