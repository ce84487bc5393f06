"""What the tortures share: arguments, a random generator for each round, processes that may die, and the results.

A torture prints nothing but what it counted. A round that fails ends it with the seed and the number of the round,
which repeat it: ``--seed S --first N --rounds 1``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
os.environ["TQDM_DISABLE"] = "1"
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests")]

from mdtable import markdown  # noqa: E402
from tqdm import tqdm  # noqa: E402

tqdm.set_lock(threading.RLock())  # its own is shared with forked processes, and not given back by one that is killed

RESULTS = ROOT / "benchmarks" / "results" / "torture.md"
PARTS = (
    "kills", "training", "damage", "fuzz_kernels", "fuzz_frames", "readers", "memory", "disks", "sanitizers",
)  # fmt: skip
HEAD = """# Torture

Each part is written by the script of its name in `benchmarks/torture/`. The table counts what was run, on a
machine that was busy with other work; the first lines of the script have the command for the full number. What failed
on the way was mended and is counted no more: these are the figures of the last run, in which nothing may fail.
"""
FORK = multiprocessing.get_context("fork")  # what is imported need not be imported again: a round takes milliseconds

__all__ = ["FORK", "ROOT", "arguments", "child", "markdown", "named_round", "numbers", "random", "said", "write"]


def arguments(doc: str | None, rounds: int, **more: Any) -> argparse.Namespace:
    """The arguments of every torture, and some of its own with their defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how many; {rounds} by default, which is quick")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no round after so long")
    parser.add_argument("--write", action="store_true", help="put what was counted into benchmarks/results/torture.md")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def numbers(args: argparse.Namespace, step: int = 1) -> Iterator[tuple[int, int]]:
    """The first number of each batch of rounds and how many there are, until the minutes are over."""
    until = time.monotonic() + 60 * args.minutes
    for first in range(args.first, args.first + args.rounds, step):
        if time.monotonic() > until:
            return
        yield first, min(step, args.first + args.rounds - first)


def random(*names: object) -> np.random.Generator:
    """A generator for these names and numbers: the same ones give the same numbers."""
    return np.random.default_rng([zlib.crc32(str(name).encode()) for name in names])


@contextmanager
def named_round(**facts: object) -> Iterator[None]:
    """Says of a round that fails how to repeat it."""
    try:
        yield
    except BaseException:
        print("failed:", " ".join(f"--{name} {value}" for name, value in facts.items()), file=sys.stderr, flush=True)
        raise


def child(work: Callable[..., Any], *args: Any, seconds: int = 300) -> tuple[str, Any]:
    """Runs some work in a process of its own.

    Returns:
        What it came to: ``"result"`` with what the work returned, ``"error"`` with what it raised, as text,
        ``"signal"`` with the number, or the exit code, that ended the process, or ``"hang"``.
    """
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_working, args=(there, work, args))
    process.start()
    there.close()
    try:
        # Second by second, as a machine that stops this process as well stops the clock of a hang.
        if not any(here.poll(1) for _ in range(seconds)):
            return "hang", seconds
        return here.recv()  # type: ignore[no-any-return]
    except EOFError:
        process.join()
        return "signal", process.exitcode
    finally:
        process.kill()
        process.join()
        here.close()


def _working(pipe: Connection, work: Callable[..., Any], args: Sequence[Any]) -> None:
    try:
        pipe.send(("result", work(*args)))
    except BaseException as error:
        with suppress(OSError):
            pipe.send(("error", f"{type(error).__name__}: {error}"))


def said(seen: Counter[str]) -> str:
    """Counts in words."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(seen.items()))


def write(part: str, doc: str | None, header: list[str], table: list[list[str]], args: argparse.Namespace) -> None:
    """Prints the table, and with ``--write`` puts it into the results in the place of what was there of this part."""
    print("\n".join(markdown(header, table)))
    if not args.write:
        return
    command = "python " + " ".join([str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *sys.argv[1:]])
    text = re.sub(r"\n\n    .*?\n(?=\n|$)", "\n", (doc or "").strip() + "\n", flags=re.DOTALL).strip()
    title, _, rest = text.partition("\n")
    facts = f"`{command}`, {time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores."
    section = "\n".join([f"## {part}: {title}", "", rest.strip(), "", facts, "", *markdown(header, table), ""])
    parts = _parts()
    parts[part] = re.sub(r"\n{3,}", "\n\n", section)
    RESULTS.write_text("\n".join([HEAD, *(parts[name] for name in PARTS if name in parts)]), encoding="utf-8")


def _parts() -> dict[str, str]:
    """What is in the results by part."""
    found = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    sections = re.split(r"^(?=## )", found, flags=re.MULTILINE)[1:]
    return {section[3:].partition(":")[0]: section.rstrip() + "\n" for section in sections}
