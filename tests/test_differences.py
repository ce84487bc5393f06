"""Differences of two systems query by query, and their plot."""

import pickle

import numpy as np
import pandas as pd
import pytest
from ir_measures import AP
from scipy.stats import ttest_rel

from pyterrier_lir.experiment import difference_plot
from pyterrier_lir.experiment.differences import differences

PERQUERY = pd.DataFrame({
    "name": ["a"] * 5 + ["b"] * 5,
    "qid": list("12345") * 2,
    "AP": [0.5, 0.2, 0.9, 0.4, 0.3, 0.4, 0.2, 0.5, 0.6, 0.3],
})  # fmt: skip


def test_differences_are_sorted():
    found = differences(PERQUERY, "a", "b", "AP")
    assert found.index.tolist() == ["3", "1", "2", "5", "4"]
    np.testing.assert_allclose(found, [0.4, 0.1, 0, 0, -0.2])
    tidy = PERQUERY.assign(measure="AP").rename(columns={"AP": "value"})  # as pt.Experiment(perquery=True)
    assert differences(tidy, "a", "b", "AP").equals(found) and differences(PERQUERY, "a", "b", AP).equals(found)
    mixed = PERQUERY.sample(frac=1, random_state=0)
    np.testing.assert_allclose(differences(mixed, "a", "b", "AP"), found)


def test_the_difference_plot_counts_and_tests():
    figure = difference_plot(PERQUERY, "a", "b", AP)
    (axes,) = figure.axes
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [0.4, 0.1, 0, 0, -0.2])
    p = ttest_rel(PERQUERY["AP"][:5], PERQUERY["AP"][5:]).pvalue
    assert axes.get_title(loc="left") == f"2 wins, 2 ties, 1 losses; mean +0.060, paired t-test p = {p:.3f}"
    (same,) = difference_plot(PERQUERY, "a", "a", "AP").axes
    assert "0 wins, 5 ties, 0 losses" in same.get_title(loc="left") and "identical" in same.get_title(loc="left")
    assert len(pickle.loads(pickle.dumps(figure)).axes[0].patches) == 5


def test_names_are_no_formulas(tmp_path):
    odd = PERQUERY.replace({"name": {"a": "cost $1 and $2", "b": "$a^{$"}})
    figure = difference_plot(odd, "cost $1 and $2", "$a^{$", "AP", title="$x_$")
    figure.savefig(tmp_path / "plot.png")  # a formula would be refused
    assert not figure._suptitle.get_parse_math()


def test_many_bars_leave_no_gaps():
    many = pd.DataFrame({"name": ["a"] * 200 + ["b"] * 200, "qid": list(range(200)) * 2, "AP": np.arange(400) / 400})
    widths = [difference_plot(frame, "a", "b", "AP").axes[0].patches[0].get_width() for frame in (many, PERQUERY)]
    assert widths == [1, pytest.approx(0.9)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"system": "c"}, "'c' is not in the frame"),
        ({"measure": "RR"}, "'RR'"),
        ({"baseline": "d"}, "share no query"),
        ({"perquery": pd.concat([PERQUERY, PERQUERY])}, "'1' occurs more than once for the system 'a'"),
        ({"perquery": PERQUERY.drop(columns="qid")}, r"measure\(...\)\.perquery"),
        ({"perquery": (PERQUERY,)}, r"a tuple, .*measure\(...\)\.perquery"),
    ],
)
def test_differences_that_are_not_there(change, words):
    frame = pd.concat([PERQUERY, pd.DataFrame({"name": ["d"], "qid": ["99"], "AP": [1.0]})])
    arguments = {"perquery": frame, "system": "a", "baseline": "b", "measure": "AP", **change}
    with pytest.raises(ValueError, match=words):
        difference_plot(**arguments)
    with pytest.raises(TypeError, match="expected named options: title, figsize"):
        difference_plot(**arguments, size=3)
