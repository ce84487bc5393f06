"""Queries, results and an index for all transformers; whether two frames hold the same."""

import pandas as pd

import pyterrier_lir as lir

ENCODER = lir.ToyEncoder()
INDEX = lir.LirIndex.example()

QUERIES = pd.DataFrame({"qid": ["1", "2", "3"], "query": ["bread dough", "a day", "bread dough"]})
ENCODED = ENCODER(QUERIES)
STATS = INDEX.token_stats()
GRAPH = INDEX.corpus_graph(k=2)
RESULTS = QUERIES.merge(pd.DataFrame({"docno": INDEX.docnos}), how="cross").assign(
    text="fresh bread", score=1.0, rank=0
)
ENCODED_RESULTS = ENCODER.query_encoder()(RESULTS)


def same(a, b):
    """Two frames hold the same, but for times; matrices are compared by value."""
    times = [column for column in a.columns if column.endswith("_ms")]
    pd.testing.assert_frame_equal(a.drop(columns=times), b.drop(columns=times))
