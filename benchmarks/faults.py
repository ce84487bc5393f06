"""What happens to an index when a process is killed, a disk is full or read-only, and many read while one writes.

    python benchmarks/faults.py                  # writes benchmarks/results/faults.md; root, for small file systems
    python benchmarks/faults.py --quick          # 5 kills of each work, 5 s of readers, nothing written

*Kills*: the work runs in a process of its own, which SIGKILL ends after a time that is uniform over what the work takes
undisturbed (median of three); so some kills come too late. Then the index is opened and verified, must hold exactly the
documents, with the same bytes, as before or as after the work, and the work is resumed, where it had stored something,
or repeated. In the end documents and rankings must be those of work that was never disturbed. A kill of a process
leaves what the system has not yet written to the disk; a failure of power does not, and is not tested here.

*Full disk*: the work runs on a tmpfs with free room of 0 to 20 times the size of the index. It must end, or name the
full disk and leave the index as it was; with room it must then end.

*Readers*: processes open the index anew, list its documents and search, while one adds, deletes and compacts. Every
list must be that of a committed state, and every result a document of it.

The collection is synthetic: 400 documents of 1 to 24 unit vectors of 64 dimensions near 200 topics; additions are half
as many. One thread each. A fault that is not survived ends this program, so that there is no table. What is derived is
no part of the state: after a kill it is asked for again.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mdtable import markdown

import pyterrier_lir as lir
from pyterrier_lir.index.spool import spooled

RESULTS = Path(__file__).parent / "results"
DIM, DOCUMENTS, KILLS, READERS, SECONDS = 64, 400, 40, 20, 20
LEVELS = (0, 0.05, 0.1, 0.25, 0.5, 1, 2, 20)  # free room on the disk, in sizes of the index
FORK = multiprocessing.get_context("fork")
Row = list[str]


def vectors(count: int, seed: int) -> np.ndarray:
    """Unit vectors near 200 topics."""
    rng = np.random.default_rng(seed)
    points = np.random.default_rng(0).standard_normal((200, DIM))[rng.integers(0, 200, count)]
    points = points + 0.7 * rng.standard_normal((count, DIM))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def documents(prefix: str, count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"docno": f"{prefix}{i}", "doc_embs": vectors(int(rng.integers(1, 25)), seed * 10_000 + i)}
            for i in range(count)]  # fmt: skip


TOPICS = pd.DataFrame({"qid": ["1", "2", "3"], "query_embs": [vectors(n, 900_000 + n) for n in (4, 12, 32)]})
FIRST, NEW = documents("d", DOCUMENTS, 1), documents("new", DOCUMENTS // 2, 2)
CHANGED = [*documents("d", DOCUMENTS // 4, 3), *documents("fresh", DOCUMENTS // 4, 4)]
GONE = [record["docno"] for record in FIRST[::5]]
INDEXED = {"build": ("create", FIRST), "overwrite": ("overwrite", NEW), "add": ("append", NEW),
           "update": ("update", CHANGED)}  # fmt: skip


def index_all(index: lir.LirIndex, work: str, *, resume: bool) -> None:
    mode, records = INDEXED[work]
    if resume:
        records = index.unseen()(pd.DataFrame(records)).to_dict(orient="records")
    index.indexer(mode=mode, resume=resume, segment_mb=0.05, num_threads=1, verbose=False).index(records)


def searched(index: lir.LirIndex, method: str, **options: Any) -> pd.DataFrame:
    return getattr(index, method)(num_results=20, num_threads=1, **options)(TOPICS)


DERIVED: dict[str, Callable[[lir.LirIndex], Any]] = {
    "cells of WARP": lambda index: searched(index, "warp"),
    "encodings of MUVERA": lambda index: searched(index, "muvera"),
    "corpus graph": lambda index: index.corpus_graph(k=8, rows=8).edges[:].tolist(),
}
WORK: dict[str, Callable[[lir.LirIndex], Any]] = {
    **{work: (lambda index, work=work: index_all(index, work, resume=False)) for work in INDEXED},
    "delete": lambda index: index.delete(GONE),
    "compact": lambda index: index.compact(),
    **DERIVED,
}


def state(path: Path) -> str:
    """A digest of segments and of all documents with what is scored of them; opens and verifies the index first."""
    index = lir.LirIndex(path)
    if not index.built:
        return "no index"
    index.verify()
    digest = hashlib.sha256(bytes([len(index.store.segments)]))
    for record in index.get_corpus_iter():
        digest.update(record["docno"].encode() + record["doc_embs"].tobytes())
    return digest.hexdigest()


def rankings(path: Path, derived: Collection[str] = ("cells of WARP",)) -> list[Any]:
    """What methods find, those that need something derived among them."""
    index = lir.LirIndex(path)
    frames = [searched(index, method) for method in ("exhaustive", "plaid")]
    return [*(frame.to_dict() for frame in frames), *(_plain(DERIVED[name](index)) for name in derived)]


def used(work: str) -> Collection[str]:
    """What of an index is looked at after some work."""
    return [work] if work in DERIVED else ["cells of WARP"]


def _plain(found: Any) -> Any:
    return found.to_dict() if isinstance(found, pd.DataFrame) else found


def originals(folder: Path) -> dict[str, Path]:
    """The index before each kind of work: none, one of two segments with deletions."""
    index = lir.LirIndex(folder / "whole").indexer(num_threads=1, verbose=False).index(FIRST)
    index.add(documents("more", 50, 6), num_threads=1, verbose=False)
    index.delete(["more3", "d1"])
    (folder / "nothing").mkdir()
    return {work: folder / ("nothing" if work == "build" else "whole") for work in WORK}


def finish(path: Path, work: str) -> str:
    """Does the rest of the work, or all of it again; says which."""
    index = lir.LirIndex(path)
    left = bool(spooled(path))
    if work in INDEXED and left:
        index_all(index, work, resume=True)
        return "resumed"
    WORK[work](index)
    return "repeated"


# --- kills ----------------------------------------------------------------------------------------------------


def working(path: Path, work: str, pipe: Connection) -> None:
    index = lir.LirIndex(path)
    pipe.send("begins")
    WORK[work](index)
    pipe.send("ends")


def run_and_kill(path: Path, work: str, seconds: float | None) -> float:
    """Runs the work in a process, kills it after so many seconds if any; returns how long it ran."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=working, args=(path, work, there))
    process.start()
    here.recv()
    clock = time.perf_counter()
    if seconds is None:
        process.join()
        assert process.exitcode == 0
    else:
        time.sleep(seconds)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    return time.perf_counter() - clock


def killed(folder: Path, work: str, original: Path, count: int, rng: np.random.Generator) -> Row:
    """A row of the table for one kind of work."""
    times = []
    for i in range(3):
        shutil.copytree(original, folder / f"after{i}")
        times.append(run_and_kill(folder / f"after{i}", work, None))
    took, before, after = float(np.median(times)), state(original), state(folder / "after0")
    expected, seen = rankings(folder / "after0", used(work)), Counter[str]()
    for moment in rng.uniform(0, took, count):
        path = shutil.copytree(original, folder / "killed")
        run_and_kill(path, work, float(moment))
        found = state(path)
        assert found in (before, after), (work, moment, found)
        if before != after:
            seen["after" if found == after else "before"] += 1
        if found == before or before == after:  # else nothing is left to do
            seen[finish(path, work)] += 1
        assert (state(path), rankings(path, used(work))) == (after, expected), (work, moment)
        shutil.rmtree(path)
    for i in range(3):
        shutil.rmtree(folder / f"after{i}")
    return [f"kill -9 during {work}", f"{1000 * took:.0f} ms", str(count), str(count), _said(seen)]


def _said(seen: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))


# --- disks ----------------------------------------------------------------------------------------------------


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system in memory of so many bytes."""
    path = folder / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


def full(folder: Path, work: str, original: Path, after: tuple[str, Any]) -> Row:
    size = sum(file.stat().st_size for file in (folder / "whole").rglob("*") if file.is_file())
    before, seen = state(original), Counter[str]()
    for level in LEVELS:
        with disk(folder, 64 << 20) as place:
            path = shutil.copytree(original, place / "i")
            room = os.statvfs(place)
            with (place / "ballast").open("wb") as ballast:
                ballast.write(b"\0" * max(room.f_bavail * room.f_frsize - int(level * size), 0))
            try:
                WORK[work](lir.LirIndex(path))
                seen["ended"] += 1
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                assert "disk is full" in str(error), error
                assert state(path) == before
                seen["refused"] += 1
                (place / "ballast").unlink()
                seen[finish(path, work)] += 1
            (place / "ballast").unlink(missing_ok=True)
            assert (state(path), rankings(path, used(work))) == after, (work, level)
    return [f"full disk during {work}", "", str(len(LEVELS)), str(len(LEVELS)), _said(seen)]


def read_only(folder: Path, original: Path) -> Row:
    expected, seen = rankings(shutil.copytree(original, folder / "copy"), DERIVED), Counter[str]()
    before = state(original)
    with disk(folder, 64 << 20) as place:
        path = shutil.copytree(original, place / "i")
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for work in ("overwrite", "add", "update", "delete", "compact"):
            try:
                WORK[work](lir.LirIndex(path))
                raise AssertionError(work)
            except OSError as error:
                assert "cannot be changed" in str(error), error
                seen["changes refused"] += 1
        assert rankings(path, DERIVED) == expected
        seen["methods that search"] += len(expected)
        assert state(path) == before
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        WORK["compact"](lir.LirIndex(path))
        lir.LirIndex(path).verify()
    return ["read-only file system", "", str(seen.total()), str(seen.total()), _said(seen)]


# --- many processes -------------------------------------------------------------------------------------------


def adds(path: Path, prefix: str, barrier: Any, result: Any) -> None:
    index, records = lir.LirIndex(path), documents(prefix, 20, 7)
    barrier.wait()
    try:
        index.add(records, num_threads=1, verbose=False)
        result.put((prefix, "added"))
    except ValueError as error:
        result.put((prefix, "refused" if "Another process is writing" in str(error) else repr(error)))


def two_writers(folder: Path, original: Path, count: int) -> Row:
    """Two processes add at the same moment: each adds all or is refused."""
    seen = Counter[str]()
    for _ in range(count):
        path, barrier, result = shutil.copytree(original, folder / "two"), FORK.Barrier(2), FORK.Queue()
        writers = [FORK.Process(target=adds, args=(path, prefix, barrier, result)) for prefix in "xy"]
        for writer in writers:
            writer.start()
        said = dict(result.get() for _ in writers)
        for writer in writers:
            writer.join()
        assert set(said.values()) <= {"added", "refused"}, said
        assert "added" in said.values()
        index = lir.LirIndex(path)
        index.verify()
        expected = set(lir.LirIndex(original).docnos)
        expected |= {r["docno"] for prefix, did in said.items() if did == "added" for r in documents(prefix, 20, 7)}
        assert set(index.docnos) == expected
        seen.update(said.values())
        shutil.rmtree(path)
    return ["two writers at once", "", str(count), str(count), _said(seen)]


def reading(path: Path, states: set[frozenset[str]], stop: Any, result: Any) -> None:
    seen, opened, searches = set(), 0, 0
    methods = ("exhaustive", "plaid", "warp", "muvera")
    try:
        while not stop.is_set():
            index = lir.LirIndex(path)
            docnos = frozenset(index.docnos)
            assert docnos in states, len(docnos)
            opened += 1
            for method in methods[opened % 4 :][:2]:
                assert set(searched(index, method)["docno"]) <= docnos
                searches += 1
            seen.add(len(docnos))
        result.put((opened, searches, len(seen)))
    except BaseException as error:
        result.put(repr(error))


def readers(folder: Path, original: Path, seconds: float) -> Row:
    path, new = shutil.copytree(original, folder / "read"), documents("new", 20, 8)
    names, before = {r["docno"] for r in new}, frozenset(lir.LirIndex(path).docnos)
    states = {before, before | names, (before | names) - {"new0"}}
    stop, result, index, changes = FORK.Event(), FORK.Queue(), lir.LirIndex(path), 0
    processes = [FORK.Process(target=reading, args=(path, states, stop, result)) for _ in range(READERS)]
    for process in processes:
        process.start()
    clock = time.perf_counter()
    while time.perf_counter() - clock < seconds:
        index.add(new, num_threads=1, verbose=False)
        index.delete(["new0"])
        index.compact()
        index.delete(sorted(names - {"new0"}))
        changes += 4
    stop.set()
    found = [result.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    errors = [one for one in found if isinstance(one, str)]
    assert not errors, errors[:3]
    opened, searches = sum(one[0] for one in found), sum(one[1] for one in found)
    told = (
        f"{changes} changes, {opened} openings, {searches} searches, up to {max(one[2] for one in found)} states each"
    )
    return [f"{READERS} readers while one writes", f"{seconds:.0f} s", str(READERS), str(READERS), told]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    kills, seconds = (5, 5) if args.quick else (KILLS, SECONDS)
    rng, table = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory(prefix="lir-faults-") as name:
        folder = Path(name)
        before = originals(folder)

        def done(row: Row) -> None:
            table.append(row)
            print(*row, sep="  ", flush=True)

        for work in WORK:
            done(killed(folder, work, before[work], kills, rng))
        if os.geteuid() == 0:
            for work in WORK:
                WORK[work](lir.LirIndex(shutil.copytree(before[work], folder / "after")))
                after = state(folder / "after"), rankings(folder / "after", used(work))
                done(full(folder, work, before[work], after))
                shutil.rmtree(folder / "after")
            done(read_only(folder, before["add"]))
        done(two_writers(folder, before["add"], kills // 2))
        done(readers(folder, before["add"], seconds))
    if args.quick:
        return
    header = ["fault", "work takes", "made", "survived", "what was seen"]
    total = sum(int(row[2]) for row in table if row[0].startswith("kill"))
    text = [
        "# Faults",
        *(__doc__ or "").strip().splitlines()[4:],
        "",
        f"{total} kills.",
        "",
        *markdown(header, table),
        "",
    ]
    (RESULTS / "faults.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
