"""Collections with their embeddings, encoded once by the packaged model and kept in ``benchmarks/.cache/engines``."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

import pyterrier_lir as lir
from pyterrier_lir import kernels

CACHE = Path(__file__).parent / ".cache" / "engines"
Rankings = list[list[int]]


@dataclass(frozen=True)
class Dataset:
    """A collection: its name in PyTerrier, the fields of a document's text, how many documents to keep (None: all)."""

    name: str
    source: str
    text_field: tuple[str, ...]
    num_docs: int | None = None

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    @cached_property
    def _dataset(self) -> Any:
        return pt.get_dataset(self.source)

    @cached_property
    def topics(self) -> pd.DataFrame:
        with contextlib.redirect_stdout(io.StringIO()):  # ir_datasets lists the fields that it has
            found = self._dataset.get_topics()
        name = "query" if "query" in found.columns else "text"
        return found[["qid", name]].set_axis(["qid", "query"], axis=1)

    @cached_property
    def qrels(self) -> pd.DataFrame:
        return self._dataset.get_qrels()[["qid", "docno", "label"]]

    def corpus(self) -> list[dict[str, str]]:
        """The documents: all relevant ones, filled up in collection order, in collection order."""
        documents = list(self._dataset.get_corpus_iter(verbose=False))
        if self.num_docs is None:
            return documents
        relevant = set(self.qrels[self.qrels["label"] > 0]["docno"])
        missing = self.num_docs - sum(document["docno"] in relevant for document in documents)
        kept = []
        for document in documents:
            if document["docno"] in relevant or missing > 0:
                kept.append(document)
                missing -= document["docno"] not in relevant
        return kept


DATASETS = [
    Dataset("scifact-2k", "irds:beir/scifact/test", ("title", "text"), 2000),
    Dataset("vaswani", "irds:vaswani", ("text",)),
]


class Data:
    """The embeddings of a collection, from the cache or encoded now.

    Attributes:
        docs: float16 rows; ``offsets`` says where the rows of each document begin.
        frame: ``qid``, ``query`` and ``query_embs``.
    """

    def __init__(self, dataset: Dataset, num_queries: int | None = None) -> None:
        self.dataset, self.folder = dataset, dataset.folder
        if not (self.folder / "docnos.json").exists():
            encode(dataset)
        self.docs, self.offsets = np.load(self.folder / "docs.npy"), np.load(self.folder / "docs_offsets.npy")
        self.docnos = json.loads((self.folder / "docnos.json").read_text())
        queries = np.load(self.folder / "queries.npy").astype(np.float32)
        bounds = np.load(self.folder / "queries_offsets.npy")
        embs = [queries[start:end] for start, end in pairwise(bounds)]
        self.frame = dataset.topics.assign(query_embs=embs)[:num_queries]

    @cached_property
    def exact(self) -> Rankings:
        """The best ten of each query by exact MaxSim in float32."""
        tokens = self.docs.astype(np.float32)
        return [
            kernels.top_k(kernels.maxsim(query, tokens, self.offsets, num_threads=2), 10).tolist()
            for query in self.frame["query_embs"]
        ]


def encode(dataset: Dataset) -> None:
    """Encodes documents and queries into the cache."""
    encoder = lir.LateInteractionEncoder("minilm", dim=128, text_field=dataset.text_field, verbose=True)
    corpus = dataset.corpus()
    texts = encoder.document_texts(pd.DataFrame(corpus))
    store(dataset, "queries", [one.embs for one in encoder.encode_queries(dataset.topics["query"].tolist())])
    store(dataset, "docs", [one.embs for one in encoder.encode_docs(texts)])
    (dataset.folder / "docnos.json").write_text(json.dumps([document["docno"] for document in corpus]))


def store(dataset: Dataset, side: str, matrices: list[np.ndarray]) -> None:
    """Writes embeddings in the form that the workers read."""
    dataset.folder.mkdir(parents=True, exist_ok=True)
    np.save(dataset.folder / f"{side}.npy", np.concatenate(matrices).astype(np.float16))
    np.save(dataset.folder / f"{side}_offsets.npy", np.cumsum([0, *map(len, matrices)]))
