"""The embedded collection as PyTerrier sees it: a dataset, its text loader, and the provider that finds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.datasets import docstrings
from pyterrier_lir.datasets.visual import DocstringPages
from pyterrier_lir.transformer import LirTransformer


class DocstringDataset(pt.datasets.Dataset):
    """Docstrings of the running Python's standard library; see `pyterrier_lir.datasets.docstrings`.

    Topics have ``qid, query``, qrels ``qid, docno, label``, documents ``docno, text``. A docno is a qualified name
    such as ``json.decoder.JSONDecoder.decode``; it is no part of the text.
    """

    def get_corpus_iter(self, *, verbose: bool = True) -> Iterable[dict[str, Any]]:
        """The documents, in the order of their docnos."""
        documents = docstrings.collection().documents
        records = ({"docno": docno, "text": text} for docno, text in documents.items())
        shown = pt.tqdm(records, desc="lir:pydoc documents", total=len(documents)) if verbose else records
        return pt.utils.GeneratorLen(iter(shown), len(documents))

    def get_corpus_lang(self) -> str:
        """English."""
        return "en"

    def get_topics(self, variant: str | None = None) -> pd.DataFrame:
        """The one-line summaries; a topic's qid is the docno of its document."""
        self._check_variant(variant)
        queries = docstrings.collection().queries
        return pd.DataFrame({"qid": list(queries), "query": list(queries.values())})

    def get_topics_lang(self) -> str:
        """English."""
        return "en"

    def get_qrels(self, variant: str | None = None) -> pd.DataFrame:
        """One relevant document per topic."""
        self._check_variant(variant)
        qids = list(docstrings.collection().queries)
        return pd.DataFrame({"qid": qids, "docno": qids, "label": 1})

    def text_loader(self, fields: Sequence[str] | str = "*", *, verbose: bool = False) -> TextLoader:
        """A transformer that adds the documents' ``text``, as ir_datasets' text loader does.

        Raises:
            ValueError: If another field than ``text`` is asked for.
        """
        wanted = ["text"] if fields == "*" else [fields] if isinstance(fields, str) else list(fields)
        if wanted != ["text"]:
            raise ValueError(f"lir:pydoc has no fields {wanted}; expected 'text' or '*', the only field there is.")
        return TextLoader(self)

    def _check_variant(self, variant: str | None) -> None:
        if variant not in (None, "text"):
            raise ValueError(f"lir:pydoc has no variant {variant!r}; expected none. Leave the variant out.")

    def _describe_component(self, component: str) -> bool | None:
        return True if component in ("topics", "qrels", "corpus") else None

    def __repr__(self) -> str:
        return "DocstringDataset()"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class TextLoader(LirTransformer):
    """Adds the ``text`` of each row's document.

    Expected columns: ``docno``. Adds ``text``.
    """

    LABEL = "Text Loader"

    def __init__(self, dataset: DocstringDataset) -> None:
        self.dataset = dataset

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Looks every docno up.

        Raises:
            KeyError: If a docno is not in the collection.
        """
        with pt.validate.any(inp, context=self) as v:
            v.result_frame()
            v.document_frame()
        documents = docstrings.collection().documents if len(inp) else {}
        unknown = [docno for docno in inp["docno"] if docno not in documents]
        if unknown:
            raise KeyError(
                f"lir:pydoc has no documents {unknown[:3]}; expected its docnos. They depend on the Python version: "
                "index and search the collection with the same Python."
            )
        return inp.assign(text=[documents[docno] for docno in inp["docno"]])

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Rows are loaded one by one: cut first, load what is left."""
        return pt.RankCutoff(k) >> self


_DATASETS: dict[str, type[pt.datasets.Dataset]] = {"pydoc": DocstringDataset, "pages": DocstringPages}


class LirDatasetProvider(pt.datasets.DatasetProvider):
    """Finds ``lir:...`` for `pt.get_dataset`."""

    def get_dataset(self, name: str) -> pt.datasets.Dataset:
        """The dataset of that name, without the prefix.

        Raises:
            KeyError: If there is none.
        """
        if name not in _DATASETS:
            raise KeyError(f"lir:{name} is unknown; expected one of {list(self.list_dataset_names())}.")
        return _DATASETS[name]()

    def list_dataset_names(self) -> Iterable[str]:
        """The names, without the prefix."""
        return list(_DATASETS)


def provider() -> LirDatasetProvider:
    """What the entry point ``lir`` of the group ``pyterrier.dataset_provider`` names."""
    return LirDatasetProvider()
