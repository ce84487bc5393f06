"""every byte of a little index is flipped, and every file is cut at every length.

    OMP_NUM_THREADS=1 python benchmarks/torture/damage.py --rounds 1000000 --write

The index has two segments, deleted documents, and what methods derive. One bit of a byte is flipped, then all of its
bits, then the file is cut before that byte; after each the index is opened, verified and searched by every method in a
process that stands for a batch of these, and put right again; where the file belongs to something derived, by the
method that reads it. It must either say a ValueError or a FileNotFoundError that names a file, or give the rankings of
the whole index. After every tenth damage it is also searched without being verified: these rankings may be wrong, but
nothing may end the process or make it hang, and no error may be of another kind. Bytes come in random order, so
that fewer ``--rounds`` than bytes, or ``--documents`` that make a larger index, take a sample.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import rounds
from collection import documents, vectors

import pyterrier_lir as lir

DIM, BATCH = 8, 100
TOPICS = pd.DataFrame({"qid": ["1"], "query_embs": [vectors(3, 1, DIM)], "query_tok_ids": [np.arange(3)]})
HOW = ("one bit flipped", "all bits flipped", "cut")
OPTIONS = {"num_results": 5, "num_threads": 1}
USES: dict[str, Callable[[lir.LirIndex], pd.DataFrame]] = {
    "exhaustive": lambda index: index.exhaustive(**OPTIONS)(TOPICS),
    "plaid": lambda index: index.plaid(**OPTIONS)(TOPICS),
    "warp": lambda index: index.warp(**OPTIONS)(TOPICS),
    "xtr": lambda index: index.xtr(token_k=20, **OPTIONS)(TOPICS),
    "muvera": lambda index: index.muvera(reps=2, k_sim=2, **OPTIONS)(TOPICS),
    "lemur": lambda index: index.lemur(hidden=4, tokens=32, epochs=1, **OPTIONS)(TOPICS),
    "pruning": lambda index: index.query_pruning(keep=2)(TOPICS),  # reads token frequencies
    "graph": lambda index: pd.DataFrame(index.corpus_graph(k=2, rows=2).edges[:]),
}


def made(path: Path, count: int) -> None:
    """The index, with all that is derived."""
    index = lir.LirIndex(path).indexer(num_threads=1, verbose=False).index(documents("d", count, 1, DIM))
    index.add(documents("more", max(count // 2, 2), 2, DIM), num_threads=1, verbose=False)
    index.delete(["d1"])
    found(path)


READS = {"cell_tokens": "warp", "muvera": "muvera", "lemur": "lemur", "token_stats": "pruning", "corpus_graph": "graph"}


def found(path: Path, *, verify: bool = False, only: str | None = None) -> dict[str, str]:
    """What every method finds, or one."""
    index = lir.LirIndex(path)
    if verify:
        index.verify()
    frames = {name: use(index) for name, use in USES.items() if only in (None, name)}
    hidden = ["query_embs", "query_tok_ids"]
    return {name: repr(frame.drop(columns=hidden, errors="ignore").to_dict("list")) for name, frame in frames.items()}


def damaged(content: bytes, at: int, how: str) -> bytes:
    """A file's content with damage at a byte."""
    if how == "cut":
        return content[:at]
    mask = 255 if how.startswith("all") else 1 << at % 8
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def outcome(path: Path, expected: dict[str, str], only: str | None, *, unverified: bool) -> str:
    """What comes of a damage; raises an AssertionError where that is not allowed."""
    try:
        said, after = "equal", found(path, verify=True, only=only)
        assert after.items() <= expected.items(), f"another ranking after verify(): {after}"
    except (ValueError, FileNotFoundError) as error:
        assert str(path) in str(error), error
        said = "refused"
    if unverified:
        with suppress(ValueError, FileNotFoundError):
            found(path, only=only)
    return said


def batch(
    whole: Path, copy: Path, damages: list[tuple[str, int, str]], expected: dict[str, str], log: str
) -> Counter[str]:
    """Damages one after the other, each noted before it is done."""
    seen = Counter[str]()
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    for name, at, how in damages:
        Path(log).write_text(f"{name} {at} {how}")
        content, derived = (whole / name).read_bytes(), name.startswith("derived")
        only = READS[name.split("/")[1].split(".")[0]] if derived else None
        (copy / name).write_bytes(damaged(content, at, how))
        seen[outcome(copy, expected, only, unverified=at % 10 == 0)] += 1
        if derived:  # may have been made again
            shutil.rmtree(copy / "derived")
            shutil.copytree(whole / "derived", copy / "derived")
        else:
            (copy / name).write_bytes(content)
    return seen


def main() -> None:
    args = rounds.arguments(__doc__, 300, documents=4)
    with tempfile.TemporaryDirectory(prefix="lir-damage-") as name:
        whole, log = Path(name) / "whole", str(Path(name) / "log")
        made(whole, args.documents)
        expected = found(whole)  # what is imported for this, no batch has to import again
        files = sorted(f for f in whole.rglob("*") if f.is_file() and not f.name.endswith(".lock"))
        sizes = {str(f.relative_to(whole)): f.stat().st_size for f in files}
        every = [(file, at) for file, size in sizes.items() for at in range(size)]
        order = rounds.random(args.seed, args.documents).permutation(len(every)).tolist()
        tried, seen = 0, {how: Counter[str]() for how in HOW}
        args.rounds = min(args.rounds, len(every))
        for first, count in rounds.numbers(args, BATCH):
            for how in HOW:
                damages = [(*every[i], how) for i in order[first : first + count]]
                kind, result = rounds.child(batch, whole, Path(name) / "copy", damages, expected, log, seconds=3000)
                if kind != "result":
                    raise AssertionError(f"{Path(log).read_text()}: {kind} {result}")
                seen[how].update(result)
            tried += count
        counts = f"{len(files)}", f"{len(every):,}", f"{tried:,}"
        table = [[how, *counts, f"{told['refused']:,}", f"{told['equal']:,}", "0"] for how, told in seen.items()]
        header = ["damage", "files", "bytes", "tried", "refused", "equal rankings", "wrong, crash or hang"]
        rounds.write("damage", __doc__, header, table, args)


if __name__ == "__main__":
    main()
