"""LIMIT: nearly every pair of documents answers some query; what one trained vector makes of that.

    python benchmarks/reproduce/limit.py --limit PATH/TO/limit-small    # the authors' corpus, queries, qrels.jsonl
    python benchmarks/reproduce/limit.py                                # the same construction, made here

One vector for each document is room enough in principle: vectors that are fitted to these judgements, without any text,
answer all queries in a dozen dimensions. Single vectors of trained models fail far above that.

46 persons like about 45 things each. A query asks who likes a thing; exactly two persons do. The things made here are
words of the embedded collection, so they depend on the version of Python. It takes a minute or two and a few megabytes.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt
from kit import Setting, Systems, exhaustive, parser, run
from page import Paper
from pyterrier.measures import R

PEOPLE = (
    "Ada Ben Cora Dan Ella Finn Gina Hugo Iris Jack Kara Liam Mona Nils Olga Paul Rosa Sven Tara Umar Vera Walt Xena "
    "Yuri Zoe Adam Beth Carl Dora Eric Faye Gus Hana Ivan Jane Kurt Lena Marc Nora Otto Pia Ralf Sara Tom Ursa Vito"
).split()
QUERIES = 1000
PAPER = Paper(
    "Weller, Boratko, Naim, Lee: On the Theoretical Limitations of Embedding-Based Retrieval. 2025",
    "",
    {},
    [
        "The paper's figures (arXiv:2508.21038) are not quoted here, for want of a source that we have read.",
        "One vector: the mean of the same token vectors, of documents and queries, in 16 bits; not a model trained for "
        "one vector.",
        "Late interaction, PLAID, WARP and MUVERA read the codes of the index, 4 bits for each dimension by default.",
    ],
)


class Limit(pt.datasets.Dataset):
    """Documents, queries and judgements in memory."""

    def __init__(self, texts: dict[str, str], queries: dict[str, str], relevant: list[tuple[str, str]]) -> None:
        self.texts, self.queries, self.relevant = texts, queries, relevant

    def get_corpus_iter(self, *, verbose: bool = True) -> Iterator[dict[str, Any]]:
        return iter([{"docno": docno, "text": text} for docno, text in self.texts.items()])

    def get_topics(self, variant: str | None = None) -> pd.DataFrame:
        return pd.DataFrame({"qid": list(self.queries), "query": list(self.queries.values())})

    def get_qrels(self, variant: str | None = None) -> pd.DataFrame:
        return pd.DataFrame(self.relevant, columns=["qid", "docno"]).assign(label=1)


def read(folder: Path) -> Limit:
    """The authors' files; blanks in document names become _, for runs cannot hold them."""
    corpus, queries, qrels = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("corpus", "queries", "qrels")
    )
    return Limit(
        {_docno(document["_id"]): document["text"] for document in corpus},
        {query["_id"]: query["text"] for query in queries},
        [(pair["query-id"], _docno(pair["corpus-id"])) for pair in qrels if pair["score"] > 0],
    )


def make(seed: int = 0) -> Limit:
    """The construction: a thing for each of 1,000 of the 1,035 pairs of 46 persons."""
    rng = random.Random(seed)
    pairs = sorted(rng.sample(list(combinations(range(len(PEOPLE)), 2)), QUERIES))
    likes: list[list[str]] = [[] for _ in PEOPLE]
    queries, relevant = {}, []
    for number, (thing, pair) in enumerate(zip(things(QUERIES), pairs, strict=True)):
        queries[f"query_{number}"] = f"Who likes {thing}?"
        for person in pair:
            likes[person].append(thing)
            relevant.append((f"query_{number}", PEOPLE[person]))
    texts = {}
    for person, liked in zip(PEOPLE, likes, strict=True):
        rng.shuffle(liked)
        texts[person] = f"{person} likes {', '.join(liked[:-1])} and {liked[-1]}."
    return Limit(texts, queries, relevant)


def things(count: int) -> list[str]:
    """The most frequent words of the embedded collection: no stop words, no two that begin alike."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    corpus = pt.get_dataset("lir:pydoc").get_corpus_iter(verbose=False)
    words = Counter(word for document in corpus for word in re.findall(r"\b[a-z]{5,}\b", document["text"]))
    chosen: dict[str, str] = {}
    for word, _count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        if word not in ENGLISH_STOP_WORDS:
            chosen.setdefault(word[:4], word)
    if len(chosen) < count:
        raise ValueError(f"the embedded collection has {len(chosen)} words that begin differently; expected {count}.")
    return list(chosen.values())[:count]


def mean(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean of the rows, at unit length, as the only row."""
    one = rows.mean(axis=0, keepdims=True)
    return one / np.linalg.norm(one)


def one_vector(setting: Setting) -> pt.Transformer:
    mean_document = pt.apply.doc_embs(lambda row: mean(row["doc_embs"])) >> pt.apply.doc_tok_ids(drop=True)
    mean_query = pt.apply.query_embs(lambda row: mean(row["query_embs"]))
    index = setting.reduced("one-vector", mean_document, keep_embs=True)
    return mean_query >> index.exhaustive(**setting.threads)


def plaid(setting: Setting) -> pt.Transformer:
    return setting.index.plaid(**setting.threads)


def warp(setting: Setting) -> pt.Transformer:
    return setting.index.warp(**setting.threads)


def muvera(setting: Setting) -> pt.Transformer:
    return setting.index.muvera(**setting.threads)


SYSTEMS: Systems = {
    "BM25": lambda setting: setting.bm25(1000),
    "one vector": one_vector,
    "late interaction": exhaustive,
    "PLAID": plaid,
    "WARP": warp,
    "MUVERA not re-ranked": muvera,
    "MUVERA 10 re-ranked": lambda setting: muvera(setting) % 10 >> setting.index.maxsim(**setting.threads),
}


def main(argv: Sequence[str] | None = None) -> pd.DataFrame:
    made = parser(__file__, __doc__, dataset=None)
    made.add_argument("--limit", type=Path, help="the folder of the authors' data")
    args = made.parse_args(argv)
    if args.dataset:
        raise ValueError(
            f"--dataset is {args.dataset}; expected none, as this kit has its own. Pass --limit, or nothing."
        )
    dataset = read(args.limit) if args.limit else make()
    name = f"LIMIT, {'the small one of the authors' if args.limit else 'made here'}"
    return run(PAPER, SYSTEMS, [R @ 2, R @ 10, R @ 20], args, dataset=dataset, name=name)


def _docno(name: str) -> str:
    return name.replace(" ", "_")


if __name__ == "__main__":
    main()
