"""On a cold disk a search reads what it needs, not what lies around it."""

import gc
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir import kernels

DIM, DOCUMENTS, LENGTH = 128, 2400, 50
MEGABYTES = 7.7  # of packed levels; what is read otherwise is at least 128 KB around every document or cell


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("cold") / "index.lir"
    embs = rng.standard_normal((DOCUMENTS, LENGTH, DIM), dtype=np.float32)
    embs /= np.linalg.norm(embs, axis=2, keepdims=True)
    index = lir.LirIndex(path)
    index.indexer(centroids=1024, verbose=False).index({"docno": str(i), "doc_embs": x} for i, x in enumerate(embs))
    index.warp(num_results=5)(_query())  # sorts the tokens by cell
    return path


def _query() -> pd.DataFrame:
    embs = np.random.default_rng(1).standard_normal((8, DIM), dtype=np.float32)
    return pd.DataFrame([{"qid": "1", "query": "", "query_embs": embs / np.linalg.norm(embs, axis=1, keepdims=True)}])


def _evict(path: Path) -> None:
    gc.collect()  # what is mapped stays
    for file in path.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read() -> float:
    """Megabytes that this process has had from the disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"]) / 1e6


def _search(path: Path, method: str) -> None:
    index, query = lir.LirIndex(path), _query()
    if method == "warp":
        index.warp(num_results=5, nprobe=4, num_threads=1)(query)
    elif method == "plaid":
        index.plaid(num_results=5, ndocs=200, num_threads=1)(query)
    else:
        candidates = query.merge(pd.DataFrame({"docno": [str(i) for i in range(0, DOCUMENTS, 48)]}), how="cross")
        index.maxsim(num_threads=1)(candidates)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux says what was read")
@pytest.mark.skipif(not kernels.compiled(), reason="nothing is compiled: NumPy asks for nothing ahead")
@pytest.mark.parametrize("method", ["warp", "plaid", "maxsim"])
def test_reads_what_it_needs(path: Path, method: str) -> None:
    residuals = next(path.glob("segments/*/residuals.u8"))
    _evict(path)
    before = _read()
    residuals.read_bytes()
    if _read() == before:
        pytest.skip("pages of the temporary folder cannot be dropped; it lies in memory")
    _evict(path)
    before = _read()
    _search(path, method)
    # 50 documents or 32 cells of 3 to 8 KB in pages of 4 KB, their codes and norms; the codec; lists of documents
    assert 0 < _read() - before < 3
