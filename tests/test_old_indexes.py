"""An index that a released version wrote is opened, searched, changed and written by this one as it was then."""

import hashlib
import json
import shutil

import pytest
from corpora import tree
from old_indexes import FOLDER, OPTIONS, documents, rankings, topics, write

import pyterrier_lir as lir
from pyterrier_lir.index import manifest

INDEXES = sorted(FOLDER.glob("index-*.lir"))
NEWEST = [sorted(FOLDER.glob(f"index-*-{codec}.lir"))[-1] for codec in OPTIONS]


@pytest.fixture(params=INDEXES, ids=lambda path: path.stem)
def old(request, tmp_path):
    """The folder of a copy, and what was found in it: for each search and query its documents and their scores."""
    lines = request.param.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return shutil.copytree(request.param, tmp_path / "old.lir"), by_search(lines)


def by_search(lines):
    found = {}
    for search, qid, docno, score in map(str.split, lines):
        docnos, scores = found.setdefault((search, qid), ([], []))
        docnos.append(docno)
        scores.append(float(score))
    return found


def same(found, expected):
    assert {search: docnos for search, (docnos, _) in found.items()} == {
        s: docnos for s, (docnos, _) in expected.items()
    }
    for search, (_, scores) in expected.items():
        assert found[search][1] == pytest.approx(scores, abs=2e-6), search


def test_it_finds_what_was_found_then(old):
    path, expected = old
    index = lir.LirIndex(path)
    index.verify()
    assert (len(index), index.info()["deleted"], len(index.store.segments)) == (78, 2, 3)
    assert [search for search, _ in expected].count("exhaustive") == 2 and len(expected) == 10
    same(by_search(rankings(index)), expected)


def test_it_can_be_changed_and_compacted(old):
    path, expected = old
    index = lir.LirIndex(path)
    index.add(documents(80, 90), num_threads=1, verbose=False)
    index.delete([f"d{i}" for i in range(80, 90)])
    same(by_search(rankings(index)), expected)
    index.compact()
    assert (len(index), index.info()["deleted"], len(index.store.segments)) == (78, 0, 1)
    index.verify()
    found = by_search(rankings(index))
    exact = {search: found[search] for search in found if search[0] in ("exhaustive", "plaid", "xtr")}
    assert exact == {search: (docnos, pytest.approx(scores, abs=2e-6)) for search, (docnos, scores) in expected.items()
                     if search in exact}  # fmt: skip


def test_what_was_derived_is_used_as_it_is(old):
    path, _ = old
    before = tree(path / "derived")
    lir.LirIndex(path).warp(num_threads=1)(topics())
    after = {name: content for name, content in tree(path / "derived").items() if not name.endswith(".lock")}
    assert after == before


@pytest.mark.parametrize(("kept", "codec"), [*zip(NEWEST, OPTIONS, strict=True)], ids=OPTIONS)
def test_the_same_documents_give_the_same_bytes(kept, codec, tmp_path):
    """All but the versions that the manifest names. Else what an index holds has changed: see `old_indexes`."""
    write(tmp_path / "new.lir", OPTIONS[codec])
    new, old = tree(tmp_path / "new.lir"), tree(kept)
    metas = [json.loads(files.pop(manifest.MANIFEST)) for files in (new, old)]
    for meta in metas:
        del meta["versions"], meta["checksum"]
    assert metas[0] == metas[1]
    assert sorted(new) == sorted(old)
    assert [name for name in old if new[name] != old[name]] == []


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (manifest.FORMAT_VERSION + 1, r"has format version 2; pyterrier-lir .* reads up to 1\. Open it with a newer"),
        (0, "its format_version is 0; expected 1 or more"),
        ("1", "its format_version is '1'; expected 1 or more"),
    ],
)
def test_an_index_of_a_later_version_is_refused(tmp_path, version, message):
    """Whatever else it says, as nothing else is known of it; a right checksum does not help it."""
    path = shutil.copytree(NEWEST[0], tmp_path / "later.lir")
    meta = json.loads((path / manifest.MANIFEST).read_text())
    del meta["checksum"], meta["segments"]
    meta["format_version"] = version
    checksum = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
    (path / manifest.MANIFEST).write_text(json.dumps({**meta, "checksum": checksum}))
    before = tree(path)
    for use in (len, lir.LirIndex.verify, lambda index: index.add(documents(80, 81), verbose=False)):
        with pytest.raises(ValueError, match=message):
            use(lir.LirIndex(path))
    assert {name: content for name, content in tree(path).items() if not name.endswith(".lock")} == before
