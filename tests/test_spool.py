"""Which documents were stored already is known however many segments and documents there are, at little cost."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir.index.segment import Segment, SegmentWriter
from pyterrier_lir.index.spool import SeenDocnos


def _spooled(path: Path, segments: int, name: str) -> list[Segment]:
    """Segments of three documents without tokens: ``d0`` to ``d2``, ``d3`` to ``d5`` and so on."""
    folders = [path / f"{i + 1:06d}" for i in range(segments)]
    for i, folder in enumerate(folders):
        writer = SegmentWriter(folder, dim=2, encoder=None, tok_ids=False)
        for number in range(3 * i, 3 * i + 3):
            writer.append(name.format(number), np.zeros((0, 2), np.float16), None)
        writer.finish()
    return [Segment(folder) for folder in folders]


def test_documents_of_many_segments_are_looked_up_in_few_arrays(tmp_path: Path) -> None:
    seen = SeenDocnos()
    for segment in _spooled(tmp_path, 21, "d{}"):
        seen.next_segment(segment)
    assert [len(hashes) for hashes in seen.hashes] == [48, 12, 3]  # three documents each of 16 + 4 + 1 segments
    for number in range(63):
        with pytest.raises(ValueError, match=f"'d{number}' occurs twice"):
            seen.add(f"d{number}")
    seen.add("d63")


def test_deleted_documents_are_free(tmp_path: Path) -> None:
    seen = SeenDocnos()
    first, second = _spooled(tmp_path, 2, "d{}")
    seen.next_segment(first, np.array([1]))
    seen.next_segment(second)
    seen.add("d1")
    with pytest.raises(ValueError, match="'d4' occurs twice"):
        seen.add("d4")


@pytest.mark.parametrize(
    ("passages", "name", "left"), [(False, "d{}", ["d6", "d7"]), (True, "d{}%p0", ["d5", "d6", "d7"])]
)
def test_unseen_keeps_what_no_segment_holds(tmp_path: Path, passages: bool, name: str, left: list[str]) -> None:
    index = lir.LirIndex(tmp_path / "index.lir")
    _spooled(tmp_path / "index.lir" / "build" / "spool", 2, name)
    came = pd.DataFrame({"docno": [f"d{i}" for i in range(8)]})
    # of the last document other passages may be missing
    assert index.unseen(passages=passages)(came)["docno"].tolist() == left
    assert index.unseen(passages=passages)(came[:0]).columns.tolist() == ["docno"]
