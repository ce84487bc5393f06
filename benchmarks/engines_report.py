"""The report of `engines.py`: the machine and the settings, the aims, the tables and the picture."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
from engines_aims import aim_lines
from engines_builds import PEERS_PYTHON
from engines_searches import SLOW_BATCH, TIMED, TURN
from engines_systems import AVX2
from engines_table import DEPTHS, Table, build_lines, search_lines

from pyterrier_lir.experiment import environment
from pyterrier_lir.experiment.plots import tradeoff_plot

RESULTS = Path(__file__).parent / "results"


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
        "each, the better of two calls. Ours is timed as a transformer, from frame to frame; "
        "'in arrays': from a matrix to docids and scores, as the peers are.",
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
