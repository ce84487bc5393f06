"""What the reproduction kits share: arguments, one collection and one index, our figures beside the published ones.

Each kit is one paper: the systems of its table as pipelines, what it published, and what differs here. They take any
dataset that PyTerrier knows and any checkpoint that sentence-transformers reads::

    python benchmarks/reproduce/plaid.py --dataset irds:msmarco-passage/dev/small --encoder colbert-ir/colbertv2.0
    python benchmarks/reproduce/plaid.py            # Vaswani and the packaged model: nothing is downloaded but Vaswani
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

import pyterrier_lir as lir
from pyterrier_lir.encode.base import Encoder
from pyterrier_lir.experiment import bm25, environment, measure, open_collection
from pyterrier_lir.experiment.collection import Collection, safe_name
from pyterrier_lir.experiment.run import open_index
from pyterrier_lir.experiment.timing import encode

CACHE = Path(__file__).parents[1] / ".cache" / "reproduce"
MS = "ms"  # the name of the time per query among published figures


@dataclass(frozen=True)
class Paper:
    """What is reproduced.

    Attributes:
        title: Authors, title, venue.
        source: Where in the paper, or where else, the published figures stand; "" where there are none.
        published: For each system the figures by measure, as fractions; ``"ms"`` is a time per query.
        differs: What else differs here, sentence by sentence.
    """

    title: str
    source: str
    published: Mapping[str, Mapping[str, float]]
    differs: Sequence[str]


@dataclass(frozen=True)
class Setting:
    """A collection, its encoder and its index, from the arguments of a kit."""

    args: argparse.Namespace
    collection: Collection
    encoder: Encoder
    index: lir.LirIndex

    @property
    def threads(self) -> dict[str, int]:
        return {"num_threads": self.args.threads}

    @property
    def folder(self) -> Path:
        """Where what belongs to this collection is kept."""
        return Path(self.args.folder) / self.collection.label

    @cached_property
    def topics(self) -> pd.DataFrame:
        """The topics with their embeddings, and what each took."""
        return encode(self.collection.topics, self.encoder)

    def bm25(self, num_results: int) -> pt.Transformer:
        return bm25(self.collection.corpus(), self.folder / "bm25", num_results)


class Cut(pt.datasets.Dataset):
    """A part of a dataset: all documents that are relevant to some topic, filled up in collection order."""

    def __init__(self, dataset: pt.datasets.Dataset, num_documents: int) -> None:
        self.dataset, self.num_documents = dataset, num_documents

    def get_corpus_iter(self, *, verbose: bool = True) -> Iterator[dict[str, Any]]:
        qrels = self.dataset.get_qrels()
        relevant = set(qrels[qrels["label"] > 0]["docno"])
        others = self.num_documents - len(relevant)
        for document in self.dataset.get_corpus_iter(verbose=verbose):
            if document["docno"] in relevant:
                yield document
            elif others > 0:
                others -= 1
                yield document

    def get_topics(self, variant: str | None = None) -> pd.DataFrame:
        return self.dataset.get_topics(variant)

    def get_qrels(self, variant: str | None = None) -> pd.DataFrame:
        return self.dataset.get_qrels(variant)


def parser(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """The arguments of every kit."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dataset", default="irds:vaswani", help="a dataset of PyTerrier with judgements")
    made.add_argument("--documents", type=int, help="keep so many: the relevant ones, then in collection order")
    made.add_argument("--queries", type=int, help="draw so many of them")
    made.add_argument("--encoder", default="minilm", help="a checkpoint, minilm (packaged) or toy (no model)")
    made.add_argument("--index", type=Path, help="the index to use, or where to make it; else one in --folder")
    made.add_argument("--nbits", type=int, default=4, help="bits per dimension of an index made now")
    made.add_argument("--threads", type=int, default=1, help="of encoder and methods")
    made.add_argument("--folder", type=Path, default=CACHE, help="where indexes are kept")
    made.add_argument("--out", type=Path, help="write the page here as well")
    made.set_defaults(**{"keep_embs": False, **defaults})
    return made


def open_setting(args: argparse.Namespace, dataset: pt.datasets.Dataset | None = None) -> Setting:
    """Opens the collection, and makes the index if it is not there."""
    import torch

    torch.set_num_threads(args.threads)
    dataset = pt.get_dataset(args.dataset) if dataset is None else dataset
    name = args.dataset
    if args.documents is not None:
        dataset, name = Cut(dataset, args.documents), f"{name}, cut to {args.documents} documents"
    collection = open_collection(name, dataset=dataset, num_queries=args.queries)
    encoder = open_encoder(args.encoder)
    options = {"nbits": args.nbits, "keep_embs": args.keep_embs}
    kind = f"{args.nbits}bit{'-fp16' if args.keep_embs else ''}.lir"
    path = args.index or Path(args.folder) / collection.label / f"{safe_name(encoder.fingerprint)}-{kind}"
    index, _seconds = open_index(collection, encoder, path, options)
    return Setting(args, collection, encoder, index)


def open_encoder(name: str) -> Encoder:
    """The encoder of that name."""
    if name == "toy":
        return lir.ToyEncoder()
    return lir.LateInteractionEncoder(name, **({"dim": 128} if name == "minilm" else {}))


def run(
    paper: Paper,
    systems: Callable[[Setting], Mapping[str, pt.Transformer]],
    measures: Sequence[Any],
    args: argparse.Namespace,
    *,
    columns: Sequence[str] = (),
    dataset: pt.datasets.Dataset | None = None,
) -> pd.DataFrame:
    """Measures the systems of a kit and prints them beside what was published.

    Args:
        paper: What is reproduced.
        systems: Makes the systems, by name.
        measures: Measures of ir_measures.
        args: Of `parser`.
        columns: Further columns of `lir.experiment.measure` to print.
        dataset: Instead of the one that ``--dataset`` names.
    """
    setting = open_setting(args, dataset)
    results = measure(systems(setting), setting.topics, setting.collection.qrels, measures).results
    results = results.rename(columns={"retrieve_ms": MS})
    text = page(paper, setting, beside(results, paper.published, [*map(str, measures), MS], columns))
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n", encoding="utf-8")
    return results


def beside(
    results: pd.DataFrame, published: Mapping[str, Mapping[str, float]], measures: Sequence[str], more: Sequence[str]
) -> str:
    """One table in Markdown: for every measure our figure and, in italics, the published one where there is any."""
    ours = results.set_index("name")
    shared = [m for m in measures if any(m in figures for figures in published.values())]
    heading = ["system"]
    for m in measures:
        heading += [m, f"*{m}, paper*"] if m in shared else [m]
    rows = []
    for name in dict.fromkeys([*ours.index, *published]):
        row = [name]
        for m in measures:
            row.append(figure(m, ours[m].get(name)))
            if m in shared:
                paper = published.get(name, {}).get(m)
                row.append("" if paper is None else f"*{paper:g}*")
        rows.append(row + [figure(column, ours[column].get(name)) for column in more])
    lines = [heading + list(more), ["---", *["---:"] * (len(heading) + len(more) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(column: str, value: float | None) -> str:
    """A figure as it is printed: three decimals for a measure, one for the rest."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:.3f}" if "@" in column or column in ("AP", "RR") else f"{value:,.1f}"


def page(paper: Paper, setting: Setting, table: str) -> str:
    """The table, what it was made with, and what differs from the paper."""
    collection, args = setting.collection, setting.args
    about, nbits = environment.describe(args.threads), setting.index.store.manifest["parameters"]["nbits"]
    here = [
        f"{collection.name}: {collection.num_documents:,} documents, {len(collection.topics):,} queries",
        f"encoder {args.encoder} (`{setting.encoder.fingerprint}`)",
        f"{nbits} bits",
        f"{about['processor']['model']}, {about['processor']['cores']} cores, threads: {args.threads}, "
        f"kernels `{about['kernels']}`",
        f"load {os.getloadavg()[0]:.1f}",
    ]
    lines = [
        f"# {paper.title}",
        "",
        f"Here: {'; '.join(here)}. ms: median of single queries, from the encoded query to the ranking.",
        "",
        f"Paper: {paper.source}" if paper.source else "Paper: no figures are quoted.",
        "",
        table,
        "",
        "What differs:",
        "",
        "- The model, the collection and the machine, unless they are the paper's. Then compare the order of the "
        "systems, not their figures.",
        *(f"- {sentence}" for sentence in paper.differs),
    ]
    return "\n".join(lines)
