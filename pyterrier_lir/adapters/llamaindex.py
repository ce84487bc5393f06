"""A pipeline as a retriever of LlamaIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyterrier as pt

from pyterrier_lir.adapters.documents import documents
from pyterrier_lir.agents.texts import Texts
from pyterrier_lir.installing import pip_install

if TYPE_CHECKING:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle


def llamaindex_retriever(pipeline: pt.Transformer, texts: Texts = None, *, k: int = 4) -> BaseRetriever:
    """A LlamaIndex retriever: ``retriever.retrieve("a query")`` gives nodes with scores, and query engines take it.

    A node's id is its docno; its metadata are ``docno``, ``score``, ``rank`` and the columns with text or numbers.
    Language models see the text alone.

    Args:
        pipeline: From ``qid``, ``query`` to a ranking.
        texts: By docno; or a transformer that adds ``text``; None where the pipeline's output has it.
        k: How many documents.

    Raises:
        ImportError: If llama-index-core is not installed.
        ValueError: When it is asked, if there is no text for a document.
    """
    try:
        from llama_index.core.retrievers import BaseRetriever
        from llama_index.core.schema import NodeWithScore, TextNode
    except ImportError as error:
        raise ImportError(
            f"a LlamaIndex retriever needs llama-index-core. Run: {pip_install('llama-index-core')}"
        ) from error

    class PyTerrierRetriever(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            nodes = []
            for one in documents(pipeline, texts, query_bundle.query_str, k):
                hidden = list(one.metadata)
                node = TextNode(id_=one.docno, text=one.text, metadata=one.metadata, excluded_llm_metadata_keys=hidden)
                nodes.append(NodeWithScore(node=node, score=one.score))
            return nodes

    return PyTerrierRetriever()
