"""Training: what each recipe changes, on the collection it was trained for and on one that it never saw.

    python benchmarks/reproduce/training.py                                 # SciFact; Vaswani is the other collection
    python benchmarks/reproduce/training.py --medquad medquad-liveqa        # MedQuAD, from a folder of its files
    python benchmarks/reproduce/training.py --recipes contrastive --seeds 1 --steps 20       # a quick look
    python benchmarks/reproduce/training.py --recipes                       # writes the page of what was measured

Everything begins with the packaged MiniLM in 128 dimensions, whose token vectors were never trained for late
interaction. BM25's first `DEPTH` documents are re-ranked from their text, before and after. The figures of each model
are kept under ``--folder``, and a training that was killed goes on. On one core 50 steps take five minutes, and the
evaluation of a model two or three. All that has been measured so far goes into ``benchmarks/results/train.md``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
from pyterrier.measures import nDCG
from scipy.stats import ttest_rel

import pyterrier_lir as lir
from pyterrier_lir.experiment import bm25, environment
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

    def corpus(self) -> Iterator[dict[str, str]]:
        return ({"docno": docno, "text": text} for docno, text in self.texts.items())

    def bm25(self, num_results: int) -> pt.Transformer:
        """BM25 with texts."""
        return bm25(self.corpus(), self.folder / "bm25", num_results) >> pt.apply.text(
            lambda row: self.texts[row["docno"]]
        )

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
    sides = [None, dataset] if train is None else [pt.get_dataset(f"irds:{train}"), dataset]
    learnt, test = [side and (_topics(side.get_topics()), side.get_qrels()) for side in sides]
    return Task(name, texts, learnt, test, folder / name.replace("/", "-"))


def medquad(files: Path, folder: Path, queries: int = 1000) -> Task:
    """MedQuAD's answers: some of the questions that they were written for to train, LiveQA-Med's to test."""
    with gzip.open(files / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    texts = {document["docno"]: f"{document['title']} {document['text']}" for document in documents}
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
    assert task.train is not None
    topics, qrels = task.train
    topics = without(topics, task.test[0])  # SciFact's test claims 870 and 1292 are training claims as well
    shuffled = topics.sample(frac=1, random_state=0)
    held = shuffled[:HELD_OUT]
    topics = without(shuffled[HELD_OUT:].sort_index(), held)  # some of MedQuAD's questions are asked twice
    dev = Dev(lambda encoder: task.bm25(10) >> encoder.text_scorer(), held, qrels, [MEASURE], every=25)
    data = mine(topics, qrels, task.corpus(), task.bm25(NEGATIVES))
    if not scores:
        return data, dev
    kept = task.folder / "scored.pkl"
    if not kept.exists():
        scored = student(dim=None).text_scorer()(data)
        lexical = scored[["qid", "docno"]].merge(bm25_scores(task, data), how="left")["bm25"].fillna(0)
        scored.assign(score=scored["score"] + 0.2 * lexical)[[*data.columns, "score"]].to_pickle(kept)
    return pd.read_pickle(kept), dev


def bm25_scores(task: Task, data: pd.DataFrame) -> pd.DataFrame:
    """BM25's score of each row that it finds among its first 1,000."""
    found = task.bm25(1000)(data[["qid", "query"]].drop_duplicates())
    return found[["qid", "docno", "score"]].rename(columns={"score": "bm25"})


def evaluate(encoder: lir.LateInteractionEncoder, task: Task) -> dict[str, float]:
    """The measure of each test query."""
    ranking = encoder.text_scorer()(task.candidates())
    table = pt.Experiment([pt.Transformer.from_df(ranking)], *task.test, [MEASURE], perquery=True)
    return dict(zip(table["qid"], table["value"], strict=True))


def measured(name: str, seed: int, task: Task, others: Sequence[Task], steps: int) -> dict[str, Any]:
    """Figures of a model, kept; its training goes on where it stopped."""
    path = task.folder / f"steps{steps}" / f"{name.replace(' ', '-')}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    row: dict[str, Any] = {"recipe": name, "seed": seed, "minutes": 0.0, "curve": []}
    encoder = student()
    if name != "untrained":
        data, dev = training_data(task, RECIPES[name]["loss"].scores)
        model, start = path.with_suffix(""), time.process_time()
        if not model.exists():
            schedule = Schedule(steps=steps, learning_rate=5e-5, checkpoint_steps=25)
            trained = lir.train(
                student(), data, model, schedule=schedule, seed=seed, dev=dev, test=task.test[0], **RECIPES[name]
            )
            row["curve"] = trained.curve[["step", str(MEASURE)]].dropna().to_numpy().tolist()
        row["minutes"] = (time.process_time() - start) / 60
        encoder = lir.LateInteractionEncoder(model, dtype="float32")
    for tested in (task, *others):
        row[tested.name] = evaluate(encoder, tested)
    path.write_text(json.dumps(row), encoding="utf-8")
    return row


# --- the page --------------------------------------------------------------------------------------------------------


def page(folder: Path) -> str:
    """All that has been measured, a table for each collection that was trained on."""
    here = environment.describe()
    lines = [
        "# Training", "",
        f"{here['processor']['model']}, {here['processor']['cores']} cores, Python {here['python']}, torch "
        f"{version('torch')}, sentence-transformers {version('sentence-transformers')}; one thread, others beside it. "
        f"Written by `benchmarks/reproduce/training.py`. The packaged MiniLM in 128 dimensions, queries cut at "
        f"{LENGTHS['query_length']} tokens, documents at {LENGTHS['document_length']}, batches of 16, rate 5e-5, "
        f"negatives from BM25's first {NEGATIVES}. BM25's first {DEPTH} are re-ranked; {MEASURE}, means over queries "
        "and seeds. p: paired t-test over queries, their values averaged over seeds, against the untrained model, "
        "after Holm for the recipes of a table. The last columns are the same model on a collection that it never saw. "
        "Minutes are the processor's, with three measurements of the development set.", "",
    ]  # fmt: skip
    for measured_here in sorted(folder.glob("*/steps*")):
        rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(measured_here.glob("*.json"))]
        untrained = next((row for row in rows if row["recipe"] == "untrained"), None)
        if untrained is not None and len(rows) > 1:
            lines += [f"## {measured_here.parent.name}, {measured_here.name.removeprefix('steps')} steps", ""]
            lines += [*_table(untrained, [row for row in rows if row is not untrained]), ""]
    return "\n".join(lines)


def _table(untrained: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    collections = [name for name, value in untrained.items() if isinstance(value, dict)]
    names = list(dict.fromkeys(row["recipe"] for row in rows))
    found = {name: [row for row in rows if row["recipe"] == name] for name in names}
    tests = {at: [_compared(untrained[at], [row[at] for row in found[name]]) for name in names] for at in collections}
    corrected = {at: holm([p for *_, p in tests[at]]) for at in collections}
    cells = [["untrained", "", "", *(c for at in collections for c in (f"{_mean(untrained[at]):.4f}", "", ""))]]
    for i, name in enumerate(names):
        own = [name, str(len(found[name])), f"{np.mean([row['minutes'] for row in found[name]]):.1f}"]
        for at in collections:
            mean, seeds, _ = tests[at][i]
            change = mean - _mean(untrained[at])
            own += [f"{mean:.4f} ({seeds})", f"{change:+.4f}", f"{corrected[at][i]:.3g}"]
        cells.append(own)
    header = ["recipe", "seeds", "min", *(c for at in collections for c in (at, "change", "p"))]
    return ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *cells]] + _curves(found)


def _compared(before: dict[str, float], after: list[dict[str, float]]) -> tuple[float, str, float]:
    """The mean, that of each seed, and p."""
    qids = sorted(before)
    values = np.array([[row[qid] for qid in qids] for row in after])
    p = ttest_rel(values.mean(axis=0), [before[qid] for qid in qids]).pvalue
    return float(values.mean()), ", ".join(f"{mean:.4f}" for mean in values.mean(axis=1)), float(p)


def holm(p: list[float]) -> list[float]:
    """Holm's correction: the smallest times their number, the next times one less, never falling."""
    order, corrected, largest = np.argsort(p), [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(p[i] * (len(p) - place), 1.0))
        corrected[i] = largest
    return corrected


def _curves(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The held-out training queries while each recipe's first seed was trained."""
    lines = [
        f"{name}: " + ", ".join(f"{value:.3f} at step {step:.0f}" for step, value in rows[0]["curve"])
        for name, rows in found.items()
        if rows[0]["curve"]
    ]
    return ["", f"{HELD_OUT} training queries held out, BM25's first 10: " + "; ".join(lines) + "."] if lines else []


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


# --- the command -----------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medquad", type=Path, help="the folder of MedQuAD's files: train on it instead of SciFact")
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    import torch

    args = parse(argv)
    torch.set_num_threads(args.threads)
    if args.recipes:
        scifact = ("beir/scifact/test", args.folder, "beir/scifact/train")
        task = medquad(args.medquad, args.folder) if args.medquad else irds(*scifact)
        others = [irds("vaswani", args.folder)]
        for name, seed in [("untrained", 0), *((name, seed) for seed in range(args.seeds) for name in args.recipes)]:
            row = measured(name, seed, task, others, args.steps)
            print(name, seed, *(f"{t.name} {_mean(row[t.name]):.4f}" for t in (task, *others)), flush=True)
    args.out.write_text(page(args.folder), encoding="utf-8")


if __name__ == "__main__":
    main()
