"""Readers of an index that is changed: each goes on with what it opened."""

import multiprocessing

import pandas as pd
import pytest
from corpora import build, named
from searches import TOPICS, everything, search

import pyterrier_lir as lir


@pytest.fixture
def plain(tmp_path):
    return build(tmp_path / "plain", named("", 100, 0))


def test_a_reader_goes_on_with_what_it_opened(plain):
    reader = lir.LirIndex(plain.path)
    before, documents_before = search(reader, "plaid"), everything(reader)
    plain.add(named("new", 60, 1), verbose=False)
    plain.delete(["d1", "d2"])
    plain.compact()
    plain.indexer(mode="overwrite", verbose=False).index(named("other", 10, 3))
    pd.testing.assert_frame_equal(search(reader, "plaid"), before)
    assert everything(reader) == documents_before
    reader.verify()  # what it has opened, which is gone from the folder
    warp = search(reader, "warp")  # needs what is derived only now, from files that are gone
    assert set(warp["docno"]) <= {docno for docno, *_ in documents_before}
    reader.reopen()
    assert len(reader) == 10
    assert set(search(reader, "warp")["docno"]) <= set(reader.docnos)


def reading(path, states, stop, result):
    """Opens and searches again and again; every state that it sees must be one of those that were committed."""
    seen = set()
    try:
        while not stop.is_set():
            index = lir.LirIndex(path)
            docnos = frozenset(index.docnos)
            assert docnos in states, sorted(docnos)[:5]
            found = index.warp(num_results=200, num_threads=1)(TOPICS)
            assert set(found["docno"]) <= docnos
            seen.add(len(docnos))
        result.put(len(seen))
    except BaseException as error:
        result.put(repr(error))


def test_readers_while_one_writes(plain):
    first, new = set(plain.docnos), {r["docno"] for r in named("new", 5, 1)}
    states = {frozenset(first), frozenset(first | new), frozenset(first | new - {"newd0"})}
    context = multiprocessing.get_context("fork")
    stop, result = context.Event(), context.Queue()
    readers = [context.Process(target=reading, args=(plain.path, states, stop, result)) for _ in range(5)]
    for reader in readers:
        reader.start()
    for _ in range(6):
        plain.add(named("new", 5, 1), verbose=False)
        plain.delete(["newd0"])
        plain.compact()
        plain.delete(sorted(new - {"newd0"}))
    stop.set()
    seen = [result.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert all(isinstance(count, int) for count in seen), seen
    assert max(seen) > 1
