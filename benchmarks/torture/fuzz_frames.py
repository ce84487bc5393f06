"""documents, queries, options and docnos are drawn, and many of them spoiled.

    OMP_NUM_THREADS=1 python benchmarks/torture/fuzz_frames.py --rounds 100000 --write

A round in a hundred indexes documents with strange names, vectors and token ids, adds, updates, deletes and compacts:
that must end in an error of the package and the index as it was, or in an index that verifies, holds exactly these
documents, and whose exhaustive ranking is MaxSim of the vectors that it gives back, computed in float64. The others
make one of the transformers with options that are drawn, and give it frames: each result must be an error of the
package or what NumPy's kernels (all but `nearest`) give for the same index. Options that would take memory or hours
without end (such as 2^31 repetitions) are only given to the constructor; what is made gets four frames, one after the
other. The rounds run in processes of 500.
"""

from __future__ import annotations

import inspect
import linecache
import mmap
import pickle
import resource
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyterrier as pt
import rounds
from collection import documents, vectors

import pyterrier_lir as lir
from pyterrier_lir import kernels

DIM, BATCH, SHARE, FRAMES, ODD = 8, 500, 100, 4, 0.05
PACKAGE = str(Path(lir.__file__).parent)
METHODS = ("exhaustive", "plaid", "plaid_candidates", "warp", "xtr", "muvera", "lemur")
OF_RANKINGS = ("centroid_maxsim", "xtr_scorer", "maxsim", "early_exit_maxsim", "embs_loader", "colbert_prf", "explain")
OF_QUERIES = ("query_pruning",)
ALONE: dict[str, Callable[..., Any]] = {
    "TokenPooling": lir.TokenPooling,
    "TokenPruning": lir.TokenPruning,
    "Truncate": lir.Truncate,
    "Muvera": lir.Muvera,
    "BallCarving": lir.feedback.BallCarving,
    "MaskWeighting": lir.feedback.MaskWeighting,
    "CandidatePruning": lir.rerank.CandidatePruning,
    "MaxSim": lir.MaxSim,
}
KINDS = (*METHODS, *OF_RANKINGS, *OF_QUERIES, *ALONE)
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2,
    3,
    7,
    0.5,
    1e-9,
    -0.5,
    1e300,
    float("nan"),
    float("inf"),
    2**31 - 1,
    2**31,
    2**63,
    2**70,
    "",
    "error",
    "drop",
    "flat",
    "kth",
    "mean",
    "measured",
    "paper",
    "first",
    "ü" * 5,
    [],
    ["d1"],
    ["d2", "d2", "d5"],
    ["nobody"],
    {"a": 1},
    np.float32(2),
    np.int64(3),
    np.zeros(3),
    b"x",
)
ENDLESS = ("reps", "k_sim", "d_proj", "final_dim", "hidden", "tokens", "epochs", "clusters", "rows", "k")  # if huge
SMALL = {
    "reps": 2,
    "k_sim": 2,
    "hidden": 4,
    "tokens": 16,
    "epochs": 1,
    "num_results": 20,
    "num_threads": 1,
    "token_k": 30,
}
NEEDED = {"beta": 2, "keep": 2, "factor": 2, "dim": 4, "mask_id": 3, "alpha": 0.2}
NEEDED_BY = {"TokenPruning": {"keep": 0.5, "method": "first"}}
DOCNOS = (
    "",
    "ä ö ü ß 漢",
    "x" * 10_000,
    "with\0null",
    "two\nlines",
    "d1",
    "d1 ",
    " ",
    "'\"\\",
    "\ud800",
    "%p0",
    "..",
    5,
    None,
    b"bytes",
    float("nan"),
)
RANKED = tuple(docno for docno in DOCNOS if docno != "\ud800")  # which pandas itself refuses in a frame


def drawn_matrix(rng: np.random.Generator, dim: int = DIM, odd: float = 0.5) -> Any:
    """Vectors as they should be, or, in a share of the draws, nearly."""
    rows = int(rng.integers(0, 7))
    good = (rng.standard_normal((rows, dim)) / dim**0.5).astype(np.float32)  # about as long as a unit vector
    if rng.random() >= odd:
        return good
    how = int(rng.integers(14))
    wide = np.repeat(good, 2, axis=1)
    bad: list[Any] = [
        good.astype(np.float64),
        good.astype(np.float16),
        good.tolist(),
        wide[:, ::2],
        np.asfortranarray(good),
        good[::-1],
        np.zeros((3, dim)),
        np.vstack([good, np.zeros((2, dim))]),
        good[:, : dim - 1],
        good.ravel(),
        None,
        "text",
        np.full((2, dim), (np.nan, np.inf, -np.inf, 1e30)[how % 4]),
        (good * (1e4, 7e4, 1e-30, 0.0)[how % 4]).astype(np.float32),
    ]
    return bad[how]


def spoiled_options(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    """Options of something that is made: small ones, and up to two that are anything."""
    made = ALONE.get(kind) or getattr(lir.LirIndex, kind)
    names = [
        name
        for name in inspect.signature(made).parameters
        if name not in ("self", "device", "stats", "graph", "center")
    ]
    options = {name: value for name, value in {**SMALL, **NEEDED, **NEEDED_BY.get(kind, {})}.items() if name in names}
    for _ in range(int(rng.integers(0, 3))):
        name = names[int(rng.integers(len(names)))] if names else "nothing"
        options[name] = VALUES[int(rng.integers(len(VALUES)))]
    return options


def endless(options: dict[str, Any]) -> bool:
    """Whether work with such options would take too much memory or time."""
    return any(isinstance(options.get(name), int | float) and options[name] > 1000 for name in ENDLESS)


def drawn_frame(rng: np.random.Generator, kind: str, names: list[str]) -> pd.DataFrame:
    """Queries, or a ranking, of the kind that a stage takes; in one of eight frames something is missing or odd."""
    count = int(rng.integers(0, 4))
    queries = pd.DataFrame({"qid": [str(i) for i in range(count)]}, dtype=object)
    queries["query_embs"] = pd.Series([drawn_matrix(rng) for _ in range(count)], dtype=object)
    queries["query_tok_ids"] = pd.Series([np.arange(_rows(embs)) for embs in queries["query_embs"]], dtype=object)
    if rng.random() < 0.2:
        queries["query_weights"] = pd.Series(
            [rng.standard_normal(_rows(e)) + 1 for e in queries["query_embs"]], dtype=object
        )
    frame = queries
    if kind not in METHODS and kind not in OF_QUERIES and kind != "BallCarving":
        ranked = [names[int(i)] for i in rng.integers(0, len(names), 5)]
        if rng.random() < 0.2:
            ranked[0] = RANKED[int(rng.integers(len(RANKED)))]
        frame = queries.merge(pd.DataFrame({"docno": pd.Series(ranked, dtype=object)}), how="cross")
        frame["score"], frame["rank"] = rng.standard_normal(len(frame)), range(len(frame))
        if kind in ALONE:
            frame["doc_embs"] = pd.Series([drawn_matrix(rng) for _ in range(len(frame))], dtype=object)
            frame["doc_tok_ids"] = pd.Series([np.arange(_rows(embs)) for embs in frame["doc_embs"]], dtype=object)
    if rng.random() < 0.12 and len(frame.columns):
        column = frame.columns[int(rng.integers(len(frame.columns)))]
        frame = frame.drop(columns=column) if rng.random() < 0.5 else frame.assign(**{column: None})
    return frame


def _rows(embs: Any) -> int:
    return len(embs) if hasattr(embs, "__len__") and not isinstance(embs, str) else 0


def attempt(work: Callable[[], Any]) -> tuple[str, Any]:
    """What some work comes to; an AssertionError where the error is not one of the package."""
    try:
        return "result", work()
    except (ValueError, TypeError, KeyError, FileNotFoundError) as error:
        assert of_the_package(error), f"{type(error).__name__}: {error!s:.300} ({_where(error)})"
        return "refused", str(error)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    lines = "".join(linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno - back) for back in (2, 1, 0))
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno} {lines}"


def of_the_package(error: BaseException) -> bool:
    """Whether a line of the package raised it, or PyTerrier's check of columns."""
    where = _where(error)
    if "incompatible function arguments" in str(error):  # pybind11's
        return False
    mine = where.startswith(PACKAGE) and ("raise " in where or "active_module()" in where or "self._index." in where)
    return isinstance(error, pt.validate.InputValidationError) or mine


def searching(rng: np.random.Generator, path: Path, kind: str) -> list[str]:
    """One transformer, made and called."""

    def made() -> Any:
        index = lir.LirIndex(path)
        return ALONE[kind](**options) if kind in ALONE else getattr(index, kind)(**options)

    options = spoiled_options(rng, kind)
    told, transformer = attempt(made)
    if told == "refused":
        return ["option refused"]
    if endless(options):
        return ["made, not called"]
    twin, names = made(), lir.LirIndex(path).docnos  # of an index of its own, which keeps what NumPy's kernels read
    return [called(transformer, twin, drawn_frame(rng, kind, names), f"{kind} {options}") for _ in range(FRAMES)]


def called(transformer: Any, twin: Any, frame: pd.DataFrame, what: str) -> str:
    """One frame, given to a transformer, and to another of the same options with NumPy's kernels."""
    before = pickle.dumps(frame.to_dict("list"))
    told, found = attempt(lambda: transformer(frame))
    assert pickle.dumps(frame.to_dict("list")) == before, f"{what} changed its input"
    with by_numpy(), np.errstate(all="ignore"):
        told_too, expected = attempt(lambda: twin(frame))
    assert told == told_too, f"{what}: {found} and not {expected}"
    if told == "refused":
        return "frame refused"
    same(found, expected, what)
    return "equal"


@contextmanager
def by_numpy() -> Iterator[None]:
    """All kernels are NumPy's but `nearest`, which ``fuzz_kernels`` compares.

    Of two clusters that are equally near, rounding chooses one, and all that comes of a clustering may hang on it.
    """
    build, nearest = kernels.active(), kernels.nearest

    def of_build(*args: Any, **options: Any) -> Any:
        with kernels.forced(build):
            return nearest(*args, **options)

    with kernels.forced("numpy"), mock.patch.object(kernels, "nearest", of_build):
        yield


def same(found: Any, expected: Any, what: str) -> None:
    """Compares frames value by value, numbers up to rounding."""
    assert list(found.columns) == list(expected.columns), what
    assert len(found) == len(expected), f"{what}: {len(found)} rows and not {len(expected)}"
    for name in found.columns:
        for a, b in zip(found[name], expected[name], strict=True):
            if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and _bytes(a) == _bytes(b):
                continue
            if isinstance(a, float | np.ndarray) and not (isinstance(a, np.ndarray) and a.dtype == object):
                assert np.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True), f"{what}: {name} is {a} and not {b}"
            elif name != "docno":  # equal scores up to rounding may come in another order
                assert repr(a) == repr(b), f"{what}: {name} is {a!r:.200} and not {b!r:.200}"


def _bytes(array: np.ndarray) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.tobytes()


def indexing(rng: np.random.Generator, folder: Path) -> str:
    """One index, built and changed."""
    path, told = folder / "made", Counter[str]()
    shutil.rmtree(path, ignore_errors=True)
    index, there = lir.LirIndex(path), dict[str, Any]()
    for step in range(4):
        mode = ("create", "append", "update", "delete")[step]
        prefix, count = "new" if mode == "append" else "d", int(rng.integers(0, 6))
        docnos = [_docno(rng, f"{prefix}{i}") for i in range(count)]
        records = [{"docno": docno, "doc_embs": drawn_matrix(rng, odd=ODD)} for docno in docnos]
        names = [record["docno"] for record in records]
        if mode == "delete":
            kind, _ = attempt(lambda: index.delete(names))  # noqa: B023
            there = there if kind == "refused" else {name: v for name, v in there.items() if name not in names}
        else:
            options = (
                {"nbits": int(rng.choice([1, 2, 4, 8])), "keep_embs": bool(rng.random() < 0.5)} if step == 0 else {}
            )
            kind, _ = attempt(lambda: index.indexer(mode=mode, num_threads=1, verbose=False, **options).index(records))  # noqa: B023
            there = (
                there
                if kind == "refused"
                else {**{n: v for n, v in there.items() if n not in names}, **dict.fromkeys(names)}
            )
        told[kind] += 1
        if not index.built:
            return "index refused"
        check_index(lir.LirIndex(path), list(there))
    index.compact()
    check_index(lir.LirIndex(path), list(there))
    return "index checked" if not told["refused"] else "index checked, a change refused"


def _docno(rng: np.random.Generator, docno: str) -> Any:
    return (*DOCNOS, "d0")[int(rng.integers(len(DOCNOS) + 1))] if rng.random() < ODD else docno


def check_index(index: lir.LirIndex, docnos: list[str]) -> None:
    """The documents are these, and exhaustive search ranks them by MaxSim."""
    index.verify()
    assert index.docnos == docnos, f"{index.docnos!r:.300} and not {docnos!r:.300}"
    query = vectors(3, 5, index.dim) if index.dim else np.zeros((0, 0), np.float32)
    found = index.exhaustive(num_threads=1)(pd.DataFrame({"qid": ["1"], "query_embs": [query]}))
    expected = {
        record["docno"]: (query.astype(np.float64) @ record["doc_embs"].astype(np.float64).T).max(axis=1).sum()
        for record in index.get_corpus_iter()
        if len(record["doc_embs"]) and len(query)
    }
    assert set(found["docno"]) == set(expected), f"{set(found['docno'])} and not {set(expected)}"
    scale = max([1.0, *map(abs, expected.values())])
    for docno, score in zip(found["docno"], found["score"], strict=True):
        assert abs(score - expected[docno]) < 0.02 * scale, f"{docno!r:.50} scores {score} and not {expected[docno]}"


def judged(seed: int, number: int, path: Path) -> list[str]:
    """What a round came to."""
    rng = np.random.default_rng([seed, number])
    if number % SHARE == 0:
        return [indexing(rng, path.parent)]
    return searching(rng, path, KINDS[number % len(KINDS)])


def batch(seed: int, first: int, count: int, path: Path, at: mmap.mmap) -> Counter[str]:
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
    warnings.simplefilter("ignore")
    seen = Counter[str]()
    for number in range(first, first + count):
        at[:8] = number.to_bytes(8, "little")
        seen.update(judged(seed, number, path))
    return seen


def main() -> None:
    args = rounds.arguments(__doc__, 1_000)
    at, seen = mmap.mmap(-1, 8), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="lir-fuzz-") as name:
        path = Path(name) / "index"
        lir.LirIndex(path).indexer(verbose=False, num_threads=1).index(documents("d", 30, 1, DIM))
        lir.LirIndex(path).delete(["d3"])
        lir.LirIndex(path).lemur(**{name: SMALL[name] for name in ("hidden", "tokens", "epochs")})(
            pd.DataFrame({"qid": ["1"], "query_embs": [vectors(3, 1, DIM)]})
        )  # what is imported for this, no process has to import again
        for first, count in rounds.numbers(args, BATCH):
            kind, result = rounds.child(batch, args.seed, first, count, path, at, seconds=1000)
            with rounds.named_round(seed=args.seed, first=int.from_bytes(at[:8], "little"), rounds=1):
                assert kind == "result", f"{kind} {result}"
            seen.update(result)
    table = [[what, f"{count:,}"] for what, count in sorted(seen.items())]
    table += [["wrong, crash or hang", "0"], ["all", f"{seen.total():,}"]]
    rounds.write("fuzz_frames", __doc__, ["what came of it", "frames, options, indexes"], table, args)


if __name__ == "__main__":
    main()
