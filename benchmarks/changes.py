"""What changes of an index cost: adding and deleting beside a rebuild, many segments, a codec that is foreign.

    python benchmarks/changes.py

writes benchmarks/results/changes.md. A tenth of the documents is added to, deleted from and updated in an index of the
others. Then the last half of the documents comes in 1, 10 and 100 additions. At last documents are added to an index
of something else, whose centroids lie elsewhere.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cached import BY_NAME, RESULTS, header, timed
from embedded import Data
from judged import overlap
from mdtable import markdown

import pyterrier_lir as lir

K = 10
ROUNDS = 2
METHODS = ("plaid", "warp", "muvera", "exhaustive")


def records(data: Data, first: int, last: int, prefix: str = "") -> Iterator[dict[str, Any]]:
    for i in range(first, last):
        rows = slice(data.offsets[i], data.offsets[i + 1])
        yield {"docno": prefix + data.docnos[i], "doc_embs": data.docs[rows].astype(np.float32)}


def seconds(work: Callable[[], Any]) -> float:
    clock = time.perf_counter()
    work()
    return time.perf_counter() - clock


def built(path: Path, documents: Iterator[dict[str, Any]]) -> lir.LirIndex:
    return lir.LirIndex(path).indexer(verbose=False).index(documents)


def costs(data: Data, folder: Path) -> list[list[str]]:
    """Seconds of each change, the best of some rounds, and how many times a rebuild takes as long."""
    count = len(data.docnos)
    most = count * 9 // 10
    times: dict[str, list[float]] = {}
    for i in range(ROUNDS):
        path = folder / f"costs{i}"
        times.setdefault("build of all", []).append(
            seconds(lambda path=path: built(path / "all", records(data, 0, count)))
        )  # type: ignore[misc]
        index = built(path / "most", records(data, 0, most))
        gone, new = data.docnos[: count - most], list(records(data, most, count))
        changed = list(records(data, 2 * (count - most), 3 * (count - most)))
        for name, work in {
            "add a tenth": lambda index=index, new=new: index.add(new, verbose=False),
            "delete a tenth": lambda index=index, gone=gone: index.delete(gone),
            "update a tenth": lambda index=index, changed=changed: index.update(changed, verbose=False),
            "compact": lambda index=index: index.compact(),
        }.items():
            times.setdefault(name, []).append(seconds(work))
    rebuild = min(times["build of all"])
    return [[name, f"{min(taken):.2f}", f"{rebuild / min(taken):.1f}"] for name, taken in times.items()]


def segments(data: Data, folder: Path) -> list[list[str]]:
    """Milliseconds a query with the second half in some additions; all of them rank alike, or this fails."""
    count, half = len(data.docnos), len(data.docnos) // 2
    base = built(folder / "half", records(data, 0, half))
    indexes = {}
    for additions in (1, 10, 100):
        shutil.copytree(base._directory, folder / str(additions))
        index = lir.LirIndex(folder / str(additions))
        bounds = np.linspace(half, count, additions + 1).astype(int)
        for first, last in pairwise(bounds.tolist()):
            index.add(records(data, first, last), verbose=False)
        indexes[f"{additions + 1} segments"] = index
    shutil.copytree(folder / "100", folder / "compact")
    indexes["after compact()"] = lir.LirIndex(folder / "compact").compact()
    rows, expected = [], {}
    for name, index in indexes.items():
        cells = [name, f"{index.info()['megabytes']:.1f}"]
        for method in METHODS:
            found, ms = timed(getattr(index, method)(num_results=K, num_threads=1), data.frame)
            ranking = found[["qid", "docno", "score", "rank"]]
            pd.testing.assert_frame_equal(ranking, expected.setdefault(method, ranking))
            cells.append(f"{ms:.2f}")
        rows.append(cells)
    return rows


def foreign(data: Data, other: Data, folder: Path) -> list[list[str]]:
    """The overlap with the exact ten best when documents are coded by what was trained on others."""
    rows = []
    count = len(data.docnos)
    for share in (0.0, 0.2, 1.0):
        own = int(share * count)
        trained = [*records(data, 0, own), *(records(other, 0, len(other.docnos), "other") if share < 1 else ())]
        index = built(folder / f"foreign{share}", iter(trained))
        index.add(records(data, own, count), verbose=False)
        places = {docno: i for i, docno in enumerate(data.docnos)}
        info = index.info()
        residual, added = info["residual"], info["residual_added"]
        cells = [f"{share:.0%} of {data.dataset.name}" + (f" and all of {other.dataset.name}" if share < 1 else ""),
                 f"{residual:.3f}", "" if added is None else f"{added:.3f} ({added / residual:.2f}x)"]  # fmt: skip
        for method in ("exhaustive", "plaid"):
            found = getattr(index, method)(num_results=K, docnos=data.docnos)(data.frame)
            by_query = {qid: [places[docno] for docno in part["docno"]] for qid, part in found.groupby("qid")}
            cells.append(f"{overlap([by_query[qid] for qid in data.frame['qid']], data.exact):.3f}")
        rows.append([*cells, "rebuild" if any("times as far" in said for said in info["advice"]) else ""])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, help="only so many queries")
    args = parser.parse_args()
    scifact, vaswani = (Data(BY_NAME[name], args.queries) for name in ("scifact-2k", "vaswani"))
    text = header("Changes of an index", ["An update deletes and adds in one step."], args.queries)
    with tempfile.TemporaryDirectory() as folder:
        for data in (scifact, vaswani):
            path = Path(folder) / data.dataset.name
            text += [f"## {data.dataset.name}: {len(data.docnos):,} documents, {len(data.docs):,} tokens", ""]
            text += markdown(["change", "s (all cores)", "a rebuild takes so many times"], costs(data, path / "costs"))
            text += ["", "Searching, ms a query; all rankings and scores are equal:", ""]
            text += [*markdown(["", "MB", *METHODS], segments(data, path / "segments")), ""]
        text += ["## A codec of something else", "",
                 "Overlap with the exact ten best of those documents that the row names first, all of which are there:",
                 ""]  # fmt: skip
        columns = ["the codec was trained on", "residual", "of what was added", "exhaustive", "plaid", "advice"]
        text += markdown(columns, foreign(vaswani, scifact, Path(folder) / "v"))
        text += ["", *markdown(columns, foreign(scifact, vaswani, Path(folder) / "s")), ""]
    (RESULTS / "changes.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
