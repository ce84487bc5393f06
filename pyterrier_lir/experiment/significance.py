"""Comparison with a baseline: a paired t-test for every system and measure, corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

TEST = "paired t-test"
CORRECTIONS = ("holm", "bonferroni", "sidak", "holm-sidak", "simes-hochberg", "hommel", "fdr_bh", "fdr_by")


def compared(perquery: pd.DataFrame, measures: Sequence[Any], base: str, correction: str | None) -> pd.DataFrame:
    """The columns by which `pt.Experiment` compares systems with a baseline.

    Args:
        perquery: ``name, qid`` and the measures, NaN where a query has no value. Of a system and the baseline those
            queries count that have a value of both.
        measures: The measures, or their names.
        base: The name of the baseline.
        correction: As `check_correction` takes it; None for none.

    Returns:
        For every measure, in the order of the systems: queries better (``AP +``) and worse (``AP -``), ``AP
        p-value`` (see `p_value`), and with a correction ``AP reject`` (at .05) and ``AP p-value corrected``, which
        leaves out systems without a p-value. NaN for the baseline.
    """
    names = perquery["name"].drop_duplicates().tolist()
    others = np.array([name != base for name in names])
    found: dict[str, Any] = {}
    for measure in map(str, measures):
        values = perquery.pivot(index="qid", columns="name", values=measure)
        differences = [values[name].sub(values[base]).dropna().to_numpy() for name in names]
        better, worse, p = np.array([[(d > 0).sum(), (d < 0).sum(), p_value(d)] for d in differences], float).T
        better[~others] = worse[~others] = p[~others] = np.nan
        found |= {f"{measure} +": better, f"{measure} -": worse, f"{measure} p-value": p}
        if correction is not None:
            corrected, reject = _corrected(p, correction)
            found |= {f"{measure} reject": reject, f"{measure} p-value corrected": corrected}
    return pd.DataFrame(found)


def p_value(differences: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    r"""The paired t-test, two-sided, of differences by query.

    .. math::

       t = \bar{d} / (s / \sqrt{n}), \qquad p = 2\,P(T_{n-1} > |t|)

    Where no query differs there is nothing to test, and p is 1. (SciPy, and with it `pt.Experiment`, has 0/0, and some
    corrections then have NaN for all other systems.) Where all differ by the same, s is 0, and so is p, whatever the
    number of queries. Of fewer than two queries there is no p-value: NaN.
    """
    if len(differences) < 2:
        return float("nan")
    if not differences.any():
        return 1.0
    if np.allclose(differences, differences[0], rtol=1e-12, atol=0):  # what s is, is rounding
        return 0.0
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0).pvalue)


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


def _corrected(p: Any, correction: str) -> tuple[Any, Any]:
    from statsmodels.stats.multitest import multipletests

    corrected, reject = np.full(len(p), np.nan), np.zeros(len(p), dtype=bool)
    tested = np.isfinite(p)
    if tested.any():
        with np.errstate(divide="ignore"):  # Sidak's logarithm of 1 - 1
            reject[tested], corrected[tested], _, _ = multipletests(p[tested], method=correction)
    return corrected, reject
