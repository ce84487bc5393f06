"""Little corpora of clustered vectors, indexes of them, and the bytes of these."""

import numpy as np

import pyterrier_lir as lir

DIM = 16


def clustered(count, dim=DIM, *, topics=50, noise=0.5, seed=0):
    """Unit vectors near some topics."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((topics, dim))[rng.integers(0, topics, count)]
    points += noise * rng.standard_normal((count, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def documents(count, *, dim=DIM, longest=12, seed=0):
    """Documents of 0 to ``longest`` clustered tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, count)
    tokens = clustered(int(lengths.sum()), dim, seed=seed)
    for i, embs in enumerate(np.split(tokens, np.cumsum(lengths)[:-1])):
        yield {"docno": f"d{i}", "doc_embs": embs}


def build(path, docs, **options):
    return lir.LirIndex(path).indexer(**{"verbose": False, **options}).index(docs)


def tree(path):
    """Every file below a folder with its content."""
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def named(prefix, count, seed):
    """Documents with token ids and names of their own."""
    rng = np.random.default_rng(seed)
    for record in documents(count, seed=seed):
        ids = rng.integers(0, 30, len(record["doc_embs"]))
        yield {**record, "docno": f"{prefix}{record['docno']}", "doc_tok_ids": ids}
