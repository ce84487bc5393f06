"""What runs on a GPU beside the processor: equal rankings, milliseconds, share of the memory's bandwidth. Five minutes.

    python benchmarks/gpu.py                     # on a machine with a GPU; writes benchmarks/results/gpu.md
    python benchmarks/gpu.py --device cpu:0 --documents 2000     # the same code, by torch on the processor; prints only

The collection is synthetic: unit vectors of 128 dimensions near 20,000 topics, 64 tokens a document. *Equality*: of the
best ten of each query on the processor, how many are found, and how far scores are apart. *Exhaustive*: milliseconds of
MaxSim over vectors in float16, and the bytes that it reads in that time as a share of what a copy of a gigabyte moves.
Beside it, where they are installed, flash-maxsim and late-interaction-kernels on the same tensors. *k-means*: seconds
of two-level clustering. *Encoding*: tokens per second of the packaged model in batches of 32, 128 and 512.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cached import RESULTS, markdown

import pyterrier_lir as lir
from pyterrier_lir.experiment import environment
from pyterrier_lir.index import build, kmeans, scoring
from pyterrier_lir.kernels import gpu
from pyterrier_lir.retrieve import exhaustive, plaid

DIM, LENGTH, ROWS, QUERIES, K = 128, 64, 32, 20, 10
Row = list[str]


def vectors(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((20_000, DIM), dtype=np.float32)
    rows = topics[rng.integers(0, len(topics), count)] + 0.7 * rng.standard_normal((count, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], Any], device: str, rounds: int = 10) -> float:
    """The median of some rounds, after two that do not count."""
    times = []
    for number in range(rounds + 2):
        wait(device)
        clock = time.perf_counter()
        work()
        wait(device)
        if number >= 2:
            times.append(1000 * (time.perf_counter() - clock))
    return statistics.median(times)


def equality(index: lir.LirIndex, queries: pd.DataFrame, device: str) -> list[Row]:
    """Rankings on the device beside those on the processor."""
    rows = []
    for name in ("exhaustive", "plaid"):
        systems = [getattr(index, name)(num_results=K, device=where) for where in (device, "cpu")]
        mine, theirs = (system(queries) for system in systems)
        pairs = mine.merge(theirs, on=["qid", "docno"])
        times = [
            milliseconds(lambda system=system: system(queries[:1]), where, 5)
            for system, where in zip(systems, (device, "cpu"), strict=True)
        ]
        apart = np.abs(pairs["score_x"] - pairs["score_y"]).max()
        rows.append([name, f"{len(pairs) / len(theirs):.3f}", f"{apart:.4f}", *(f"{ms:.2f}" for ms in times)])
    return rows


def bandwidth(device: str) -> float:
    """Gigabytes a second of a copy, reading and writing."""
    data = torch.empty(1 << 28, dtype=torch.float32, device=device)
    target = torch.empty_like(data)
    return 2 * data.nbytes / 1e6 / milliseconds(lambda: target.copy_(data), device)


def scans(documents: int, device: str) -> list[Row]:
    """Exhaustive MaxSim over vectors on the device: ours, torch's plain product, and others that are installed."""
    tokens = torch.from_numpy(vectors(documents * LENGTH, 1)).to(device).half()
    query = vectors(ROWS, 2)
    offsets = np.arange(documents + 1, dtype=np.int64) * LENGTH
    packed, rows = tokens.view(documents, LENGTH, DIM), torch.from_numpy(query).to(device).half()
    expected = gpu.maxsim(query, tokens, offsets)
    systems: dict[str, Callable[[], Any]] = {
        "pyterrier_lir": lambda: gpu.maxsim(query, tokens, offsets),
        "torch, equal lengths": lambda: (packed @ rows.T).amax(1).float().sum(1),
        **others(rows, packed),
    }
    top, out = bandwidth(device), []
    for name, work in systems.items():
        try:
            found = work()
            found = found.float().cpu().numpy().ravel() if isinstance(found, torch.Tensor) else found
            error = f"{np.abs(found - expected).max():.4f}"
            ms = milliseconds(work, device)
            out.append(
                [name, f"{ms:.2f}", f"{tokens.nbytes / 1e6 / ms:.0f}", f"{tokens.nbytes / 1e6 / ms / top:.0%}", error]
            )
        except Exception as failure:
            out.append([name, f"failed: {type(failure).__name__}: {failure}"[:100], "", "", ""])
    return [*out, ["a copy", "", f"{top:.0f}", "100%", ""]]


def others(rows: torch.Tensor, packed: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Kernels of others on the same tensors; what is not installed is left out."""
    found: dict[str, Callable[[], Any]] = {}
    for module, name in (("flash_maxsim", "flash_maxsim"), ("late_interaction_kernels", "maxsim")):
        try:
            function = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        found[module] = lambda function=function: function(rows, packed)
    return found


def clustering(device: str, tokens: int) -> list[Row]:
    """Seconds of two-level k-means, and how near tokens lie to their centroids."""
    sample, rows = vectors(tokens, 3), []
    for where in (device, "cpu"):
        clock = time.perf_counter()
        found = kmeans.two_level(sample, tokens // 40, seed=0, block=1 << 16, num_threads=2, device=where)
        taken = time.perf_counter() - clock
        rows.append(
            [where, f"{taken:.1f}", f"{found.assign(sample[:20_000], block=1 << 15, num_threads=2)[1].mean():.4f}"]
        )
    return rows


def encoding(device: str) -> list[Row]:
    """Tokens per second of the packaged model; nothing where it is not installed."""
    text = " ".join(f"late interaction compares token {number}" for number in range(30))
    rows = []
    for batch in (32, 128, 512) if device.startswith("cuda") else (32,):
        try:
            encoder = lir.LateInteractionEncoder("minilm", dim=128, batch_size=batch, device=device)
            encoder.encode_docs([text] * batch)
        except (ImportError, FileNotFoundError) as error:
            return [["", f"not measured: {error}"[:100]]]
        texts = [text] * (4 * batch)
        clock = time.perf_counter()
        tokens = sum(len(one.embs) for one in encoder.encode_docs(texts))
        rows.append([str(batch), f"{tokens / (time.perf_counter() - clock):,.0f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--documents", type=int, default=200_000)
    args = parser.parse_args()
    device, documents = args.device, args.documents
    if device.startswith("cpu"):  # lets torch on the processor pass for a GPU
        for module in (scoring, plaid, build, exhaustive.scoring):
            module.check_device = lambda _: None  # type: ignore[attr-defined]
    elif not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here; try --device cpu:0 --documents 2000, which runs the same code.")
    folder = Path(tempfile.mkdtemp(prefix="lir-gpu-"))
    try:
        count = min(documents, 20_000)
        rows = vectors(count * LENGTH, 1).reshape(count, LENGTH, DIM)
        corpus = ({"docno": str(number), "doc_embs": embs} for number, embs in enumerate(rows))
        index = lir.LirIndex(folder / "gpu.lir").indexer(verbose=False).index(corpus)
        asked = [vectors(ROWS, 100 + number) for number in range(QUERIES)]
        queries = pd.DataFrame({"qid": [str(number) for number in range(QUERIES)], "query_embs": asked})
        equal = equality(index, queries, device)
    finally:
        shutil.rmtree(folder)
    here, name = environment.describe(), torch.cuda.get_device_name() if device.startswith("cuda") else device
    text = "\n".join([
        "# On a GPU", "", f"{name}; {here['processor']['model']}; torch {torch.__version__}.", "",
        f"Rankings, {count:,} documents, {QUERIES} queries of {ROWS} rows, ten results; device beside processor.", "",
        *markdown(["method", "overlap", "scores apart", f"ms, {device}", "ms, processor"], equal), "",
        f"MaxSim over {documents:,} documents of {LENGTH} tokens in float16.", "",
        *markdown(["kernel", "ms", "GB/s", "of a copy", "scores apart"], scans(documents, device)), "",
        "Two-level k-means.", "",
        *markdown(["where", "s", "mean cosine"], clustering(device, min(40 * 16_384, 20 * documents))), "",
        "Encoding, all-MiniLM-L6-v2.", "", *markdown(["batch", "tokens/s"], encoding(device)), "",
        "Written by `benchmarks/gpu.py`.", "",
    ])  # fmt: skip
    print(text)
    if device.startswith("cuda"):
        (RESULTS / "gpu.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
