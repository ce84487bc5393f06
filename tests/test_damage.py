"""Damaged indexes and hostile ones: refused when opened or verified; a search may rank wrongly, but never crashes."""

import ast
import hashlib
import json
import multiprocessing
import os
import pickle
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_change import named
from test_compress import build, clustered

import pyterrier_lir as lir
from pyterrier_lir.index.files import Opened
from pyterrier_lir.retrieve import vectors

PACKAGE = Path(lir.__file__).parent
TOPICS = pd.DataFrame({
    "qid": ["1", "2"],
    "query_embs": [clustered(n, seed=n) for n in (3, 20)],
    "query_tok_ids": [np.arange(3, dtype=np.int32), np.arange(20, dtype=np.int32)],
})  # fmt: skip
OPTIONS = [{}, {"keep_embs": True, "nbits": 2, "codec": "quantile"}]
DTYPES = {"u8": "u1", "utf8": "u1", "i8": "i1", "u16": "<u2", "f16": "<f2", "f32": "<f4", "i32": "<i4", "u32": "<u4",
          "i64": "<i8", "faiss": "u1"}  # fmt: skip
SECONDS = 60  # more than a search takes on a machine that is busy
MEGABYTES = 4096  # of address space, on top of what the parent has


def dtype(path):
    return np.dtype(DTYPES[path.name.rsplit(".", 1)[1]])


def one(**options):
    return {"num_results": 10, "num_threads": 1, **options}


def uses(index):
    """All that can be done with an index, by name; what changes it comes last."""
    ranking = TOPICS.merge(pd.DataFrame({"docno": [f"d{i}" for i in range(12)]}), how="cross")
    ranking = ranking.assign(score=1.0, rank=ranking.groupby("qid").cumcount())
    graph = index.corpus_graph(k=4, rows=4)
    new = list(named("new", 3, 5))
    return {
        "exhaustive": lambda: index.exhaustive(**one())(TOPICS),
        "exhaustive, some": lambda: index.exhaustive(**one(docnos=["d2", "d9"]))(TOPICS),
        "plaid": lambda: index.plaid(**one(threshold_quantile=0.5))(TOPICS),
        "plaid candidates": lambda: index.plaid_candidates(num_threads=1)(TOPICS),
        "centroid maxsim": lambda: index.centroid_maxsim(num_threads=1)(ranking),
        "warp": lambda: index.warp(**one())(TOPICS),
        "warp, groups": lambda: index.warp(**one(groups=1, nprobe=4))(TOPICS),
        "xtr": lambda: index.xtr(**one(token_k=50))(TOPICS),
        "xtr, cells": lambda: index.xtr(**one(nprobe=8))(TOPICS),
        "xtr scorer": lambda: index.xtr_scorer(num_threads=1)(ranking),
        "muvera": lambda: index.muvera(**one(reps=2, k_sim=3))(TOPICS),
        "hnsw": lambda: index.muvera(**one(ann="hnsw", reps=2, k_sim=3))(TOPICS),
        "hnsw, some": lambda: index.muvera(**one(ann="hnsw", reps=2, k_sim=3, docnos=["d2", "d9"]))(TOPICS),
        "maxsim": lambda: index.maxsim(num_threads=1)(ranking),
        "early exit": lambda: index.early_exit_maxsim(2, num_threads=1)(ranking),
        "loader": lambda: index.embs_loader()(ranking),
        "explain": lambda: index.explain()(ranking),
        "prf": lambda: index.colbert_prf(clusters=4, fb_embs=2)(ranking),
        "pruning": lambda: index.query_pruning(keep=2)(TOPICS),
        "neighbours": lambda: [graph.neighbours(docno) for docno in ("d2", "d9")],
        "ladr": lambda: index.ladr(graph, num_threads=1)(ranking),
        "token stats": lambda: index.token_stats().most_frequent(5),
        "info": lambda: str(index.info()),
        "corpus": lambda: list(index.get_corpus_iter()),
        "add": lambda: index.add(new, num_threads=1, verbose=False),
        "delete": lambda: index.delete(["d9"]),
        "compact": lambda: index.compact(),
        "update": lambda: index.update(new, num_threads=1, verbose=False),
    }


def in_child(path, only, pipe):
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (MEGABYTES << 20),) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    seen = {}
    index = lir.LirIndex(path)
    for name, use in uses(index).items():
        if only is not None and name not in only:
            continue
        pipe.send(name)
        try:
            use()
            seen[name] = None
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    pipe.send(seen)


def _address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def outcomes(path, only=None):
    """What each use came to in a process of its own: None for a result, or the error; fails if the process does."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=in_child, args=(path, only, writer))
    process.start()
    writer.close()
    last = "nothing"
    try:
        while reader.poll(SECONDS):
            last = reader.recv()
            if isinstance(last, dict):
                return last
        pytest.fail(f"{last} hangs")
    except EOFError:
        process.join()
        pytest.fail(f"{last} ended the process with {process.exitcode}")
    finally:
        process.kill()
        process.join()


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
                found["checksum"] = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
            else:
                for name in found["files"]:
                    if (file.parent / name).is_file():
                        found["files"][name] = {"bytes": (file.parent / name).stat().st_size,
                                                "sha256": sha256(file.parent / name)}  # fmt: skip
            if kind == "derived.json":
                found["source"] = {name: small.get(name, sha) for name, sha in found["source"].items()}
            file.write_text(json.dumps(found))
            small[str(file.relative_to(path))] = sha256(file)


def bulk(path):
    return sorted(f for f in path.rglob("*") if f.is_file() and f.suffix[1:] in DTYPES and f.stat().st_size)


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


def made(path, options):
    """An index with two segments, deleted documents and everything that is derived."""
    index = build(path, named("", 60, 0), **options)
    index.add(named("more", 20, 1), verbose=False)
    index.delete(["d50", "mored3"])
    for name, use in uses(index).items():
        if name not in ("add", "delete", "compact", "update"):
            use()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An index for each of `OPTIONS`, made in a process of its own, as FAISS and a fork do not go together."""
    paths = [tmp_path_factory.mktemp("whole") / "i" for _ in OPTIONS]
    for path, options in zip(paths, OPTIONS, strict=True):
        process = multiprocessing.get_context("fork").Process(target=made, args=(path, options))
        process.start()
        process.join()
        assert process.exitcode == 0
    return paths


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "i")


def files(path, *, small):
    """The files of the index itself."""
    found = sorted(
        f for f in path.rglob("*") if f.is_file() and "derived" not in f.parts and not f.name.startswith(".")
    )
    return [f for f in found if (f.suffix == ".json" or "deleted" in f.parts) == small]


def damages(file, others):
    """Ways to damage a file, with what it holds then; None where it is missing."""
    data = file.read_bytes()
    twins = [f.read_bytes() for f in others if f.stat().st_size == len(data) and f.read_bytes() != data]
    flipped = bytearray(data)
    if data:
        flipped[len(data) // 2] ^= 4
    damaged = {"truncated": data[:-1], "enlarged": data + b"\0", "missing": None, "emptied": b"",
               "flipped": bytes(flipped)}  # fmt: skip
    if twins:
        damaged["swapped"] = twins[0]
    return {how: content for how, content in damaged.items() if content != data}


def put(file, content):
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)


# --- accidents ------------------------------------------------------------------------------------------------


def test_it_works_without_damage(copy):
    assert set(outcomes(copy).values()) == {None}


def test_a_damaged_small_file_is_refused_when_opened(copy):
    small, count = files(copy, small=True), 0
    assert {f.name for f in small} == {"pt_meta.json", "segment.json", "codec.json", "000003.i64"}
    for file in small:
        data = file.read_bytes()
        for how, content in damages(file, small).items():
            put(file, content)
            with pytest.raises(FileNotFoundError if file.name == "pt_meta.json" and how == "missing" else ValueError,
                               match=str(copy) if how == "missing" else file.name):  # fmt: skip
                len(lir.LirIndex(copy))
            put(file, data)
            count += 1
    assert count >= 25  # five files, five damages
    len(lir.LirIndex(copy))


def test_damage_to_a_bulk_file_is_found_by_its_size_or_by_verify(copy):
    bulky, seen = files(copy, small=False), set()
    assert len({f.name for f in bulky}) >= 18
    for file in bulky:
        data = file.read_bytes()
        for how, content in damages(file, bulky).items():
            put(file, content)
            if how not in ("flipped", "swapped"):
                with pytest.raises(ValueError, match=file.name):
                    len(lir.LirIndex(copy))
            with pytest.raises(ValueError, match=file.name):
                lir.LirIndex(copy).verify()
            seen.add(how)
        put(file, data)
    assert seen == {"truncated", "enlarged", "missing", "emptied", "flipped", "swapped"}
    lir.LirIndex(copy).verify()


def test_damage_is_not_copied_and_sealed_by_compacting(copy):
    file = next(copy.rglob("residuals.u8"))
    put(file, damages(file, [])["flipped"])
    before = (copy / "pt_meta.json").read_bytes()
    with pytest.raises(ValueError, match=r"residuals\.u8 has sha256"):
        lir.LirIndex(copy).compact()
    assert (copy / "pt_meta.json").read_bytes() == before


def test_what_is_derived_is_made_again_when_its_size_is_wrong(whole, copy):
    expected = uses(lir.LirIndex(whole[0]))["warp"]()
    folder = copy / "derived" / "cell_tokens" / "000001"
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        for how in ("truncated", "enlarged", "missing", "emptied"):
            put(file, damages(file, [])[how])
            pd.testing.assert_frame_equal(uses(lir.LirIndex(copy))["warp"](), expected)
            if file.name != "derived.json":
                assert file.read_bytes() == data


def test_flipped_bits_in_what_is_derived_end_no_process(copy):
    derived = [f for f in bulk(copy) if "derived" in f.parts]
    assert {f.name for f in derived} == {"blocks.u32", "docs.i32", "offsets.i64", "inv_norms.u8", "edges.i32", "df.i64",
                                         "cf.i64", "ids.i32", "vectors.f16", "docids.i64", "index.faiss"}  # fmt: skip
    for names, message in (
        ({"index.faiss"}, r"index.faiss is damaged; expected sha256"),
        (None, "docids.i64 is damaged"),
    ):
        for file in derived:
            if names is None or file.name in names:
                put(file, damages(file, [])["flipped"])
        only = ["warp", "xtr, cells", "muvera", "hnsw", "neighbours", "ladr", "prf", "token stats"]
        errors = {name: error for name, error in outcomes(copy, only).items() if error}
        assert all(error.startswith("ValueError") for error in errors.values()), errors
        assert message in errors["hnsw"]


# --- forgeries ------------------------------------------------------------------------------------------------


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
    vectors._check_faiss("hnsw", index, index.d, index.ntotal, folder)
    values = faiss.vector_to_array(getattr(index.hnsw, array))
    values[len(values) // 2] = number
    faiss.copy_array_to_vector(values, getattr(index.hnsw, array))
    with pytest.raises(ValueError, match="is no hnsw index of"):
        vectors._check_faiss("hnsw", index, index.d, index.ntotal, folder)
    with pytest.raises(ValueError, match="is no pq index of"):
        vectors._check_faiss("pq", index, index.d, index.ntotal, folder)


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


# --- nothing executes -----------------------------------------------------------------------------------------

FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def test_no_module_can_run_what_it_reads():
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 60
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & FORBIDDEN, source
            if isinstance(node, ast.Call):
                called, options = ast.unparse(node.func), {o.arg: ast.unparse(o.value) for o in node.keywords}
                assert called not in ("eval", "exec", "compile", "__import__"), source
                assert not called.endswith(("read_pickle", "pickle.load", "pickle.loads")), source
                assert options.get("allow_pickle", "False") == "False", source
                assert not called.endswith("torch.load") or options.get("weights_only") == "True", source


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_planted_pickle_is_not_loaded(copy, tmp_path):
    bomb, target = pickle.dumps(Bomb(tmp_path / "ran")), tmp_path / "ran"
    pickle.loads(bomb)
    assert target.exists()  # so it would be seen
    target.unlink()
    for file in [f for f in sorted(copy.rglob("*")) if f.is_file() and not f.name.startswith(".")]:
        data = file.read_bytes()
        for content in {bomb, (bomb + b"\0" * len(data))[: len(data)]}:
            file.write_bytes(content)
            for use in (len, lir.LirIndex.verify, lambda i: uses(i)["token stats"]()):
                try:
                    use(lir.LirIndex(copy))
                except ValueError:
                    continue
            file.write_bytes(data)
    assert not target.exists()
