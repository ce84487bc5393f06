"""p-MRR: whether a ranking follows when an instruction changes.

Weller et al.: FollowIR: Evaluating and Teaching Information Retrieval Models to Follow Instructions. NAACL 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

BEFORE, AFTER = "-og", "-changed"


def p_mrr() -> Any:
    r"""Pairwise MRR (FollowIR's p-MRR) as a measure of `pt.Experiment` and ``lir.experiment.measure``.

    Every query is asked twice: as ``q-og`` with the original instruction, and as ``q-changed`` with one that makes some
    relevant documents irrelevant. For each document that is relevant for ``q-og`` and no longer for ``q-changed``, at
    ranks r and r' (from 1; one behind the last, where it is not retrieved),

    .. math::

       \text{p-MRR} = r' / r - 1 \;\text{ if } r \ge r', \qquad 1 - r / r' \;\text{ else,}

    from -1 (it rose to the top) over 0 (nothing changed) to 1 (it went to the bottom). A query's value is the mean over
    these documents, and both of its halves have it, so that the mean over queries is the mean over pairs. Pairs without
    such documents, and queries with other names, have none.

    Raises:
        ValueError: When it is computed, if one half of a pair has no results, or if there are no pairs at all.

    Example:
        >>> import pyterrier as pt
        >>> qrels = pd.DataFrame({"qid": ["7-og"], "docno": ["d"], "label": [1]})
        >>> run = {"qid": ["7-og"] * 2 + ["7-changed"] * 2, "docno": ["d", "e", "e", "d"]}
        >>> run = pd.DataFrame(run).assign(score=[2.0, 1.0, 2.0, 1.0], rank=[0, 1, 0, 1])
        >>> topics = run[["qid"]].drop_duplicates().assign(query="x")
        >>> pt.Experiment([run], topics, qrels, [p_mrr()])["p-MRR"].tolist()  # from rank 1 to rank 2: 1 - 1/2
        [0.5]
    """
    import ir_measures

    return ir_measures.define(
        _by_query,
        name="p-MRR",
        support_cutoff=False,
        short_desc="How far documents sink that a changed instruction makes irrelevant",
    )


def followed(before: int, after: int) -> float:
    """The value of one document that stood at rank ``before`` and now stands at rank ``after``, from 1.

    Example:
        >>> followed(1, 4), followed(4, 1), followed(3, 3)
        (0.75, -0.75, 0.0)
    """
    return after / before - 1 if before >= after else 1 - before / after


def _by_query(qrels: pd.DataFrame, run: pd.DataFrame) -> Iterator[tuple[str, float]]:
    relevant = qrels[qrels["relevance"] > 0].groupby("query_id")["doc_id"].agg(set).to_dict()
    ranks = {qid: _ranks(frame) for qid, frame in run.groupby("query_id")}
    names = [qid.removesuffix(BEFORE) for qid in relevant if qid.endswith(BEFORE)]
    if not names:
        raise ValueError(f"p-MRR: no query's name ends in {BEFORE!r}; expected pairs q{BEFORE} and q{AFTER}.")
    for name in names:
        changed = sorted(relevant[name + BEFORE] - relevant.get(name + AFTER, set()))
        if not changed:
            continue
        missing = [name + half for half in (BEFORE, AFTER) if name + half not in ranks]
        if missing:
            raise ValueError(f"p-MRR: there are no results for {missing[0]!r}; expected both halves of a pair.")
        first, second = ranks[name + BEFORE], ranks[name + AFTER]
        pairs = ((first.get(docno, len(first) + 1), second.get(docno, len(second) + 1)) for docno in changed)
        values = [followed(before, after) for before, after in pairs]
        for half in (BEFORE, AFTER):
            yield name + half, sum(values) / len(values)


def _ranks(frame: pd.DataFrame) -> dict[str, int]:
    ordered = frame.sort_values("score", ascending=False, kind="stable")["doc_id"]
    return {docno: rank for rank, docno in enumerate(ordered, start=1)}
