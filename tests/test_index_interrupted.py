"""Builds that are killed, resumed, dropped, or find a full disk: what was there before is still there."""

import errno
import multiprocessing
import os
import resource
import signal
import subprocess

import numpy as np
import pandas as pd
import pytest
from corpora import tree
from random_docs import DIM, build, documents

import pyterrier_lir as lir


def killed_build(path, count):
    """Builds an index of tiny segments and dies by SIGKILL before document ``count``."""

    def stream():
        for i, document in enumerate(documents(100)):
            if i == count:
                os.kill(os.getpid(), signal.SIGKILL)
            yield document

    build(path, stream(), segment_mb=200 / 1e6)


class CountingToy(lir.ToyEncoder):
    """Notes which documents it encodes."""

    def __init__(self):
        super().__init__(dim=DIM, batch_size=20)
        self.texts = []

    def encode_docs(self, texts):
        self.texts += texts
        return super().encode_docs(texts)


@pytest.mark.parametrize("moment", [1, 37, 99])
def test_resume_after_a_kill(tmp_path, moment):
    process = multiprocessing.get_context("fork").Process(target=killed_build, args=(tmp_path / "i", moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    index = lir.LirIndex(tmp_path / "i")
    assert not index.built
    rest = index.unseen()(pd.DataFrame(documents(100)))
    assert 100 - moment <= len(rest) < 100 - moment + 20  # at most the open segment is lost
    build(tmp_path / "i", (r for r in rest.to_dict(orient="records")), resume=True, segment_mb=200 / 1e6)
    index.reopen()
    build(tmp_path / "whole", documents(100), segment_mb=200 / 1e6)
    assert tree(tmp_path / "i") == tree(tmp_path / "whole")


def test_only_the_rest_is_encoded_again(tmp_path):
    corpus = [{"docno": f"d{i}", "text": f"word{i} and more"} for i in range(250)]

    def dies():
        yield from corpus[:205]
        raise KeyboardInterrupt

    index, encoder = lir.LirIndex(tmp_path / "i"), CountingToy()
    with pytest.raises(KeyboardInterrupt):
        (encoder.doc_encoder() >> index.indexer(segment_mb=480 / 1e6, verbose=False)).index(dies())
    # PyTerrier hands over 100 documents at a time; 480 bytes hold ten documents of three tokens
    stored = sum(len(segment) for segment in _finished(index))
    assert stored == 200
    with pytest.raises(FileNotFoundError, match=rf"interrupted with {stored} documents"):
        len(index)
    with pytest.raises(ValueError, match=r"interrupted build left"):
        (encoder.doc_encoder() >> index.indexer(verbose=False)).index(corpus)
    encoder.texts.clear()
    (index.unseen() >> encoder.doc_encoder() >> index.indexer(resume=True, verbose=False)).index(corpus)
    assert len(encoder.texts) == 250 - stored
    assert index.docnos == [d["docno"] for d in corpus]
    (index.unseen() >> encoder.doc_encoder() >> index.indexer(resume=True, verbose=False)).index(corpus)  # all done
    assert len(encoder.texts) == 250 - stored


def _finished(index):
    from pyterrier_lir.index.segment import Segment
    from pyterrier_lir.index.spool import spooled

    return [Segment(entry) for entry in spooled(index.path)]


def test_an_interrupted_build_can_be_dropped(tmp_path):
    def dies():
        yield from documents(50)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "i", dies(), segment_mb=200 / 1e6)
    build(tmp_path / "i", documents(3), mode="overwrite")
    assert len(lir.LirIndex(tmp_path / "i")) == 3
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 1


def test_an_interrupted_replacement_is_resumed(tmp_path):
    """The index that is replaced holds the same docnos, which are no reason to leave documents out."""
    index, new = build(tmp_path / "i", documents(100)), pd.DataFrame(documents(100, seed=1))
    unseen = index.unseen()
    assert len(unseen(new)) == 0  # all are there, if they were to be added

    def dies():
        yield from new[:60].to_dict(orient="records")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "i", dies(), mode="overwrite", segment_mb=200 / 1e6)
    stored = sum(len(segment) for segment in _finished(index))
    assert 40 < stored <= 60
    advice = rf'left {stored} documents at .*; expected mode="overwrite" and resume=True.* Or drop them: index.abandon'
    for records in (new.to_dict(orient="records"), []):
        with pytest.raises(ValueError, match=advice):
            build(tmp_path / "i", records, resume=True)
    rest = unseen(new)
    assert len(rest) == 100 - stored
    build(tmp_path / "i", rest.to_dict(orient="records"), mode="overwrite", resume=True)
    assert len(lir.LirIndex(tmp_path / "i")) == 100
    build(tmp_path / "whole", documents(100))
    build(tmp_path / "whole", documents(100, seed=1), mode="overwrite")
    assert tree(tmp_path / "i") == tree(tmp_path / "whole")


def test_the_line_that_resumes_a_replacement_also_begins_it(tmp_path):
    index, encoder = build(tmp_path / "i", documents(10)), lir.ToyEncoder(dim=DIM)
    corpus = [{"docno": f"d{i}", "text": f"word{i}"} for i in range(12)]
    (index.unseen() >> encoder >> index.indexer(mode="overwrite", resume=True, verbose=False)).index(corpus)
    assert len(index) == 12


def test_resuming_with_another_encoder_is_refused(tmp_path):
    def dies():
        yield {"docno": "a", "doc_embs": np.ones((3, 4)), "doc_encoder": "one"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "i", dies(), segment_mb=1e-6)
    with pytest.raises(ValueError, match="'two'; expected 'one'"):
        other = {"docno": "b", "doc_embs": np.ones((3, 4)), "doc_encoder": "two"}
        build(tmp_path / "i", [other], resume=True)


def test_two_writers(tmp_path):
    def second_writer():
        yield next(documents(1))
        with pytest.raises(ValueError, match="Another process is writing"):
            build(tmp_path / "i", documents(1))

    assert len(build(tmp_path / "i", second_writer())) == 1


def full_disk(path, result):
    """Builds under a limit on the size of a file, which the system reports like a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        build(path, documents(100), segment_mb=1)
    except OSError as error:
        result.put((error.errno, str(error)))


def test_a_write_that_fails(tmp_path):
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    process = context.Process(target=full_disk, args=(tmp_path / "i", result))
    process.start()
    assert result.get(timeout=30)[0] == errno.EFBIG
    process.join()
    assert not lir.LirIndex(tmp_path / "i").built
    assert len(build(tmp_path / "i", documents(100))) == 100


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a little file system")
def test_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine cannot mount a tmpfs: " + mounted.stderr.decode())
    try:
        docs = [{"docno": f"d{i}", "doc_embs": np.ones((100, DIM))} for i in range(200)]
        with pytest.raises(OSError, match=r"disk is full; \d+ documents are stored safely") as caught:
            build(disk / "i", docs, segment_mb=16_000 / 1e6)
        assert caught.value.errno == errno.ENOSPC
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        index = lir.LirIndex(disk / "i")
        rest = index.unseen()(pd.DataFrame(docs))
        assert 0 < len(rest) < 200
        assert len(build(disk / "i", rest, resume=True)) == 200
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
