"""What an experiment is given, checked before anything takes time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir.experiment.measures import named
from pyterrier_lir.experiment.timing import encode

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder

MEASURES = "nDCG@10,R@100,RR@10,AP"

_OUTSIDE_BRACKETS = re.compile(r",(?![^(]*\))")
_EXAMPLE = "measure({'PLAID': encoder.query_encoder() >> index.plaid()}, topics, qrels, ['nDCG@10'])"


def check_systems(systems: Mapping[str, pt.Transformer]) -> None:
    """Refuses what is no dictionary of pipelines.

    Raises:
        ValueError: If it is none, or empty, or a name is no string.
    """
    if not isinstance(systems, Mapping):
        raise ValueError(
            f"the systems are a {type(systems).__name__}; expected a dictionary of pipelines by name. {_EXAMPLE}"
        )
    if not systems:
        raise ValueError(f"there are no systems; expected at least one. {_EXAMPLE}")
    check_names(systems)
    for name, system in systems.items():
        if not callable(system) or isinstance(system, type):
            raise ValueError(
                f"the system {name!r} is {_short(system)}; expected a pipeline, which can be timed. Evaluate finished "
                "rankings with pt.Experiment."
            )


def check_names(names: Iterable[Any]) -> None:
    """Refuses names of systems that are no strings.

    Raises:
        ValueError: If one is not.
    """
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"a system has the name {name!r}; expected a string. Name it {str(name)!r}.")


def check_topics(topics: pd.DataFrame, encoder: Encoder | None, *, warm_up: int) -> pd.DataFrame:
    """The topics, whose ``qid`` is text; nothing is encoded yet.

    Raises:
        ValueError: If there are no topics, or not in this form, or embeddings and an encoder.
    """
    from pyterrier_lir.encode.base import Encoder

    if not isinstance(warm_up, int) or warm_up < 0:
        raise ValueError(f"warm_up is {warm_up!r}; expected a number of queries. Pass warm_up=0 for none.")
    _check_frame("topics", topics, ["qid", "query"])
    topics = topics.astype({"qid": str}).reset_index(drop=True)
    repeated = topics["qid"][topics["qid"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"the topics have the qid {repeated.iloc[0]!r} more than once; expected each once. "
            'Leave repetitions out: topics.drop_duplicates("qid").'
        )
    if encoder is None:
        return topics
    if not isinstance(encoder, Encoder):
        raise ValueError(f"encoder is {_short(encoder)}; expected an encoder itself. Pass encoder=lir.ToyEncoder().")
    if "query_embs" in topics.columns:
        raise ValueError(
            "the topics have query_embs and an encoder was given; expected one of them. Leave encoder= out."
        )
    return topics


def encoded(topics: pd.DataFrame, encoder: Encoder | None, *, warm_up: int) -> pd.DataFrame:
    """The topics, with the embeddings of the queries where an encoder is given."""
    return topics if encoder is None else encode(topics, encoder, warm_up=warm_up)


def judgements(qrels: pd.DataFrame, topics: pd.DataFrame) -> pd.DataFrame:
    """The judgements as ir_measures takes them: ``qid`` and ``docno`` are text, labels whole numbers.

    Raises:
        ValueError: If there are none, none of a topic, or not in this form.
    """
    _check_frame("qrels", qrels, ["qid", "docno", "label"])
    numbers = pd.to_numeric(qrels["label"], errors="coerce").to_numpy(float, na_value=np.nan)
    labels = pd.Series(numbers, index=qrels.index)  # of NumPy's type: Arrow's integers have no %
    wrong = qrels["label"][labels % 1 != 0]
    if len(wrong):
        raise ValueError(
            f"the qrels have the label {wrong.iloc[0]!r}; expected whole numbers. Change them: qrels.assign(label=...)."
        )
    found = qrels[["qid", "docno"]].astype(str).assign(label=labels.astype(int))
    if not found["qid"].isin(topics["qid"]).any():
        raise ValueError(
            f"no topic has a judgement: the topics are {topics['qid'].iloc[0]!r} ..., the qrels are of "
            f"{found['qid'].iloc[0]!r} ...; expected the same qids. Take both from one dataset."
        )
    return found


def parse_measures(measures: str | Any | Sequence[Any]) -> list[Any]:
    """Reads measures of ir_measures, or their names; each once.

    Raises:
        ValueError: If one is unknown, or there is none.
    """
    import ir_measures

    if isinstance(measures, ir_measures.Measure):
        measures = [measures]
    items = _OUTSIDE_BRACKETS.split(measures) if isinstance(measures, str) else list(measures)
    parsed = [_measure(item) for item in items if item != ""]
    if not parsed:
        raise ValueError(f"no measure was named; expected at least one, such as {MEASURES}.")
    return list(dict.fromkeys(parsed))


def baselines(systems: Mapping[str, pt.Transformer], baseline: str | Sequence[str] | None) -> list[str]:
    """The names of the systems to compare with.

    Raises:
        ValueError: If one is no system.
    """
    if not isinstance(baseline, (str, list, tuple, type(None))):
        raise ValueError(f"baseline is {baseline!r}; expected the name of a system. Pass one of {list(systems)}.")
    chosen = [] if baseline is None else [baseline] if isinstance(baseline, str) else list(dict.fromkeys(baseline))
    for name in chosen:
        if name not in systems:
            raise ValueError(f"the baseline {name!r} is not among the systems; expected one of {list(systems)}.")
    return chosen


def _measure(item: Any) -> Any:
    import ir_measures

    if isinstance(item, ir_measures.Measure):
        return item
    problem = ""
    try:
        return named(item)
    except (ValueError, AttributeError):  # AttributeError: it is no text
        problem = _what_was_meant(item)
    raise ValueError(
        f"the measure {item!r} is unknown; expected names of ir_measures, such as {MEASURES}. {problem}"
        "They are listed at https://ir-measur.es/en/latest/measures.html"
    )


def _what_was_meant(item: Any) -> str:
    """For the names that `pt.Experiment` takes besides."""
    import ir_measures

    if item == "mrt":
        return "Times are measured in any case: leave mrt out. "
    try:
        (meant,) = ir_measures.parse_trec_measure(item)
        return f"For trec_eval's {item} pass {str(meant)!r}. "
    except (ValueError, NameError, AttributeError, TypeError):
        return ""


def _check_frame(what: str, frame: Any, columns: list[str]) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"{what} is {_short(frame)}; expected a frame with {', '.join(columns)}. Make a pd.DataFrame.")
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"the {what} have the columns {list(frame.columns)}; expected {', '.join(columns)}. "
            f"Rename yours: {what}.rename(columns={{...: {missing[0]!r}}})."
        )
    if not len(frame):
        raise ValueError(f"there are no {what}; expected at least one. Take some from a dataset.")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 and "\n" not in text else f"a {type(value).__name__}"
