"""A slot for what rewrites queries: a language model, an agent's thoughts, any function from text to text.

Su et al.: BRIGHT. ICLR 2025; Shao et al.: ReasonIR. 2025: queries that need reasoning are searched by what a language
model has thought about them, alone or beside the query.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
import pyterrier as pt

from pyterrier_lir import frames
from pyterrier_lir.transformer import LirTransformer

_FIELD = re.compile(r"\{(\w+)\}")


class QueryRewrite(LirTransformer):
    """Replaces the query by a text made of it, of what a function says of it, and of other columns.

    Expected columns: ``qid``, ``query``, and those that the template names. Output: all rows and columns; ``query`` is
    the new query, ``query_0`` the old one, as everywhere in PyTerrier, so that ``pt.model.pop_queries`` finds it.

    ``QueryRewrite(llm) >> encoder.query_encoder() >> index.plaid()`` searches by what a language model wrote;
    ``QueryRewrite(llm, template="{query} {rewrite}")`` keeps the query beside it;
    ``QueryRewrite(template="{trace}")`` searches by an agent's thoughts, which are in a column ``trace``.

    Args:
        rewrite: Takes a query and gives a text; equal queries are rewritten once in a frame. None where the template
            has columns only.
        template: The new query: names of columns in braces, and ``{rewrite}``. None and NaN are blank.

    Raises:
        ValueError: If the template names nothing, or ``{rewrite}`` is there without a function, or the other way round;
            if a rewritten query is no text.
    """

    LABEL = "Query Rewrite"

    def __init__(self, rewrite: Callable[[str], str] | None = None, *, template: str = "{rewrite}") -> None:
        fields = _FIELD.findall(template)
        if not fields:
            raise ValueError(f"template is {template!r}; expected names in braces, such as '{{query}} {{rewrite}}'.")
        if ("rewrite" in fields) != (rewrite is not None):
            raise ValueError(
                f"template is {template!r}, rewrite is {rewrite!r}; expected {{rewrite}} in the template where there "
                "is a function, and only there."
            )
        self.rewrite = rewrite
        self.template = template

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Rewrites the query of each row."""
        fields = [name for name in dict.fromkeys(_FIELD.findall(self.template)) if name != "rewrite"]
        frames.check_columns(inp, self, ["qid", "query", *fields])
        rewritten = {query: self._rewritten(query) for query in dict.fromkeys(inp["query"])} if self.rewrite else {}
        records = inp[list(dict.fromkeys(["query", *fields]))].to_dict("records")
        texts = [self._filled({**record, "rewrite": rewritten.get(record["query"])}) for record in records]
        out = pt.model.push_queries(inp.reset_index(drop=True), keep_original=False)
        return out.assign(query=pd.array(texts, dtype="str"))

    def _rewritten(self, query: str) -> str:
        assert self.rewrite is not None
        text = self.rewrite(query)
        if not isinstance(text, str):
            raise ValueError(f"{self.rewrite!r} gave {text!r:.60} for {query!r:.60}; expected a text. Return a string.")
        return text

    def _filled(self, values: dict[str, object]) -> str:
        def value(match: re.Match[str]) -> str:
            found = values[match[1]]
            return "" if found is None or found != found else str(found)

        return _FIELD.sub(value, self.template).strip()
