"""Training: what each recipe changes, on the collection it was trained for and on one that it never saw.

    python benchmarks/reproduce/training.py                                 # SciFact; Vaswani is the other collection
    python benchmarks/reproduce/training.py --medquad medquad-liveqa        # MedQuAD, from a folder of its files
    python benchmarks/reproduce/training.py --recipes contrastive --seeds 1 --steps 20       # a quick look

Everything begins with the packaged MiniLM in 128 dimensions, whose token vectors were never trained for late
interaction. BM25's first ``DEPTH`` documents are re-ranked from their text, before and after; the figures of each model
are kept under ``--folder``, and a training that was killed goes on. A training of 100 steps takes ten minutes on one
core, an evaluation five. All that has been measured so far goes into ``benchmarks/results/train.md``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from pyterrier.measures import nDCG

import pyterrier_lir as lir
from pyterrier_lir.experiment import bm25
from pyterrier_lir.train import Contrastive, Dev, KLDivergence, MarginMSE, Matryoshka, Schedule, Xtr, mine, without

CACHE = Path(__file__).parents[1] / ".cache" / "reproduce" / "training"
RESULTS = Path(__file__).parents[1] / "results" / "train.md"
DEPTH = 20  # documents of BM25 that are re-ranked
LENGTHS = {"query_length": 48, "document_length": 96}
MEASURE = nDCG @ 10
NEGATIVES = 8  # of BM25's first documents, those that are not relevant
HELD_OUT = 50  # training queries that draw the curve instead

RECIPES: dict[str, dict[str, Any]] = {
    "contrastive": {"loss": Contrastive()},
    "XTR": {"loss": Xtr(top_k=64, temperature=0.05)},
    "KL": {"loss": KLDivergence(), "negatives": 3},
    "margin MSE": {"loss": MarginMSE(), "negatives": 3},
    "Matryoshka": {"loss": Matryoshka(Contrastive(), dims=(128, 64, 32))},
}


@dataclass(frozen=True)
class Task:
    """A collection with training and test queries; without training queries, one that is only looked at."""

    name: str
    texts: dict[str, str]
    train: tuple[pd.DataFrame, pd.DataFrame] | None
    test: tuple[pd.DataFrame, pd.DataFrame]
    folder: Path

    def bm25(self, num_results: int) -> pt.Transformer:
        """BM25 with texts."""
        corpus = ({"docno": docno, "text": text} for docno, text in self.texts.items())
        return bm25(corpus, self.folder / "bm25", num_results) >> pt.apply.text(lambda row: self.texts[row["docno"]])

    def candidates(self) -> pd.DataFrame:
        """What is re-ranked for the test queries."""
        return self.bm25(DEPTH)(self.test[0])


def irds(name: str, folder: Path, train: str | None = None) -> Task:
    """A collection of ir_datasets."""
    dataset = pt.get_dataset(f"irds:{name}")
    texts = {
        document["docno"]: " ".join(document[field] for field in ("title", "text") if document.get(field))
        for document in dataset.get_corpus_iter(verbose=False)
    }
    learnt = pt.get_dataset(f"irds:{train}") if train else None
    pair = (_topics(learnt.get_topics()), learnt.get_qrels()) if learnt else None
    return Task(
        name, texts, pair, (_topics(dataset.get_topics()), dataset.get_qrels()), folder / name.replace("/", "-")
    )


def medquad(files: Path, folder: Path, queries: int = 1000) -> Task:
    """MedQuAD's answers: some of the questions that they were written for to train, LiveQA-Med's to test."""
    with gzip.open(files / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    texts = {document["_id"]: document["text"] for document in documents}
    train = pd.read_csv(files / "queries.train.tsv", sep="\t", names=["qid", "query"], dtype=str)
    train = train.sample(queries, random_state=0).reset_index(drop=True)
    test = pd.read_csv(files / "queries.tsv", sep="\t", names=["qid", "query"], dtype=str)
    sides = [(train, _qrels(files / "qrels.train")), (test, _qrels(files / "qrels"))]
    return Task("medquad-liveqa", texts, sides[0], sides[1], folder / "medquad-liveqa")


def _qrels(path: Path) -> pd.DataFrame:
    rows = pd.read_csv(path, sep=r"\s+", names=["qid", "iteration", "docno", "label"], dtype={"qid": str, "docno": str})
    return rows[["qid", "docno", "label"]]


def _topics(topics: pd.DataFrame) -> pd.DataFrame:
    return topics[["qid", "query"]].astype({"qid": str})


def student(**options: Any) -> lir.LateInteractionEncoder:
    """The untrained model."""
    return lir.LateInteractionEncoder("minilm", **{"dim": 128, "dtype": "float32", **LENGTHS, **options})


def training_data(task: Task, scores: bool) -> tuple[pd.DataFrame, Dev]:
    """Rows to train on, with a teacher's scores if asked for, and the queries that are held out for the curve.

    The teacher is what is there without a network: MaxSim in all 384 dimensions and a fifth of BM25's score.
    """
    topics, qrels = (
        without(task.train[0], task.test[0]),
        task.train[1],
    )  # SciFact's test claims 870 and 1292 are in both
    shuffled = topics.sample(frac=1, random_state=0)
    held, topics = shuffled[:HELD_OUT], shuffled[HELD_OUT:].sort_index()
    dev = Dev(lambda encoder: task.bm25(10) >> encoder.text_scorer(), held, qrels, [MEASURE], every=25)
    data = mine(topics, qrels, _corpus(task), task.bm25(NEGATIVES))
    kept = task.folder / "scored.pkl"
    if scores and not kept.exists():
        scored = student(dim=None).text_scorer()(data.reset_index(drop=True))
        lexical = bm25_scores(task, data)
        scored["score"] = scored["score"] + 0.2 * scored.merge(lexical, on=["qid", "docno"], how="left")["bm25"].fillna(
            0
        )
        scored[[*data.columns, "score"]].to_pickle(kept)
    return pd.read_pickle(kept) if scores else data, dev


def bm25_scores(task: Task, data: pd.DataFrame) -> pd.DataFrame:
    """BM25's score of each row that it finds among its first 1,000."""
    found = task.bm25(1000)(data[["qid", "query"]].drop_duplicates())
    return found[["qid", "docno", "score"]].rename(columns={"score": "bm25"})


def _corpus(task: Task) -> Any:
    return ({"docno": docno, "text": text} for docno, text in task.texts.items())


def evaluate(encoder: lir.LateInteractionEncoder, task: Task) -> dict[str, float]:
    """The measure of each test query."""
    ranking = encoder.text_scorer()(task.candidates())
    table = pt.Experiment([pt.Transformer.from_df(ranking)], *task.test, [MEASURE], perquery=True)
    return dict(zip(table["qid"], table["value"], strict=True))


def measured(name: str, seed: int, task: Task, others: Sequence[Task], steps: int) -> dict[str, Any]:
    """Figures of a model, kept; its training goes on where it stopped."""
    folder = task.folder / f"steps{steps}"
    path = folder / f"{name.replace(' ', '-')}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    row: dict[str, Any] = {"recipe": name, "seed": seed, "minutes": 0.0, "curve": []}
    encoder = student()
    if name != "untrained":
        data, dev = training_data(task, RECIPES[name]["loss"].scores)
        model = path.with_suffix("")
        schedule = Schedule(steps=steps, learning_rate=5e-5, checkpoint_steps=25)
        start = time.process_time()
        if not model.exists():
            trained = lir.train(
                student(), data, model, schedule=schedule, seed=seed, dev=dev, test=task.test[0], **RECIPES[name]
            )
            row["curve"] = trained.curve[["step", str(MEASURE)]].dropna().values.tolist()
        row["minutes"] = (time.process_time() - start) / 60
        encoder = lir.LateInteractionEncoder(model, dtype="float32")
    for tested in (task, *others):
        row[tested.name] = evaluate(encoder, tested)
    path.write_text(json.dumps(row), encoding="utf-8")
    return row


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medquad", type=Path, help="the folder of MedQuAD's files: train on it instead of SciFact")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=CACHE)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    import torch

    args = parse(argv)
    torch.set_num_threads(args.threads)
    scifact = "beir/scifact"
    task = (
        medquad(args.medquad, args.folder) if args.medquad else irds(f"{scifact}/test", args.folder, f"{scifact}/train")
    )
    others = [irds("vaswani", args.folder)]
    for name, seed in [("untrained", 0), *((name, seed) for seed in range(args.seeds) for name in args.recipes)]:
        row = measured(name, seed, task, others, args.steps)
        print(name, seed, *(f"{t.name} {np.mean(list(row[t.name].values())):.4f}" for t in (task, *others)), flush=True)


if __name__ == "__main__":
    main()
