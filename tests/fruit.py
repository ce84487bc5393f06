"""Documents about fruit, an index of them, and a system that finds the first."""

import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir

FRUIT = ["apple", "pear", "plum", "fig", "lime", "kiwi", "melon", "grape"]


@pytest.fixture(scope="module")
def fruit(tmp_path_factory):
    """Document i names fruit i and, twice, its neighbour; query i asks for fruit i, and document i is relevant."""
    encoder, index = lir.ToyEncoder(dim=64), lir.LirIndex(tmp_path_factory.mktemp("fruit") / "fruit.lir")
    pairs = list(zip(FRUIT, FRUIT[1:] + FRUIT[:1], strict=True))
    corpus = [{"docno": f"d{i}", "text": f"{one} {other} {other}"} for i, (one, other) in enumerate(pairs)]
    (encoder >> index.indexer(verbose=False)).index(corpus)
    topics = pd.DataFrame({"qid": [f"q{i}" for i in range(8)], "query": [" ".join(pair) for pair in pairs]})
    qrels = pd.DataFrame({"qid": topics["qid"], "docno": [f"d{i}" for i in range(8)], "label": 1})
    return encoder, index, topics, qrels


class First(pt.Transformer):
    """Takes plain queries; gives one document for all."""

    def __init__(self, docno="d0"):
        self.docno = docno
        self.columns = []

    def transform(self, inp):
        pt.validate.query_frame(inp, ["query"])
        if len(inp):
            self.columns.append(list(inp.columns))
        return inp[["qid", "query"]].assign(docno=self.docno, score=1.0, rank=0)
