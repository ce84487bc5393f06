"""One experiment: a dataset, an encoder, several systems, measured for quality and for time.

Queries are encoded once, and the time of that is one column; the time of retrieving from the encoded query is another.
Both are taken query by query, one at a time, as a user waits for them, after an explicit warm-up that is not counted;
systems take turns. The rankings that were timed are the ones that are evaluated, by `pt.Experiment`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir.experiment import environment
from pyterrier_lir.experiment.collection import Collection, open_collection, safe_name
from pyterrier_lir.experiment.first_stage import bm25
from pyterrier_lir.experiment.inputs import MEASURES, parse_measures
from pyterrier_lir.experiment.measuring import Measured, measure
from pyterrier_lir.experiment.side_by_side import ALIGNED, DEPTH
from pyterrier_lir.experiment.systems import Parts, Spec, parse_systems
from pyterrier_lir.experiment.timing import WARM_UP, encode

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.index.artifact import LirIndex

_log = logging.getLogger(__name__)

SYSTEMS = "bm25,exhaustive:num_results=100,plaid:num_results=100,rerank:num=100"


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        results: One row per system: its measures, times in milliseconds, and `pt.Experiment`'s comparison with the
            baseline: queries that got better (``+``) and worse (``-``), p-values, plain and corrected (Holm).
        perquery: One row per system and query.
        rankings: The ranking of each system.
        topics: The queries, ``qid, query``.
        environment: Versions, machine, dataset, encoder, settings.
        baseline: The system that the others are compared with.
        qrels: The judgements, ``qid, docno, label``.
        texts: Adds the documents' ``text``; None where the dataset cannot look documents up.
        explain: From queries with documents to explained rows; None where the index has no token ids.
    """

    results: pd.DataFrame
    perquery: pd.DataFrame
    rankings: dict[str, pd.DataFrame]
    topics: pd.DataFrame
    environment: dict[str, Any]
    baseline: str | None
    qrels: pd.DataFrame
    texts: pt.Transformer | None = None
    explain: pt.Transformer | None = None

    @property
    def measures(self) -> list[str]:
        """The names of the measures."""
        return list(self.environment["settings"]["measures"])

    def save(self, out: str | Path, *, depth: int = DEPTH, aligned: int = ALIGNED) -> Path:
        """Writes results.csv, perquery.csv, environment.json, runs/, tradeoff.png and report.html.

        Args:
            out: The folder.
            depth: Documents of each ranking that the report shows.
            aligned: Documents at the top of each ranking whose alignment the report shows.

        Returns:
            The path of the report.
        """
        out = Path(out)
        (out / "runs").mkdir(parents=True, exist_ok=True)
        self.results.to_csv(out / "results.csv", index=False)
        self.perquery.to_csv(out / "perquery.csv", index=False)
        (out / "environment.json").write_text(json.dumps(self.environment, indent=2) + "\n")
        for name, ranking in self.rankings.items():
            pt.io.write_results(ranking, str(out / "runs" / f"{safe_name(name)}.res.gz"), run_name=safe_name(name))
        page, plot = self._page_and_plot(depth, aligned)
        if plot is not None:
            (out / "tradeoff.png").write_bytes(plot)
        path = out / "report.html"
        path.write_text(page, encoding="utf-8")
        return path

    def report(self, *, depth: int = DEPTH, aligned: int = ALIGNED) -> str:
        """The report as HTML; see `pyterrier_lir.experiment.report`."""
        return self._page_and_plot(depth, aligned)[0]

    def _page_and_plot(self, depth: int, aligned: int) -> tuple[str, bytes | None]:
        from pyterrier_lir.experiment.reporting import page_and_plot

        found = Measured(self.results, self.perquery, self.rankings)
        return page_and_plot(
            found, self.topics, self.qrels, title=self.environment["dataset"]["id"], texts=self.texts,
            explain=self.explain, depth=depth, aligned=aligned, about=self.environment,
        )  # fmt: skip


def run_experiment(
    dataset: str | Collection,
    encoder: Encoder,
    systems: str | Sequence[str] = SYSTEMS,
    measures: str | Sequence[str] = MEASURES,
    *,
    folder: str | Path,
    index_path: str | Path | None = None,
    nbits: int = 4,
    keep_embs: bool = False,
    baseline: str | None = None,
    num_threads: int | None = None,
    warm_up: int = WARM_UP,
    command: str | None = None,
) -> Outcome:
    """Indexes what is not indexed yet, runs the systems, times and evaluates them.

    Args:
        dataset: A name for `pt.get_dataset`, or an opened collection (`open_collection`).
        encoder: Encodes documents and queries.
        systems: As `parse_systems` reads them.
        measures: Names of ir_measures; the first is the one that is plotted.
        folder: Where indexes are kept, by dataset and encoder; one that was interrupted is gone on with.
        index_path: The late-interaction index; None for one in the folder.
        nbits: Bits per dimension of a compressed token, for an index that is made now.
        keep_embs: Whether it keeps the vectors as well, so that exact scores are exact.
        baseline: The system that the others are compared with; None for the first.
        num_threads: Threads that the methods may use; None for all cores.
        warm_up: Queries that each system answers before its times are taken.
        command: How the experiment can be run again, for the record.

    Raises:
        ValueError: If a system, a measure or the baseline is not known, or the index is another collection's.
    """
    specs, parsed, base = check(systems, measures, baseline)
    collection = open_collection(dataset) if isinstance(dataset, str) else dataset
    folder = Path(folder) / collection.label
    name = f"{safe_name(encoder.fingerprint)}-{nbits}bit{'-fp16' if keep_embs else ''}.lir"
    options = {"nbits": nbits, "keep_embs": keep_embs}
    index, seconds = open_index(collection, encoder, Path(index_path or folder / name), options)
    parts = Parts(
        index, encoder, lambda k: bm25(collection.corpus(), folder / "bm25", k), collection.text_loader, num_threads
    )  # fmt: skip
    topics = encode(collection.topics, encoder, warm_up=warm_up)
    results, perquery, rankings = measure(
        {str(spec): spec.build(parts) for spec in specs},
        topics,
        collection.qrels,
        parsed,
        baseline=base,
        warm_up=warm_up,
    )
    about = {
        "dataset": _about_dataset(collection),
        "encoder": _about_encoder(encoder),
        "index": _about_index(index, seconds),
        "settings": {
            "systems": [str(spec) for spec in specs], "measures": [str(measure) for measure in parsed],
            "baseline": base, "warm_up": warm_up, "seed": collection.seed, "command": command,
        },
    }  # fmt: skip
    about = {**environment.describe(num_threads), **about}
    texts = collection.text_loader() if hasattr(collection.dataset, "text_loader") else None
    explain = encoder.query_encoder() >> index.explain(encoder) if index.store.has_tok_ids else None
    return Outcome(results, perquery, rankings, collection.topics, about, base, collection.qrels, texts, explain)


def check(
    systems: str | Sequence[str], measures: str | Sequence[str], baseline: str | None
) -> tuple[list[Spec], list[Any], str | None]:
    """Reads what is to be compared, before anything takes time.

    Returns:
        The systems, the measures of ir_measures, and the baseline's name; None where there is nothing to compare with.

    Raises:
        ValueError: If one of them is not known.
    """
    specs = parse_systems(systems)
    return specs, parse_measures(measures), _choose_baseline(specs, baseline)


def _choose_baseline(specs: list[Spec], baseline: str | None) -> str | None:
    names = [str(spec) for spec in specs]
    if baseline is None:
        return names[0] if len(names) > 1 else None
    chosen = str(parse_systems(baseline)[0])
    if chosen not in names:
        raise ValueError(f"the baseline {baseline!r} is not among the systems; expected one of {names}.")
    return chosen if len(names) > 1 else None


def open_index(
    collection: Collection, encoder: Encoder, path: Path, options: dict[str, Any]
) -> tuple[LirIndex, float | None]:
    """The index of the collection, and the seconds it took to make, if it was made now."""
    from pyterrier_lir.index.artifact import LirIndex

    index, seconds = LirIndex(path), None
    if not index.built:
        _log.info("indexing %s into %s", collection.name, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        (index.unseen() >> encoder >> index.indexer(resume=True, **options)).index(collection.corpus())
        seconds = round(time.perf_counter() - start, 1)
    found, wanted = (len(index), index.store.encoder), (collection.num_documents, encoder.fingerprint)
    if found != wanted:
        raise ValueError(
            f"the index {environment.public_path(path)} has {found[0]} documents by the encoder {found[1]!r}; expected "
            f"{wanted[0]} by {wanted[1]!r}. Name another path for the index, or delete it to have it made anew."
        )
    return index, seconds


def _about_dataset(collection: Collection) -> dict[str, Any]:
    return {
        "id": collection.name, "documents": collection.num_documents, "queries": len(collection.topics),
        "judgements": len(collection.qrels), "fields": list(collection.fields), "sha256": collection.checksum,
    }  # fmt: skip


def _about_encoder(encoder: Encoder) -> dict[str, Any]:
    about = {"class": type(encoder).__name__, "fingerprint": encoder.fingerprint}
    arguments = {a.name: a.value for a in pt.inspect.transformer_attributes(encoder)}
    if "model" in arguments and Path(arguments["model"]).exists():
        arguments["model"] = environment.public_path(arguments["model"])
    return {**about, **{k: v for k, v in arguments.items() if isinstance(v, (str, int, float, bool, type(None)))}}


def _about_index(index: LirIndex, seconds: float | None) -> dict[str, Any]:
    return {
        "documents": len(index), "dim": index.dim, "tokens": index.store.manifest["tokens"],
        **index.store.manifest["parameters"], "centroids": index.store.manifest["centroids"],
        "megabytes": round(index.info()["megabytes"], 1),
        "seconds_to_make": seconds,
    }  # fmt: skip
