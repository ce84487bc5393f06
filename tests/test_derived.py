"""What an index derives from itself: made once, made again when stale or damaged, never in the way."""

import logging
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, documents

import pyterrier_lir as lir
from pyterrier_lir import kernels
from pyterrier_lir.index import cell_tokens, derived

TOPICS = pd.DataFrame({"qid": ["1"], "query_embs": [clustered(6, seed=1)]})


def folder(index):
    (found,) = (index._directory / "derived" / "cell_tokens").glob("0*")
    return found


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [16, 21])
def test_tokens_lie_cell_after_cell(tmp_path, monkeypatch, nbits, dim):
    monkeypatch.setattr(cell_tokens, "BLOCK", 100)
    index = build(tmp_path / "i", documents(120, dim=dim), nbits=nbits)
    (segment,) = index.store.segments
    ((_first, _size, tokens),) = index.store.cell_tokens
    order = np.argsort(segment.codes, kind="stable")
    document = np.repeat(np.arange(len(segment)), np.diff(segment.offsets))
    assert tokens.docs.tolist() == document[order].tolist()
    assert np.diff(tokens.offsets).tolist() == np.bincount(segment.codes, minlength=len(tokens.offsets) - 1).tolist()
    t = np.arange(len(order))
    packed = tokens.blocks[t // 16, :, t % 16].reshape(len(t), -1)[:, : segment.residuals.shape[1]]
    assert (packed == segment.residuals[order]).all()
    if nbits == 1:
        assert tokens.inv_norms is None
    else:
        assert (tokens.inv_norms == segment.inv_norms[order]).all()
    assert tokens.blocks.shape == kernels.blocks_shape(len(order), dim, nbits)


def test_made_once_and_reused(tmp_path):
    index = build(tmp_path / "i", documents(50))
    assert not (tmp_path / "i" / "derived").exists()
    first = index.warp()(TOPICS)
    made = folder(index).stat().st_ino
    index.reopen()
    pd.testing.assert_frame_equal(index.warp()(TOPICS), first)
    assert folder(index).stat().st_ino == made


def test_made_again_for_another_index(tmp_path):
    index = build(tmp_path / "i", documents(50))
    index.warp()(TOPICS)
    index.indexer(mode="overwrite", verbose=False).index(documents(60, seed=5))
    fresh = build(tmp_path / "fresh", documents(60, seed=5))
    pd.testing.assert_frame_equal(index.warp()(TOPICS), fresh.warp()(TOPICS))


def test_a_structure_of_other_files_is_stale(tmp_path):
    """A folder of the right name, made from something else."""
    index, other = build(tmp_path / "i", documents(50)), build(tmp_path / "other", documents(60, seed=5))
    other.warp()(TOPICS)
    expected = index.warp()(TOPICS)
    made = folder(index)
    for file in made.iterdir():
        file.unlink()
    for file in folder(other).iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    index.reopen()
    pd.testing.assert_frame_equal(index.warp()(TOPICS), expected)


@pytest.mark.parametrize("damage", ["short", "missing", "no meta", "bad meta"])
def test_a_damaged_structure_is_made_again(tmp_path, damage):
    index = build(tmp_path / "i", documents(50))
    expected = index.warp()(TOPICS)
    docs, meta = folder(index) / "docs.i32", folder(index) / "derived.json"
    if damage == "short":
        docs.write_bytes(docs.read_bytes()[:-4])
    elif damage == "missing":
        docs.unlink()
    elif damage == "no meta":
        meta.unlink()
    else:
        meta.write_text("{")
    index.reopen()
    pd.testing.assert_frame_equal(index.warp()(TOPICS), expected)


def test_where_it_cannot_be_written(tmp_path, caplog):
    index = build(tmp_path / "i", documents(50))
    expected = build(tmp_path / "j", documents(50)).warp()(TOPICS)
    (tmp_path / "i" / "derived").write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        pd.testing.assert_frame_equal(index.warp()(TOPICS), expected)
        pd.testing.assert_frame_equal(index.warp()(TOPICS), expected)
    assert caplog.text.count("cannot be written") == 1
    assert "it is made for this process only" in caplog.text


def test_a_full_disk_is_named(tmp_path):
    def write(out):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="The disk is full; expected room"):
        derived.open_or_make(tmp_path / "x", {}, write)
    assert not (tmp_path / "x").exists()


def test_many_processes_ask_at_once(tmp_path):
    index = build(tmp_path / "i", documents(200))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.map(_search, [tmp_path / "i"] * 6)
    expected = index.warp()(TOPICS)
    for one in found:
        pd.testing.assert_frame_equal(one, expected)


def test_killed_while_it_is_made(tmp_path):
    index = build(tmp_path / "i", documents(50))
    expected = build(tmp_path / "j", documents(50)).warp()(TOPICS)
    child = multiprocessing.get_context("fork").Process(target=_dies, args=(tmp_path / "i",))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert not list((tmp_path / "i" / "derived" / "cell_tokens").glob("0*"))
    pd.testing.assert_frame_equal(index.warp()(TOPICS), expected)
    assert sorted(p.name for p in folder(index).parent.iterdir()) == [".000001.lock", "000001"]


def _search(path):
    return lir.LirIndex(path).warp()(TOPICS)


def _dies(path):
    def write(*args):
        args[-1].file("offsets.i64").write(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(10)

    cell_tokens.write = write
    lir.LirIndex(path).warp()(TOPICS)
