"""Indexes of other engines that are damaged, hostile or something else: refused, and nothing half imported."""

import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from corpora import tree
from originals import Original, imported, names_in

import pyterrier_lir as lir
from pyterrier_lir.index import compress, manifest
from pyterrier_lir.index.foreign import kind_of


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
