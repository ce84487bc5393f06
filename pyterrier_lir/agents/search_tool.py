"""A retrieval pipeline as a tool that a language model calls: a schema, a call, a budget, a log."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from copy import copy
from math import isfinite
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.agents.snippets import best_passage
from pyterrier_lir.agents.texts import Texts, best_with_texts
from pyterrier_lir.arguments import check_counts, check_optional_counts

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

DESCRIPTION = (
    "Searches a collection of documents. Gives the best documents for a query, each with the part that fits it."
)
_LOG = ("query", "k", "results", "characters", "search_ms", "snippet_ms", "docnos")


class BudgetError(ValueError):
    """A search that the budget does not allow; the message is fit to be read by the model that asked."""


class SearchTool:
    """Lets an agent search with a pipeline.

    ``tool.schema`` goes to the language model, ``tool.call(arguments)`` answers its call with JSON, and
    ``tool.search(query, k)`` is the same for Python. Every search is written into ``tool.log``, and counts against the
    budget, also one whose results do not fit into it; ``tool.fresh()`` is the same tool with an empty log, for the next
    question.

    A result is a dictionary with ``docno``, ``score`` (None for a document that was not scored), ``rank`` (from 1) and
    ``snippet``: the part of the document's text with the largest MaxSim for the query, read in the context of the whole
    document (see `best_passage`); without an encoder, its beginning.

    Args:
        pipeline: From ``qid``, ``query`` to a ranking; where it gives a column ``text``, no ``texts`` are needed.
        texts: The documents' texts by docno, or a transformer that adds ``text`` to a ranking, such as
            ``dataset.text_loader()``.
        encoder: Chooses snippets; it encodes the documents that are shown, once for every search. None for the
            beginning of each text.
        k: How many results a search gives, where the call does not say.
        max_k: How many a call may ask for.
        snippet_size: Characters of a snippet at most.
        max_searches: The budget: how many searches; None for any number.
        max_characters: The budget: how many characters of snippets in all; None for any number. The search that would
            exceed it gives the best results that still fit.
        name: How the tool is called, for the language model.
        description: What it does, for the language model.

    Raises:
        ValueError: If a number has no meaning.

    Example:
        >>> import pyterrier_lir as lir
        >>> encoder, index = lir.ToyEncoder(), lir.LirIndex.example()
        >>> texts = {"dough": "let the bread dough rest for a day", "bread": "fresh bread needs flour"}
        >>> pipeline = encoder.query_encoder() >> index.plaid(docnos=list(texts))
        >>> tool = lir.SearchTool(pipeline, texts, encoder=encoder, snippet_size=16)
        >>> tool.search("bread dough", k=1)[0]["snippet"]
        'the bread dough'
    """

    def __init__(
        self,
        pipeline: pt.Transformer,
        texts: Texts = None,
        *,
        encoder: Encoder | None = None,
        k: int = 5,
        max_k: int = 50,
        snippet_size: int = 400,
        max_searches: int | None = None,
        max_characters: int | None = None,
        name: str = "search",
        description: str = DESCRIPTION,
    ) -> None:
        check_counts(k=k, max_k=max_k, snippet_size=snippet_size)
        check_optional_counts(0, max_searches=max_searches, max_characters=max_characters)
        if k > max_k:
            raise ValueError(f"k is {k}, max_k {max_k}; expected k to be at most that.")
        self.pipeline = pipeline
        self.texts = texts
        self.encoder = encoder
        self.k = k
        self.max_k = max_k
        self.snippet_size = snippet_size
        self.max_searches = max_searches
        self.max_characters = max_characters
        self.name = name
        self.description = description
        self._log: list[dict[str, Any]] = []

    @property
    def schema(self) -> dict[str, Any]:
        """The tool for a language model: ``name``, ``description`` and ``parameters``, a JSON schema."""
        properties = {
            "query": {"type": "string", "description": "What to search for, in words."},
            "k": {
                "type": "integer", "minimum": 1, "maximum": self.max_k, "default": self.k,
                "description": "How many documents to give.",
            },
        }  # fmt: skip
        parameters = {
            "type": "object", "properties": properties, "required": ["query"], "additionalProperties": False,
        }  # fmt: skip
        return {"name": self.name, "description": self.description, "parameters": parameters}

    def search(self, query: str, k: int | None = None) -> list[dict[str, Any]]:
        """The best documents for a query, with snippets.

        Raises:
            BudgetError: If the budget is used up.
            ValueError: If the query is blank, ``k`` is out of range, or there is no text for a document.
        """
        k = self.k if k is None else k
        self._check(query, k)
        start = time.perf_counter()
        ranking = best_with_texts(self.pipeline, self.texts, query, k)
        middle = time.perf_counter()
        found = self._results(query, ranking)
        results = self._within_budget(found)
        end = time.perf_counter()
        docnos = [result["docno"] for result in results]
        characters = sum(len(result["snippet"]) for result in results)
        times = (1000 * (middle - start), 1000 * (end - middle))
        self._log.append(dict(zip(_LOG, (query, k, len(results), characters, *times, docnos), strict=True)))
        if found and not results:
            raise BudgetError(
                f"What is left of the budget of {self.max_characters} characters does not hold one more result. "
                "Answer with what was found so far."
            )
        return results

    def call(self, arguments: str | Mapping[str, Any]) -> str:
        """Answers a language model's call with JSON: ``{"results": [...]}``, or ``{"error": ...}`` for it to read.

        Args:
            arguments: As the model wrote them: a JSON object, or what it stands for.
        """
        try:
            given = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
            if not isinstance(given, dict) or "query" not in given or set(given) - {"query", "k"}:
                raise ValueError(f"the arguments are {given!r:.200}; expected an object with query and perhaps k.")
            answer: dict[str, Any] = {"results": self.search(**given)}
        except (ValueError, RecursionError) as error:  # the latter of brackets within brackets
            answer = {"error": str(error)}
        return json.dumps(answer, ensure_ascii=False, allow_nan=False)

    @property
    def log(self) -> pd.DataFrame:
        """One row per search: ``query, k, results, characters, search_ms, snippet_ms, docnos``."""
        return pd.DataFrame(self._log, columns=list(_LOG))

    def costs(self) -> dict[str, float]:
        """What the log adds up to: ``searches``, ``results``, ``characters``, ``search_ms``, ``snippet_ms``."""
        sums = {name: sum(entry[name] for entry in self._log) for name in _LOG[2:-1]}
        return {"searches": len(self._log), **sums}

    def fresh(self) -> SearchTool:
        """The same tool with an empty log and its whole budget."""
        tool = copy(self)
        tool._log = []
        return tool

    def __repr__(self) -> str:
        return f"SearchTool({self.pipeline!r}, searches={len(self._log)})"

    def _check(self, query: str, k: int) -> None:
        if not isinstance(query, str) or not query.strip():
            raise ValueError(f"query is {query!r}; expected a text that is not blank.")
        check_counts(k=k)
        if k > self.max_k:
            raise ValueError(f"k is {k}; expected at most {self.max_k}.")
        used = self.costs()
        for name, most in (("searches", self.max_searches), ("characters", self.max_characters)):
            if most is not None and used[name] >= most:
                raise BudgetError(
                    f"The budget of {most} {name} is used up: no more searches. Answer with what was found so far."
                )

    def _results(self, query: str, ranking: pd.DataFrame) -> list[dict[str, Any]]:
        texts = ranking["text"].tolist()
        if self.encoder is None:
            snippets = [text[: self.snippet_size] for text in texts]
        else:
            found = best_passage(self.encoder, query, texts, size=self.snippet_size)
            snippets = [snippet.text for snippet in found]
        pairs = zip(ranking["docno"], ranking["score"], snippets, strict=True)
        return [
            # JSON knows no infinity, which is the score of a document that was not scored
            {"docno": str(docno), "score": float(score) if isfinite(score) else None, "rank": rank, "snippet": snippet}
            for rank, (docno, score, snippet) in enumerate(pairs, start=1)
        ]

    def _within_budget(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.max_characters is None:
            return results
        left = self.max_characters - int(self.costs()["characters"])
        kept = []
        for result in results:
            left -= len(result["snippet"])
            if left < 0:
                break
            kept.append(result)
        return kept
