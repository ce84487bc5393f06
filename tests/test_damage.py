"""Damaged indexes and hostile ones: refused when opened or verified; a search may rank wrongly, but never crashes."""

import hashlib
import json
import multiprocessing
import os
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_change import named
from test_compress import clustered

import pyterrier_lir as lir

PACKAGE = Path(lir.__file__).parent
TOPICS = pd.DataFrame({
    "qid": ["1", "2"],
    "query_embs": [clustered(n, seed=n) for n in (3, 20)],
    "query_tok_ids": [np.arange(3, dtype=np.int32), np.arange(20, dtype=np.int32)],
})  # fmt: skip
OPTIONS = [{}, {"keep_embs": True, "nbits": 2, "codec": "quantile"}]
DTYPES = {"u8": "u1", "utf8": "u1", "i8": "i1", "u16": "<u2", "f16": "<f2", "f32": "<f4", "i32": "<i4", "u32": "<u4",
          "i64": "<i8", "faiss": "u1"}  # fmt: skip
SECONDS = 60  # more than a search takes on a machine that is busy
MEGABYTES = 4096  # of address space, on top of what the parent has


def dtype(path):
    return np.dtype(DTYPES[path.name.rsplit(".", 1)[1]])


def one(**options):
    return {"num_results": 10, "num_threads": 1, **options}


def uses(index):
    """All that can be done with an index, by name; what changes it comes last."""
    ranking = TOPICS.merge(pd.DataFrame({"docno": [f"d{i}" for i in range(12)]}), how="cross")
    ranking = ranking.assign(score=1.0, rank=ranking.groupby("qid").cumcount())
    graph = index.corpus_graph(k=4, rows=4)
    new = list(named("new", 3, 5))
    return {
        "exhaustive": lambda: index.exhaustive(**one())(TOPICS),
        "exhaustive, some": lambda: index.exhaustive(**one(docnos=["d2", "d9"]))(TOPICS),
        "plaid": lambda: index.plaid(**one(threshold_quantile=0.5))(TOPICS),
        "plaid candidates": lambda: index.plaid_candidates(num_threads=1)(TOPICS),
        "centroid maxsim": lambda: index.centroid_maxsim(num_threads=1)(ranking),
        "warp": lambda: index.warp(**one())(TOPICS),
        "warp, groups": lambda: index.warp(**one(groups=1, nprobe=4))(TOPICS),
        "xtr": lambda: index.xtr(**one(token_k=50))(TOPICS),
        "xtr, cells": lambda: index.xtr(**one(nprobe=8))(TOPICS),
        "xtr scorer": lambda: index.xtr_scorer(num_threads=1)(ranking),
        "muvera": lambda: index.muvera(**one(reps=2, k_sim=3))(TOPICS),
        "hnsw": lambda: index.muvera(**one(ann="hnsw", reps=2, k_sim=3))(TOPICS),
        "hnsw, some": lambda: index.muvera(**one(ann="hnsw", reps=2, k_sim=3, docnos=["d2", "d9"]))(TOPICS),
        "maxsim": lambda: index.maxsim(num_threads=1)(ranking),
        "early exit": lambda: index.early_exit_maxsim(2, num_threads=1)(ranking),
        "loader": lambda: index.embs_loader()(ranking),
        "explain": lambda: index.explain()(ranking),
        "prf": lambda: index.colbert_prf(clusters=4, fb_embs=2)(ranking),
        "pruning": lambda: index.query_pruning(keep=2)(TOPICS),
        "neighbours": lambda: [graph.neighbours(docno) for docno in ("d2", "d9")],
        "ladr": lambda: index.ladr(graph, num_threads=1)(ranking),
        "token stats": lambda: index.token_stats().most_frequent(5),
        "info": lambda: str(index.info()),
        "corpus": lambda: list(index.get_corpus_iter()),
        "add": lambda: index.add(new, num_threads=1, verbose=False),
        "delete": lambda: index.delete(["d9"]),
        "compact": lambda: index.compact(),
        "update": lambda: index.update(new, num_threads=1, verbose=False),
    }


def in_child(path, pipe):
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (MEGABYTES << 20),) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    seen = {}
    index = lir.LirIndex(path)
    for name, use in uses(index).items():
        pipe.send(name)
        try:
            use()
            seen[name] = None
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    pipe.send(seen)


def _address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def outcomes(path):
    """What each use came to in a process of its own: None for a result, or the error; fails if the process does."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=in_child, args=(path, writer))
    process.start()
    writer.close()
    last = "nothing"
    try:
        while reader.poll(SECONDS):
            last = reader.recv()
            if isinstance(last, dict):
                return last
        pytest.fail(f"{last} hangs")
    except EOFError:
        process.join()
        pytest.fail(f"{last} ended the process with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(path):
    """What someone does who forges an index: all sizes and checksums agree again."""
    meta = {f: json.loads(f.read_text()) for f in path.rglob("*.json") if f.name != "parameters.json"}
    small = {}
    for kind in ("segment.json", "codec.json", "derived.json", "pt_meta.json"):  # in the order of who names whom
        for file in (f for f in meta if f.name == kind):
            found = meta[file]
            if kind == "pt_meta.json":
                found.pop("checksum", None)
                found["sha256"] = {name: sha256(path / name) for name in found["sha256"] if (path / name).is_file()}
                found["checksum"] = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
            else:
                for name in found["files"]:
                    if (file.parent / name).is_file():
                        found["files"][name] = {"bytes": (file.parent / name).stat().st_size,
                                                "sha256": sha256(file.parent / name)}  # fmt: skip
            if kind == "derived.json":
                found["source"] = {name: small.get(name, sha) for name, sha in found["source"].items()}
            file.write_text(json.dumps(found))
            small[str(file.relative_to(path))] = sha256(file)


def bulk(path):
    return sorted(f for f in path.rglob("*") if f.is_file() and f.suffix[1:] in DTYPES and f.stat().st_size)


def extremes(kind, rng, size):
    """Numbers at which careless arithmetic breaks."""
    if kind.kind == "f":
        return rng.choice(np.array([np.nan, np.inf, -np.inf, 0, -1, np.finfo(kind).max, np.finfo(kind).tiny]), size)
    info = np.iinfo(kind)
    few = [info.min, info.max, 0, 1, info.max // 2, *([] if info.min == 0 else [-1, -2])]
    return rng.choice(np.array(few, dtype=kind), size)


def scribble(file, rng):
    """Overwrites some bytes, some numbers, a whole array; or mixes it. The size stays."""
    values = np.fromfile(file, dtype=dtype(file))
    how = rng.integers(6)
    with np.errstate(all="ignore"):
        if how == 0:
            raw = values.view("u1")
            raw[rng.integers(0, len(raw), rng.integers(1, 9))] ^= np.uint8(rng.integers(1, 256))
        elif how == 1:
            where = rng.integers(0, len(values), max(1, len(values) // 20))
            values[where] = extremes(values.dtype, rng, len(where))
        elif how == 2:
            values[:] = extremes(values.dtype, rng, 1)
        elif how == 3:
            values[:] = extremes(values.dtype, rng, len(values))
        elif how == 4:
            rng.shuffle(values)
        else:
            values.view("u1")[:] = rng.integers(0, 256, values.nbytes, dtype=np.uint8)
    values.tofile(file)
    return f"{file.name} {how}"


STRANGE = [None, True, -1, 0, 1, 3, 1 << 31, 1 << 62, 10**30, 0.5, float("nan"), "", "x", "../../x", "/etc/passwd", [],
           {}, ["../x"], {"a": 1}]  # fmt: skip


def places(value):
    """All containers in a JSON value with a key of theirs."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from places(inner)


def forge(file, rng):
    """Changes, drops, moves or renames something in a meta."""
    meta = json.loads(file.read_text())
    found = list(places(meta))
    container, key = found[rng.integers(len(found))]
    how = rng.integers(4)
    if how == 0:
        container[key] = STRANGE[rng.integers(len(STRANGE))]
    elif how == 1 and isinstance(container[key], int) and not isinstance(container[key], bool):
        container[key] += int(rng.choice([-1, 1, 7, -container[key]]))
    elif how == 2 and isinstance(container, dict):
        container[str(rng.choice(["../../x", "codes.i32", "x.u8", "tokens.f16", "nbits"]))] = container.pop(key)
    else:
        del container[key]
    file.write_text(json.dumps(meta))
    return f"{file.name} {key} {how}"


def metas(path):
    return sorted(f for f in path.rglob("*.json") if f.name != "parameters.json")
