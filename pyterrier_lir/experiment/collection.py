"""Any PyTerrier dataset in one shape: topics with ``query``, qrels with ``label``, documents with ``docno, text``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.encode.base import join_fields
from pyterrier_lir.transformer import LirTransformer

_TEXT_FIELDS = ("title", "text")  # in this order, those of them that a dataset has


@dataclass(frozen=True)
class Collection:
    """A dataset, ready for an experiment.

    Attributes:
        name: How the dataset was asked for.
        dataset: The PyTerrier dataset.
        topics: ``qid, query``: those that have judgements.
        qrels: ``qid, docno, label`` for these topics.
        fields: The fields that make a document's text, joined by a blank.
        num_documents: How many documents there are.
        checksum: sha256 over all docnos and texts, in order.
        seed: Of the draw of topics; None where all were taken.
    """

    name: str
    dataset: pt.datasets.Dataset
    topics: pd.DataFrame
    qrels: pd.DataFrame
    fields: tuple[str, ...]
    num_documents: int
    checksum: str
    seed: int | None = None

    def corpus(self) -> Iterator[dict[str, Any]]:
        """The documents as ``docno`` and ``text``."""
        return _documents(self.dataset, self.fields)

    def text_loader(self) -> pt.Transformer:
        """Adds the documents' ``text`` to rows with a ``docno``.

        Raises:
            ValueError: If the dataset cannot look documents up.
        """
        if not hasattr(self.dataset, "text_loader"):
            raise ValueError(
                f"{self.name} has no text_loader; expected one where texts are re-ranked. "
                "Leave text_rerank out, or take the dataset from ir_datasets (--dataset irds:...)."
            )
        loader: pt.Transformer = self.dataset.text_loader(list(self.fields))
        return loader if self.fields == ("text",) else loader >> JoinFields(self.fields)

    @property
    def label(self) -> str:
        """A name for folders: the dataset, and which documents it held."""
        return f"{safe_name(self.name)}-{self.checksum[:8]}"


class JoinFields(LirTransformer):
    """Joins several fields to one ``text``, by a blank; empty ones leave none.

    Expected columns: the fields. Replaces ``text``, drops the other fields.
    """

    LABEL = "Join Fields"

    def __init__(self, fields: Sequence[str]) -> None:
        self.fields = tuple(fields)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Joins the fields of each row."""
        pt.validate.columns(inp, includes=list(self.fields), context=self)
        rows = zip(*(inp[field] for field in self.fields), strict=True)
        joined = inp.assign(text=[join_fields(row) for row in rows])
        return joined.drop(columns=[field for field in self.fields if field != "text"])

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are joined one by one: cut first."""
        return pt.RankCutoff(k) >> self


def open_collection(
    name: str,
    *,
    dataset: pt.datasets.Dataset | None = None,
    fields: Sequence[str] | None = None,
    num_queries: int | None = None,
    seed: int = 0,
) -> Collection:
    """Opens a dataset and reads its documents once, to count and to identify them.

    Args:
        name: What `pt.get_dataset` understands, such as ``lir:pydoc`` or ``irds:vaswani``.
        dataset: The dataset itself, where PyTerrier does not know it by name.
        fields: The fields that make a document's text; None for ``title`` and ``text``, as far as the first
            document has them, be it as None.
        num_queries: Use so many topics, drawn at random; None for all.
        seed: Of the draw.

    Raises:
        ValueError: If there is no such dataset, or it has no topic with judgements, no text, no documents, or docnos
            with blanks.
    """
    dataset = _dataset(name) if dataset is None else dataset
    topics, qrels = _judged(name, dataset)
    if num_queries is not None:
        if num_queries < 1:
            raise ValueError(f"the number of queries is {num_queries}; expected at least 1.")
        chosen = random.Random(seed).sample(range(len(topics)), min(num_queries, len(topics)))
        topics = topics.iloc[sorted(chosen)].reset_index(drop=True)
        qrels = qrels[qrels["qid"].isin(topics["qid"])].reset_index(drop=True)
    first = next(iter(dataset.get_corpus_iter(verbose=False)), None)
    if first is None:
        raise ValueError(f"{name} has no documents; expected some. Choose another dataset.")
    chosen_fields = _choose_fields(name, first, fields)
    count, checksum = _identify(name, _documents(dataset, chosen_fields))
    return Collection(
        name, dataset, topics, qrels, chosen_fields, count, checksum, None if num_queries is None else seed
    )  # fmt: skip


def _dataset(name: str) -> pt.datasets.Dataset:
    try:
        return pt.get_dataset(name)
    except KeyError as error:
        raise ValueError(
            f"the dataset {name!r} is unknown; expected a name of PyTerrier's, with the prefix of its provider, such "
            f"as lir:pydoc or irds:beir/scifact/test. ({error.args[0]})"
        ) from error


def safe_name(name: str) -> str:
    """The name as part of a path."""
    return "".join(c if c.isalnum() or c in "-_.=" else "-" for c in name).strip("-.") or "unnamed"


def _judged(name: str, dataset: pt.datasets.Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # ir_datasets prints its fields
        topics, qrels = dataset.get_topics(), dataset.get_qrels()
        if "query" not in topics.columns:
            field = next((field for field in ("text", "title") if field in topics.columns), None)
            if field is None:
                raise ValueError(
                    f"{name} has topics with the fields {list(topics.columns)}; expected query, text or title. "
                    "Make a dataset with a query column."
                )
            topics = dataset.get_topics(field)
    topics = topics[["qid", "query"]].astype({"qid": str})
    qrels = qrels[["qid", "docno", "label"]].astype({"qid": str, "docno": str})
    topics = topics[topics["qid"].isin(qrels["qid"])].reset_index(drop=True)
    if not len(topics):
        raise ValueError(
            f"{name} has no topic with judgements; expected at least one. "
            "Some collections keep them in a part, such as irds:beir/scifact/test."
        )
    return topics, qrels[qrels["qid"].isin(topics["qid"])].reset_index(drop=True)


def _choose_fields(name: str, first: dict[str, Any], fields: Sequence[str] | None) -> tuple[str, ...]:
    there = [field for field, value in first.items() if field != "docno" and isinstance(value, str | None)]
    chosen = tuple(fields or [field for field in _TEXT_FIELDS if field in there])
    if not chosen or not set(chosen) <= set(there):
        raise ValueError(
            f"{name} has documents with the text fields {there}; expected {list(fields or _TEXT_FIELDS)}. "
            "Name those to use (--fields)."
        )
    return chosen


def _documents(dataset: pt.datasets.Dataset, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for document in dataset.get_corpus_iter(verbose=False):
        yield {"docno": str(document["docno"]), "text": join_fields(document.get(field) for field in fields)}


def _identify(name: str, documents: Iterator[dict[str, Any]]) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    for document in pt.tqdm(documents, desc=f"reading {name}", unit="doc"):
        docno = document["docno"]
        if not docno or any(c.isspace() for c in docno):
            raise ValueError(f"{name} has the docno {docno!r}; expected one without blanks: TREC runs cannot hold it.")
        digest.update(f"{docno}\0{document['text']}\0".encode())
        count += 1
    return count, digest.hexdigest()
