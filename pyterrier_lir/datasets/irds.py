"""The embedded collection in ir_datasets' registry, where somebody asks for it."""

from __future__ import annotations

from typing import Any

IRDS_ID = "lir/pydoc"


def register() -> str:
    """Enters the collection into ir_datasets' registry of this process; a second call changes nothing.

    Returns:
        The name for `pt.get_dataset`: ``irds:lir/pydoc``.
    """
    import ir_datasets

    if IRDS_ID not in ir_datasets.registry:
        ir_datasets.registry.register(IRDS_ID, _dataset())
    return f"irds:{IRDS_ID}"


def _dataset() -> Any:
    """The three parts of a dataset as ir_datasets wants them; its base classes are only at hand in here."""
    import ir_datasets
    from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, GenericDoc, GenericQrel, GenericQuery
    from ir_datasets.indices import Docstore

    from pyterrier_lir.datasets.docstrings import collection

    class Store(Docstore):  # type: ignore[misc]
        def get_many_iter(self, doc_ids: Any) -> Any:
            documents = collection().documents
            return (GenericDoc(doc_id, documents[doc_id]) for doc_id in doc_ids if doc_id in documents)

    class Docs(BaseDocs):  # type: ignore[misc]
        def docs_iter(self) -> Any:
            return (GenericDoc(*item) for item in collection().documents.items())

        def docs_count(self) -> int:
            return len(collection().documents)

        def docs_store(self) -> Any:
            return Store(GenericDoc)

        def docs_lang(self) -> str:
            return "en"

    class Queries(BaseQueries):  # type: ignore[misc]
        def queries_iter(self) -> Any:
            return (GenericQuery(*item) for item in collection().queries.items())

        def queries_lang(self) -> str:
            return "en"

    class Qrels(BaseQrels):  # type: ignore[misc]
        def qrels_iter(self) -> Any:
            return (GenericQrel(query_id, query_id, 1) for query_id in collection().queries)

        def qrels_defs(self) -> dict[int, str]:
            return {1: "the document that the summary was taken from"}

    return ir_datasets.Dataset(Docs(), Queries(), Qrels())
