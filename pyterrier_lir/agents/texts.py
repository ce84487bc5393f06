"""The best documents for one query, with their texts: what every hand-over to a language model begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import pandas as pd
import pyterrier as pt

# The texts by docno; a transformer that adds `text`; or None, where the pipeline gives them.
Texts: TypeAlias = Mapping[str, str] | Any | None


def best_with_texts(pipeline: pt.Transformer, texts: Texts, query: str, k: int) -> pd.DataFrame:
    """The ``k`` best documents for a query, with a column ``text``; blank where a document has none.

    Args:
        pipeline: From ``qid``, ``query`` to a ranking.
        texts: By docno; or a transformer that adds ``text``; None where the pipeline's output has it.
        query: What is searched for.
        k: How many documents.

    Raises:
        ValueError: If there is no text for a document.
    """
    found = pipeline.transform(pd.DataFrame({"qid": ["1"], "query": [query]}))
    best = found.sort_values("rank", kind="stable").head(k).reset_index(drop=True)
    if isinstance(texts, pt.Transformer):
        best = texts.transform(best).sort_values("rank", kind="stable").reset_index(drop=True)
    elif texts is not None:
        unknown = [docno for docno in best["docno"] if docno not in texts]
        if unknown:
            raise ValueError(f"There is no text for {unknown[:3]}; expected one for every document that is found.")
        best = best.assign(text=[texts[docno] for docno in best["docno"]])
    if "text" not in best.columns:
        raise ValueError(
            "The pipeline gives no text; expected a column text, or texts=: a dictionary from docno to text, or "
            "dataset.text_loader()."
        )
    return best.assign(text=[text if isinstance(text, str) else "" for text in best["text"]])
