"""a hundred processes search while one adds, deletes and compacts.

    OMP_NUM_THREADS=1 python benchmarks/torture/readers.py --readers 100 --rounds 100000 --minutes 5 --write

Each reader opens the index anew again and again, lists its documents, searches by two of the methods, and verifies
every tenth time. The documents must be those of a committed state, and the ranking, document by document and score by
score, one that the same index gave when nobody read it. The one that writes goes through the same four states: 20
documents more, one less, compacted, and without them.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rounds
from collection import DERIVED, SEARCHES, documents, originals, rankings
from rounds import FORK

import pyterrier_lir as lir

METHODS = ("exhaustive", "plaid", *DERIVED[:3])
ADDED = documents("added", 20, 8)
NAMES = [record["docno"] for record in ADDED]
Known = dict[frozenset[str], list[dict[str, Any]]]  # rankings by method, in each state with these documents


def changes(path: Path) -> Iterator[None]:
    """One committed state after the other, for ever."""
    index = lir.LirIndex(path)
    while True:
        index.add(ADDED, num_threads=1, verbose=False)
        yield
        index.delete(NAMES[:1])
        yield
        index.compact()
        yield
        index.delete(NAMES[1:])
        yield


def known(path: Path) -> Known:
    """What every state gives. LEMUR learns from the first segment, so that it may differ with the same documents."""
    found: Known = {}
    found[frozenset(lir.LirIndex(path).docnos)] = [rankings(path, METHODS)]
    for _, _ in zip(range(9), changes(path), strict=False):
        found.setdefault(frozenset(lir.LirIndex(path).docnos), []).append(rankings(path, METHODS))
    for states in found.values():
        for name in METHODS[:-1]:
            assert all(state[name] == states[0][name] for state in states), f"{name} depends on more than the documents"
    return found


def reading(path: Path, states: Known, number: int, stop: Any, result: Any) -> None:
    seen = Counter[str]()
    try:
        rng = np.random.default_rng(number)
        while not stop.is_set():
            index = lir.LirIndex(path)
            expected = states[frozenset(index.docnos)]
            for i in rng.permutation(len(METHODS))[:2]:
                given = SEARCHES[METHODS[i]](index)
                assert any(given == state[METHODS[i]] for state in expected), METHODS[i]
                seen["searches"] += 1
            if seen["openings"] % 10 == 0:
                index.verify()
            seen["openings"] += 1
        result.put(seen)
    except BaseException as error:
        result.put(f"reader {number}: {type(error).__name__}: {error}")


def main() -> None:
    args = rounds.arguments(__doc__, 40, readers=10)
    with tempfile.TemporaryDirectory(prefix="lir-readers-") as name:
        original = originals(Path(name))["add"]
        path = Path(name) / "read"
        shutil.copytree(original, Path(name) / "alone")
        states = known(Path(name) / "alone")
        shutil.copytree(original, path)
        stop, result, steps = FORK.Event(), FORK.Queue(), changes(path)
        ready = [
            FORK.Process(target=reading, args=(path, states, args.seed + i, stop, result)) for i in range(args.readers)
        ]
        for process in ready:
            process.start()
        clock, count = time.monotonic(), 0
        for _ in rounds.numbers(args):
            next(steps)
            count += 1
        minutes = round((time.monotonic() - clock) / 60, 1)
        stop.set()
        found = [result.get(timeout=600) for _ in ready]
        for process in ready:
            process.join()
    failed = [one for one in found if isinstance(one, str)]
    assert not failed, failed[:3]
    total = sum(found, Counter[str]())
    table = [[f"{args.readers}", f"{minutes:g}", f"{count:,}", f"{total['openings']:,}", f"{total['searches']:,}", "0"]]
    header = ["readers", "minutes", "changes", "openings", "searches", "other answers or errors"]
    rounds.write("readers", __doc__, header, table, args)


if __name__ == "__main__":
    main()
