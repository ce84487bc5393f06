"""How much of the score comes from the same tokens, and how much from similar ones.

Wang, Macdonald, Tonellotto, Ounis: Reproducibility, Replicability, and Insights into Dense Multi-Representation
Retrieval
Models: from ColBERT to Col*. SIGIR 2023.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from pyterrier_lir import arguments, columns

NEEDED = ("qid", columns.QUERY_TOK_IDS, "match_share", "match_exact")


def match_proportions(explained: pd.DataFrame, *, depth: int = 10, ignore: Collection[int] = ()) -> pd.DataFrame:
    """The exact and the semantic match proportion of each query, the mean over its best documents.

    ``exact = sum over exact matches of w_i s_i / sum over all rows of w_i s_i``, where a negative similarity counts
    as 0, and ``semantic = 1 - exact``. A document without positive similarities does not count.

    Args:
        explained: What ``index.explain()`` or ``encoder.explain()`` gives.
        depth: Documents of a query that are looked at, by ``rank``.
        ignore: Token ids of query rows that do not count: BERT's 101, 102 and 103 are [CLS], [SEP] and [MASK].

    Returns:
        One row per query with ``qid``, ``exact`` and ``semantic``, both in [0, 1] or NaN where no document counts.
        ``.mean(numeric_only=True)`` is the measure of a system.

    Raises:
        ValueError: If the frame was not explained, or ``depth`` is no positive number.
    """
    missing = [name for name in (*NEEDED, "rank") if name not in explained.columns]
    if missing:
        raise ValueError(
            f"the frame has no {missing[0]}, only {list(explained.columns)}; expected an explained ranking: "
            "(pipeline >> index.explain())(topics)."
        )
    arguments.check_counts(depth=depth)
    best = explained[explained.groupby("qid")["rank"].rank(method="first") <= depth]
    cells = zip(best[columns.QUERY_TOK_IDS], best["match_share"], best["match_exact"], strict=True)
    exact = [_exact(tok_ids, shares, same, ignore) for tok_ids, shares, same in cells]
    rows = pd.DataFrame({"qid": best["qid"].to_numpy(), "exact": np.array(exact, dtype=float)})
    out = rows.groupby("qid", sort=False, as_index=False).mean()
    return out.assign(semantic=1 - out["exact"])


def _exact(tok_ids: Any, shares: Any, exact: Any, ignore: Collection[int]) -> float:
    counted = np.where(np.isin(tok_ids, list(ignore)), 0, np.maximum(shares, 0))
    return float(counted[exact].sum() / counted.sum()) if counted.sum() > 0 else np.nan
