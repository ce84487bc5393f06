"""Static pruning: vectors that matter little are left out of the index, whatever the query.

- ``first``: what comes first in the text stays.
- ``idf``: of each document the tokens that occur in the fewest documents stay: ``idf(t) = ln((N + 1) / (df(t) + 1))``.
- ``stopwords``: the ``tau`` tokens that occur in the most documents go, from all documents (IDF-uniform in the paper).

Acquavia, Macdonald, Tonellotto: Static Pruning for Multi-Representation Dense Retrieval. DocEng 2023.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import arguments, columns
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.reduce.reducer import Reducer

if TYPE_CHECKING:
    from pyterrier_lir.index.token_stats import TokenStats

METHODS = ("first", "idf", "stopwords")


class TokenPruning(Reducer):
    """Leaves out token vectors of a document.

    Expected columns: ``doc_embs``, and ``doc_tok_ids`` but for ``method="first"``. Output: the same columns,
    ``doc_embs`` float32 ``(m', dim)`` with the rows that stay, in their order. A document with rows keeps one at least.
    MaxSim with what is left is never larger.

    Args:
        method: ``"first"``, ``"idf"`` or ``"stopwords"``.
        keep: For ``"first"`` and ``"idf"``: the share of each document's rows that stays, rounded up; 1 keeps all.
        tau: For ``"stopwords"``: how many of the vocabulary's most frequent tokens go; 0 keeps all. The paper's 100
            takes 45 % of MS MARCO.
        stats: For ``"idf"`` and ``"stopwords"``: ``index.token_stats()`` of an index of the collection, or
            ``TokenStats.count`` of its token ids.
        protected: Rows at the beginning that stay: [CLS], and a marker.

    Raises:
        ValueError: If an argument has no meaning, is missing, or does nothing for the method; if it is asked for the
            frequencies of a page's patches.

    Example:
        >>> import pandas as pd
        >>> rows = [[0, 1], [1, 0], [1, 1], [2, 1]]
        >>> document = pd.DataFrame({"docno": ["d"], "doc_embs": [rows]})
        >>> TokenPruning("first", keep=0.5)(document)["doc_embs"][0].tolist()
        [[0.0, 1.0], [1.0, 0.0]]

    .. cite.dblp:: conf/doceng/AcquaviaMT23
    """

    LABEL = "Token Pruning"

    def __init__(
        self,
        method: str,
        *,
        keep: float | None = None,
        tau: int | None = None,
        stats: TokenStats | None = None,
        protected: int = 1,
    ) -> None:
        arguments.check_choice("method", method, METHODS)
        wanted = {"first": {"keep"}, "idf": {"keep", "stats"}, "stopwords": {"tau", "stats"}}[method]
        for name, value in (("keep", keep), ("tau", tau), ("stats", stats)):
            if (value is not None) != (name in wanted):
                state = "is missing" if name in wanted else f"is {value!r}"
                call = ", ".join(_EXAMPLES[argument] for argument in sorted(wanted))
                raise ValueError(f"{name} {state}; expected for this method: TokenPruning({method!r}, {call}).")
        if keep is not None:
            arguments.check_number("keep", keep, sys.float_info.min, 1, "a share of the rows, 0 < keep <= 1")
        arguments.check_counts(0, protected=protected)
        arguments.check_optional_counts(0, tau=tau)
        self.method = method
        self.keep = keep
        self.tau = tau
        self.stats = stats
        self.protected = protected

    def needed(self) -> tuple[str, ...]:
        """Token ids where the method looks at them."""
        return (columns.DOC_EMBS,) if self.method == "first" else (columns.DOC_EMBS, columns.DOC_TOK_IDS)

    def reduce(self, embs: Floats, tok_ids: Ints | None, *beside: Any) -> tuple[Floats, Ints | None]:
        """Prunes one document; see the class."""
        if self.method != "first" and tok_ids is not None and (columns.patch_numbers(tok_ids) >= 0).any():
            raise ValueError(
                f"the document has patches of a page, which are no tokens of a vocabulary; expected words for "
                f"{self.method!r}. Prune pages with BlankPruning, or pool them with GridPooling."
            )
        stay = self._stay(len(embs), tok_ids)
        stay[: max(self.protected, int(not stay.any()))] = True
        return np.ascontiguousarray(embs[stay]), None if tok_ids is None else tok_ids[stay]

    def _stay(self, rows: int, tok_ids: Ints | None) -> npt.NDArray[np.bool_]:
        if self.method == "stopwords":
            assert self.stats is not None
            assert self.tau is not None
            return ~np.isin(columns.needed_ids(tok_ids, columns.DOC_TOK_IDS), self.stats.most_frequent(self.tau))
        assert self.keep is not None
        value = -np.arange(rows, dtype=np.float64)
        if self.method == "idf":
            assert self.stats is not None
            value = self.stats.idf(columns.needed_ids(tok_ids, columns.DOC_TOK_IDS)).astype(np.float64)
            value[: self.protected] = np.inf  # they count among those that stay
        stay = np.zeros(rows, dtype=np.bool_)
        stay[np.argsort(-value, kind="stable")[: int(np.ceil(self.keep * rows))]] = True
        return stay


_EXAMPLES = {"keep": "keep=0.5", "tau": "tau=100", "stats": "stats=index.token_stats()"}
