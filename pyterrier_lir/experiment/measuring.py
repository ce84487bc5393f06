"""Quality and cost of any pipelines, side by side.

Every pipeline answers one query at a time, as a user waits for it, after a warm-up that is not counted; pipelines take
turns. The rankings that were timed are the ones that `pt.Experiment` evaluates, each once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import pyterrier as pt

from pyterrier_lir import options
from pyterrier_lir.experiment.costs import counts, sizes
from pyterrier_lir.experiment.evaluating import averaged, evaluate
from pyterrier_lir.experiment.inputs import baselines, check_systems, check_topics, encoded, judgements, parse_measures
from pyterrier_lir.experiment.significance import TEST, check_correction, compared
from pyterrier_lir.experiment.timing import WARM_UP, run_in_turns

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

_FROM_ENCODER = ("query_embs", "query_tok_ids", "query_encoder", "encode_ms")
_RANKING = ("qid", "docno", "score", "rank")


class Measured(NamedTuple):
    """What `measure` found; a notebook shows the results.

    Attributes:
        results: One row per system; see `measure`. The test and the correction of its p-values stand in
            its ``attrs``.
        perquery: One row per system and query: ``name, qid``, the measures, ``encode_ms``, ``retrieve_ms``.
        rankings: The ranking of each system: ``qid, docno, score, rank``.
    """

    results: pd.DataFrame
    perquery: pd.DataFrame
    rankings: dict[str, pd.DataFrame]

    def __repr__(self) -> str:
        return f"{self.results.to_string()}\n\n{self._more()}"

    def _repr_html_(self) -> str:
        return f"{self.results.to_html(max_cols=20)}<p>{self._more()}</p>"

    def _more(self) -> str:
        queries = self.perquery["qid"].nunique()
        return f".results, above; .perquery: {queries:,} queries; .rankings: of {len(self.rankings)} systems"


@options.listed
def measure(
    systems: Mapping[str, pt.Transformer],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    eval_metrics: str | Any | Sequence[Any],
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

    All systems answer the same 25 queries before any goes on to the next, in an order that rotates, so that a machine
    that is busy for a while is so for all alike.

    Columns of ``results``:

    ======================= ===========================================================================================
    column                  meaning
    ======================= ===========================================================================================
    ``name``                the system
    the measures            by `pt.Experiment`: means over the queries that have a value
    ``encode_ms``           milliseconds to encode one query (median); NaN for embeddings that came with the topics
    ``retrieve_ms``         milliseconds from there to the ranking (median); also ``_mean`` and ``_p95``
    ``scored``              documents that get a score from their tokens, by MaxSim or by WARP's and XTR's estimate of
                            it: mean over queries, stages add up; NaN where there is no such stage
    ``plaid_candidates`` .. what else the retrievers count with ``stats=True``; counts are taken in a run of their own
    ``index_mb``            10^6 bytes of all indexes in the system, as ``index.info()`` has them
    ``derived_mb``          10^6 bytes of what its stages derive from them and keep beside them: WARP's cells, MUVERA's
                            encodings, a corpus graph
    ``bytes_per_doc``       both, per document
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
            `pt.Experiment` names it. A system that equals the baseline in every query has a p-value of 1; of fewer than
            two queries there is none.
        warm_up: Queries that each system answers before its times are taken.

    Raises:
        ValueError: If systems, topics or qrels are missing or not in this form, a measure, a baseline or a correction
            is unknown, a system needs embeddings or gives no ranking: all found out before anything is timed. If a
            system finds nothing at all.
    """
    check_systems(systems)
    check_correction(correction)
    measures, bases = parse_measures(eval_metrics), baselines(systems, baseline)
    topics = check_topics(topics, encoder, warm_up=warm_up)
    qrels = judgements(qrels, topics)
    topics = encoded(topics, encoder, warm_up=warm_up)
    inputs = {name: topics[_columns(name, system, topics)] for name, system in systems.items()}
    runs = run_in_turns(systems, inputs, warm_up=warm_up, keep=_RANKING)
    rankings = {name: _ranking(name, _some(name, found)) for name, (found, _) in runs.items()}
    times = pd.concat([_times(name, inputs[name], ms) for name, (_, ms) in runs.items()], ignore_index=True)
    costs = [_summary(times[times["name"] == name]) for name in systems]
    more = [{**counts(system, inputs[name]), **sizes(system)} for name, system in systems.items()]
    values = evaluate(rankings, topics[["qid", "query"]], qrels, measures)
    comparisons = [compared(values, measures, base, correction) for base in bases]
    if len(bases) > 1:
        comparisons = [frame.add_suffix(f" vs {base}") for frame, base in zip(comparisons, bases, strict=True)]
    results = pd.concat([averaged(values, measures), pd.DataFrame(costs), pd.DataFrame(more), *comparisons], axis=1)
    results.attrs |= {"test": TEST, "correction": correction} if bases else {"test": None, "correction": None}
    return Measured(results, values.merge(times, on=["name", "qid"]), rankings)


def _columns(name: str, system: pt.Transformer, topics: pd.DataFrame) -> list[str]:
    """The columns of the topics that a system is given: none from the encoder where it can do without."""
    plain = [column for column in topics if column not in _FROM_ENCODER]
    try:
        found = system(topics[plain].head(1))  # inspection does not know what functions in pt.apply read
    except Exception as error:
        if "query_embs" not in topics.columns:
            if isinstance(error, pt.validate.InputValidationError):
                raise ValueError(
                    f"the system {name!r} cannot start from the topics' columns {plain}; expected query_embs among "
                    f"them, or an encoder. Pass encoder=, or begin the pipeline with encoder.query_encoder(). ({error})"
                ) from error
            raise
        plain = list(topics)
        found = system(topics.head(1))
    _ranking(name, found)
    return plain


def _ranking(name: str, found: Any) -> pd.DataFrame:
    """The columns that are evaluated; ranks by score where there are none."""
    there = list(found.columns) if isinstance(found, pd.DataFrame) else f"a {type(found).__name__}"
    if not isinstance(found, pd.DataFrame) or not {"qid", "docno", "score"} <= set(found.columns):
        raise ValueError(
            f"the system {name!r} gives {there}; expected qid, docno and score. End it with a retriever or a scorer, "
            "such as encoder.query_encoder() >> index.plaid()."
        )
    return (found if "rank" in found.columns else pt.model.add_ranks(found))[list(_RANKING)]


def _some(name: str, found: pd.DataFrame) -> pd.DataFrame:
    if not len(found):
        raise ValueError(
            f"the system {name!r} finds nothing for any of the topics; expected some results. Look at what it gives "
            "for one: system.search(...)."
        )
    return found


def _times(name: str, given: pd.DataFrame, retrieve_ms: Any) -> pd.DataFrame:
    encode_ms = given.get("encode_ms", float("nan") if "query_embs" in given else 0.0)
    return pd.DataFrame({"name": name, "qid": given["qid"], "encode_ms": encode_ms, "retrieve_ms": retrieve_ms})


def _summary(times: pd.DataFrame) -> dict[str, float]:
    ms = times["retrieve_ms"]
    return {
        "encode_ms": times["encode_ms"].median(), "retrieve_ms": ms.median(), "retrieve_ms_mean": ms.mean(),
        "retrieve_ms_p95": ms.quantile(0.95),
    }  # fmt: skip
