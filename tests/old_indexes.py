"""Small indexes as each released version wrote them, and what was found in them then.

``python tests/old_indexes.py`` writes those of this version, where what an index holds has changed; what older versions
wrote stays beside them. Numbers come from hashes rather than from NumPy, whose random streams may change.
"""

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import pyterrier_lir as lir

FOLDER = Path(__file__).parent / "fixtures"
DIM = 16
OPTIONS = {"uniform": {"nbits": 4}, "quantile": {"nbits": 2, "codec": "quantile", "keep_embs": True}}


def unit_vectors(seed, count):
    """Unit vectors, float32 ``(count, DIM)``, from the bytes of a hash."""
    numbers = np.frombuffer(hashlib.shake_256(seed.encode()).digest(2 * DIM * count), "<i2").reshape(count, DIM)
    vectors = numbers.astype(np.float64)
    return (vectors / np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))).astype(np.float32)


def documents(first, last):
    """Documents ``d<first>`` and so on; document i has i % 9 tokens, so that some are empty."""
    for i in range(first, last):
        ids = np.arange(i, i + i % 9, dtype=np.int32) % 30
        yield {"docno": f"d{i}", "doc_embs": unit_vectors(f"d{i}", i % 9), "doc_tok_ids": ids, "doc_encoder": "hash"}


def topics():
    rows = {"short": 3, "long": 20}
    return pd.DataFrame({"qid": list(rows), "query_embs": [unit_vectors(qid, n) for qid, n in rows.items()],
                         "query_encoder": "hash"})  # fmt: skip


def write(path, options):
    """Three segments, deleted documents in two of them, and the tokens that WARP derives."""
    index = lir.LirIndex(path)
    index.indexer(verbose=False, num_threads=1, **options).index(documents(0, 60))
    index.add(documents(60, 75), num_threads=1, verbose=False)
    index.delete(["d7", "d62"])
    index.add(documents(75, 80), num_threads=1, verbose=False)
    index.warp(num_threads=1)(topics())
    for lock in path.rglob(".*.lock"):
        lock.unlink()


def rankings(index):
    """One line for each of the first five documents of each search: search, query, docno, score."""
    searches = {"exhaustive": {}, "plaid": {"nprobe": 4, "ndocs": 32}, "warp": {"nprobe": 4}, "xtr": {"token_k": 60},
                "muvera": {"reps": 4, "k_sim": 3}}  # fmt: skip
    for name, options in searches.items():
        found = getattr(index, name)(num_results=5, num_threads=1, **options)(topics())
        for row in found.itertuples():
            yield f"{name} {row.qid} {row.docno} {row.score:.6f}"


if __name__ == "__main__":
    version = ".".join(lir.__version__.split(".")[:2])
    for name, options in OPTIONS.items():
        path = FOLDER / f"index-{version}-{name}.lir"
        if path.exists():
            sys.exit(f"{path} exists; expected none. Remove it only if {version} was not released yet.")
        path.parent.mkdir(exist_ok=True)
        write(path, options)
        with tempfile.TemporaryDirectory() as folder:  # as a search may derive more
            found = rankings(lir.LirIndex(shutil.copytree(path, Path(folder) / "copy")))
            path.with_suffix(".txt").write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
