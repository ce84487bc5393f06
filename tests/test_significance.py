"""p-values and their corrections, by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from pyterrier_lir.experiment.significance import CORRECTIONS, compared, p_value


def test_a_paired_t_test_by_hand():
    # mean 0.2, s 0.1, t = 0.2 / (0.1 / sqrt 3), t^2 = 12; with two degrees of freedom p = 1 - t / sqrt(t^2 + 2)
    assert p_value(np.array([0.1, 0.2, 0.3])) == pytest.approx(1 - math.sqrt(12 / 14))
    assert p_value(-np.array([0.3, 0.1, 0.2])) == pytest.approx(1 - math.sqrt(12 / 14))
    # mean 1/2, s 1 / sqrt 2, t = 1; with one degree of freedom p = 1 - 2 / pi * atan t
    assert p_value(np.array([0.0, 1.0])) == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
def test_what_has_no_spread():
    assert p_value(np.zeros(5)) == 1
    assert p_value(np.full(5, 0.25)) == p_value(np.array([0.3, 0.4, 0.5]) - np.array([0.2, 0.3, 0.4])) == 0
    assert math.isnan(p_value(np.array([0.5]))) and math.isnan(p_value(np.array([])))


def by_query(**systems):
    """A frame as `evaluate` gives it: query i has value i of each system."""
    rows = [(name, f"q{i}", value) for name, values in systems.items() for i, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["name", "qid", "AP"])


P = 1 - math.sqrt(12 / 14)  # 0.0742, of (0.1, 0.2, 0.3)
Q = 1 - 1 / math.sqrt(3)  # 0.4226, of (0, 0, 0.3): mean 0.1, s 0.3 / sqrt 3, t = 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        ("holm", [3 * P, 2 * Q, 1]),
        ("bonferroni", [3 * P, 1, 1]),
        ("sidak", [1 - (1 - P) ** 3, 1 - (1 - Q) ** 3, 1]),
        ("holm-sidak", [1 - (1 - P) ** 3, 1 - (1 - Q) ** 2, 1]),
        ("simes-hochberg", [3 * P, 2 * Q, 1]),
        (
            "hommel",
            [3 * P, 2 * Q, 1],
        ),  # the largest of Simes' p-values of the sets with it: min(3 P, 3/2 Q, 1), min(2 Q, 1)
        ("fdr_bh", [3 * P, 3 / 2 * Q, 1]),
        ("fdr_by", [11 / 6 * 3 * P, 1, 1]),
    ],
)
def test_a_system_that_equals_the_baseline_is_one_of_the_tests_and_spoils_none(correction, expected):
    perquery = by_query(base=[0.1] * 3, clear=[0.2, 0.3, 0.4], same=[0.1] * 3, slight=[0.1, 0.1, 0.4])
    found = compared(perquery, ["AP"], "base", correction)
    assert found["AP p-value"].tolist()[1:] == pytest.approx([P, 1, Q])
    clear, slight, same = expected
    assert found["AP p-value corrected"].tolist()[1:] == pytest.approx([clear, same, slight])
    assert found.loc[0].drop("AP reject").isna().all() and not found["AP reject"].any()
    assert found["AP +"].tolist()[1:] == [3, 0, 1] and found["AP -"].tolist()[1:] == [0, 0, 0]


def test_every_correction_is_there():
    (marks,) = [
        m
        for m in test_a_system_that_equals_the_baseline_is_one_of_the_tests_and_spoils_none.pytestmark
        if m.name == "parametrize"
    ]
    assert [correction for correction, _ in marks.args[1]] == list(CORRECTIONS)


def test_queries_without_a_value_count_for_neither():
    nan = float("nan")
    perquery = by_query(
        base=[0, 0, nan, 0, 0.5], other=[0.1, 0.2, 1, 0.3, nan], never=[nan] * 5, once=[1, nan, nan, nan, nan]
    )
    found = compared(perquery, ["AP"], "base", "holm").drop(columns="AP reject")
    assert found.loc[1].tolist() == pytest.approx([3, 0, P, P])  # one test: the two others have no p-value
    assert found.loc[2].tolist()[:2] == [0, 0] and found.loc[3].tolist()[:2] == [1, 0]
    assert found.loc[2:, ["AP p-value", "AP p-value corrected"]].isna().all(axis=None)
    assert not compared(perquery, ["AP"], "base", "holm")["AP reject"].any()


def test_the_level_is_five_per_cent():
    perquery = by_query(base=[0] * 4, better=[0.4, 0.5, 0.4, 0.5], worse=[-0.1, 0, 0, 0.1])
    assert compared(perquery, ["AP"], "base", "holm")["AP reject"].tolist() == [False, True, False]
