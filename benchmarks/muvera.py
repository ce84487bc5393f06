"""MUVERA: how many candidates hold the exact top 10, what they cost, and how fast encodings are made.

    pip install --target benchmarks/.cache/peers-muvera fastembed==0.9.1 muvera-python==0.2.0    # once: the peers
    python benchmarks/muvera.py                  # writes benchmarks/results/muvera.csv and muvera.md
    python benchmarks/muvera.py --queries 20     # a quick look

Collections and embeddings are those of ``benchmarks/engines.py``, in an index of 4 bits that is built anew. Every
system is a transformer, from a frame with one encoded query to a frame with the ranking, on one thread; systems take
turns of ten queries, and medians are reported. Encoding: from a list of matrices to arrays, with the same numbers of
hyperplanes, dimensions and repetitions, each encoder in a process of its own, on one thread, the best of five; ours
also as a transformer. fastembed projects by dense signs, muvera-python by sparse ones.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS, PEERS = HERE / "results", HERE / ".cache" / "peers-muvera"
SIZES = {1280: (3, 8), 2560: (4, 8), 5120: (5, 8), 10240: (5, 16)}  # k_sim, d_proj, with 20 repetitions
DEPTHS = (50, 100, 200, 1000)
TIMED, TURN = 100, 10  # the first queries, so many in a row
ENCODED = 200  # documents to encode


# --- searching -------------------------------------------------------------------------------------------------------


def systems(index: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """What the table says of a system, and the retriever of its candidates."""
    for size, (k_sim, d_proj) in SIZES.items():
        for center in (False, True):
            named = {"values": size, "ann": "flat", "center": center, "bytes": 2 * size}
            yield named, index.muvera(k_sim=k_sim, d_proj=d_proj, center=center, num_threads=1)
    k_sim, d_proj = SIZES[5120]
    for ann, cost in (("pq", 640), ("hnsw", 10_500)):
        named = {"values": 5120, "ann": ann, "center": True, "bytes": cost}
        yield named, index.muvera(k_sim=k_sim, d_proj=d_proj, ann=ann, num_threads=1)
    for ann, cost in (("flat", 1282), ("pq", 81)):
        yield {"values": 641, "ann": f"LEMUR, {ann}", "bytes": cost}, index.lemur(ann=ann, num_threads=1)


def share(ranking: Any, exact: dict[str, set[str]]) -> float:
    """Of the exact top 10, how much a ranking holds."""
    found = ranking.groupby("qid")["docno"].apply(set)
    return float(np.mean([len(found[qid] & wanted) / len(wanted) for qid, wanted in exact.items()]))


def milliseconds(pipelines: list[Any], frame: Any) -> list[float]:
    """The median time of a query, for each pipeline; they take turns."""
    times: list[list[float]] = [[] for _ in pipelines]
    for pipeline in pipelines:
        pipeline(frame[:1])  # opens what it needs
    for first in range(0, min(TIMED, len(frame)), TURN):
        for pipeline, taken in zip(pipelines, times, strict=True):
            for row in range(first, min(first + TURN, TIMED, len(frame))):
                start = time.perf_counter()
                pipeline(frame[row : row + 1])
                taken.append(1000 * (time.perf_counter() - start))
    return [float(np.median(taken)) for taken in times]


def search(data: Any, path: Path) -> list[dict[str, Any]]:
    """One row for each system, and one for each that is compared with it."""
    import pyterrier_lir as lir

    index = lir.LirIndex(path)
    records = ({"docno": docno, "doc_embs": data.docs[a:b]} for docno, (a, b) in documents(data))
    index.indexer(nbits=4, verbose=False).index(records)
    exact = {
        qid: {data.docnos[docid] for docid in docids} for qid, docids in zip(data.frame["qid"], data.exact, strict=True)
    }
    scorer = index.maxsim(num_threads=1)
    rows, pipelines = [], []
    for named, retriever in systems(index):
        print(f"{data.dataset.name}: {named}", file=sys.stderr, flush=True)
        found = retriever(data.frame)
        rows.append(named | {f"share@{n}": share(found[found["rank"] < n], exact) for n in DEPTHS})
        pipelines += [(retriever % n >> scorer).compile() for n in DEPTHS]
    for name, retriever in (
        ("PLAID", index.plaid(num_results=10, num_threads=1)),
        ("exhaustive", index.exhaustive(num_results=10, num_threads=1)),
    ):
        rows.append({"ann": name, "share@10": share(retriever(data.frame), exact)})
        pipelines.append(retriever)
    times = milliseconds(pipelines, data.frame)
    for i, row in enumerate(rows[:-2]):
        row |= {f"ms@{n}": times[len(DEPTHS) * i + j] for j, n in enumerate(DEPTHS)}
    rows[-2]["ms@10"], rows[-1]["ms@10"] = times[-2:]
    return [{"dataset": data.dataset.name, **row} for row in rows]


def documents(data: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    return zip(data.docnos, pairwise(data.offsets.tolist()), strict=True)


# --- encoding --------------------------------------------------------------------------------------------------------


def ours(k_sim: int, d_proj: int, projection: str, docs: list[np.ndarray]) -> Callable[[], Any]:
    from pyterrier_lir.ragged import Ragged
    from pyterrier_lir.retrieve.fde import Fde, FdeEncoder

    fde = Fde(k_sim, d_proj, reps=20, final_dim=None, fill_empty=True, projection=projection, seed=0)
    encoder = FdeEncoder(fde, docs[0].shape[1], None, num_threads=1)
    return lambda: encoder.documents(Ragged.from_list(docs))


def ours_in_frames(k_sim: int, d_proj: int, docs: list[np.ndarray]) -> Callable[[], Any]:
    import pandas as pd

    import pyterrier_lir as lir

    frame = pd.DataFrame({"docno": [str(i) for i in range(len(docs))], "doc_embs": docs})
    encoder = lir.Muvera(k_sim=k_sim, d_proj=d_proj, reps=20, num_threads=1)
    return lambda: encoder(frame)


def fastembed(k_sim: int, d_proj: int, docs: list[np.ndarray]) -> Callable[[], Any]:
    from fastembed.postprocess.muvera import Muvera

    encoder = Muvera(docs[0].shape[1], k_sim=k_sim, dim_proj=d_proj, r_reps=20)
    return lambda: [encoder.process_document(doc) for doc in docs]


def muvera_python(k_sim: int, d_proj: int, docs: list[np.ndarray]) -> Callable[[], Any]:
    from muvera import Muvera

    encoder = Muvera(
        num_repetitions=20, num_simhash_projections=k_sim, dimension=docs[0].shape[1], projection_type="ams_sketch",
        projection_dimension=d_proj,
    )  # fmt: skip
    return lambda: encoder.encode_documents(docs)


ENCODERS: dict[str, Callable[..., Callable[[], Any]]] = {
    "ours, dense": lambda k_sim, d_proj, docs: ours(k_sim, d_proj, "dense", docs),
    "ours, sparse": lambda k_sim, d_proj, docs: ours(k_sim, d_proj, "sparse", docs),
    "ours, dense, from frame to frame": ours_in_frames,
    "fastembed": fastembed,
    "muvera-python": muvera_python,
}


def rates(name: str, folder: Path) -> dict[int, float]:
    """Documents per second of an encoder for each size, in this process."""
    rows, offsets = np.load(folder / "docs.npy", mmap_mode="r"), np.load(folder / "docs_offsets.npy")
    docs = [rows[a:b].astype(np.float32) for a, b in pairwise(offsets[: ENCODED + 1])]
    found = {}
    for size, (k_sim, d_proj) in SIZES.items():
        encode = ENCODERS[name](k_sim, d_proj, docs)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            encode()
            times.append(time.perf_counter() - start)
        found[size] = len(docs) / min(times)
    return found


def encode(data: Any) -> list[dict[str, Any]]:
    """Documents per second of each encoder, in a process of its own."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    rows = []
    for name in ENCODERS:
        peer = not name.startswith("ours")
        if peer and not PEERS.exists():
            print(f"{PEERS} is missing: {name} is left out", file=sys.stderr)
            continue
        path = str(PEERS) if peer else os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        # -P: this file, too, is called muvera
        command = [sys.executable, "-P", __file__, "--rates", name, str(data.folder)]
        done = subprocess.run(
            command, env=os.environ | limits | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
        )
        rows.append({"dataset": data.dataset.name, "encoder": name, **json.loads(done.stdout.splitlines()[-1])})
    return rows


# --- the report ------------------------------------------------------------------------------------------------------


def markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def report(searched: list[dict[str, Any]], encoded: list[dict[str, Any]], load: float, num_queries: int | None) -> str:
    """The tables as Markdown; ``load`` is what other processes were doing when the measurement began."""
    from pyterrier_lir.experiment import environment

    here = environment.describe()
    lines = [
        "# MUVERA", "",
        f"{here['processor']['model']}, {here['processor']['cores']} cores (load before: {load:.1f}), Python "
        f"{here['python']}, kernel build `{here['kernels']}`, one thread; "
        f"{'all' if num_queries is None else f'the first {num_queries}'} queries. all-MiniLM-L6-v2, 128 dimensions, an "
        "index of 4 bits. share@n: how much of the exact top 10 (MaxSim in float32) the first n candidates hold. ms@n: "
        f"median time of a query (the first {TIMED}) for n candidates and their exact scores, `index.muvera() % n >> "
        "index.maxsim()`, from frame to frame. Written by `benchmarks/muvera.py`.", "",
    ]  # fmt: skip
    for dataset in dict.fromkeys(row["dataset"] for row in searched):
        part = [row for row in searched if row["dataset"] == dataset]
        table = [
            [f"{row['values']}, {row['ann']}{', centred' if row.get('center') else ''}", str(row["bytes"]),
             *(f"{row[f'share@{n}']:.3f}" for n in DEPTHS), *(f"{row[f'ms@{n}']:.1f}" for n in DEPTHS)]
            for row in part if "values" in row
        ]  # fmt: skip
        header = ["values", "bytes per document", *(f"share@{n}" for n in DEPTHS), *(f"ms@{n}" for n in DEPTHS)]
        lines += [f"## {dataset}", "", *markdown(header, table), ""]
        others = [f"{row['ann']}: {row['ms@10']:.1f} ms, share {row['share@10']:.3f}" for row in part if "ms@10" in row]
        lines += [f"For comparison, k = 10, the same index, the same turns. {'; '.join(others)}.", ""]
        rate = [row for row in encoded if row["dataset"] == dataset]
        table = [[row["encoder"], *(f"{row[str(size)]:.0f}" for size in SIZES)] for row in rate]
        lines += ["Documents encoded in a second:", "", *markdown(["encoder", *map(str, SIZES)], table), ""]
    return "\n".join(lines)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, help="use the first so many only")
    parser.add_argument("--datasets", nargs="+", help="some of the collections of benchmarks/engines.py")
    parser.add_argument("--rates", nargs=2, metavar=("ENCODER", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rates:
        print(json.dumps(rates(args.rates[0], Path(args.rates[1]))))
        return
    from embedded import DATASETS, Data

    load = os.getloadavg()[0]
    searched, encoded = [], []
    for dataset in DATASETS:
        if args.datasets is None or dataset.name in args.datasets:
            data = Data(dataset, args.queries)
            with tempfile.TemporaryDirectory() as folder:
                searched += search(data, Path(folder) / "index")
            encoded += encode(data)
    text = report(searched, encoded, load, args.queries)
    RESULTS.mkdir(exist_ok=True)
    write(RESULTS / "muvera.csv", [*searched, *encoded])
    (RESULTS / "muvera.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
