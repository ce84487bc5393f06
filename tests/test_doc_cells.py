"""The documents of each centroid, of many small segments as of one."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, named

from pyterrier_lir import kernels
from pyterrier_lir.index import doc_cells

DOCS = list(named("", 60, seed=1))


@pytest.fixture
def index(tmp_path):
    """Of 30, 10 and 20 documents."""
    index = build(tmp_path / "i", DOCS[:30])
    for first, last in pairwise((30, 40, 60)):
        index.add(DOCS[first:last])
    return index


def filled(index):
    return [(start, segment) for start, segment in index.store.parts() if segment.num_tokens]


def test_together_they_are_those_of_one_segment(index):
    (merged,) = doc_cells.merged(filled(index))
    index.compact()
    ((_, segment),) = filled(index)
    assert (merged.first_doc, merged.num_docs) == (0, 60)
    np.testing.assert_array_equal(merged.offsets, segment.cell_offsets)
    np.testing.assert_array_equal(merged.docs, segment.cell_docs)


def test_enough_documents_stand_alone(index, monkeypatch):
    parts = filled(index)
    for enough, expected in {
        1: [(0, 30), (30, 10), (40, 20)],
        31: [(0, 40), (40, 20)],
        41: [(0, 60)],
    }.items():
        monkeypatch.setattr(doc_cells, "ENOUGH", enough)
        assert [(run.first_doc, run.num_docs) for run in doc_cells.merged(parts)] == expected
    monkeypatch.setattr(doc_cells, "ENOUGH", 1)
    for (_, segment), run in zip(parts, doc_cells.merged(parts), strict=True):
        assert run.docs is segment.cell_docs  # as it is on disk
        assert run.offsets is segment.cell_offsets


@pytest.mark.skipif(not kernels.compiled(), reason="no kernels are compiled here: stages look into each segment")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("cell_docs.i32", 20, "documents; are they from another index?"), ("cell_docs.i64", -1, "is the file cut off?")],
)
def test_a_damaged_list_is_refused_by_name(index, name, value, message):
    path = filled(index)[2][1].folder.path / name
    damaged = np.fromfile(path, "<i4" if name.endswith("i32") else "<i8")
    damaged[-1 if value > 0 else 1] = value
    damaged.tofile(path)
    fresh = type(index)(index.path)
    topics = pd.DataFrame({"qid": ["1"], "query_embs": [clustered(5, seed=5)]})
    with pytest.raises(ValueError, match=message) as caught:
        fresh.plaid()(topics)
    assert str(path.parent) in str(caught.value)
