"""All that can be done with an index, what comes of it in a process of its own, and an index to do it with."""

import multiprocessing
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, named

import pyterrier_lir as lir

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


def in_child(path, only, pipe):
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (MEGABYTES << 20),) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    seen = {}
    index = lir.LirIndex(path)
    for name, use in uses(index).items():
        if only is not None and name not in only:
            continue
        pipe.send(name)
        try:
            use()
            seen[name] = None
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    pipe.send(seen)


def _address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def outcomes(path, only=None):
    """What each use came to in a process of its own: None for a result, or the error; fails if the process does."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=in_child, args=(path, only, writer))
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


def bulk(path):
    return sorted(f for f in path.rglob("*") if f.is_file() and f.suffix[1:] in DTYPES and f.stat().st_size)


def made(path, options):
    """An index with two segments, deleted documents and everything that is derived."""
    index = build(path, named("", 60, 0), **options)
    index.add(named("more", 20, 1), verbose=False)
    index.delete(["d50", "mored3"])
    for name, use in uses(index).items():
        if name not in ("add", "delete", "compact", "update"):
            use()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An index for each of `OPTIONS`, made in a process of its own, as FAISS and a fork do not go together."""
    paths = [tmp_path_factory.mktemp("whole") / "i" for _ in OPTIONS]
    for path, options in zip(paths, OPTIONS, strict=True):
        process = multiprocessing.get_context("fork").Process(target=made, args=(path, options))
        process.start()
        process.join()
        assert process.exitcode == 0
    return paths


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "i")


def files(path, *, small):
    """The files of the index itself."""
    found = sorted(
        f for f in path.rglob("*") if f.is_file() and "derived" not in f.parts and not f.name.startswith(".")
    )
    return [f for f in found if (f.suffix == ".json" or "deleted" in f.parts) == small]
