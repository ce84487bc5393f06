"""The public face is what `public_names.txt` says: whoever changes it sees the change in a diff."""

import public_names
import pytest


def test_nothing_public_changed_unnoticed():
    found, stored = list(public_names.lines()), public_names.FILE.read_text(encoding="utf-8").splitlines()
    gone, new = sorted({*stored} - {*found}), sorted({*found} - {*stored})
    assert not gone and not new, (
        "the public face changed: read pyterrier_lir/pt_docs/stability.rst, then run: python tests/public_names.py"
    )
    assert found == stored  # the order, too


@pytest.mark.parametrize(
    "line",
    [
        "lir.Truncate(dim)",
        "lir.LirIndex.delete(self, docnos, *, missing='error')",
        "lir.LirIndex.query_pruning(self, /, keep)",
        "lir.LirIndex.docnos",
        "lir.agents.BudgetError(ValueError)",
        "column query_weights",
        "python -m pyterrier_lir serve --port = 8000",
        "GET /search(query, k=10)",
    ],
)
def test_a_line_of_every_kind_is_there(line):
    assert line in public_names.FILE.read_text(encoding="utf-8").splitlines()
