"""Indexes of other engines: read as their documents say, whatever is wrong with them."""

import ast
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import torch
from conftest import DATA, ROOT
from test_compress import clustered, tree

import pyterrier_lir as lir
from pyterrier_lir.index import compress, manifest
from pyterrier_lir.index.foreign import kind_of, levels_of, residuals_of
from pyterrier_lir.index.plaid_folder import recognise

LENGTHS = [[3, 0, 5, 1], [4], [2, 7, 0]]  # tokens of the documents of three chunks
TOKENS = sum(map(sum, LENGTHS))


def stanford_bytes(levels, nbits):
    """Levels as bytes, written out in bits: each with its least significant bit first."""
    rows = ["".join(f"{level:0{nbits}b}"[::-1] for level in row) for row in levels.tolist()]
    return np.array([[int(row[i : i + 8], 2) for i in range(0, len(row), 8)] for row in rows], dtype=np.uint8)


class Original:
    """What the folders of the tests hold, and the vectors that it stands for."""

    def __init__(self, *, nbits=2, dim=16, k=7, lengths=LENGTHS, seed=0):
        rng = np.random.default_rng(seed)
        self.nbits, self.lengths = nbits, lengths
        tokens = sum(map(sum, lengths))
        self.centroids = clustered(k, dim, seed=seed).astype(np.float16)
        values = np.sort(rng.normal(0, 0.1, 2 * 2**nbits - 1)).astype(np.float16)
        self.weights, self.cutoffs = values[::2], values[1::2].astype(np.float32)
        self.codes = rng.integers(0, k, tokens)
        self.levels = rng.integers(0, 2**nbits, (tokens, dim)).astype(np.uint8)
        self.residuals = stanford_bytes(self.levels, nbits)
        vectors = self.centroids.astype(float)[self.codes] + self.weights.astype(float)[self.levels]
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    @property
    def documents(self):
        ends = np.cumsum([n for lengths in self.lengths for n in lengths])
        return np.split(self.vectors, ends[:-1])

    def chunks(self):
        start = 0
        for i, lengths in enumerate(self.lengths):
            rows = slice(start, start + sum(lengths))
            yield i, lengths, self.codes[rows], self.residuals[rows]
            start = rows.stop

    def stanford(self, path):
        path.mkdir()
        torch.save(torch.from_numpy(self.centroids), path / "centroids.pt")
        torch.save((torch.from_numpy(self.cutoffs), torch.from_numpy(self.weights)), path / "buckets.pt")
        for i, lengths, codes, residuals in self.chunks():
            torch.save(torch.from_numpy(codes.astype(np.int32)), path / f"{i}.codes.pt")
            torch.save(torch.from_numpy(residuals), path / f"{i}.residuals.pt")
            (path / f"doclens.{i}.json").write_text(json.dumps(lengths))
        config = {"nbits": self.nbits, "dim": self.levels.shape[1]}
        counts = {"num_chunks": len(self.lengths), "num_embeddings": len(self.codes)}
        (path / "metadata.json").write_text(json.dumps({"config": config, **counts}))
        return path

    def fast_plaid(self, path, merged=()):
        """Chunks in ``merged`` have no files of their own."""
        path.mkdir()
        arrays = {"centroids": self.centroids, "bucket_weights": self.weights, "bucket_cutoffs": self.cutoffs}
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array if name == "centroids" else array.astype(np.float32))
        for i, lengths, codes, residuals in self.chunks():
            (path / f"doclens.{i}.json").write_text(json.dumps(lengths))
            if i not in merged:
                np.save(path / f"{i}.codes.npy", codes)
                np.save(path / f"{i}.residuals.npy", residuals)
        if merged:
            for what, rows in (("codes", self.codes), ("residuals", self.residuals)):
                held = [sum(lengths) for lengths in self.lengths]
                files = {f"{i}.{what}.npy": {"rows": n, "merged": i in merged} for i, n in enumerate(held)}
                (path / f"merged_{what}.manifest.json").write_text(json.dumps(files))
                stale = rows.copy()
                for i, n in enumerate(held):
                    if i not in merged:
                        stale[sum(held[:i]) : sum(held[:i]) + n] = 0
                np.save(path / f"merged_{what}.npy", np.concatenate([stale, rows[:2]]))  # and rows of nothing
        counts = {"nbits": self.nbits, "num_chunks": len(self.lengths), "num_embeddings": len(self.codes)}
        (path / "metadata.json").write_text(json.dumps({**counts, "num_documents": sum(map(len, self.lengths))}))
        return path


def imported(folder, path, **options):
    return lir.LirIndex.from_plaid(folder, path, verbose=False, **options)


def names_in(folder):
    return [entry.name for entry in folder.iterdir()]


def check(index, original, atol):
    """Whether the index decodes to the original's vectors; ``1 / norm`` is rounded to a byte."""
    for record, vectors in zip(index.get_corpus_iter(), original.documents, strict=True):
        np.testing.assert_allclose(record["doc_embs"], vectors, atol=atol)


# --- bits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nbits", "levels", "expected"),
    [
        (2, [0, 1, 2, 3], [0x27]),
        (4, [1, 8], [0x81]),
        (4, [3, 12], [0xC3]),
        (1, [1, 0, 0, 0, 0, 0, 0, 1], [0x81]),
        (8, [1], [0x80]),
        (2, [3, 0, 0, 0, 0, 0, 0, 1], [0xC0, 0x02]),
    ],
)
def test_golden_bytes(nbits, levels, expected):
    rows = np.array([levels], dtype=np.uint8)
    assert stanford_bytes(rows, nbits).tolist() == [expected]
    assert residuals_of(rows, nbits).tolist() == [expected]
    assert levels_of(np.array([expected], dtype=np.uint8), nbits).tolist() == [levels]


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_every_byte_there_and_back(nbits):
    every = np.arange(256, dtype=np.uint8).reshape(4, 64)
    np.testing.assert_array_equal(residuals_of(levels_of(every, nbits), nbits), every)


# --- what is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stanford", "fast_plaid"])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("k", [1, 7, 300])  # from 256 on, centroids come in groups and change their numbers
def test_vectors_are_those_of_the_folder(tmp_path, kind, nbits, k):
    original = Original(nbits=nbits, k=k)
    index = imported(getattr(original, kind)(tmp_path / "folder"), tmp_path / "i")
    assert index.docnos == [str(i) for i in range(8)]
    assert (index.store.manifest["tokens"], index.store.manifest["nbits"]) == (TOKENS, nbits)
    # half a step of the byte of 1 / norm; with 8 bits also half a step of the grid
    lo, hi = index.store.codec.inv_norm_range
    grid = float(index.store.codec.step[0]) / 2 * hi if nbits == 8 else 0
    check(index, original, (hi - lo) / 510 / lo + grid + 1e-6)
    index.verify()
    assert len(index.store.codec.centroids.coarse) == (17 if k == 300 else 1)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_every_method_searches_it(tmp_path, nbits):
    original = Original(nbits=nbits, k=300, lengths=[[5, 0, 9] * 20, [7] * 30])
    index = imported(original.stanford(tmp_path / "folder"), tmp_path / "i")
    queries = [clustered(n, seed=n) for n in (1, 16, 33)]
    topics = pd.DataFrame({"qid": list("abc"), "query_embs": queries})
    found = index.exhaustive()(topics)
    filled = {str(i): vectors for i, vectors in enumerate(original.documents) if len(vectors)}
    assert len(found) == 3 * len(filled)
    for row in found.itertuples():
        exact = (row.query_embs.astype(float) @ filled[row.docno].T).max(axis=1).sum()
        assert abs(row.score - exact) < 0.01 * len(row.query_embs)
    pd.testing.assert_frame_equal(index.plaid(nprobe=300, ndocs=1000)(topics), found)
    expected = found.set_index(["qid", "docno"])["score"].sort_index()
    for xtr in (index.xtr(token_k=10**6, normalise="sum"), index.xtr(token_k=10**6, normalise="sum", nprobe=300)):
        np.testing.assert_allclose(xtr(topics).set_index(["qid", "docno"])["score"].sort_index(), expected, atol=1e-4)
    assert len(index.warp(nprobe=300)(topics)) == len(found)
    assert len(index.muvera()(topics)) == len(found)


@pytest.mark.parametrize("merged", [(0, 1, 2), (0, 2), (1,)])
def test_merged_files_of_fast_plaid(tmp_path, merged):
    original = Original()
    whole = imported(original.fast_plaid(tmp_path / "folder"), tmp_path / "i")
    one = imported(original.fast_plaid(tmp_path / "merged", merged), tmp_path / "j")
    assert whole.docnos == one.docnos
    assert tree(tmp_path / "i") == tree(tmp_path / "j")


def test_names_and_encoder(tmp_path):
    folder = Original().stanford(tmp_path / "folder")
    names = [f"passage-{i}é" for i in range(8)]
    index = imported(folder, tmp_path / "i", docnos=names, encoder=lir.ToyEncoder(dim=16))
    assert index.docnos == names
    with pytest.raises(ValueError, match="encoded by 'other', the documents by 'toy-16-0'"):
        index.exhaustive()(pd.DataFrame({"qid": ["1"], "query_embs": [clustered(2)], "query_encoder": ["other"]}))
    assert imported(folder, tmp_path / "j", encoder="mine").store.encoder == "mine"
    assert imported(folder, tmp_path / "k").store.encoder is None


def test_documents_can_be_added(tmp_path):
    original = Original(k=300)
    index = imported(original.stanford(tmp_path / "folder"), tmp_path / "i")
    embs = clustered(6, seed=3)
    index.add([{"docno": "new", "doc_embs": embs}], verbose=False)
    found = index.exhaustive()(pd.DataFrame({"qid": ["1"], "query_embs": [embs]}))
    assert found["docno"][0] == "new"
    assert index.info()["residual"] is None


def test_the_same_bytes_again(tmp_path):
    folder = Original(k=300).stanford(tmp_path / "folder")
    imported(folder, tmp_path / "i")
    imported(folder, tmp_path / "j")
    assert tree(tmp_path / "i") == tree(tmp_path / "j")


# --- what is refused ------------------------------------------------------------------------------------------


def stanford_damage():
    """name -> (what happens to a folder, what is said)."""

    def save(name, value):
        return lambda path: torch.save(value, path / name)

    def metadata(**changes):
        def change(path):
            found = json.loads((path / "metadata.json").read_text())
            (path / "metadata.json").write_text(json.dumps({**found, **changes}))

        return change

    def cut(path):
        file = path / "1.residuals.pt"
        file.write_bytes(file.read_bytes()[:-100])

    ints = lambda *values: torch.tensor(values, dtype=torch.int32)  # noqa: E731
    return {
        "no codes": (lambda path: (path / "1.codes.pt").unlink(), "1.codes.pt cannot be read"),
        "cut off": (cut, "1.residuals.pt cannot be read"),
        "fewer codes": (save("1.codes.pt", ints(1, 2, 3)), r"Chunk 1 of .* has codes \(3,\).* expected \(4,\)"),
        "high code": (save("1.codes.pt", ints(1, 2, 3, 7)), r"Chunk 1 .* has the code 7; expected 0 to 6"),
        "negative code": (save("1.codes.pt", ints(1, 2, 3, -1)), "has the code -1"),
        "codes of floats": (save("1.codes.pt", torch.zeros(4)), "codes of float32; expected whole numbers"),
        "other width": (
            save("0.residuals.pt", torch.zeros((9, 8), dtype=torch.uint8)),
            r"expected \(9,\) and \(9, 4\)",
        ),
        "residuals of ints": (save("0.residuals.pt", torch.zeros((9, 4), dtype=torch.int32)), "of int32"),
        "no tensor": (save("2.codes.pt", {"codes": 1}), "holds a dict; expected a tensor"),
        "lengths": (
            lambda path: (path / "doclens.0.json").write_text("[3, 0, 5, 2]"),
            "num_embeddings 22; expected 23",
        ),
        "no lengths": (lambda path: (path / "doclens.0.json").write_text('{"a": 1}'), "holds a dict; expected a list"),
        "negative lengths": (lambda path: (path / "doclens.0.json").write_text("[9, -1, 0, 1]"), "no list of numbers"),
        "no metadata": (lambda path: (path / "metadata.json").write_text("{"), "metadata.json cannot be read"),
        "no chunks": (metadata(num_chunks=0), "num_chunks 0; expected at least 1"),
        "more chunks": (metadata(num_chunks=4), "doclens.3.json cannot be read"),
        "other bits": (metadata(config={"nbits": 4}), "nbits 4; expected 2"),
        "three weights": (save("buckets.pt", (torch.zeros(2), torch.zeros(3))), "buckets .* damaged: There are 3"),
        "descending": (save("buckets.pt", (ints(1, 2, 3), ints(4, 3, 2, 1))), "ascending order"),
        "one bucket": (save("buckets.pt", torch.zeros(3)), "buckets.pt holds a Tensor; expected two tensors"),
        "nan": (save("centroids.pt", torch.full((7, 16), torch.nan)), r"centroids .* shape \(7, 16\); expected"),
        "flat": (save("centroids.pt", torch.zeros(7)), r"centroids of .* have shape \(7,\)"),
    }


@pytest.mark.parametrize("damage", stanford_damage())
def test_damaged_folders(tmp_path, damage):
    change, message = stanford_damage()[damage]
    whole = Original().stanford(tmp_path / "whole")
    shutil.copytree(whole, tmp_path / "folder")
    change(tmp_path / "folder")
    with pytest.raises(ValueError, match=message):
        imported(tmp_path / "folder", tmp_path / "i")
    assert not lir.LirIndex(tmp_path / "i").built
    with pytest.raises(FileNotFoundError, match="There is no index at"):
        len(lir.LirIndex(tmp_path / "i"))
    assert not (tmp_path / "i" / "build").exists()
    assert len(imported(whole, tmp_path / "i")) == 8  # nothing stands in the way


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "merged_codes.npy").write_bytes(b"nothing"), "merged_codes.npy cannot be read"),
        (lambda path: (path / "merged_codes.manifest.json").write_text("{}"), "does not have it"),
        (lambda path: np.save(path / "merged_codes.npy", np.zeros(20, np.int64)), r"Chunk 2 .* has codes \(7,\)"),
        (lambda path: np.save(path / "bucket_weights.npy", np.zeros(3)), "expected one value more|There are 3"),
    ],
)
def test_damaged_folders_of_fast_plaid(tmp_path, change, message):
    folder = Original().fast_plaid(tmp_path / "folder", merged=(0, 1, 2))
    change(folder)
    with pytest.raises(ValueError, match=message):
        imported(folder, tmp_path / "i")
    assert not lir.LirIndex(tmp_path / "i").built


class Evil:
    """Would write a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_in_a_folder_is_run(tmp_path):
    evil = Evil(tmp_path / "done")
    folder = Original().stanford(tmp_path / "folder")
    torch.save(evil, folder / "0.codes.pt")
    with pytest.raises(ValueError, match=r"0\.codes\.pt cannot be read"):
        imported(folder, tmp_path / "i")
    (folder / "0.codes.pt").write_bytes(pickle.dumps(evil))
    with pytest.raises(ValueError, match=r"0\.codes\.pt cannot be read"):
        imported(folder, tmp_path / "i")
    other = Original().fast_plaid(tmp_path / "other")
    np.save(other / "0.codes.npy", np.array([evil], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"0\.codes\.npy cannot be read"):
        imported(other, tmp_path / "i")
    assert not (tmp_path / "done").exists()
    pickle.loads(pickle.dumps(evil))  # it would have
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("docnos", "message"),
    [
        (["a"] * 7, "docnos has 7 names; expected 8"),
        ([*"abcdefg", "a"], "docnos has 'a' twice"),
        ([*"abcdefg", ""], "docnos has ''; expected non-empty strings"),
        (list(range(8)), "docnos has 0; expected non-empty strings"),
    ],
)
def test_names_that_are_refused(tmp_path, docnos, message):
    with pytest.raises(ValueError, match=message):
        imported(Original().stanford(tmp_path / "folder"), tmp_path / "i", docnos=docnos)
    assert not (tmp_path / "i").exists()


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is no folder with files; expected a PLAID index of Stanford's"):
        imported(tmp_path / "nowhere", tmp_path / "i")
    (tmp_path / "pylate").mkdir()
    folder = Original().fast_plaid(tmp_path / "pylate" / "fast_plaid_index")
    with pytest.raises(ValueError, match=r"Give .*pylate/fast_plaid_index\."):
        imported(tmp_path / "pylate", tmp_path / "i")
    assert kind_of(names_in(folder)) == "fast_plaid"
    (folder / "0.passage_ids.npy").touch()  # as WARP's indexes have
    assert kind_of(names_in(folder)) is None
    with pytest.raises(ValueError, match="expected a PLAID index"):
        imported(folder, tmp_path / "i")
    assert kind_of(["centroids.pt", "metadata.json"]) is None


def killed_import(folder, path, step):
    """Imports a folder, and dies without a word in one of the last steps."""
    module, name = step
    setattr(module, name, lambda *args, **kwargs: os._exit(9))
    imported(folder, path)


@pytest.mark.parametrize("step", [(compress, "merge"), (manifest, "commit")], ids=lambda s: s[1])
def test_killed_and_begun_again(tmp_path, step):
    folder = Original(k=300).stanford(tmp_path / "folder")
    imported(folder, tmp_path / "whole")
    process = multiprocessing.get_context("fork").Process(target=killed_import, args=(folder, tmp_path / "i", step))
    process.start()
    process.join()
    assert process.exitcode == 9
    with pytest.raises(FileNotFoundError, match="There is no index"):
        len(lir.LirIndex(tmp_path / "i"))
    imported(folder, tmp_path / "i")
    assert tree(tmp_path / "i") == tree(tmp_path / "whole")


def test_an_index_is_not_replaced(tmp_path):
    folder = Original().stanford(tmp_path / "folder")
    imported(folder, tmp_path / "i")
    before = tree(tmp_path / "i")
    with pytest.raises(ValueError, match="is built already; expected an empty path"):
        imported(folder, tmp_path / "i")
    assert tree(tmp_path / "i") == before


# --- as an artifact -------------------------------------------------------------------------------------------


def entry_points():
    """The entry points as setup.py declares them; what is installed may be older."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == "entry_points":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no entry points")


def test_pyterrier_recognises_folders(tmp_path, monkeypatch):
    info = tmp_path / "site" / "declared-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 1\n")
    lines = [line for group, points in entry_points().items() for line in (f"[{group}]", *points)]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    original = Original()
    for kind in ("stanford", "fast_plaid"):
        folder = pt.Artifact.load(str(getattr(original, kind)(tmp_path / kind)))
        assert repr(folder) == f"PlaidFolder({str(tmp_path / kind)!r})"
        index = folder.to_lir(tmp_path / f"{kind}.lir", docnos=list("abcdefgh"), encoder="mine", verbose=False)
        assert (index.docnos, index.store.encoder) == (list("abcdefgh"), "mine")
        assert pt.Artifact.load(str(tmp_path / f"{kind}.lir")) == index
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "centroids.npy").touch()
    with pytest.raises(ValueError, match="No implementation found"):
        pt.Artifact.load(str(tmp_path / "other"))


def test_recognising_looks_at_names_alone():
    assert recognise("nowhere", ["centroids.pt", "buckets.pt", "metadata.json", "plan.json"]) == {
        "type": "multivec_index", "format": "plaid", "package_hint": "pyterrier-lir",
    }  # fmt: skip
    assert recognise("nowhere", ["pt_meta.json", "segments"]) is None


def test_recognising_loads_neither_torch_nor_kernels():
    code = "import sys, pyterrier; before = set(sys.modules); import pyterrier_lir.index.plaid_folder as p; "
    code += (
        "p.recognise('', []); print(*sorted(n for n in set(sys.modules) - before if 'pyterrier' in n or n == 'torch'))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pyterrier_lir.index.plaid_folder" in found
    assert not {"torch", "pyterrier_lir.kernels", "pyterrier_lir.index.artifact"} & set(found)


# --- a real one -----------------------------------------------------------------------------------------------

LOTTE = DATA / "data" / "lotte-500-gnd" / "colbertv2"


@pytest.fixture(scope="module")
def lotte(tmp_path_factory):
    """ColBERTv2's index of 500 passages, imported."""
    if not LOTTE.is_dir():
        pytest.skip(f"needs a ColBERTv2 index under {LOTTE} (set LIR_TEST_DATA)")
    return imported(LOTTE / "plaid", tmp_path_factory.mktemp("lotte") / "i")


@pytest.fixture(scope="module")
def lotte_vectors(lotte):
    """Its vectors, decompressed in float64 as the format is described."""

    def read(name):
        return torch.load(LOTTE / "plaid" / f"{name}.pt", weights_only=True, map_location="cpu")

    residuals, weights = read("0.residuals").numpy(), read("buckets")[1].double().numpy()
    bits = np.unpackbits(residuals, axis=1).reshape(len(residuals), 128, 2)
    vectors = read("centroids").double().numpy()[read("0.codes").numpy()] + weights[bits[:, :, 0] + 2 * bits[:, :, 1]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.split(vectors, np.cumsum(json.loads((LOTTE / "plaid" / "doclens.0.json").read_text()))[:-1])


@pytest.fixture(scope="module")
def lotte_topics():
    queries = np.load(LOTTE / "query_embedding.npy")
    qids = [line.split("\t")[0] for line in (LOTTE.parent / "queries.tsv").read_text().splitlines()]
    return pd.DataFrame({"qid": qids, "query_embs": list(queries)})


def test_a_real_index_decodes_to_its_vectors(lotte, lotte_vectors):
    assert (len(lotte), lotte.store.manifest["tokens"], lotte.dim) == (500, 56_658, 128)
    errors = [
        np.abs(record["doc_embs"] - vectors).max()
        for record, vectors in zip(lotte.get_corpus_iter(), lotte_vectors, strict=True)
    ]
    assert max(errors) < 0.0005


def test_a_real_index_scores_as_its_vectors_do(lotte, lotte_vectors, lotte_topics):
    some = lotte_topics[::5]
    offsets = np.cumsum([0, *map(len, lotte_vectors)])[:-1]
    tokens = np.concatenate(lotte_vectors).T
    exact = np.array([np.maximum.reduceat(query @ tokens, offsets, axis=1).sum(axis=0) for query in some["query_embs"]])
    found = lotte.exhaustive()(some)
    rows = {qid: i for i, qid in enumerate(some["qid"])}
    assert len(found) == exact.size
    errors = np.abs(found["score"] - exact[found["qid"].map(rows), found["docno"].astype(int)])
    assert errors.max() < 0.06  # .0017 for each of 32 rows, which are rounded to 8 bits
    assert errors.mean() < 0.01


def test_overlap_of_a_real_index_with_exact_search(lotte, lotte_topics):
    """Plain decompression finds .774 of what the uncompressed vectors have among their first ten."""
    columns = ["qid", "docno", "rank", "score"]
    (file,) = LOTTE.glob("*top10*")
    wanted = pd.read_csv(file, sep="\t", names=columns, dtype={"qid": str, "docno": str})
    wanted = set(zip(wanted["qid"], wanted["docno"], strict=True))

    def overlap(retriever):
        found = (retriever % 10)(lotte_topics)
        return len(wanted & set(zip(found["qid"], found["docno"], strict=True))) / len(wanted)

    assert len(wanted) == 1000
    assert overlap(lotte.exhaustive()) == pytest.approx(0.774, abs=0.003)
    assert overlap(lotte.plaid()) > 0.75
    assert overlap(lotte.warp()) > 0.74
