"""a training is killed by SIGKILL at a random moment, and called again.

    OMP_NUM_THREADS=1 python benchmarks/torture/training.py --rounds 40 --write

A tiny random model is trained for eight steps with a state every second step. The process is killed after a time that
is uniform over what the training takes undisturbed, and once more while it goes on; then it is called again with the
same arguments. There must be no checkpoint before the training is finished, and in the end one with the weights, bit
for bit, of a training that was never killed, and nothing beside it.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rounds
from rounds import FORK
from trainable import CORPUS, EVERYTHING, QRELS, SCHEDULE, TOPICS, make_tiny, same, weights

import pyterrier_lir as lir
from pyterrier_lir.train import mine, resume

STEPS = replace(SCHEDULE, steps=8, checkpoint_steps=2)


def training(model: Path, data: Any, path: Path) -> None:
    lir.train(model, data, path, schedule=STEPS, verbose=False)


def run(model: Path, data: Any, path: Path, seconds: float | None) -> float:
    """Trains in a process, kills it after so many seconds if any; returns how long it ran."""
    process, clock = FORK.Process(target=training, args=(model, data, path)), time.perf_counter()
    process.start()
    if seconds is not None:
        process.join(seconds)
        assert process.pid is not None
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, *([-signal.SIGKILL] if seconds is not None else [])), process.exitcode
    return time.perf_counter() - clock


def left(path: Path) -> str:
    """What a kill left."""
    if path.exists():
        return "too late"
    return "no state yet" if resume.last_state(resume.folder(path)) is None else "a state to go on from"


def main() -> None:
    args = rounds.arguments(__doc__, 2)
    seen, count = Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="lir-training-") as name:
        folder = Path(name)
        model, data = make_tiny(folder), mine(TOPICS[:6], QRELS, CORPUS, EVERYTHING)
        training(model, data, folder / "warm")  # imports what each process would import
        took = float(np.median([run(model, data, folder / f"whole{i}", None) for i in range(3)]))
        expected = weights(folder / "whole0")
        for i, _ in rounds.numbers(args):
            path, rng = folder / "killed", rounds.random(args.seed, i)
            with rounds.named_round(seed=args.seed, first=i, rounds=1):
                for _ in range(2):
                    if not path.exists():
                        run(model, data, path, float(rng.uniform(0, took)))
                        state = None if path.exists() else resume.last_state(resume.folder(path))
                        seen[
                            "too late"
                            if path.exists()
                            else "no state yet"
                            if state is None
                            else "a state to go on from"
                        ] += 1
                if not path.exists():
                    run(model, data, path, None)
                assert same(weights(path), expected)
                assert not resume.folder(path).exists()
            count += 1
            shutil.rmtree(path)
    table = [["training", f"{1000 * took:.0f}", f"{count:,}", f"{seen.total():,}", "0", rounds.said(seen)]]
    header = ["killed during", "work takes, ms", "rounds", "kills", "other weights", "what was left by a kill"]
    rounds.write("training", __doc__, header, table, args)


if __name__ == "__main__":
    main()
