"""Hostile indexes, sealed by right checksums: refused, or searched without a crash."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from corpora import named
from uses import DTYPES, bulk, outcomes

import pyterrier_lir as lir
from pyterrier_lir.index.files import Opened, checksum
from pyterrier_lir.retrieve import faiss_vectors


def dtype(path):
    return np.dtype(DTYPES[path.name.rsplit(".", 1)[1]])


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(path):
    """What someone does who forges an index: all sizes and checksums agree again."""
    meta = {f: json.loads(f.read_text()) for f in path.rglob("*.json") if f.name != "parameters.json"}
    small = {}
    for kind in ("segment.json", "codec.json", "derived.json", "pt_meta.json"):  # in the order of who names whom
        for file in (f for f in meta if f.name == kind):
            found = meta[file]
            if kind == "pt_meta.json":
                found.pop("checksum", None)
                found["sha256"] = {name: sha256(path / name) for name in found["sha256"] if (path / name).is_file()}
                found["checksum"] = checksum(found)
            else:
                for name in found["files"]:
                    if (file.parent / name).is_file():
                        found["files"][name] = {"bytes": (file.parent / name).stat().st_size,
                                                "sha256": sha256(file.parent / name)}  # fmt: skip
            if kind == "derived.json":
                found["source"] = {name: small.get(name, sha) for name, sha in found["source"].items()}
                found["checksum"] = checksum({name: value for name, value in found.items() if name != "checksum"})
            file.write_text(json.dumps(found))
            small[str(file.relative_to(path))] = sha256(file)


def extremes(kind, rng, size):
    """Numbers at which careless arithmetic breaks."""
    if kind.kind == "f":
        return rng.choice(np.array([np.nan, np.inf, -np.inf, 0, -1, np.finfo(kind).max, np.finfo(kind).tiny]), size)
    info = np.iinfo(kind)
    few = [info.min, info.max, 0, 1, info.max // 2, *([] if info.min == 0 else [-1, -2])]
    return rng.choice(np.array(few, dtype=kind), size)


def scribble(file, rng):
    """Overwrites some bytes, some numbers, a whole array; or mixes it. The size stays."""
    values = np.fromfile(file, dtype=dtype(file))
    how = rng.integers(6)
    with np.errstate(all="ignore"):
        if how == 0:
            raw = values.view("u1")
            raw[rng.integers(0, len(raw), rng.integers(1, 9))] ^= np.uint8(rng.integers(1, 256))
        elif how == 1:
            where = rng.integers(0, len(values), max(1, len(values) // 20))
            values[where] = extremes(values.dtype, rng, len(where))
        elif how == 2:
            values[:] = extremes(values.dtype, rng, 1)
        elif how == 3:
            values[:] = extremes(values.dtype, rng, len(values))
        elif how == 4:
            rng.shuffle(values)
        else:
            values.view("u1")[:] = rng.integers(0, 256, values.nbytes, dtype=np.uint8)
    values.tofile(file)
    return f"{file.name} {how}"


STRANGE = [None, True, -1, 0, 1, 3, 1 << 31, 1 << 62, 10**30, 0.5, float("nan"), "", "x", "../../x", "/etc/passwd", [],
           {}, ["../x"], {"a": 1}]  # fmt: skip


def places(value):
    """All containers in a JSON value with a key of theirs."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from places(inner)


def forge(file, rng):
    """Changes, drops, moves or renames something in a meta."""
    meta = json.loads(file.read_text())
    found = list(places(meta))
    container, key = found[rng.integers(len(found))]
    how = rng.integers(4)
    if how == 0:
        container[key] = STRANGE[rng.integers(len(STRANGE))]
    elif how == 1 and isinstance(container[key], int) and not isinstance(container[key], bool):
        container[key] += int(rng.choice([-1, 1, 7, -container[key]]))
    elif how == 2 and isinstance(container, dict):
        container[str(rng.choice(["../../x", "codes.i32", "x.u8", "tokens.f16", "nbits"]))] = container.pop(key)
    else:
        del container[key]
    file.write_text(json.dumps(meta))
    return f"{file.name} {key} {how}"


def metas(path):
    return sorted(f for f in path.rglob("*.json") if f.name != "parameters.json")


def check(path, what):
    try:
        errors = [error for error in outcomes(path).values() if error]
    except pytest.fail.Exception as failure:
        pytest.fail(f"{what}: {failure}")
    strange = [error for error in errors if not error.startswith(("ValueError: ", "FileNotFoundError: "))]
    assert not strange, (what, strange)
    return errors


@pytest.mark.parametrize("sealed", [False, True])
def test_scribbled_files_end_no_process(whole, tmp_path, sealed):
    rng, refused = np.random.default_rng(sealed), 0
    for i in range(8):
        path = shutil.copytree(whole[i % 2], tmp_path / str(i))
        found = bulk(path)
        what = [scribble(found[rng.integers(len(found))], rng) for _ in range(rng.integers(1, 5))]
        if sealed:
            seal(path)
        refused += bool(check(path, what))
        shutil.rmtree(path)
    assert refused > 3


def test_forged_metas_end_no_process(whole, tmp_path):
    rng, refused = np.random.default_rng(5), 0
    for i in range(20):
        path = shutil.copytree(whole[i % 2], tmp_path / str(i))
        found = metas(path)
        what = forge(found[rng.integers(len(found))], rng)
        try:
            seal(path)
        except (AttributeError, TypeError, KeyError, OSError, ValueError):
            continue  # so strange that not even a forger knows what to seal
        refused += bool(check(path, what))
        shutil.rmtree(path)
    assert refused > 1


def test_a_sealed_index_without_damage_is_accepted(copy):
    """Else the tests above would test nothing but checksums."""
    seal(copy)
    lir.LirIndex(copy).verify()
    assert set(outcomes(copy).values()) == {None}


@pytest.mark.parametrize(("array", "number"), [("neighbors", 1 << 30), ("neighbors", -7), ("offsets", 1 << 40),
                                               ("levels", 3), ("cum_nneighbor_per_level", 1000)])  # fmt: skip
def test_a_graph_that_leads_out_of_memory_is_refused(whole, array, number):
    """Also by versions of FAISS that follow a link wherever it leads."""
    import faiss

    folder = Opened(next(whole[0].rglob("index.faiss")).parent, "derived.json")
    index = faiss.read_index(str(folder.path / "index.faiss"))
    faiss_vectors._check_faiss("hnsw", index, index.d, index.ntotal, folder)
    values = faiss.vector_to_array(getattr(index.hnsw, array))
    values[len(values) // 2] = number
    faiss.copy_array_to_vector(values, getattr(index.hnsw, array))
    with pytest.raises(ValueError, match="is no hnsw index of"):
        faiss_vectors._check_faiss("hnsw", index, index.d, index.ntotal, folder)
    with pytest.raises(ValueError, match="is no pq index of"):
        faiss_vectors._check_faiss("pq", index, index.d, index.ntotal, folder)


def test_forged_bytes_of_faiss_end_no_process(copy):
    file, rng, refused = next(copy.rglob("index.faiss")), np.random.default_rng(3), 0
    data = np.fromfile(file, np.uint8)
    for i in range(8):
        forged = data.copy()
        places = rng.integers(0, (200, len(data))[i % 2], 4)  # its head, or anything
        forged[places] = rng.integers(0, 256, 4)
        file.write_bytes(forged.tobytes())
        seal(copy)
        refused += any(outcomes(copy, ["hnsw", "hnsw, some"]).values())
    assert refused > 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": ["../../elsewhere"]}, "expected numbers such as 000001"),
        ({"segments": ["000001", "000001"]}, "each segment once"),
        ({"codec": "/etc"}, "expected numbers such as 000001"),
        ({"deletions": "../../home"}, "expected a file such as deleted/000001.i64"),
        ({"documents": "80"}, "its documents is '80'; expected int"),
        ({"documents": 79}, "says documents 79"),
        ({"dim": -1}, "its dim is -1; expected a count"),
        ({"dim": 8}, "says dim 8; expected what its segments and its codec"),
        ({"sha256": {"../x": "0"}}, "it has checksums of"),
        ({"trained": {}}, "expected counts of tokens"),
        ({"tok_ids": 1}, "its tok_ids is 1; expected bool"),
        ({"keep_embs": True}, "its parameters are"),
    ],
)
def test_a_forged_manifest_is_refused(copy, change, message):
    file = copy / "pt_meta.json"
    found = {**json.loads(file.read_text()), **change}
    found.pop("checksum")
    file.write_text(
        json.dumps({**found, "checksum": hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()})
    )
    with pytest.raises(ValueError, match=message):
        len(lir.LirIndex(copy))


@pytest.mark.parametrize("name", ["../x.u8", "/etc/passwd", "..", ".x", "a/b"])
def test_a_meta_does_not_lead_out_of_its_directory(copy, name):
    file = copy / "segments" / "000001" / "segment.json"
    meta = json.loads(file.read_text())
    meta["files"][name] = {"bytes": 1, "sha256": "0"}
    file.write_text(json.dumps(meta))
    seal(copy)
    with pytest.raises(ValueError, match=r"expected a name such as offsets\.i64"):
        len(lir.LirIndex(copy))


def test_a_link_is_not_followed_when_the_index_is_swept(copy, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    lir.LirIndex(copy).compact()  # no deletions any more
    shutil.rmtree(copy / "deleted")
    (copy / "deleted").symlink_to(tmp_path / "home")
    lir.LirIndex(copy).add(named("new", 3, 5), verbose=False)
    assert (tmp_path / "home" / "letter").read_text() == "dear"
