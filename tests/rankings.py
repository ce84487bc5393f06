"""Frames of queries, and what rankings of them hold."""

import pandas as pd


def frame(queries, **others):
    return pd.DataFrame({"qid": [str(i) for i in range(len(queries))], "query_embs": queries, **others})


def pairs(ranking):
    return set(zip(ranking["qid"], ranking["docno"], strict=True))


def recall(ranking, exact):
    return len(pairs(ranking) & exact) / len(exact)


def scores(frame):
    return frame.set_index(["qid", "docno"])["score"].to_dict()
