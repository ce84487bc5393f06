"""How well an agent searched, and what it cost: what BrowseComp-Plus reports, for any questions.

Chen et al.: BrowseComp-Plus: A More Fair and Transparent Evaluation Benchmark of Deep-Research Agent. 2025.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyterrier_lir.agents.search_tool import SearchTool

BINS = 10


class Session(NamedTuple):
    """What an agent did with one question.

    Attributes:
        tool: The tool with which it searched, of which it had a `SearchTool.fresh` one.
        answer: What it answered; None where it did not.
        confidence: How sure it said to be, from 0 to 1; None where it did not say.
    """

    tool: SearchTool
    answer: str | None = None
    confidence: float | None = None


class Evaluated(NamedTuple):
    """What `evaluate` found.

    Attributes:
        summary: Means over questions: ``accuracy``, ``recall``, ``searches``, ``characters``, ``search_ms``,
            ``snippet_ms``, and ``calibration_error``; NaN for what is not known of any.
        perquestion: The same for each question, with its ``qid``; ``correct`` in place of accuracy.
    """

    summary: dict[str, float]
    perquestion: pd.DataFrame


def evaluate(
    sessions: Mapping[str, Session],
    qrels: pd.DataFrame,
    answers: Mapping[str, str] | None = None,
    *,
    judge: Callable[[str, str], bool] | None = None,
) -> Evaluated:
    """Judges sessions by what was found, what was answered, and what it cost.

    - ``recall``: of the documents judged relevant (the evidence), the share that any search of the session gave.
    - ``correct``: whether the judge accepts the answer; a question without an answer is wrong.
    - ``calibration_error``: expected calibration error in ten bins of equal width, ``sum_b n_b / n |accuracy_b -
      confidence_b|``, over sessions with a confidence.

    Args:
        sessions: By the question's ``qid``.
        qrels: ``qid, docno, label``: the evidence of each question.
        answers: The true answers by ``qid``; None leaves ``correct`` out.
        judge: Takes the answer and the true one, such as a call of a language model; None takes answers that are equal
            but for case, punctuation, articles and blanks.

    Raises:
        ValueError: If there are no sessions, questions lack judgements or true answers, or a confidence is not in 0..1.
    """
    if not sessions:
        raise ValueError("sessions is empty; expected one for each question.")
    relevant = qrels[qrels["label"] > 0].groupby("qid")["docno"].agg(set).to_dict()
    _check_known(sessions, relevant, "relevant documents in the qrels")
    if answers is not None:
        _check_known(sessions, answers, "true answers")
    rows = []
    for qid, session in sessions.items():
        found = set().union(*session.tool.log["docnos"])
        row = {"qid": qid, "recall": len(found & relevant[qid]) / len(relevant[qid]), **session.tool.costs()}
        correct = np.nan if answers is None else float(_is_correct(session.answer, answers[qid], judge or _same_answer))
        rows.append({**row, "correct": correct, "confidence": _confidence(qid, session)})
    frame = pd.DataFrame(rows)
    summary = {
        name: float(frame[name].mean()) for name in frame.columns if name not in ("qid", "correct", "confidence")
    }
    summary["accuracy"] = float(frame["correct"].mean())
    summary["calibration_error"] = calibration_error(frame["confidence"].to_numpy(), frame["correct"].to_numpy())
    return Evaluated(summary, frame)


def calibration_error(confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.float64]) -> float:
    """Expected calibration error in ten bins; NaN where nothing is known.

    Example:
        >>> round(calibration_error(np.array([0.95, 0.92, 0.1]), np.array([1.0, 0.0, 0.0])), 3)  # 2/3 .435 + 1/3 .1
        0.323
    """
    known = ~(np.isnan(confidence) | np.isnan(correct))
    confidence, correct = confidence[known], correct[known]
    if not len(confidence):
        return float("nan")
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = (abs(confidence[bins == b].sum() - correct[bins == b].sum()) for b in np.unique(bins))
    return float(sum(gaps) / len(confidence))


def _is_correct(answer: str | None, truth: str, judge: Callable[[str, str], bool]) -> bool:
    return answer is not None and bool(judge(answer, truth))


def _same_answer(answer: str, truth: str) -> bool:
    return _normalised(answer) == _normalised(truth)


def _normalised(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.casefold()) if word not in ("a", "an", "the")]


def _confidence(qid: str, session: Session) -> float:
    if session.confidence is None:
        return float("nan")
    if not 0 <= session.confidence <= 1:
        raise ValueError(f"the confidence for {qid!r} is {session.confidence}; expected a number from 0 to 1.")
    return float(session.confidence)


def _check_known(sessions: Mapping[str, Session], known: Mapping[str, object], what: str) -> None:
    missing = [qid for qid in sessions if qid not in known]
    if missing:
        raise ValueError(f"There are no {what} for {missing[:3]}; expected some for every question with a session.")
