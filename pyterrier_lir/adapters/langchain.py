"""A pipeline as a retriever of LangChain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_lir.adapters.documents import documents
from pyterrier_lir.agents.texts import Texts
from pyterrier_lir.installing import pip_install

if TYPE_CHECKING:
    from langchain_core.retrievers import BaseRetriever


def langchain_retriever(pipeline: pt.Transformer, texts: Texts = None, *, k: int = 4) -> BaseRetriever:
    """A LangChain retriever: ``retriever.invoke("a query")`` gives LangChain documents, and it stands in chains.

    A document's ``id`` is its docno; its metadata are ``docno``, ``score``, ``rank`` and the columns with text or
    numbers.

    Args:
        pipeline: From ``qid``, ``query`` to a ranking.
        texts: By docno; or a transformer that adds ``text``; None where the pipeline's output has it.
        k: How many documents.

    Raises:
        ImportError: If langchain-core is not installed.
        ValueError: When it is asked, if there is no text for a document.
    """
    try:
        from langchain_core.documents import Document
        from langchain_core.retrievers import BaseRetriever
    except ImportError as error:
        raise ImportError(
            f"a LangChain retriever needs langchain-core. Run: {pip_install('langchain-core')}"
        ) from error

    class PyTerrierRetriever(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            found = documents(pipeline, texts, query, k)
            return [Document(id=one.docno, page_content=one.text, metadata=one.metadata) for one in found]

    return PyTerrierRetriever()
