"""What the benchmarks of methods share: cached embeddings with token ids, indexes of them, quality and time.

The embeddings are those of ``benchmarks/engines.py``. Token ids come from the tokenizer alone, without the model.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from embedded import CACHE, DATASETS, Data, Dataset
from mdtable import markdown
from pyterrier.measures import AP, R, nDCG

import pyterrier_lir as lir
from pyterrier_lir.encode import checkpoint
from pyterrier_lir.experiment import environment
from pyterrier_lir.experiment.first_stage import bm25
from pyterrier_lir.experiment.timing import run_timed

RESULTS = Path(__file__).parent / "results"
MEASURES = [nDCG @ 10, R @ 100, AP]
BY_NAME = {dataset.name: dataset for dataset in DATASETS}


class Collection:
    """A collection with its embeddings, token ids, topics and judgements.

    Args:
        dataset: One of `BY_NAME`.
        num_queries: Use the first so many only.
    """

    def __init__(self, dataset: Dataset, num_queries: int | None = None) -> None:
        self.dataset, self.data = dataset, Data(dataset, num_queries)
        ids = self._tok_ids(self.data.frame["query"].tolist(), checkpoint.MINILM_QUERY_LENGTH)
        lengths = self.data.frame["query_embs"].map(len).tolist()
        if lengths != list(map(len, ids)):
            raise ValueError("the token ids of the queries do not fit their embeddings; encode them again")
        self.topics = self.data.frame.assign(query_tok_ids=ids)

    @cached_property
    def encoder(self) -> lir.LateInteractionEncoder:
        return lir.LateInteractionEncoder("minilm", dim=128, text_field=self.dataset.text_field)

    @cached_property
    def texts(self) -> pd.DataFrame:
        corpus = self.dataset.corpus()
        texts = self.encoder.document_texts(pd.DataFrame(corpus))
        return pd.DataFrame({"docno": [document["docno"] for document in corpus], "text": texts})

    @cached_property
    def doc_tok_ids(self) -> list[np.ndarray]:
        ids = self._tok_ids(self.texts["text"].tolist(), checkpoint.MINILM_DOCUMENT_LENGTH)
        if np.diff(self.data.offsets).tolist() != list(map(len, ids)):
            raise ValueError("the token ids of the documents do not fit their embeddings; encode them again")
        return ids

    def records(self) -> Iterator[dict[str, Any]]:
        """The documents with embeddings and token ids."""
        for i, docno in enumerate(self.data.docnos):
            rows = slice(self.data.offsets[i], self.data.offsets[i + 1])
            embs = self.data.docs[rows].astype(np.float32)
            yield {"docno": docno, "doc_embs": embs, "doc_tok_ids": self.doc_tok_ids[i]}

    def index(self, path: Path, reduction: pt.Transformer | None = None) -> lir.LirIndex:
        """Indexes the documents with 4 bits, reduced or not."""
        indexer = lir.LirIndex(path).indexer(mode="overwrite", verbose=False)
        return (indexer if reduction is None else reduction >> indexer).index(self.records())

    def bm25(self, num_results: int) -> pt.Transformer:
        return bm25(self.texts.to_dict("records"), CACHE.parent / "bm25" / self.dataset.name, num_results)

    def _tok_ids(self, texts: list[str], length: int) -> list[np.ndarray]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(checkpoint.minilm_folder()))
        filled = [text.strip() for text in texts]
        ids = tokenizer(filled, truncation=True, max_length=length)["input_ids"]
        return [np.array(found if text else [], np.int32) for found, text in zip(ids, filled, strict=True)]


def timed(system: pt.Transformer, topics: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """The results of single queries, and the median of their milliseconds."""
    out, times = run_timed(system, topics, name="queries")
    return out, statistics.median(times.tolist())


def compared(results: dict[str, pd.DataFrame], collection: Collection) -> pd.DataFrame:
    """The measures of each system, and the chance of its difference from the first one (paired t-test, Holm)."""
    kept = {name: frame[["qid", "docno", "score", "rank"]] for name, frame in results.items()}
    topics, qrels = collection.topics[["qid", "query"]], collection.dataset.qrels
    table = pt.Experiment(kept, topics, qrels, MEASURES, baseline=0, correction="holm", validate="ignore")
    return table.set_index("name")


def shown(table: pd.DataFrame, name: str, measure: Any) -> str:
    """A measure with its chance: ``0.512 (p .031)``."""
    p = table.loc[name].get(f"{measure} p-value corrected")
    value = f"{table.loc[name, str(measure)]:.3f}"
    if p is None or pd.isna(p):
        return value
    return f"{value} (p < 0.001)" if p < 0.001 else f"{value} (p {p:.3f})"


def header(
    title: str, notes: list[str], num_queries: int | None, times: str = "ms: median of single queries, 1 thread"
) -> list[str]:
    """The machine, the software, what was measured, and what the times are."""
    here = environment.describe()
    processor, found = here["processor"], here["versions"]
    ours = ", ".join(f"{name} {found[name]}" for name in ("pyterrier-lir", "pyterrier", "numpy") if name in found)
    queries = "all queries" if num_queries is None else f"the first {num_queries} queries: a quick look, not a result"
    return [
        f"# {title}", "",
        f"- {processor['model']}, {processor['cores']} cores, {here['memory_gb']} GB; load at the start "
        f"{os.getloadavg()[0]:.1f}; {ours}, Python {here['python']}, kernels `{here['kernels']}`.",
        "- all-MiniLM-L6-v2 with 128 dimensions, never trained for late interaction; indexes of 4 bits. scifact-2k: "
        "2,000 documents of SciFact, all relevant ones and then in collection order. "
        f"{queries[0].upper()}{queries[1:]}; {times}.",
        *(f"- {note}" for note in notes), "",
    ]  # fmt: skip


__all__ = ["BY_NAME", "MEASURES", "RESULTS", "Collection", "compared", "header", "markdown", "shown", "timed"]
