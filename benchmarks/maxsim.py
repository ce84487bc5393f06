"""Exact MaxSim: our kernel against what else scores one query with many documents on a CPU.

Re-ranking: documents of the usual lengths, picked at random from packed tokens in memory. "torch, padded" gathers and
pads the documents, then einsum and max; "torch, padded before" is given the finished padded tensor, which a re-ranker
does not have. Exhaustive: all documents, against the bare matrix product alone, without the maxima.

All methods of one table take turns in one process, and the medians are reported. One process for each number of
threads, because some libraries read it only when they start.

    python benchmarks/maxsim.py                    # writes benchmarks/results/maxsim.csv and maxsim.md
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
DIM, ROWS, TOKENS = 128, 32, 400_000
FIELDS = ["task", "threads", "method", "ms", "ratio"]
OURS = "ours, float16"


def collection(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit token vectors and offsets; lengths are log-normal with mean 180, at most 300."""
    lengths = np.clip(rng.lognormal(np.log(180) - 0.125, 0.5, TOKENS // 100), 1, 300).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    offsets = offsets[offsets <= TOKENS]
    return unit_rows(rng, int(offsets[-1])), offsets


def unit_rows(rng: np.random.Generator, rows: int) -> np.ndarray:
    values = rng.standard_normal((rows, DIM), dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def reranking(
    query: np.ndarray, tokens: np.ndarray, offsets: np.ndarray, docids: np.ndarray, threads: int
) -> dict[str, Callable[[], np.ndarray]]:
    """The ways to score the documents ``docids``."""
    import torch
    from sentence_transformers.util import maxsim as st_maxsim

    from pyterrier_lir import kernels

    half = tokens.astype(np.float16)
    arrays = [tokens[offsets[k] : offsets[k + 1]] for k in docids]
    tensors = [torch.from_numpy(array) for array in arrays]
    query_tensor = torch.from_numpy(query)

    def pad() -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(tensor) for tensor in tensors])
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
        return padded, torch.arange(padded.shape[1])[None] >= lengths[:, None]

    def einsum(padded: torch.Tensor, padding: torch.Tensor) -> np.ndarray:
        similarities = torch.einsum("qd,ctd->cqt", query_tensor, padded)
        similarities.masked_fill_(padding[:, None], -torch.inf)
        return similarities.amax(2).sum(1).numpy()

    before = pad()
    methods: dict[str, Callable[[], np.ndarray]] = {
        OURS: lambda: kernels.maxsim(query, half, offsets, docids, num_threads=threads),
        "ours, float32": lambda: kernels.maxsim(query, tokens, offsets, docids, num_threads=threads),
        "torch, padded": lambda: einsum(*pad()),
        "torch, padded before": lambda: einsum(*before),
        "sentence-transformers": lambda: st_maxsim([query_tensor], tensors).numpy()[0],
    }
    try:
        import maxsim_cpu
    except ImportError:
        print("maxsim-cpu is not installed: left out", file=sys.stderr)
    else:
        methods["maxsim-cpu"] = lambda: np.asarray(maxsim_cpu.maxsim_scores_variable(query, arrays))
    return methods


def exhaustive(
    query: np.ndarray, tokens: np.ndarray, offsets: np.ndarray, threads: int
) -> dict[str, Callable[[], np.ndarray]]:
    """Scores of all documents, and the bare products."""
    import torch

    from pyterrier_lir import kernels

    half = tokens.astype(np.float16)
    tokens_tensor = torch.from_numpy(tokens)
    columns = torch.from_numpy(query).T.contiguous()
    return {
        OURS: lambda: kernels.maxsim(query, half, offsets, num_threads=threads),
        "ours, float32": lambda: kernels.maxsim(query, tokens, offsets, num_threads=threads),
        "torch, matrix product alone": lambda: (tokens_tensor @ columns).numpy(),
    }


def medians(methods: dict[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each method; the methods take turns."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats + 1):
        for name, method in methods.items():
            time.sleep(0.02)  # OpenMP's threads keep a core busy for a while after their work
            start = time.perf_counter()
            method()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(values[1:])) for name, values in times.items()}  # the first turn warms up


def check(methods: dict[str, Callable[[], np.ndarray]]) -> None:
    """All methods must compute the same, or the comparison means nothing."""
    expected = methods[OURS]()
    for name, method in methods.items():
        np.testing.assert_allclose(method(), expected, atol=0.02, err_msg=name)


def measure(threads: int, repeats: int) -> list[dict[str, object]]:
    """Rows of the table for one number of threads."""
    import torch

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    tokens, offsets = collection(rng)
    query = unit_rows(rng, ROWS)
    tables = {}
    for candidates in (100, 1000):
        docids = rng.choice(len(offsets) - 1, candidates, replace=False)
        methods = reranking(query, tokens, offsets, docids, threads)
        check(methods)
        tables[f"re-rank {candidates}"] = medians(methods, repeats * 1000 // candidates)
    tables[f"exhaustive, {len(tokens)} tokens"] = medians(exhaustive(query, tokens, offsets, threads), repeats)
    return [
        {"task": task, "threads": threads, "method": name, "ms": round(ms, 2), "ratio": round(ms / table[OURS], 2)}
        for task, table in tables.items()
        for name, ms in table.items()
    ]


def processor() -> str:
    """Name of the processor, where the system tells it."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def report(rows: list[dict[str, object]], load: float) -> str:
    """The rows as Markdown; ``load`` is what other processes were doing when the measurement began."""
    from pyterrier_lir import kernels

    lines = [
        "# Exact MaxSim",
        "",
        f"One query of {ROWS} rows, {DIM} dimensions; documents of log-normal length, mean 180, at most 300. "
        f"Median milliseconds of interleaved runs; ratio to our float16. Kernel build: {kernels.active()}. "
        f"{processor()}, {os.cpu_count()} cores (load before: {load:.1f}), "
        f"Python {platform.python_version()}, NumPy {np.__version__}. "
        "Written by `benchmarks/maxsim.py`.",
        "",
        "| task | threads | method | ms | ratio |",
        "|---|---:|---|---:|---:|",
    ]
    lines += [
        f"| {row['task']} | {row['threads']} | {row['method']} | {row['ms']:.2f} | {row['ratio']:.2f} |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15, help="turns for 1,000 candidates; 10 times more for 100")
    parser.add_argument("--json", action="store_true", help="measure in this process and print the rows as JSON")
    args = parser.parse_args()
    if args.json:
        print(json.dumps([row for threads in args.threads for row in measure(threads, args.repeats)]))
        return
    load = os.getloadavg()[0]
    rows: list[dict[str, object]] = []
    for threads in args.threads:
        command = [sys.executable, __file__, "--json", "--threads", str(threads), "--repeats", str(args.repeats)]
        limits = {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
        result = subprocess.run(command, env=os.environ | limits, stdout=subprocess.PIPE, text=True, check=True)
        rows += json.loads(result.stdout)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "maxsim.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "maxsim.md").write_text(report(rows, load), encoding="utf-8")
    print(report(rows, load))


if __name__ == "__main__":
    main()
