"""Quality and cost of any pipelines, side by side.

Every pipeline answers one query at a time, as a user waits for it, after a warm-up that is not counted. The rankings
that were timed are the ones that `pt.Experiment` evaluates and compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import pyterrier as pt

from pyterrier_lir.experiment.timing import WARM_UP, encode, run_timed

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.index.artifact import LirIndex

MEASURES = "nDCG@10,R@100,RR@10,AP"

_FROM_ENCODER = ("query_embs", "query_tok_ids", "query_encoder", "encode_ms")


class Measured(NamedTuple):
    """What `measure` found.

    Attributes:
        results: One row per system; see `measure`.
        perquery: One row per system and query: ``name, qid``, the measures, ``encode_ms``, ``retrieve_ms``.
        rankings: The ranking of each system.
    """

    results: pd.DataFrame
    perquery: pd.DataFrame
    rankings: dict[str, pd.DataFrame]


def measure(
    systems: Mapping[str, pt.Transformer],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    eval_metrics: str | Sequence[Any],
    *,
    encoder: Encoder | None = None,
    baseline: str | Sequence[str] | None = None,
    correction: str | None = "holm",
    warm_up: int = WARM_UP,
) -> Measured:
    """Measures pipelines for quality, time and space.

    A system that needs the query's embeddings gets them from the topics, or from the encoder: every query is encoded
    once and shared, and the time of that is a column of its own. A system that takes plain text gets plain text; if it
    encodes the query itself, that is part of its ``retrieve_ms``, and its ``encode_ms`` is 0. Which kind a system is
    shows when it is given the first query as plain text.

    Columns of ``results``:

    ======================= ===========================================================================================
    column                  meaning
    ======================= ===========================================================================================
    ``name``                the system
    the measures            means over queries, by `pt.Experiment`
    ``encode_ms``           milliseconds to encode one query (median); NaN for embeddings that came with the topics
    ``retrieve_ms``         milliseconds from there to the ranking (median); also ``_mean`` and ``_p95``
    ``plaid_scored`` ...    what the retrievers count with ``stats=True``, means over queries; taken in a run of its own
    ``index_mb``            10^6 bytes of all indexes in the system, as ``index.info()`` has them: what WARP, MUVERA and
                            others derive beside an index comes on top
    ``bytes_per_doc``       the same per document
    ``nDCG@10 +`` ...       queries better (``+``) and worse (``-``) than the baseline, p-values plain and corrected;
                            with several baselines each of these columns ends in ``vs`` and the baseline
    ======================= ===========================================================================================

    Args:
        systems: Pipelines from topics to rankings, by name.
        topics: ``qid, query``; with ``query_embs`` no encoder is needed.
        qrels: ``qid, docno, label``.
        eval_metrics: Measures of ir_measures, or their names.
        encoder: Encodes the queries.
        baseline: The system that the others are compared with by a paired t-test, or several.
        correction: Of the p-values for multiple tests, over the systems, for each measure and baseline; as
            `pt.Experiment` names it.
        warm_up: Queries that each system answers before its times are taken.

    Raises:
        ValueError: If there are no systems or topics, a measure or a baseline is unknown, or a system needs embeddings.
    """
    measures, bases = parse_measures(eval_metrics), _baselines(systems, baseline)
    topics = prepared(topics, encoder, warm_up=warm_up)
    inputs = {name: topics[_columns(name, system, topics)] for name, system in systems.items()}
    costs, rankings, single = {}, {}, []
    for name, system in systems.items():
        given = inputs[name]
        rankings[name], times = run_timed(system, given, warm_up=warm_up, name=name)
        encode_ms = given.get("encode_ms", float("nan") if "query_embs" in given else 0.0)
        single.append(pd.DataFrame({"name": name, "qid": topics["qid"], "encode_ms": encode_ms, "retrieve_ms": times}))
        costs[name] = {**_times(single[-1]), **counts(system, given), **sizes(system)}
    found = {name: ranking[["qid", "docno", "score", "rank"]] for name, ranking in rankings.items()}
    arguments = (topics[["qid", "query"]], qrels, measures)
    quality = pt.Experiment(found, *arguments)[["name", *map(str, measures)]]
    compared = [_compared(found, arguments, base, correction, many=len(bases) > 1) for base in bases]
    cost = pd.DataFrame.from_dict(costs, orient="index").loc[quality["name"]].reset_index(drop=True)
    results = pd.concat([quality, cost, *compared], axis=1)
    tidy = pt.Experiment(found, *arguments, perquery=True)
    wide = tidy.pivot(index=["name", "qid"], columns="measure", values="value").reset_index()
    perquery = pd.concat(single, ignore_index=True).merge(wide, on=["name", "qid"], how="left")
    return Measured(results, perquery[["name", "qid", *map(str, measures), "encode_ms", "retrieve_ms"]], rankings)


def prepared(topics: pd.DataFrame, encoder: Encoder | None, *, warm_up: int) -> pd.DataFrame:
    """The topics, with the embeddings of the queries where an encoder is given.

    Raises:
        ValueError: If there are no topics, or embeddings and an encoder.
    """
    if not len(topics):
        raise ValueError("there are no topics; expected at least one.")
    if encoder is None:
        return topics.reset_index(drop=True)
    if "query_embs" in topics.columns:
        raise ValueError("the topics have query_embs and an encoder was given; expected one of them.")
    return encode(topics.reset_index(drop=True), encoder, warm_up=warm_up)


def parse_measures(measures: str | Sequence[Any]) -> list[Any]:
    """Reads measures of ir_measures, or their names; each once.

    Raises:
        ValueError: If one is unknown, or there is none.
    """
    import ir_measures

    items = measures.split(",") if isinstance(measures, str) else list(measures)
    parsed = []
    for item in (item.strip() if isinstance(item, str) else item for item in items):
        if item == "":
            continue
        try:
            parsed.append(ir_measures.parse_measure(item) if isinstance(item, str) else item)
        except (ValueError, NameError) as error:
            raise ValueError(
                f"the measure {item!r} is unknown; expected names of ir_measures, such as {MEASURES}. "
                "They are listed at https://ir-measur.es/en/latest/measures.html"
            ) from error
    if not parsed:
        raise ValueError(f"no measure was named; expected at least one, such as {MEASURES}.")
    return list(dict.fromkeys(parsed))


def counts(system: pt.Transformer, topics: pd.DataFrame) -> dict[str, float]:
    """What the system's retrievers count, such as documents scored: means over queries.

    Only the part of the system up to its last counting stage is run, on all topics at once.
    """
    from pyterrier_lir.retrieve.retriever import Retriever

    stages = _stages(system)
    counting = [isinstance(s, Retriever) and any(not n.endswith("_ms") for n in s.STATS) for s in stages]
    if not any(counting):
        return {}
    last = max(i for i, counts_here in enumerate(counting) if counts_here)
    counted = [
        pt.inspect.transformer_apply_attributes(stage, stats=True) if counts_here else stage
        for stage, counts_here in zip(stages[: last + 1], counting, strict=False)
    ]
    out = topics
    for stage in counted:
        out = stage(out)
    names = [name for s in counted if isinstance(s, Retriever) for name in s.STATS if not name.endswith("_ms")]
    return out.drop_duplicates("qid")[list(dict.fromkeys(names))].mean().to_dict()


def sizes(system: pt.Transformer) -> dict[str, float]:
    """``index_mb`` and ``bytes_per_doc`` of the indexes in a system; nothing where there are none."""
    found = {index.path: index for index in _indexes(system)}.values()
    if not found:
        return {}
    size = sum(index.info()["megabytes"] for index in found)
    return {"index_mb": size, "bytes_per_doc": 1e6 * size / max(len(index) for index in found)}


def _columns(name: str, system: pt.Transformer, topics: pd.DataFrame) -> list[str]:
    """The columns of the topics that a system is given: none from the encoder where it can do without."""
    plain = [column for column in topics if column not in _FROM_ENCODER]
    try:
        system(topics[plain].head(1))  # inspection does not know what functions in pt.apply read
        return plain
    except Exception as error:
        if "query_embs" in topics.columns:
            return list(topics)
        if isinstance(error, pt.validate.InputValidationError):
            raise ValueError(
                f"the system {name!r} cannot start from the topics' columns {plain}; expected query_embs among them, "
                f"or an encoder. Pass encoder=, or begin the pipeline with encoder.query_encoder(). ({error})"
            ) from error
        raise


def _times(single: pd.DataFrame) -> dict[str, float]:
    ms = single["retrieve_ms"]
    return {
        "encode_ms": single["encode_ms"].median(), "retrieve_ms": ms.median(), "retrieve_ms_mean": ms.mean(),
        "retrieve_ms_p95": ms.quantile(0.95),
    }  # fmt: skip


def _compared(
    found: dict[str, pd.DataFrame], arguments: tuple[Any, ...], base: str, correction: str | None, *, many: bool
) -> pd.DataFrame:
    """The columns by which `pt.Experiment` compares the systems with a baseline."""
    table = pt.Experiment(found, *arguments, baseline=base, correction=correction)
    table = table.drop(columns=["name", *map(str, arguments[2])])
    return table.rename(columns=lambda column: f"{column} vs {base}") if many else table


def _baselines(systems: Mapping[str, pt.Transformer], baseline: str | Sequence[str] | None) -> list[str]:
    if not systems:
        raise ValueError("there are no systems; expected at least one, as in {'PLAID': index.plaid()}.")
    chosen = [] if baseline is None else [baseline] if isinstance(baseline, str) else list(dict.fromkeys(baseline))
    for name in chosen:
        if name not in systems:
            raise ValueError(f"the baseline {name!r} is not among the systems; expected one of {list(systems)}.")
    return chosen


def _stages(system: pt.Transformer) -> list[pt.Transformer]:
    return list(system) if isinstance(system, pt.Compose) else [system]


def _indexes(system: pt.Transformer) -> Iterator[LirIndex]:
    index = getattr(system, "index_", None)
    if index is not None and hasattr(index, "info"):
        yield index
    for part in pt.inspect.subtransformers(system).values():
        for one in part if isinstance(part, (list, tuple)) else [part]:
            yield from _indexes(one)
