"""Whether `lir.experiment.estimate` is right: its constants measured again, and its figures beside measured ones.

    python benchmarks/estimate.py                # writes benchmarks/results/estimate.md; needs `make engines` once

*Costs of a token*: CPU time of compression against K centroids, up to 2^20, and of training up to 2^14, on tokens of
SciFact, each moved by noise of .4 of its length. Above 2^14 the centroids are such tokens, as training them takes
long. *Builds*: CPU seconds and bytes of indexes of .1, .3 and 1 million tokens, documents made beforehand. *Queries*:
the processor's milliseconds of ``benchmarks/results/growth.md``.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cached import BY_NAME, RESULTS, markdown
from embedded import Data

import pyterrier_lir as lir
from pyterrier_lir.experiment import environment, estimate, estimating
from pyterrier_lir.index import kmeans
from pyterrier_lir.index.codec import Codec
from pyterrier_lir.index.files import folder_size

TOKENS = (100_000, 300_000, 1_000_000)
CENTROIDS, TRAINED = (12, 14, 16, 18, 20), 14  # powers of 2; up to which they are trained
SAMPLE, NOISE = 50_000, 0.4


def documents(data: Data, tokens: int) -> Iterator[dict[str, Any]]:
    """SciFact's documents, moved, with so many tokens in all."""
    number, rng = 0, np.random.default_rng(0)
    while tokens > 0:
        for doc in rng.permutation(len(data.docnos)):
            embs = noisy(data.docs[data.offsets[doc] : data.offsets[doc + 1]], rng)
            yield {"docno": str(number), "doc_embs": embs}
            number, tokens = number + 1, tokens - len(embs)
            if tokens <= 0:
                return


def noisy(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows = rows + NOISE / np.sqrt(rows.shape[1]) * rng.standard_normal(rows.shape, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and CPU seconds of this process."""
    clock = time.process_time()
    found = work()
    return found, time.process_time() - clock


def moved(data: Data, count: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens of SciFact, moved."""
    return noisy(data.docs[rng.integers(0, len(data.docs), count)].astype(np.float32), rng)


def cost_rows(data: Data) -> list[list[str]]:
    """Microseconds of a token, measured and as the constants say."""
    rows, rng = [], np.random.default_rng(0)
    tokens = moved(data, SAMPLE, rng)
    for power in CENTROIDS:
        k, trained = 1 << power, None
        if power <= TRAINED:
            sample = moved(data, estimating.POINTS_PER_CENTROID * k, rng).astype(np.float16)
            found, trained = cpu(
                lambda sample=sample, k=k: kmeans.two_level(sample, k, seed=1, block=1 << 16, num_threads=1)
            )
            trained *= 1e6 / len(sample)
        else:
            found = kmeans.grouped(moved(data, k, rng))[0]
        codec = Codec.train(found, tokens[:8192], 4, kind="uniform", unit=True, block=1 << 15, num_threads=1)
        _, taken = cpu(lambda codec=codec: codec.encode(tokens, block=1 << 15, num_threads=1))
        said = [base + slope * math.sqrt(k) for base, slope in (estimating.ENCODE, estimating.TRAIN)]
        shown = "" if trained is None else f"{trained:.1f}"
        rows.append([f"2^{power}", f"{1e6 * taken / SAMPLE:.1f}", f"{said[0]:.1f}", shown, f"{said[1]:.1f}"])
        print(*rows[-1], sep="  ", flush=True)
    return rows


def build_rows(data: Data) -> list[list[str]]:
    """CPU seconds and megabytes of whole builds."""
    rows = []
    for count in TOKENS:
        corpus = list(documents(data, count))
        folder = Path(tempfile.mkdtemp(prefix="lir-estimate-"))
        try:
            index = lir.LirIndex(folder / "index.lir")
            _, taken = cpu(lambda i=index, c=corpus: i.indexer(num_threads=1, verbose=False).index(c))
            measured = folder_size(index._directory) / 1e6
            tokens = index.info()["tokens"]
        finally:
            shutil.rmtree(folder)
        said = estimate(len(corpus), tokens / len(corpus), tok_ids=False, docno_bytes=len(str(len(corpus))))
        rows.append([
            f"{tokens:,}", f"{taken:.1f}", *compared(said["build_cpu_seconds"], taken), f"{measured:.1f}",
            *compared(1000 * said["index_gb"], measured),
        ])  # fmt: skip
        print(*rows[-1], sep="  ", flush=True)
    return rows


def query_rows() -> list[list[str]]:
    """Milliseconds and megabytes of growth.md."""
    rows = []
    for line in (RESULTS / "growth.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 13 and cells[3] in ("WARP", "PLAID"):
            count, tokens = (int(cells[i].replace(",", "")) for i in (1, 0))
            said = estimate(count, tokens / count, tok_ids=False, docno_bytes=5)
            whole = 1000 * (said["index_gb"] + (said["warp_copy_gb"] if cells[3] == "WARP" else 0))
            rows.append([
                cells[0], cells[3], cells[4], *compared(said[f"{cells[3].lower()}_ms"], float(cells[4])), cells[12],
                *compared(whole, float(cells[12])),
            ])  # fmt: skip
    return rows


def compared(said: float, measured: float) -> list[str]:
    return [f"{said:.1f}", f"{100 * (said / measured - 1):+.0f} %"]


def main() -> None:
    load, data = os.getloadavg()[0], Data(BY_NAME["scifact-2k"])
    costs, builds, queries = cost_rows(data), build_rows(data), query_rows()
    here = environment.describe()
    text = "\n".join([
        "# Estimates beside measurements", "",
        f"{here['processor']['model']}, kernels `{here['kernels']}`; load at the start, from other work: {load:.1f}, "
        "from which CPU times suffer as well.", "",
        "Microseconds of CPU time for a token of 128 dimensions.", "",
        *markdown(["centroids", "compression", "estimated", "training", "estimated"], costs), "",
        "Builds from vectors, one thread.", "",
        *markdown(["tokens", "CPU s", "estimated", "off by", "MB", "estimated", "off by"], builds), "",
        "Queries of `growth.md`, ten results, one thread, the processor's milliseconds.", "",
        *markdown(["tokens", "method", "ms", "estimated", "off by", "MB", "estimated", "off by"], queries), "",
        "Written by `benchmarks/estimate.py`.", "",
    ])  # fmt: skip
    (RESULTS / "estimate.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
