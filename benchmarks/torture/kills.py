"""a process is killed by SIGKILL at a random moment of its work, again and again.

    OMP_NUM_THREADS=1 python benchmarks/torture/kills.py --rounds 1000 --write

The work runs in a process of its own, which is killed after a time that is uniform over what the work takes undisturbed
(median of three); so some kills come too late. Then the index is opened and verified, must hold exactly the documents,
with the same values, as before or as after the work, and the work is resumed, where it had stored something, or
repeated. In the end every file must have the bytes that it has where nothing was killed, and all rankings must be
those. A kill of a process leaves what the system has not yet written to the disk; a failure of power does not, and is
not tested. After a change that was finished, a writer that changes nothing sweeps what the killed one left.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import rounds
from collection import SEARCHES, WORK, finish, looked_at, originals, rankings, state, tree
from rounds import FORK

import pyterrier_lir as lir


def working(path: Path, work: str, pipe: Connection) -> None:
    index = lir.LirIndex(path)
    pipe.send("begins")
    WORK[work](index)


def run_and_kill(path: Path, work: str, seconds: float | None) -> float:
    """Runs the work in a process, kills it after so many seconds if any; returns how long it ran."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=working, args=(path, work, there))
    process.start()
    here.recv()
    clock = time.perf_counter()
    if seconds is None:
        process.join()
        assert process.exitcode == 0, (work, process.exitcode)
    else:
        time.sleep(seconds)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), (work, process.exitcode)
    return time.perf_counter() - clock


class Killed:
    """One kind of work, as it is undisturbed, and what kills made of it."""

    def __init__(self, folder: Path, work: str, original: Path) -> None:
        self.folder, self.work, self.original = folder, work, original
        self.count, self.seen = 0, Counter[str]()
        times = []
        for i in range(3):
            path = shutil.copytree(original, folder / f"after{i}")
            times.append(run_and_kill(path, work, None))
            if i < 2:
                shutil.rmtree(path)
        self.took = float(np.median(times))
        self.before, self.after, self.bytes = state(original), state(path), tree(path)
        self.expected = rankings(path, looked_at(work))
        shutil.rmtree(path)

    def round(self, moment: float) -> None:
        path = shutil.copytree(self.original, self.folder / "killed")
        run_and_kill(path, self.work, moment * self.took)
        found = state(path)
        assert found in (self.before, self.after), found
        if self.before != self.after:
            self.seen["after" if found == self.after else "before"] += 1
        if found == self.after != self.before:
            lir.LirIndex(path).delete([])
        else:
            self.seen[finish(path, self.work)] += 1
        wrong = {name for name, sha in (tree(path).items() ^ self.bytes.items())}
        assert not wrong, wrong
        assert rankings(path, looked_at(self.work)) == self.expected
        self.count += 1
        shutil.rmtree(path)


def main() -> None:
    args = rounds.arguments(__doc__, 5 * len(WORK))
    with tempfile.TemporaryDirectory(prefix="lir-kills-") as name:
        before = originals(Path(name))
        rankings(shutil.copytree(before["add"], Path(name) / "warm"), SEARCHES)  # imports what is imported late
        works = [Killed(Path(name), work, before[work]) for work in WORK]
        for i, _ in rounds.numbers(args):
            with rounds.named_round(seed=args.seed, first=i, rounds=1):
                works[i % len(works)].round(float(rounds.random(args.seed, i).uniform()))
    table = [
        [killed.work, f"{1000 * killed.took:.0f}", f"{killed.count:,}", "0", rounds.said(killed.seen)]
        for killed in works
    ]
    table.append(["all", "", f"{sum(killed.count for killed in works):,}", "0", ""])
    header = ["killed during", "work takes, ms", "kills", "wrong or lost", "what was seen"]
    rounds.write("kills", __doc__, header, table, args)


if __name__ == "__main__":
    main()
