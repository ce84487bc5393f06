"""All of a change, or none: interrupted, killed at any step, on a full disk, beside another writer."""

import errno
import gc
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess

import pandas as pd
import pytest
from corpora import build, named, tree
from searches import OPTIONS, everything, search

import pyterrier_lir as lir
from pyterrier_lir.index import manifest


@pytest.fixture(params=OPTIONS, ids=str)
def index(tmp_path, request):
    return build(tmp_path / "i", named("", 100, 0), **request.param)


@pytest.fixture
def plain(tmp_path):
    return build(tmp_path / "plain", named("", 100, 0))


def dies_after(records, count):
    for i, record in enumerate(records):
        if i == count:
            raise KeyboardInterrupt
        yield record


@pytest.mark.parametrize("mode", ["append", "update"])
def test_an_interrupted_addition_is_resumed(tmp_path, plain, mode):
    new = [*named("new", 40, 1), *([] if mode == "append" else list(named("", 10, 2)))]
    subprocess.run(["cp", "-r", plain.path, tmp_path / "whole"], check=True)
    whole = lir.LirIndex(tmp_path / "whole")
    whole.indexer(mode=mode, verbose=False).index(new)
    before = everything(plain)
    with pytest.raises(KeyboardInterrupt):
        plain.indexer(mode=mode, segment_mb=200 / 1e6, verbose=False).index(dies_after(new, 30))
    assert everything(lir.LirIndex(plain.path)) == before
    with pytest.raises(ValueError, match=rf'An interrupted {mode} left \d+ documents .* mode="{mode}" and resume=True'):
        plain.indexer(mode=mode, verbose=False).index(new)
    other = "update" if mode == "append" else "append"
    with pytest.raises(ValueError, match=f"An interrupted {mode} left"):
        plain.indexer(mode=other, resume=True, verbose=False).index(new)
    plain.delete(["d50"])  # changes in between do no harm
    rest = plain.unseen()(pd.DataFrame(new))
    assert 10 <= len(rest) - (len(new) - 40) < 30
    plain.indexer(mode=mode, resume=True, verbose=False).index(rest)
    assert everything(plain) == [d for d in everything(whole) if d[0] != "d50"]
    assert not (plain._directory / "build").exists()


def killed_before_the_commit(path):
    """Adds documents and dies by SIGKILL when their segment is written and named, but the manifest is not."""
    manifest.commit = lambda *_args, **_options: os.kill(os.getpid(), signal.SIGKILL)
    WORK["add"](lir.LirIndex(path))


def test_compacting_before_an_addition_is_resumed(plain):
    """The segment that compact() writes gets the number that the addition's was to have, and is not taken for it."""
    plain.delete(["d1"])
    process = multiprocessing.get_context("fork").Process(target=killed_before_the_commit, args=(plain._directory,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    plain.compact()
    plain.add(named("y", 3, 1), resume=True, verbose=False)
    assert len(plain) == 99 + 30 + 3
    assert len(plain.store.segments) == 2


def test_an_interrupted_addition_can_be_abandoned(plain):
    before = tree(plain._directory)
    with pytest.raises(KeyboardInterrupt):
        plain.indexer(mode="append", segment_mb=200 / 1e6, verbose=False).index(dies_after(named("new", 40, 1), 30))
    plain.abandon()
    assert tree(plain._directory) == before
    plain.add(named("new", 3, 1), verbose=False)


def killed(path, work, count):
    """Does some work and dies by SIGKILL at the count-th operation on files."""
    left = [count]

    def counted(call):
        def wrapper(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    os.fsync = counted(os.fsync)
    for name in ("rename", "replace", "unlink", "mkdir", "open"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
    shutil.rmtree = counted(shutil.rmtree)
    WORK[work](lir.LirIndex(path))


WORK = {
    "build": lambda index: index.indexer(mode="overwrite", verbose=False).index(named("x", 30, 4)),
    "add": lambda index: index.add(named("new", 30, 1), segment_mb=500 / 1e6, verbose=False),
    "update": lambda index: index.update(named("", 30, 1), segment_mb=500 / 1e6, verbose=False),
    "delete": lambda index: index.delete(["d3", "d4"]),
    "compact": lambda index: index.compact(),
    "warp": lambda index: search(index, "warp"),
    "muvera": lambda index: search(index, "muvera"),
}


@pytest.mark.parametrize("work", WORK)
def test_killed_at_any_step(tmp_path, work):
    """Before some of its operations on files: the index is what it was, or what it should become."""
    index = build(tmp_path / "before", named("", 60, 0))
    index.add(named("more", 10, 8), verbose=False)
    index.delete(["d1"])
    subprocess.run(["cp", "-r", index.path, tmp_path / "after"], check=True)
    WORK[work](lir.LirIndex(tmp_path / "after"))
    before, after = (everything(lir.LirIndex(tmp_path / name)) for name in ("before", "after"))
    expected = search(lir.LirIndex(tmp_path / "after"), "exhaustive")
    finished, step = False, 1
    while not finished:
        copy = tmp_path / f"{work}{step}"
        subprocess.run(["cp", "-r", index.path, copy], check=True)
        process = multiprocessing.get_context("fork").Process(target=killed, args=(copy, work, step))
        process.start()
        process.join()
        finished = process.exitcode == 0
        found = lir.LirIndex(copy)
        found.verify()
        assert everything(found) in (before, after), step
        again = everything(found) == before != after
        if again or work in ("warp", "muvera", "compact"):
            if (copy / "build").exists():
                found.abandon()
            WORK[work](found)
        found.reopen()
        assert everything(found) == after, step
        pd.testing.assert_frame_equal(search(found, "exhaustive"), expected)
        assert len(list((copy / "segments").iterdir())) == len(found.store.segments)
        assert not list(copy.glob("*.tmp"))
        step = step * 3 // 2 + 1
    assert step > 2  # else it was never killed


def killed_while_removing(path, work, name):
    """Does some work and dies by SIGKILL when a file of that name, and no other one, is removed with its folder."""
    removed = shutil.rmtree

    def rmtree(folder, *args, **kwargs):
        for file in pathlib.Path(folder).rglob(name):
            file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return removed(folder, *args, **kwargs)

    shutil.rmtree = rmtree
    work(lir.LirIndex(path))


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["parameters.json", "segment.json"])
@pytest.mark.parametrize("work", ["add", "abandon"])
def test_killed_while_what_is_done_with_is_removed(plain, work, name, resume):
    """In whichever order the file system names the files of a folder."""
    if work == "abandon":
        with pytest.raises(KeyboardInterrupt):
            plain.add(dies_after(named("new", 40, 1), 30), segment_mb=200 / 1e6, verbose=False)
    works = WORK["add"] if work == "add" else lir.LirIndex.abandon
    process = multiprocessing.get_context("fork").Process(
        target=killed_while_removing, args=(plain._directory, works, name)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    index = lir.LirIndex(plain.path)
    index.verify()
    there = 130 if work == "add" else 100
    assert len(index) == there
    index.add(named("y", 3, 1), resume=resume, verbose=False)
    assert len(index) == len(set(index.docnos)) == there + 3
    assert not list(index._directory.glob("*build*"))


def test_two_writers(plain):
    def records():
        yield from named("new", 1, 1)
        for work in (lambda: plain.delete(["d1"]), plain.compact, lambda: plain.add(named("y", 1, 1), verbose=False)):
            with pytest.raises(ValueError, match="Another process is writing to the index"):
                work()

    plain.add(records(), verbose=False)
    assert len(plain) == 101


@pytest.fixture
def disk(tmp_path):
    """A small file system."""
    if os.geteuid():
        pytest.skip("only root can mount a little file system")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine cannot mount a tmpfs: " + mounted.stderr.decode())
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("work", ["add", "update", "compact", "delete"])
def test_full_disk(disk, work):
    index = build(disk / "i", named("", 60, 0))
    index.add(named("more", 10, 8), verbose=False)
    before = everything(index)
    rest = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"\0" * max(rest.f_bavail - (0 if work == "delete" else 3), 0) * rest.f_frsize)
    with pytest.raises(OSError, match="disk is full") as caught:
        WORK[work](lir.LirIndex(index.path))
    assert caught.value.errno == errno.ENOSPC
    assert everything(lir.LirIndex(index.path)) == before
    (disk / "ballast").unlink()
    WORK[work](lir.LirIndex(index.path))
    lir.LirIndex(index.path).verify()


def works(path, work):
    try:
        WORK[work](lir.LirIndex(path))
    except OSError as error:
        assert error.errno == errno.ENOSPC
        assert "disk is full" in str(error)
        os._exit(3)


@pytest.mark.parametrize("work", ["build", "compact", "warp"])
def test_a_disk_that_becomes_full_ends_no_process(disk, work):
    """Files are also written by memory map, where a hole on a full disk is fatal."""
    index = build(disk / "i", named("", 60, 0))
    index.add(named("more", 10, 8), verbose=False)
    before = everything(index)
    codes = set()
    for room in (0, 1, 4, 8, 12, 14, 16, 18, 20, 24, 48, 100, 180):  # blocks
        copy = disk / "copy"
        subprocess.run(["cp", "-r", index.path, copy], check=True)
        rest = os.statvfs(disk)
        (disk / "ballast").write_bytes(b"\0" * (rest.f_bavail - room) * rest.f_frsize)
        process = multiprocessing.get_context("fork").Process(target=works, args=(copy, work))
        process.start()
        process.join()
        codes.add(process.exitcode)
        (disk / "ballast").unlink()
        assert process.exitcode in (0, 3), (room, process.exitcode)
        if process.exitcode or work != "build":
            assert everything(lir.LirIndex(copy)) == before
        shutil.rmtree(copy)
        gc.collect()  # what is mapped keeps its room
    assert codes == {0, 3}


def test_a_read_only_file_system(disk):
    index = build(disk / "i", named("", 60, 0))
    expected = search(build(disk / "j", named("", 60, 0)), "warp")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    pd.testing.assert_frame_equal(search(lir.LirIndex(index.path), "warp"), expected)
    for work in ("add", "delete", "compact", "build"):
        with pytest.raises(OSError, match="index cannot be changed; expected a folder that this process may write to"):
            WORK[work](lir.LirIndex(index.path))
