"""What notebook 14 searches: MedQuAD's judged answers, where `LIR_MEDQUAD` names their folder, else docstrings.

The folder holds `corpus.jsonl.gz` (docno, title, text), `queries.tsv` and `qrels` (TREC format, grades 0 to 3) of
MedQuAD (github.com/abachaa/MedQuAD, CC BY 4.0) with the questions of TREC 2017 LiveQA-Med.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pandas as pd
import prepared
import pyterrier as pt

RELEVANT = 2 if os.environ.get("LIR_MEDQUAD") else 1
QUERIES = 40  # of MedQuAD, the first ones that have an answer
MOST = 160  # documents of MedQuAD: the answers to these, then the longest others of up to 400 words that were judged


def collection() -> tuple[list[dict[str, str]], pd.DataFrame, pd.DataFrame]:
    """Documents, topics and judgements; of docstrings the longest, which are few where few are asked for."""
    medquad = os.environ.get("LIR_MEDQUAD")
    if medquad:
        return _medquad(Path(medquad))
    topics, qrels, corpus = prepared.collection()
    corpus = sorted(corpus, key=lambda document: -len(document["text"]))[: min(60, len(corpus) // 6)]
    qrels = qrels[qrels["docno"].isin({document["docno"] for document in corpus})].reset_index(drop=True)
    return corpus, topics[topics["qid"].isin(qrels["qid"])].reset_index(drop=True), qrels


def folder(corpus: list[dict[str, str]]) -> Path:
    """Where the notebook keeps its indexes."""
    return prepared.CACHE / f"longer-{'medquad' if os.environ.get('LIR_MEDQUAD') else 'pydoc'}-{len(corpus)}"


def _medquad(path: Path) -> tuple[list[dict[str, str]], pd.DataFrame, pd.DataFrame]:
    qrels = pt.io.read_qrels(str(path / "qrels"))
    topics = pd.read_csv(path / "queries.tsv", sep="\t", names=["qid", "query"], dtype=str)
    with gzip.open(path / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = {d["docno"]: d for d in map(json.loads, file) if 100 <= len(d["text"].split()) <= 400}
    qrels = qrels[qrels["docno"].isin(set(documents))]
    answers = qrels[qrels["label"] >= RELEVANT]
    topics = topics[topics["qid"].isin(answers["qid"])].head(QUERIES).reset_index(drop=True)
    qrels = qrels[qrels["qid"].isin(topics["qid"])]
    relevant = set(answers.loc[answers["qid"].isin(topics["qid"]), "docno"])
    judged = sorted(set(qrels["docno"]), key=lambda d: (d not in relevant, -len(documents[d]["text"]), d))[:MOST]
    corpus = [{"docno": d, "text": f"{documents[d]['title']} {documents[d]['text']}".strip()} for d in sorted(judged)]
    return corpus, topics, qrels[qrels["docno"].isin(set(judged))].reset_index(drop=True)
