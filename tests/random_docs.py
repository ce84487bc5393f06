"""Documents of random tokens, and indexes that keep their embeddings."""

import numpy as np

import pyterrier_lir as lir

DIM = 8


def documents(count, *, seed=0, tokens=5, ids=True):
    """``count`` documents with 0 to ``tokens`` tokens."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        embs = rng.standard_normal((int(rng.integers(0, tokens + 1)), DIM)).astype(np.float32)
        record = {"docno": f"d{i}", "doc_embs": embs}
        yield {**record, "doc_tok_ids": np.arange(len(embs), dtype=np.int32)} if ids else record


def build(path, docs, **options):
    return lir.LirIndex(path).indexer(**{"verbose": False, "keep_embs": True, **options}).index(docs)
