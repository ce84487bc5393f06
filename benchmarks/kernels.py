"""The kernels over codes and cells: what they cost for each token, code or centroid, and what they could not beat.

Documents of 180 tokens with about 108 distinct codes, 128 dimensions, 8,192 centroids, one thread, random tokens, and
queries whose values are spread as a normal distribution; the documents are scored in random order, as candidates are.
The best of several runs is reported.

"products" is what the bare products would take, instructions from register to register in a few lines of C++, with
AVX-512 VNNI where the processor has it, else with AVX2, which adds in 16 bits, and has to widen numbers of 8 bits;
"memory" is the time to read the token's bytes at the speed at which NumPy sums a large array. No implementation with
these instructions is faster than the slower of the two. Cells are scanned from a copy of 480,000 tokens that does not
fit into the caches, each row in cells of its own; so does nothing of the 10,000 rows of `inner_products`.

    python benchmarks/kernels.py                   # writes benchmarks/results/kernels.md
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyterrier_lir import kernels

RESULTS = Path(__file__).parent / "results"
DIM, CENTROIDS, LENGTH, DISTINCT, FLAT = 128, 8192, 180, 108, 5120
ROWS, NBITS = (14, 32, 48), (2, 4, 8)

PEAK = """
#include <immintrin.h>
#include <algorithm>
#include <chrono>
#include <cstdio>
template <typename Vector, typename Step>
double per_ns(Vector x, Step step) {
    Vector sum[12];
    for (auto& s : sum) s = x;
    double best = 0;
    for (int run = 0; run < 20; ++run) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < 1000000; ++i) {
#pragma GCC unroll 12
            for (int k = 0; k < 12; ++k) {
                asm volatile("" : "+v"(x));  // else equal products are taken once,
                Vector more = step(sum[k], x);
                asm volatile("" : "+v"(more));  // and all before the first is added, which has no room in registers
                sum[k] = more;
            }
        }
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        best = std::max(best, 12e6 / (1e9 * seconds.count()));
    }
    for (auto& s : sum) asm volatile("" : "+v"(s));
    return best;
}
#if defined(__AVX512VNNI__)
int main() {
    const auto dots = [](__m512i sum, __m512i x) { return _mm512_dpbusd_epi32(sum, x, x); };
    const auto floats = [](__m512 sum, __m512 x) { return _mm512_fmadd_ps(x, x, sum); };
    const double bytes = 64 * per_ns(_mm512_set1_epi32(1), dots);
    std::printf("%f %f %f", bytes, bytes, 16 * per_ns(_mm512_set1_ps(1), floats));
}
#else
int main() {
    const auto small = [](__m256i sum, __m256i x) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(x, x)); };
    const auto bytes = [](__m256i sum, __m256i x) { return _mm256_add_epi32(sum, _mm256_madd_epi16(x, x)); };
    const auto floats = [](__m256 sum, __m256 x) { return _mm256_fmadd_ps(x, x, sum); };
    const __m256i ones = _mm256_set1_epi32(1);
    std::printf("%f %f %f", 32 * per_ns(ones, small), 16 * per_ns(ones, bytes), 8 * per_ns(_mm256_set1_ps(1), floats));
}
#endif
"""


class Peak(NamedTuple):
    """Products that are added up in a nanosecond: of numbers below 128, of bytes, and of floats."""

    small: float
    bytes: float
    floats: float


def products_per_ns() -> Peak:
    """What the processor does from register to register; NaN where no compiler is."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "peak.cpp", Path(folder) / "peak"
        source.write_text(PEAK)
        try:
            subprocess.run(["c++", "-O3", "-march=native", source, "-o", program], check=True)
            found = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
        except (OSError, subprocess.CalledProcessError):
            return Peak(*[float("nan")] * 3)
    return Peak(*map(float, found))


def bytes_per_ns() -> float:
    """How many bytes of a large array are read in a nanosecond."""
    array = np.ones(1 << 25)
    return array.nbytes / best_ns(array.sum)


def best_ns(function: Callable[[], object], repeats: int = 9) -> float:
    """Nanoseconds of the fastest run."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        function()
        times.append(time.perf_counter_ns() - start)
    return min(times)


def query(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows as int8, and their scales."""
    rows = rng.standard_normal((n, DIM))
    rows *= 127 / np.abs(rows).max(axis=1, keepdims=True)
    return np.rint(rows).astype(np.int8), np.full(n, 0.01, dtype=np.float32)


def maxsim_codes(rng: np.random.Generator, n: int, nbits: int, documents: int) -> float:
    """Nanoseconds for each token."""
    tokens = documents * LENGTH
    rows, scale = query(rng, n)
    scores = rng.standard_normal((CENTROIDS, -(-n // 16) * 16)).astype(np.float32)
    codes = rng.integers(0, CENTROIDS, tokens).astype(np.uint16)
    packed = rng.integers(0, 256, (tokens, DIM * nbits // 8), dtype=np.uint8)
    inv_norm, table = rng.integers(0, 256, tokens).astype(np.uint8), np.ones(256, dtype=np.float32)
    offsets, docids = np.arange(0, tokens + 1, LENGTH), rng.permutation(documents)

    def score() -> np.ndarray:
        return kernels.maxsim_codes(
            scores, rows, scale, scale, codes, packed, inv_norm, table, offsets, docids, nbits=nbits
        )

    return best_ns(score) / tokens


def centroid_stage(rng: np.random.Generator, n: int) -> Iterator[tuple[str, float, str]]:
    """What finds the candidates of one query."""
    rows, scale = query(rng, n)
    centroids = rng.integers(-127, 128, (CENTROIDS, DIM)).astype(np.int8)
    centroid_scale = np.full(CENTROIDS, 0.01, dtype=np.float32)
    scores = kernels.centroid_scores(rows, scale, centroids, centroid_scale)
    ns = best_ns(lambda: kernels.centroid_scores(rows, scale, centroids, centroid_scale), 30)
    yield "centroid_scores", ns / CENTROIDS, "ns per centroid"
    yield "score_table", best_ns(lambda: kernels.score_table(scores, n), 30) / CENTROIDS, "ns per centroid"
    for p in (1, 4, 16, 32, 128):
        yield f"top_cells, p={p}", best_ns(lambda p=p: kernels.top_cells(scores, n, p), 30) / 1000, "µs per query"
    table = kernels.score_table(scores, n)[0]
    codes = np.sort(rng.integers(0, CENTROIDS, (2000, DISTINCT)), axis=1).astype(np.uint16).ravel()
    offsets, docids = np.arange(0, len(codes) + 1, DISTINCT), rng.permutation(2000)
    ns = best_ns(lambda: kernels.centroid_maxsim(table, n, codes, offsets, docids), 30)
    yield "centroid_maxsim", ns / len(codes), "ns per code"


def token_stage(rng: np.random.Generator, n: int) -> Iterator[tuple[str, float, str]]:
    """WARP's scan and reduction, and XTR's retrieval."""
    tokens, probes = 480_000, 32
    rows, scale = query(rng, n)
    offsets = np.concatenate([[0], np.cumsum(rng.multinomial(tokens, np.full(CENTROIDS, 1 / CENTROIDS)))])
    docs = rng.integers(0, 2000, tokens).astype(np.int32)
    for nbits in NBITS:
        blocks = rng.integers(0, 256, kernels.blocks_shape(tokens, DIM, nbits), dtype=np.uint8)
        times = []
        for _ in range(9):  # other cells each time, so that they are not in a cache
            cells = rng.permutation(CENTROIDS)[: n * probes].reshape(n, probes).astype(np.int32)
            cell_scores = rng.standard_normal(cells.shape, dtype=np.float32)
            start = time.perf_counter_ns()
            row_offsets, found, scores = kernels.scan_cells(
                cells, cell_scores, rows, scale, scale, offsets, docs, blocks, None, None, nbits=nbits
            )
            times.append((time.perf_counter_ns() - start) / len(found))
        yield f"scan_cells, {nbits} bits", min(times), "ns per token and row"
    imputed = np.zeros(n, dtype=np.float32)
    ns = best_ns(lambda: kernels.score_triples(row_offsets, found, scores, imputed, 2000), 30)
    yield "score_triples, 2,000 documents", ns / len(found), "ns per triple"
    many = rng.integers(0, 1_000_000, len(found)).astype(np.int32)
    ns = best_ns(lambda: kernels.score_triples(row_offsets, many, scores, imputed, 1_000_000), 30)
    yield "score_triples, 10^6 documents", ns / len(found), "ns per triple"
    candidates = rng.standard_normal(100_000, dtype=np.float32)
    yield "top_k, 100 of 100,000", best_ns(lambda: kernels.top_k(candidates, 100), 30) / 1000, "µs"


def build_stage(rng: np.random.Generator) -> Iterator[tuple[str, float, str]]:
    """What compresses tokens, beside the exact MaxSim kernel, which shares the register tiles of `nearest`."""
    x = rng.standard_normal((5000, DIM), dtype=np.float32)
    centroids = rng.standard_normal((CENTROIDS, DIM), dtype=np.float32)
    flops = 2 * len(x) * DIM
    yield "nearest, K=8192", flops * CENTROIDS / best_ns(lambda: kernels.nearest(x, centroids), 4), "GFLOP/s"
    few = centroids[:90].copy()
    yield "nearest, K=90", flops * 90 / best_ns(lambda: kernels.nearest(x, few)), "GFLOP/s"
    yield "nearest_groups, 4 of 90", flops * 90 / best_ns(lambda: kernels.nearest_groups(x, few, 4)), "GFLOP/s"
    offsets, rows = np.arange(0, 5001, 100), x[:32].copy()
    yield "maxsim, 32 rows", flops * 32 / best_ns(lambda: kernels.maxsim(rows, x, offsets)), "GFLOP/s"
    codes, step = kernels.nearest(x, few)[0], np.full(DIM, 0.4, dtype=np.float32)
    ns = best_ns(lambda: kernels.encode_residuals(x, few, codes, step, -8 * step, 4))
    yield "encode_residuals, 4 bits", ns / len(x), "ns per token"


def candidates(rng: np.random.Generator) -> Iterator[tuple[str, float, str]]:
    """128 cells of 60 documents each, of a million."""
    offsets, cells = np.arange(0, 60 * CENTROIDS + 1, 60), rng.integers(0, CENTROIDS, 128).astype(np.int32)
    docs = rng.integers(0, 1_000_000, 60 * CENTROIDS).astype(np.int32)
    ns = best_ns(lambda: kernels.candidates(cells, offsets, docs, 1_000_000), 30)
    yield "candidates, 7,680 entries of 10^6 documents", ns / 1000, "µs"


def flat_stage(rng: np.random.Generator) -> Iterator[tuple[str, float, str]]:
    """Exact search by one vector, for one query and for several."""
    rows, vectors = rng.standard_normal((10_000, FLAT), dtype=np.float32), rng.standard_normal((16, FLAT), np.float32)
    half = rows.astype(np.float16)
    for n in (1, 16):
        some = vectors[:n].copy()
        ns = best_ns(lambda some=some: kernels.inner_products(some, [half]))
        yield f"inner_products, {n} of 5,120 values", ns / len(half) / n, "ns per row and vector"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown; numbers to the right."""
    rule = "|".join(["---"] + ["---:"] * (len(header) - 1))
    return ["| " + " | ".join(header) + " |", f"|{rule}|", *("| " + " | ".join(row) + " |" for row in rows), ""]


def maxsim_rows(builds: list[str], documents: int, peak: Peak) -> list[list[str]]:
    """ns per token on each build, and the limits."""
    memory = bytes_per_ns()
    rows = []
    for n in ROWS:
        for nbits in NBITS:
            row = [f"{n} rows, {nbits} bits"]
            for name in builds:
                with kernels.forced(name):
                    row.append(f"{maxsim_codes(np.random.default_rng(0), n, nbits, documents):.1f}")
            dots = peak.bytes if nbits == 8 else peak.small
            row += [f"{-(-n // 16) * 16 * DIM / dots:.1f}", f"{(DIM * nbits / 8 + 3) / memory:.1f}"]
            rows.append(row)
    return rows


def other_rows(builds: list[str], peak: Peak) -> list[list[str]]:
    """All other kernels on each build, and what products alone would take."""
    columns: dict[str, list[str]] = {}
    for name in builds:
        with kernels.forced(name):
            measured = [
                (f"{what}, {n} rows", *rest)
                for n in ROWS
                for what, *rest in [*centroid_stage(seeded(), n), *token_stage(seeded(), n)]
            ]
            for what, value, unit in [*measured, *candidates(seeded()), *build_stage(seeded()), *flat_stage(seeded())]:
                columns.setdefault(f"{what} ({unit})", []).append(f"{value:.3g}")
    padded = {n: -(-n // 16) * 16 for n in ROWS}
    limits = {f"centroid_scores, {n} rows (ns per centroid)": f"{padded[n] * DIM / peak.bytes:.3g}" for n in ROWS}
    limits |= {what: f"{2 * peak.floats:.3g}" for what in columns if "GFLOP/s" in what}
    limits |= {what: f"{DIM / peak.small:.3g}" for what in columns if what.startswith("scan_cells")}
    limits |= {what: f"{FLAT / peak.floats:.3g}" for what in columns if what.startswith("inner_products")}
    memory = {
        f"scan_cells, {nbits} bits, {n} rows (ns per token and row)": f"{(DIM * nbits / 8 + 4) / bytes_per_ns():.3g}"
        for n in ROWS
        for nbits in NBITS
    }
    memory["inner_products, 1 of 5,120 values (ns per row and vector)"] = f"{2 * FLAT / bytes_per_ns():.3g}"
    return [[what, *values, limits.get(what, ""), memory.get(what, "")] for what, values in columns.items()]


def seeded() -> np.random.Generator:
    return np.random.default_rng(0)


def processor() -> str:
    """Name of the processor, where the system tells it."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000)
    args = parser.parse_args()
    builds = [name for name in kernels.available() if name != "numpy"]
    lines = ["# Kernels over codes and cells", "", *(__doc__ or "").split("\n    python")[0].splitlines()[2:], ""]
    lines += [f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}.", ""]
    peak = products_per_ns()
    lines += ["## maxsim_codes, ns per token", ""]
    lines += table(["query", *builds, "products", "memory"], maxsim_rows(builds, args.documents, peak))
    lines += ["## The others", "", *table(["kernel", *builds, "products", "memory"], other_rows(builds, peak))]
    text = "\n".join(lines).rstrip() + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kernels.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
