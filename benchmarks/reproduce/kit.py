"""What the reproduction kits share: arguments, a collection, an encoder and an index.

Each kit is one paper: the systems of its table as pipelines, what it published, and what differs here. They take any
dataset that PyTerrier knows and any checkpoint that sentence-transformers reads::

    python benchmarks/reproduce/plaid.py --dataset irds:msmarco-passage/dev/small --encoder colbert-ir/colbertv2.0
    python benchmarks/reproduce/plaid.py            # Vaswani and the packaged model: nothing is downloaded but Vaswani

Indexes and the figures of each system are kept under ``--folder``; a run that breaks off goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
from kept import measured
from page import MS, Paper, page

import pyterrier_lir as lir
from pyterrier_lir.encode.base import Encoder
from pyterrier_lir.experiment import bm25, open_collection
from pyterrier_lir.experiment.collection import Collection, safe_name
from pyterrier_lir.experiment.run import open_index
from pyterrier_lir.experiment.timing import encode

CACHE = Path(__file__).parents[1] / ".cache" / "reproduce"
ENCODER = ("device", "dtype", "query_length", "document_length")  # arguments that go to the encoder


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

    def reduced(self, name: str, reduction: pt.Transformer, **options: Any) -> lir.LirIndex:
        """An index of what a reduction leaves of this one's vectors, made unless it is there.

        Args:
            name: Of the index, in the folder.
            reduction: Of documents with ``doc_embs``.
            options: Of ``index.indexer``.
        """
        index = lir.LirIndex(self.folder / f"{name}-{safe_name(self.encoder.fingerprint)}.lir")
        if not index.built:
            indexer = index.indexer(resume=True, **options, **self.threads)
            (index.unseen() >> reduction >> indexer).index(self.index.get_corpus_iter())
        return index


Systems = Mapping[str, Callable[[Setting], pt.Transformer]]  # by name; a system is made only if it is asked for


def exhaustive(setting: Setting, num_results: int = 1000) -> pt.Transformer:
    """Exact MaxSim over all documents."""
    return setting.index.exhaustive(num_results=num_results, **setting.threads)


class Cut(pt.datasets.Dataset):
    """A part of a dataset: all documents that are relevant to some topic, filled up in collection order.

    Raises:
        ValueError: If more documents are relevant than are to be kept.
    """

    def __init__(self, dataset: pt.datasets.Dataset, num_documents: int) -> None:
        self.dataset, self.num_documents = dataset, num_documents
        qrels = dataset.get_qrels()
        self.relevant = set(qrels[qrels["label"] > 0]["docno"])
        if num_documents < len(self.relevant):
            raise ValueError(
                f"{num_documents} documents are to be kept, and {len(self.relevant)} are relevant to some query; "
                f"expected at least as many. Pass --documents {len(self.relevant)} or more, or leave it out."
            )

    def get_corpus_iter(self, *, verbose: bool = True) -> Iterator[dict[str, Any]]:
        others = self.num_documents - len(self.relevant)
        for document in self.dataset.get_corpus_iter(verbose=verbose):
            if document["docno"] in self.relevant:
                yield document
            elif others > 0:
                others -= 1
                yield document

    def get_topics(self, variant: str | None = None) -> pd.DataFrame:
        return self.dataset.get_topics(variant)

    def get_qrels(self, variant: str | None = None) -> pd.DataFrame:
        return self.dataset.get_qrels(variant)


def parser(kit: str, description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """The arguments of every kit.

    Args:
        kit: The kit's ``__file__``.
        description: Its docstring.
        defaults: Other defaults than those below; ``keep_embs`` for an index that keeps the vectors as well.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dataset", default="irds:vaswani", help="a dataset of PyTerrier with judgements")
    made.add_argument("--documents", type=int, help="keep so many: the relevant ones, then in collection order")
    made.add_argument("--queries", type=int, help="draw so many of them")
    made.add_argument("--systems", help="rows of the table to measure, separated by commas; all by default")
    made.add_argument("--encoder", default="minilm", help="a checkpoint, minilm (packaged) or toy (no model)")
    made.add_argument("--device", help="of the encoder, such as cuda")
    made.add_argument("--dtype", help="of the encoder: auto, float32, bfloat16 or float16")
    made.add_argument("--query-length", type=int, help="tokens of a query; else the checkpoint's own")
    made.add_argument("--document-length", type=int, help="tokens of a document; else the checkpoint's own")
    made.add_argument("--index", type=Path, help="the index to use, or where to make it; else one in --folder")
    made.add_argument("--nbits", type=int, default=4, help="bits per dimension of an index made now")
    made.add_argument("--threads", type=int, default=1, help="of encoder and methods")
    made.add_argument("--folder", type=Path, default=CACHE, help="where indexes and figures are kept")
    made.add_argument("--fresh", action="store_true", help="measure again what has been measured")
    made.add_argument("--out", type=Path, help="write the page here as well")
    made.set_defaults(**{"kit": Path(kit).name, "keep_embs": False, **defaults})
    return made


def open_setting(args: argparse.Namespace, dataset: pt.datasets.Dataset | None = None, name: str = "") -> Setting:
    """Opens the collection, and makes the index if it is not there."""
    import torch

    torch.set_num_threads(args.threads)
    dataset, name = pt.get_dataset(args.dataset) if dataset is None else dataset, name or args.dataset
    if args.documents is not None:
        dataset, name = Cut(dataset, args.documents), f"{name}, cut to {args.documents} documents"
    collection = open_collection(name, dataset=dataset, num_queries=args.queries)
    encoder = open_encoder(args.encoder, **{key: getattr(args, key) for key in ENCODER})
    options = {"nbits": args.nbits, "keep_embs": args.keep_embs}
    kind = f"{args.nbits}bit{'-fp16' if args.keep_embs else ''}.lir"
    path = args.index or Path(args.folder) / collection.label / f"{safe_name(encoder.fingerprint)}-{kind}"
    index, _seconds = open_index(collection, encoder, path, options)
    return Setting(args, collection, encoder, index)


def open_encoder(name: str, **options: Any) -> Encoder:
    """The encoder of that name, with those options that are not None.

    Raises:
        ValueError: If options are given to the toy encoder.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if name != "toy":
        return lir.LateInteractionEncoder(name, **({"dim": 128} if name == "minilm" else {}), **given)
    if given:
        raise ValueError(f"the toy encoder was given {sorted(given)}; expected none of them. Leave them out.")
    return lir.ToyEncoder()


def choose(systems: Systems, names: str | None) -> Systems:
    """The systems that are named, in the order of the table; None for all.

    Raises:
        ValueError: If a name is unknown.
    """
    wanted = list(systems) if names is None else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in systems]
    if unknown:
        raise ValueError(f"the systems {unknown} are unknown; expected some of {list(systems)}, separated by commas.")
    return {name: make for name, make in systems.items() if name in wanted}


def run(
    paper: Paper,
    systems: Systems,
    measures: Sequence[Any],
    args: argparse.Namespace,
    *,
    columns: Sequence[str] = (),
    dataset: pt.datasets.Dataset | None = None,
    name: str = "",
    further: Mapping[str, Callable[[pd.DataFrame], pd.Series]] | None = None,
) -> pd.DataFrame:
    """Measures the systems of a kit and prints them, with what was published.

    Args:
        paper: What is reproduced.
        systems: The rows of the table.
        measures: Measures of ir_measures.
        args: Of `parser`.
        columns: Further columns of `lir.experiment.measure` to print.
        dataset: Instead of the one that ``--dataset`` names.
        name: Its name.
        further: Measures that need all systems: from the results to one value for each.
    """
    chosen = choose(systems, args.systems)
    setting = open_setting(args, dataset, name)
    rows = [measured(setting, system, make(setting), measures) for system, make in chosen.items()]
    results = pd.DataFrame(rows).rename(columns={"retrieve_ms": MS}).assign(**(further or {}))
    results = results.reindex(columns=list(dict.fromkeys([*results, *columns])))  # one that no system counts is empty
    text = page(paper, setting, results, [*measures, *(further or {})], columns)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n", encoding="utf-8")
    return results
