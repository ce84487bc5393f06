"""Names of measures are read as ir_measures writes them, on every Python."""

import ir_measures
import pytest
from ir_measures import AP, ERR, RBP, RR, P, R, SetF, nDCG

from pyterrier_lir.experiment.measures import named


@pytest.mark.parametrize(
    "measure",
    [AP, AP(rel=2), RR @ 10, nDCG @ 10, nDCG(dcg="exp-log2") @ 5, R(rel=2) @ 100, RBP(p=0.5), RBP(p=0.5, rel=1),
     ERR @ 20, SetF(beta=0.5), ir_measures.IPrec @ 0.1, P(judged_only=True) @ 5, AP @ 3],
    ids=str,
)  # fmt: skip
def test_a_name_gives_the_measure_of_that_name(measure):
    assert named(str(measure)) == named(f" {measure} ") == measure
    assert named(str(measure)).params == {**measure.params}


@pytest.mark.parametrize(
    "name",
    ["", "nDCG@", "nosuch", "nDCG@x", "nDCG(3)", "nDCG(foo=3)", "nDCG@10@5", "nDCG@'a'", "AP@'a'", "AP(rel=rel)",
     "AP; RR", "P", "a.b", "1", "AP(**{'rel': 1})", "__import__('os')"],
)  # fmt: skip
def test_what_is_no_measure_is_refused(name):
    with pytest.raises(ValueError, match="expected one such as nDCG@10"):
        named(name)
