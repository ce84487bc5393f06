"""How good rankings are: beside exact ones, and by judgements."""

from __future__ import annotations

import numpy as np
import pandas as pd
from embedded import Data, Rankings


def overlap(rankings: Rankings, reference: Rankings) -> float:
    """The share of the reference's best ten among the ranking's best ten, over the queries that were answered."""
    shares = [
        len(set(found[:10]) & set(best[:10])) / min(10, len(best))
        for found, best in zip(rankings, reference, strict=False)
    ]
    return float(np.mean(shares))


def judge(data: Data, rankings: Rankings) -> dict[str, float]:
    """nDCG@10 and R@100 of the queries that were answered."""
    import ir_measures
    from ir_measures import R, nDCG

    qids = data.frame["qid"][: len(rankings)]
    run = pd.DataFrame(
        [
            (qid, data.docnos[docid], -rank)
            for qid, found in zip(qids, rankings, strict=True)
            for rank, docid in enumerate(found)
        ],
        columns=["query_id", "doc_id", "score"],
    )
    names = {"qid": "query_id", "docno": "doc_id", "label": "relevance"}
    qrels = data.dataset.qrels.rename(columns=names)
    found = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], qrels[qrels["query_id"].isin(qids)], run)
    return {"nDCG@10": found[nDCG @ 10], "R@100": found[R @ 100]}
