"""Searches of every kind for three queries, and what an index holds."""

import pandas as pd
from corpora import clustered

TOPICS = pd.DataFrame({"qid": ["1", "2", "3"], "query_embs": [clustered(n, seed=n) for n in (3, 6, 20)]})
SEARCHES = {
    "exhaustive": {},
    "plaid": {},
    "warp": {},
    "warp paper": {"preset": "paper"},
    "xtr": {"token_k": 50},
    "xtr cells": {"nprobe": 8},
    "muvera": {"reps": 4},
}
OPTIONS = [{}, {"keep_embs": True}, {"nbits": 2, "codec": "quantile"}, {"nbits": 8}]


def search(index, name, **options):
    return getattr(index, name.split()[0])(num_results=40, **SEARCHES[name], **options)(TOPICS)


def everything(index):
    """All documents with what is scored of them."""
    return [(r["docno"], r["doc_embs"].tobytes(), r["doc_tok_ids"].tobytes()) for r in index.get_corpus_iter()]


def segments(index):
    return len(index.store.segments)
