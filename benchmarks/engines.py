"""Engines on the same embeddings: ours, fast-plaid and xtr-warp-rs, in turns, in one run on one machine.

    make peers                                   # once: the other engines, in an environment of their own
    python benchmarks/engines.py                 # writes benchmarks/results/engines.csv, engines.md and engines.png
    python benchmarks/engines.py --queries 20    # a quick look

Collections: 2,000 documents of SciFact (all that are relevant to a test query, filled up in collection order) and
Vaswani, from ir_datasets (``IR_DATASETS_HOME``), encoded by the packaged model with 128 dimensions. Embeddings, and the
indexes of the peers with the figures of their builds, are kept in ``benchmarks/.cache/engines``; delete a folder there
to have it made again. Our indexes are built anew in each run.

Every engine builds from float32 matrices in memory, in a fresh process. Searches: single queries on one thread, where
the engines take turns of ten queries, then many in one call on two threads. The times are those of the first 100
queries; slow systems answer no others. Ours is timed as a transformer, from a data frame with the encoded query to a
data frame with the ranking; the peers from tensors to a list.

To add an engine of ours, add a line to `SYSTEMS`; another library goes into ``benchmarks/peers/worker.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

import pyterrier_lir as lir
from pyterrier_lir import kernels
from pyterrier_lir.experiment import environment
from pyterrier_lir.experiment.first_stage import bm25
from pyterrier_lir.experiment.plots import tradeoff_plot

HERE = Path(__file__).parent
CACHE, RESULTS = HERE / ".cache" / "engines", HERE / "results"
WORKER = HERE / "peers" / "worker.py"
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
TURN = 10  # queries in a row
TIMED = 100  # the first queries: their times count, for all systems
SLOW_BATCH = 20  # queries in one call, where the system is slow
BUILD_THREADS, SINGLE_THREADS, BATCH_THREADS = 1, 1, 2
DEPTHS = (10, 100)
# what our index could compute from the rest: documents of a centroid, centroids of a document, centroids in 8 bits
DERIVED = (
    "cell_docs.i64", "cell_docs.i32", "doc_codes.u16", "doc_codes.u32", "doc_codes.i64", "centroids.i8", "scales.f32",
)  # fmt: skip

Rankings = list[list[int]]
Search = Callable[..., pt.Transformer]  # from what is opened, num_results and num_threads


# --- what is compared ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IndexSpec:
    """An index: which engine builds it, and with which options."""

    engine: str
    options: dict[str, Any]

    @property
    def ours(self) -> bool:
        return self.engine == "pyterrier_lir"


@dataclass(frozen=True)
class System:
    """A way to search an index.

    Attributes:
        name: In the table.
        index: One of `INDEXES`.
        search: Ours: makes the transformer from what is opened, with ``num_results`` and ``num_threads``.
        settings: Peers: arguments of their search.
        kernels: The kernel build to force.
        slow: Answers the timed queries only, and few of them at once.
    """

    name: str
    index: str
    search: Search | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    kernels: str | None = None
    slow: bool = False


def plaid(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.plaid(**options)


def paper_plaid(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.plaid(preset="paper", **options)


def warp(nprobe: int | None = None) -> Search:
    return lambda opened, **options: opened.index.warp(nprobe=nprobe, **options)


def refined_warp(opened: Opened, *, num_results: int, num_threads: int) -> pt.Transformer:
    found = opened.index.warp(num_results=max(64, num_results), nprobe=32, num_threads=num_threads)
    return found >> opened.index.maxsim(num_threads=num_threads) % num_results


def xtr(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.xtr(**options)


def exhaustive(opened: Opened, **options: Any) -> pt.Transformer:
    return opened.index.exhaustive(**options)


def bm25_reranked(opened: Opened, *, num_results: int, num_threads: int) -> pt.Transformer:
    return opened.bm25 % 100 >> opened.index.maxsim(num_threads=num_threads) % num_results


def probe(cells: int, docs: int) -> dict[str, Any]:
    return {"n_ivf_probe": cells, "n_full_scores": docs}


INDEXES = {
    "4 bits": IndexSpec("pyterrier_lir", {"nbits": 4}),
    "8 bits": IndexSpec("pyterrier_lir", {"nbits": 8}),
    "2 bits": IndexSpec("pyterrier_lir", {"nbits": 2}),
    "fp16": IndexSpec("pyterrier_lir", {"nbits": 4, "keep_embs": True}),
    "fast-plaid": IndexSpec("fast-plaid", {"nbits": 4}),
    "xtr-warp-rs": IndexSpec("xtr-warp-rs", {"nbits": 4}),
}

AVX2 = "x86_64_v3"
PLAID4, PLAID8, PLAID2, PLAID4_AVX2 = "PLAID, 4 bits", "PLAID, 8 bits", "PLAID, 2 bits", "PLAID, 4 bits, AVX2"
EXACT, WARP_AUTO, WARP_32 = "exhaustive, fp16", "xtr-warp-rs, automatic", "xtr-warp-rs, probe 32"
WARP, REFINED_WARP, XTR = "WARP, defaults", "WARP, probe 32 % 64 >> maxsim", "XTR, defaults"

SYSTEMS = [
    System(PLAID4, "4 bits", plaid),
    System(PLAID4_AVX2, "4 bits", plaid, kernels=AVX2),
    System("PLAID, 4 bits, paper", "4 bits", paper_plaid),
    System(PLAID8, "8 bits", plaid),
    System(PLAID2, "2 bits", plaid),
    *(System(f"WARP, probe {nprobe}", "4 bits", warp(nprobe)) for nprobe in (4, 8, 16, 24, 48, 64)),
    System(WARP, "4 bits", warp()),
    System(REFINED_WARP, "4 bits", refined_warp),
    System(XTR, "4 bits", xtr),
    System("exhaustive, 4 bits", "4 bits", exhaustive),
    System(EXACT, "fp16", exhaustive),
    System("BM25 % 100 >> maxsim, 4 bits", "4 bits", bm25_reranked),
    System("fast-plaid, probe 8, score 4096", "fast-plaid", settings=probe(8, 4096), slow=True),
    System("fast-plaid, probe 4, score 1024", "fast-plaid", settings=probe(4, 1024), slow=True),
    System("fast-plaid, probe 2, score 256", "fast-plaid", settings=probe(2, 256), slow=True),
    System(WARP_AUTO, "xtr-warp-rs"),
    System(WARP_32, "xtr-warp-rs", settings={"nprobe": 32}),
]


# --- the data --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dataset:
    """A collection: its name in PyTerrier, the fields of a document's text, how many documents to keep (None: all)."""

    name: str
    source: str
    text_field: tuple[str, ...]
    num_docs: int | None = None

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    @cached_property
    def _dataset(self) -> Any:
        return pt.get_dataset(self.source)

    @cached_property
    def topics(self) -> pd.DataFrame:
        with contextlib.redirect_stdout(io.StringIO()):  # ir_datasets lists the fields that it has
            found = self._dataset.get_topics()
        name = "query" if "query" in found.columns else "text"
        return found[["qid", name]].set_axis(["qid", "query"], axis=1)

    @cached_property
    def qrels(self) -> pd.DataFrame:
        return self._dataset.get_qrels()[["qid", "docno", "label"]]

    def corpus(self) -> list[dict[str, str]]:
        """The documents: all relevant ones, filled up in collection order, in collection order."""
        documents = list(self._dataset.get_corpus_iter(verbose=False))
        if self.num_docs is None:
            return documents
        relevant = set(self.qrels[self.qrels["label"] > 0]["docno"])
        missing = self.num_docs - sum(document["docno"] in relevant for document in documents)
        kept = []
        for document in documents:
            if document["docno"] in relevant or missing > 0:
                kept.append(document)
                missing -= document["docno"] not in relevant
        return kept


DATASETS = [
    Dataset("scifact-2k", "irds:beir/scifact/test", ("title", "text"), 2000),
    Dataset("vaswani", "irds:vaswani", ("text",)),
]


class Data:
    """The embeddings of a collection, from the cache or encoded now.

    Attributes:
        docs: float16 rows; ``offsets`` says where the rows of each document begin.
        frame: ``qid``, ``query`` and ``query_embs``.
    """

    def __init__(self, dataset: Dataset, num_queries: int | None = None) -> None:
        self.dataset, self.folder = dataset, dataset.folder
        if not (self.folder / "docnos.json").exists():
            encode(dataset)
        self.docs, self.offsets = np.load(self.folder / "docs.npy"), np.load(self.folder / "docs_offsets.npy")
        self.docnos = json.loads((self.folder / "docnos.json").read_text())
        queries = np.load(self.folder / "queries.npy").astype(np.float32)
        bounds = np.load(self.folder / "queries_offsets.npy")
        embs = [queries[start:end] for start, end in pairwise(bounds)]
        self.frame = dataset.topics.assign(query_embs=embs)[:num_queries]

    @cached_property
    def exact(self) -> Rankings:
        """The best ten of each query by exact MaxSim in float32."""
        tokens = self.docs.astype(np.float32)
        return [
            kernels.top_k(kernels.maxsim(query, tokens, self.offsets, num_threads=2), 10).tolist()
            for query in self.frame["query_embs"]
        ]


def encode(dataset: Dataset) -> None:
    """Encodes documents and queries into the cache."""
    encoder = lir.LateInteractionEncoder("minilm", dim=128, text_field=dataset.text_field, verbose=True)
    corpus = dataset.corpus()
    texts = encoder.document_texts(pd.DataFrame(corpus))
    store(dataset, "queries", [one.embs for one in encoder.encode_queries(dataset.topics["query"].tolist())])
    store(dataset, "docs", [one.embs for one in encoder.encode_docs(texts)])
    (dataset.folder / "docnos.json").write_text(json.dumps([document["docno"] for document in corpus]))


def store(dataset: Dataset, side: str, matrices: list[np.ndarray]) -> None:
    """Writes embeddings in the form that the workers read."""
    dataset.folder.mkdir(parents=True, exist_ok=True)
    np.save(dataset.folder / f"{side}.npy", np.concatenate(matrices).astype(np.float16))
    np.save(dataset.folder / f"{side}_offsets.npy", np.cumsum([0, *map(len, matrices)]))


# --- processes of their own ------------------------------------------------------------------------------------------


class Process:
    """A worker, see ``benchmarks/peers/worker.py``; `ask` sends a request and waits for its answer."""

    def __init__(self, spec: IndexSpec, path: Path, data: Path, threads: int) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))
        python = sys.executable if spec.ours else str(PEERS_PYTHON)
        command = [python, str(WORKER), spec.engine, str(path), str(data), str(threads)]
        self._log = (CACHE / "worker.log").open("a")
        self._process = subprocess.Popen(
            command, env=os.environ | limits | {"CUDA_VISIBLE_DEVICES": ""}, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker stopped while it was asked to {do}; see {self._log.name}")
        return json.loads(answer)

    def memory(self) -> float:
        """Megabytes of anonymous memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def peak_memory(process: Process) -> Iterator[list[float]]:
    """Collects what the process has more than at the start, every 20 ms; the largest is the peak."""
    start, grown, done = process.memory(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            grown.append(process.memory() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield grown
    finally:
        done.set()
        watcher.join()


def build(data: Data, name: str) -> dict[str, Any]:
    """Builds an index in a fresh process; peers only if the cache has none. Returns the figures of the build."""
    spec, path = INDEXES[name], data.folder / name.replace(" ", "-")
    kept = path.with_name(path.name + ".json")
    if not spec.ours and kept.exists():
        return json.loads(kept.read_text())
    print(f"{data.dataset.name}: building {name}", file=sys.stderr, flush=True)
    shutil.rmtree(path, ignore_errors=True)
    load = os.getloadavg()[0]
    with Process(spec, path, data.folder, BUILD_THREADS) as process:
        process.ask("load")
        with peak_memory(process) as grown:
            figures = process.ask("build", options=spec.options)
    size = size_mb(path)
    bare = size - (sum(lir.LirIndex(path).info()["bytes"].get(name, 0) for name in DERIVED) / 1e6 if spec.ours else 0)
    figures |= {"peak_mb": max(grown), "index_mb": size, "bare_mb": bare, "load": load}
    if not spec.ours:
        with Process(spec, path, data.folder, BATCH_THREADS) as process:
            process.ask("open")
            figures |= {"exhaustive": process.ask("exhaustive", k=10)["docids"]}
    kept.write_text(json.dumps(figures))
    return figures


def size_mb(path: Path) -> float:
    """Megabytes of all files in a folder; none where there is no folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


# --- searching -------------------------------------------------------------------------------------------------------


class Opened:
    """What our systems are made from: the index and its collection."""

    def __init__(self, data: Data, name: str) -> None:
        self.data = data
        self.index = lir.LirIndex(data.folder / name.replace(" ", "-"))

    @cached_property
    def bm25(self) -> pt.Transformer:
        """BM25 whose docnos are those of the index: positions in the collection."""
        fields = self.data.dataset.text_field
        texts = (" ".join(document[name] for name in fields) for document in self.data.dataset.corpus())
        corpus = ({"docno": str(docid), "text": text} for docid, text in enumerate(texts))
        return bm25(corpus, self.data.folder / "bm25", num_results=100)


@dataclass
class Measured:
    """What one system did at one depth."""

    ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rankings: Rankings = field(default_factory=list)
    batch_ms: float = float("nan")

    def extend(self, more: Measured) -> None:
        self.ms += more.ms
        self.cpu_ms += more.cpu_ms
        self.rankings += more.rankings


class OurSearcher:
    """Searches in this process, by calling the transformer."""

    def __init__(self, system: System, data: Data) -> None:
        assert system.search is not None
        self.system, self.data = system, data
        self.opened = Opened(data, system.index)

    def single(self, queries: list[int], k: int) -> Measured:
        transformer, measured = self._transformer(k, SINGLE_THREADS), Measured()
        frames = [self.data.frame[i : i + 1] for i in queries]
        with self._kernels():
            for frame in frames:
                clock, cpu = time.perf_counter(), time.process_time()
                found = transformer(frame)
                measured.ms.append(1000 * (time.perf_counter() - clock))
                measured.cpu_ms.append(1000 * (time.process_time() - cpu))
                measured.rankings.append(found["docno"].astype(int).tolist())
        return measured

    def batch(self, count: int, k: int) -> float:
        transformer = self._transformer(k, BATCH_THREADS)
        with self._kernels():
            clock = time.perf_counter()
            transformer(self.data.frame[:count])
            return 1000 * (time.perf_counter() - clock) / count

    def exhaustive(self) -> Rankings:
        found = self.opened.index.exhaustive(num_results=10)(self.data.frame)
        return [found[found["qid"] == qid]["docno"].astype(int).tolist() for qid in self.data.frame["qid"]]

    def close(self) -> None:
        """Nothing to be closed."""

    def _transformer(self, k: int, threads: int) -> pt.Transformer:
        assert self.system.search is not None
        return self.system.search(self.opened, num_results=k, num_threads=threads)

    def _kernels(self) -> contextlib.AbstractContextManager[None]:
        return kernels.forced(self.system.kernels) if self.system.kernels else contextlib.nullcontext()


class PeerSearcher:
    """Searches in a process with one thread, or in one with two."""

    def __init__(self, system: System, data: Data) -> None:
        self.system, self.data = system, data
        self.processes: dict[int, Process] = {}

    def single(self, queries: list[int], k: int) -> Measured:
        found = self._process(SINGLE_THREADS).ask("search", queries=queries, k=k, settings=self.system.settings)
        return Measured(found["ms"], found["cpu_ms"], found["docids"])

    def batch(self, count: int, k: int) -> float:
        queries = list(range(count))
        process = self._process(BATCH_THREADS)
        process.ask("search", queries=queries[:2], k=k, settings=self.system.settings)  # opens the index
        return process.ask("batch", queries=queries, k=k, settings=self.system.settings)["ms"] / count

    def exhaustive(self) -> Rankings:
        return build(self.data, self.system.index)["exhaustive"][: len(self.data.frame)]

    def close(self) -> None:
        for process in self.processes.values():
            process.close()

    def _process(self, threads: int) -> Process:
        if threads not in self.processes:
            path = self.data.folder / self.system.index
            process = Process(INDEXES[self.system.index], path, self.data.folder, threads)
            process.ask("open")
            self.processes[threads] = process
        return self.processes[threads]


Searcher = OurSearcher | PeerSearcher


def take_turns(searchers: dict[str, Searcher], num_queries: int, k: int) -> dict[str, Measured]:
    """Every system searches for ten queries, then for the next ten; then for the timed ones at once, twice."""
    measured = {name: Measured() for name in searchers}
    for searcher in searchers.values():
        searcher.single(list(range(min(5, num_queries))), k)  # warms up
    for start in range(0, num_queries, TURN):
        for name, searcher in searchers.items():
            if start < TIMED or not searcher.system.slow:
                measured[name].extend(searcher.single(list(range(start, min(start + TURN, num_queries))), k))
    for name, searcher in searchers.items():
        count = min(SLOW_BATCH if searcher.system.slow else TIMED, num_queries)
        measured[name].batch_ms = min(searcher.batch(count, k) for _ in range(2))
    return measured


# --- judging ---------------------------------------------------------------------------------------------------------


def overlap(rankings: Rankings, reference: Rankings) -> float:
    """The share of the reference's best ten among the ranking's best ten, over the queries that were answered."""
    shares = [
        len(set(found[:10]) & set(best[:10])) / min(10, len(best))
        for found, best in zip(rankings, reference, strict=False)
    ]
    return float(np.mean(shares))


def judge(data: Data, rankings: Rankings) -> dict[str, float]:
    """nDCG@10 and R@100 of the queries that were answered."""
    import ir_measures
    from ir_measures import R, nDCG

    qids = data.frame["qid"][: len(rankings)]
    run = pd.DataFrame(
        [
            (qid, data.docnos[docid], -rank)
            for qid, found in zip(qids, rankings, strict=True)
            for rank, docid in enumerate(found)
        ],
        columns=["query_id", "doc_id", "score"],
    )
    names = {"qid": "query_id", "docno": "doc_id", "label": "relevance"}
    qrels = data.dataset.qrels.rename(columns=names)
    found = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], qrels[qrels["query_id"].isin(qids)], run)
    return {"nDCG@10": found[nDCG @ 10], "R@100": found[R @ 100]}


def row(data: Data, system: System, k: int, built: dict[str, Any], found: Measured, own: Rankings) -> dict[str, Any]:
    """A row of the table."""
    judged = judge(data, found.rankings)
    return {
        "dataset": data.dataset.name,
        "system": system.name,
        "k": k,
        "queries": len(found.rankings),
        "ms": np.median(found.ms[:TIMED]),
        "p95_ms": np.percentile(found.ms[:TIMED], 95),
        "cpu_ms": np.median(found.cpu_ms[:TIMED]),
        "batch_ms": found.batch_ms,
        "overlap@10": overlap(found.rankings, data.exact),
        "engine_overlap@10": overlap(found.rankings, own),
        "nDCG@10": judged["nDCG@10"],
        "R@100": judged["R@100"] if k >= 100 else float("nan"),
        "build_s": built["seconds"],
        "build_cpu_s": built["cpu_seconds"],
        "build_mb": built["peak_mb"],
        "index_mb": built["index_mb"],
        "bare_mb": built["bare_mb"],
        "derived_mb": size_mb(data.folder / system.index.replace(" ", "-") / "derived"),
    }


def measure(dataset: Dataset, systems: list[System], num_queries: int | None) -> list[dict[str, Any]]:
    """All rows of one collection."""
    data = Data(dataset, num_queries)
    built = {name: build(data, name) for name in dict.fromkeys(system.index for system in systems)}
    searchers: dict[str, Searcher] = {
        system.name: (OurSearcher if INDEXES[system.index].ours else PeerSearcher)(system, data) for system in systems
    }
    own: dict[str, Rankings] = {}
    for system in systems:
        own.setdefault(system.index, [])
        own[system.index] = own[system.index] or searchers[system.name].exhaustive()
    rows = []
    for k in DEPTHS:
        print(f"{dataset.name}: k={k}", file=sys.stderr, flush=True)
        found = take_turns(searchers, len(data.frame), k)
        rows += [row(data, one, k, built[one.index], found[one.name], own[one.index]) for one in systems]
    for searcher in searchers.values():
        searcher.close()
    return rows


# --- the report ------------------------------------------------------------------------------------------------------


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


def markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


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
    peers = [name for name in part.index if not INDEXES[name].ours]
    header = [
        "index",
        "build s",
        "CPU s",
        "peak MB",
        "index MB",
        "without derived data",
        "WARP's copy",
        *(f"{p} / this" for p in peers),
    ]
    rows = [
        [name, f"{one['build_s']:.1f}", f"{one['build_cpu_s']:.1f}", f"{one['build_mb']:.0f}", f"{one['index_mb']:.1f}",
         f"{one['bare_mb']:.1f}", f"{one['derived_mb']:.1f}",
         *(f"{part['build_cpu_s'][peer] / one['build_cpu_s']:.1f}" for peer in peers)]
        for name, one in part.iterrows()
    ]  # fmt: skip
    return [f"### {dataset}: builds", "", *markdown(header, rows), ""]


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
    if len(peers) < 2 or len(part) < len(SYSTEMS):
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
    yield times(f"time: {fast} / 4 bits", fast, PLAID4, ">=", 50)
    yield times(f"time: {fast} / 4 bits, AVX2", fast, PLAID4_AVX2, ">=", 15)
    yield times(f"time: {WARP_AUTO} / 4 bits", WARP_AUTO, PLAID4, ">=", 5)
    yield Aim("8 bits: overlap with exact", over[PLAID8], ">=", 0.99)
    yield times("time: 8 bits / 4 bits", PLAID8, PLAID4, "<=", 2)
    yield Aim("4 bits: nDCG@10 below exhaustive fp16", ndcg[EXACT] - ndcg[PLAID4], "<=", 0.005)
    yield Aim("2 bits: nDCG@10 below exhaustive fp16", ndcg[EXACT] - ndcg[PLAID2], "<=", 0.015)
    yield from warp_aims(part)
    yield Aim("4 bits: MB without derived data / fast-plaid", part["bare_mb"][PLAID4] / part["index_mb"][fast], "<=", 1)


def warp_aims(part: pd.DataFrame) -> Iterator[Aim]:
    """WARP against xtr-warp-rs: our fastest setting that is as good, and what it takes alone and in batch."""
    ours = part[part.index.str.startswith("WARP, ") & ~part.index.str.contains(">>")]
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


def peer_versions() -> str:
    """The versions of the peers and of their torch."""
    if not PEERS_PYTHON.exists():
        return "no peers"
    code = "import importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in %r))"
    command = [str(PEERS_PYTHON), "-c", code % (("fast-plaid", "xtr-warp-rs", "torch"),)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def header_lines(load: float, num_queries: int | None) -> list[str]:
    """The machine, the software and the settings."""
    here = environment.describe()
    processor, versions = here["processor"], here["versions"]
    ours = ", ".join(f"{name} {versions[name]}" for name in ("pyterrier-lir", "pyterrier", "numpy") if name in versions)
    return [
        "# Engines on the same embeddings",
        "",
        f"- {processor['model']}, {processor['cores']} cores ({', '.join(processor['flags'])}), "
        f"{here['memory_gb']} GB; load average at the start, from other work: {load:.1f}.",
        f"- {ours}, Python {here['python']}, kernel build `{here['kernels']}` ('AVX2': `{AVX2}`); {peer_versions()}.",
        "- all-MiniLM-L6-v2 with 128 dimensions, vectors in float16. scifact-2k: 2,000 documents of SciFact, all "
        "relevant ones and then in collection order.",
        "- ms is time on the clock and suffers from other work on the machine; CPU ms and CPU s are the processor's "
        "time for the same, on one thread, and suffer little.",
        f"- Measures: of {'all' if num_queries is None else f'the first {num_queries}'} queries, of the first {TIMED} "
        "where the system is slow (column queries).",
        f"- Times: of the first {TIMED} queries, for all systems. Single queries on 1 thread, in turns of {TURN}: "
        f"median and 95th percentile; '2 threads': all in one call ({SLOW_BATCH} where the system is slow), time for "
        "each, the better of two calls. Ours is timed as a transformer, from frame to frame.",
        "- overlap@10: with exact MaxSim in float32; engine_overlap@10: with all documents scored by the vectors that "
        "the index stores.",
        "- Builds: from float32 matrices in memory, 1 thread, 4 bits for the peers; peak: anonymous memory beyond "
        "imports and embeddings. The peers' builds are cached with their figures and were measured at another time, "
        "so that the ratios of builds are of CPU seconds.",
        "- Ratios of time: to fast-plaid's fastest setting within .005 of its best overlap, and to xtr-warp-rs with "
        "automatic parameters; more than 1 is faster than they are. fast-plaid returns at most n_full_scores / 4 "
        "documents.",
        "",
        "Written by `benchmarks/engines.py`.",
        "",
    ]


def picture(table: Table) -> None:
    """Overlap and time of all systems, one panel for each collection."""
    import matplotlib.image

    panels = []
    for dataset in table.datasets:
        figure = tradeoff_plot(
            table.part(dataset, 10).reset_index(), x="ms", y="overlap@10", label="system", title=f"{dataset}, k = 10",
            xlabel="milliseconds per query, 1 thread (median)", figsize=(8.6, 5.6),
        )  # fmt: skip
        file = io.BytesIO()
        figure.savefig(file, format="png")
        file.seek(0)
        panels.append(matplotlib.image.imread(file))
    matplotlib.image.imsave(RESULTS / "engines.png", np.vstack(panels))


def report(table: Table, load: float, num_queries: int | None) -> str:
    """Writes the three files; returns the text."""
    RESULTS.mkdir(exist_ok=True)
    table.rows.round(5).to_csv(RESULTS / "engines.csv", index=False)
    lines = header_lines(load, num_queries)
    for dataset in table.datasets:
        lines += [f"## {dataset}", "", *aim_lines(table, dataset)]
        for k in DEPTHS:
            lines += search_lines(table, dataset, k)
        lines += build_lines(table, dataset)
    text = "\n".join(lines)
    (RESULTS / "engines.md").write_text(text, encoding="utf-8")
    picture(table)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, help="use the first so many only")
    parser.add_argument("--datasets", nargs="+", choices=[dataset.name for dataset in DATASETS])
    args = parser.parse_args()
    systems = [
        system
        for system in SYSTEMS
        if (INDEXES[system.index].ours or PEERS_PYTHON.exists())
        and (system.kernels is None or system.kernels in kernels.available())
    ]
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for dataset in DATASETS:
        if args.datasets is None or dataset.name in args.datasets:
            rows += measure(dataset, systems, args.queries)
    print(report(Table(rows), load, args.queries))


if __name__ == "__main__":
    main()
