"""Comparison with a baseline: a paired t-test for every system and measure, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

CORRECTIONS = ("holm", "bonferroni", "sidak", "holm-sidak", "simes-hochberg", "hommel", "fdr_bh", "fdr_by")


def compared(
    rankings: Mapping[str, pd.DataFrame],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    measures: Sequence[Any],
    base: str,
    correction: str | None,
) -> pd.DataFrame:
    """The columns by which `pt.Experiment` compares systems with a baseline.

    Where a system equals the baseline in every query there is nothing to test: its p-value is 1. (`pt.Experiment` has
    NaN there, which makes the corrected p-values of the other systems NaN as well with some corrections.) Of a single
    query there is no p-value, and nothing is rejected.

    Returns:
        For every measure, in the order of the rankings: queries better (``AP +``) and worse (``AP -``), ``AP
        p-value``, and with a correction ``AP reject`` (at .05) and ``AP p-value corrected``. NaN for the baseline.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # of equal rankings: 0 / 0
        table = pt.Experiment(dict(rankings), topics, qrels, list(measures), baseline=base)
    others, several = (table["name"] != base).to_numpy(), topics["qid"].isin(qrels["qid"]).sum() > 1
    found: dict[str, Any] = {}
    for measure in map(str, measures):
        better, worse, p = (table[f"{measure} {what}"].to_numpy(dtype=float) for what in ("+", "-", "p-value"))
        p = np.where(others & several & (better == 0) & (worse == 0), 1.0, p)
        found |= {f"{measure} +": better, f"{measure} -": worse, f"{measure} p-value": p}
        if correction is not None:
            corrected, reject = _corrected(p, others, correction)
            found |= {f"{measure} reject": reject, f"{measure} p-value corrected": corrected}
    return pd.DataFrame(found)


def check_correction(correction: str | None) -> None:
    """Refuses what is no correction.

    Raises:
        ValueError: If it is unknown.
    """
    from statsmodels.stats.multitest import multitest_alias

    if correction is not None and correction not in multitest_alias:
        raise ValueError(
            f"correction is {correction!r}; expected one of {', '.join(CORRECTIONS)}. Pass correction=None for none."
        )


def correction_name(correction: str) -> str:
    """How papers write it, such as ``Holm``."""
    from statsmodels.stats.multitest import multitest_alias, multitest_methods_names

    return str(multitest_methods_names[multitest_alias[correction]])


def _corrected(p: Any, others: Any, correction: str) -> tuple[Any, Any]:
    from statsmodels.stats.multitest import multipletests

    corrected, reject = np.full(len(p), np.nan), np.zeros(len(p), dtype=bool)
    tested = others & np.isfinite(p)
    if tested.any():
        reject[tested], corrected[tested], _, _ = multipletests(p[tested], method=correction)
    return corrected, reject
