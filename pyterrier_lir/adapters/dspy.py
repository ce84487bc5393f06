"""A pipeline as a retriever of DSPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyterrier as pt

from pyterrier_lir.adapters.documents import documents
from pyterrier_lir.agents.texts import Texts
from pyterrier_lir.installing import pip_install

if TYPE_CHECKING:
    from dspy import Prediction


def dspy_retriever(pipeline: pt.Transformer, texts: Texts = None, *, k: int = 3) -> Callable[..., list[Prediction]]:
    """What DSPy calls a retrieval model: ``dspy.configure(rm=dspy_retriever(...))``, and ``dspy.Retrieve`` uses it.

    It is a function of ``query`` and ``k`` that gives predictions with ``long_text``, ``docno``, ``score`` and the rest
    of the metadata; as a function it can be a tool of ``dspy.ReAct`` as well.

    Args:
        pipeline: From ``qid``, ``query`` to a ranking.
        texts: By docno; or a transformer that adds ``text``; None where the pipeline's output has it.
        k: How many documents, where the call does not say.

    Raises:
        ImportError: If dspy is not installed.
        ValueError: When it is asked, if there is no text for a document.
    """
    try:
        from dspy import Prediction
    except ImportError as error:
        raise ImportError(f"a DSPy retriever needs dspy. Run: {pip_install('dspy')}") from error
    default = k

    def search(query: str, k: int | None = None) -> list[Prediction]:
        """Searches a collection of documents."""
        found = documents(pipeline, texts, query, default if k is None else k)
        return [Prediction(long_text=one.text, **one.metadata) for one in found]

    return search
