"""a disk is full, read-only, or belongs to somebody else, at every operation.

    OMP_NUM_THREADS=1 python benchmarks/torture/disks.py --rounds 8 --write

It takes root, for little file systems in memory. *Full*: each work runs where 0, 1/20, 1/10 ... of the index's size are
free, and then 20 times that; it must end, or name the full disk and leave the index as it was; where there is room
again it must end with the bytes and rankings of work that was never disturbed. *Read-only* and *no permission* (as
another user, who may read): what changes an index must be refused with the words of the package, every search must
work, and the index must be the same, and be changed, when that is allowed again. *Two writers*: both add at the same
moment; each adds all of its documents or is refused.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rounds
from collection import DERIVED, SEARCHES, WORK, documents, finish, looked_at, originals, rankings, state, tree
from rounds import FORK

import pyterrier_lir as lir

LEVELS = (0, 0.05, 0.1, 0.25, 0.5, 1, 2, 20)  # free room on the disk, in sizes of the index
CHANGES = ("overwrite", "add", "update", "delete", "compact")
NOBODY = 65534


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A file system in memory."""
    path = folder / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={32 << 20}", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


def full(folder: Path, work: str, original: Path, levels: int) -> list[str]:
    """One kind of work on disks with little room."""
    undisturbed = shutil.copytree(original, folder / "after")
    WORK[work](lir.LirIndex(undisturbed))
    expected = tree(undisturbed), rankings(undisturbed, looked_at(work))
    shutil.rmtree(undisturbed)
    size = sum(file.stat().st_size for file in (folder / "whole").rglob("*") if file.is_file())
    before, seen = state(original), Counter[str]()
    for level in LEVELS[:levels]:
        with disk(folder) as place:
            path, room = shutil.copytree(original, place / "i"), os.statvfs(place)
            with (place / "ballast").open("wb") as ballast:
                ballast.write(b"\0" * max(room.f_bavail * room.f_frsize - int(level * size), 0))
            kind, error = rounds.child(attempted, path, work)
            assert kind == "result", (work, level, kind, error)
            seen["refused" if error else "ended"] += 1
            if error:
                assert "disk is full" in error, error
                assert state(path) == before
                (place / "ballast").unlink()
                seen[finish(path, work)] += 1
            (place / "ballast").unlink(missing_ok=True)
            assert (tree(path), rankings(path, looked_at(work))) == expected, (work, level)
    return [f"full disk during {work}", str(seen["ended"] + seen["refused"]), "0", rounds.said(seen)]


def attempted(path: Path, work: str) -> str:
    """Nothing, or how the work was refused."""
    try:
        WORK[work](lir.LirIndex(path))
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES), error
        return str(error)
    return ""


def as_nobody(path: Path, work: str) -> str:
    os.setuid(NOBODY)
    return attempted(path, work)


def searched_as_nobody(path: Path) -> dict[str, Any]:
    os.setuid(NOBODY)
    return rankings(path, SEARCHES)


def unwritable(folder: Path, original: Path, how: str) -> list[str]:
    """Everything on an index that cannot be written to, by a file system or a user."""
    expected = rankings(shutil.copytree(original, folder / "copy"), SEARCHES)
    shutil.rmtree(folder / "copy")
    before, seen, user = state(original), Counter[str](), how == "no permission"
    with disk(folder) as place:
        path = shutil.copytree(original, place / "i")
        subprocess.run(["chmod", "-R", "a+rX,go-w", place], check=True)
        if not user:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for work in CHANGES:
            kind, error = rounds.child(as_nobody if user else attempted, path, work)
            assert (kind, "index cannot be changed" in error) == ("result", True), (work, kind, error)
            seen["changes refused"] += 1
        kind, found = rounds.child(searched_as_nobody if user else rankings, path, *([] if user else [SEARCHES]))
        assert (kind, found) == ("result", expected), (kind, found)
        seen["methods that search"] += len(expected)
        assert state(path) == before
        if not user:
            subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        WORK["compact"](lir.LirIndex(path))
        lir.LirIndex(path).verify()
    return [how, str(seen.total()), "0", rounds.said(seen)]


def adds(path: Path, prefix: str, barrier: Any) -> str:
    index, records = lir.LirIndex(path), documents(prefix, 20, 7)
    barrier.wait()
    try:
        index.add(records, num_threads=1, verbose=False)
    except ValueError as error:
        assert "Another process is writing" in str(error), error
        return "refused"
    return "added"


def adds_and_tells(path: Path, prefix: str, barrier: Any, result: Any) -> None:
    result.put((prefix, adds(path, prefix, barrier)))


def two_writers(folder: Path, original: Path, count: int) -> list[str]:
    """Two processes that add at once."""
    seen = Counter[str]()
    for _ in range(count):
        path, barrier, result = shutil.copytree(original, folder / "two"), FORK.Barrier(2), FORK.Queue()
        writers = [FORK.Process(target=adds_and_tells, args=(path, prefix, barrier, result)) for prefix in "xy"]
        for writer in writers:
            writer.start()
        told = dict(result.get(timeout=600) for _ in writers)
        for writer in writers:
            writer.join()
        assert "added" in told.values(), told
        lir.LirIndex(path).verify()
        new = (documents(prefix, 20, 7) for prefix, did in told.items() if did == "added")
        expected = {*lir.LirIndex(original).docnos, *(record["docno"] for records in new for record in records)}
        assert set(lir.LirIndex(path).docnos) == expected
        seen.update(told.values())
        shutil.rmtree(path)
    return ["two writers at once", str(count), "0", rounds.said(seen)]


def main() -> None:
    args = rounds.arguments(__doc__, 3)
    with tempfile.TemporaryDirectory(prefix="lir-disks-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        before = originals(folder)
        rankings(shutil.copytree(before["add"], folder / "warm"), DERIVED)  # imports what is imported late
        table = [full(folder, work, before[work], args.rounds) for work in WORK]
        table += [unwritable(folder, before["add"], how) for how in ("read-only file system", "no permission")]
        table.append(two_writers(folder, before["add"], 2 * args.rounds))
    rounds.write("disks", __doc__, ["fault", "tried", "lost or wrong", "what was seen"], table, args)


if __name__ == "__main__":
    main()
