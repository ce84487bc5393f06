"""Backbones run by other engines: the same vectors where they must be, another fingerprint where they are not."""

import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import pyterrier_lir as lir
from pyterrier_lir import columns
from pyterrier_lir.encode import backends

TEXTS = ["late interaction compares every token with every token", "", "pooling", "a query of some words " * 12]
ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            any(importlib.util.find_spec(package) is None for package in backends.PACKAGES[name]),
            reason=f"{' and '.join(backends.PACKAGES[name])} are not all installed",
        ),
    )
    for name in ("onnx", "openvino")
]


@pytest.fixture(scope="module")
def folder(stanford):
    """A small checkpoint."""
    return stanford()


def encoders(path, **options):
    """The encoder of a checkpoint by torch, and by another engine."""
    exact = lir.LateInteractionEncoder(path, dtype="float32", backend="torch")
    return exact, lir.LateInteractionEncoder(path, **options)


@pytest.mark.parametrize("backend", ENGINES)
def test_equal_to_torch(folder, backend):
    original, other = encoders(folder, backend=backend)
    for encode in ("encode_queries", "encode_docs"):
        for expected, found in zip(getattr(original, encode)(TEXTS), getattr(other, encode)(TEXTS), strict=True):
            np.testing.assert_allclose(found.embs, expected.embs, atol=1e-4)
            assert found.tok_ids.tolist() == expected.tok_ids.tolist()
    assert other.fingerprint == original.fingerprint


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("attend", [False, True])
def test_rows_of_masks_where_masks_fill_up_short_texts_too(pylate, backend, attend):
    """PyLate pads with [MASK]: what is a row of the query and what fills it up have the same id."""
    path = pylate(attend_to_expansion_tokens=attend)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = "[MASK]"
    tokenizer.save_pretrained(path)
    original, other = encoders(path, backend=backend)
    expected, found = (encoder.encode_queries(["red fox", "a"]) for encoder in (original, other))
    for a, b in zip(expected, found, strict=True):
        assert len(a.embs) == 12 and (a.tok_ids == tokenizer.mask_token_id).sum() > 5
        np.testing.assert_allclose(b.embs, a.embs, atol=1e-4)
        assert b.tok_ids.tolist() == a.tok_ids.tolist()
    for a, b in zip(original.encode_docs(TEXTS), other.encode_docs(TEXTS), strict=True):
        np.testing.assert_allclose(b.embs, a.embs, atol=1e-4)


@pytest.mark.parametrize("backend", ENGINES)
def test_what_runs_goes_on_when_its_export_is_tidied_away(folder, backend, monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "cache_folder", lambda: tmp_path)
    encoder = lir.LateInteractionEncoder(folder, backend=backend)
    one = encoder.encode_docs(TEXTS[:1])[0].embs
    shutil.rmtree(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        several = encoder.encode_docs(TEXTS)  # on two threads by sessions of their own, opened now
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(several[0].embs, one)


@pytest.mark.parametrize("backend", ENGINES)
def test_quantised_vectors_are_near_and_say_so(folder, backend):
    original, other = encoders(folder, backend=backend, quantized=True)
    expected = np.concatenate([one.embs for one in original.encode_docs(TEXTS)])
    found = np.concatenate([one.embs for one in other.encode_docs(TEXTS)])
    assert 1e-5 < np.abs(found - expected).max() < 1e-2
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert other.fingerprint != original.fingerprint
    with pytest.raises(ValueError, match="encoder"):
        columns.check_encoder(other.fingerprint, original.fingerprint, what="the index")


@pytest.mark.parametrize("backend", ENGINES[:1])
def test_the_quickest_exact_one_is_the_default_where_it_is_installed(folder, backend, monkeypatch):
    fast, original = lir.LateInteractionEncoder(folder), lir.LateInteractionEncoder(folder, backend="torch")
    for encoder, name in ((fast, "onnx"), (original, "torch")):
        encoder.load()
        assert encoder.facts()["backend"] == name
    assert fast.fingerprint == original.fingerprint
    bfloat16 = lir.LateInteractionEncoder(folder, dtype="bfloat16")
    assert backends.running(bfloat16.load()) == "torch"
    assert lir.LateInteractionEncoder(folder, quantized=True).fingerprint != original.fingerprint
    assert sum(weights.numel() for weights in fast.in_torch().load()[0].parameters()) > 1000
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert backends.running(lir.LateInteractionEncoder(folder).load()) == "torch"
    with pytest.raises(ImportError, match="quantized=True needs the package onnxruntime"):
        lir.LateInteractionEncoder(folder, quantized=True)


@pytest.mark.parametrize("backend", ENGINES[:1])
def test_the_files_of_a_checkpoint_are_read_once(folder, backend, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    encoder = lir.LateInteractionEncoder(copied, backend=backend)
    encoder.load()  # hashes them, for the name of the export
    (copied / "vocab.txt").write_text("another")
    assert encoder.fingerprint == lir.LateInteractionEncoder(folder, backend="torch").fingerprint
    assert encoder.checkpoint_id != lir.LateInteractionEncoder(copied).checkpoint_id


@pytest.mark.parametrize("backend", ENGINES[:1])
def test_what_cannot_be_exported_is_run_by_torch(folder, backend, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(backends, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(backends, "LARGEST", 1000)
    model = lir.LateInteractionEncoder(folder).load()
    assert backends.running(model) == "torch"
    assert model[0].config._attn_implementation == "sdpa"
    assert "bytes of weights; expected at most 1,000" in caplog.text
    with pytest.raises(ValueError, match=r'BertModel has [\d,]+ bytes of weights; expected .* Use backend="torch"'):
        lir.LateInteractionEncoder(folder, backend=backend).load()
    assert not list(tmp_path.rglob("*.onnx"))
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(backends, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert backends.running(lir.LateInteractionEncoder(folder).load()) == "torch"
    assert "Not a directory" in caplog.text


@pytest.mark.parametrize("backend", ENGINES[:1])
def test_the_exports_that_were_used_last_are_kept(folder, backend, monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(backends, "KEPT", 2)
    made = []
    for options in ({}, {"quantized": True}, {}, {"model_kwargs": {"attn_implementation": "eager"}}):
        before = {*tmp_path.iterdir()}
        lir.LateInteractionEncoder(folder, backend=backend, **options).load()
        made += {*tmp_path.iterdir()} - before
    assert len(made) == 3
    assert {*tmp_path.iterdir()} == {made[0], made[2]}  # the first one was used again before the third was made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "backend='tensorrt'; expected one of 'torch', 'onnx', 'openvino'"),
        ({"backend": "torch", "quantized": True}, "quantized=True with backend='torch'; expected 'onnx' or 'openvino'"),
    ],
)
def test_what_does_not_exist_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lir.LateInteractionEncoder("minilm", **options)


@pytest.mark.parametrize("backend", ENGINES[:1])
@pytest.mark.parametrize("options", [{"device": "cuda"}, {"dtype": "bfloat16"}, {"device": ["cpu", "cpu"]}])
def test_only_in_float32_on_the_processor(backend, options):
    with pytest.raises(ValueError, match='expected device="cpu" and dtype="float32"'):
        lir.LateInteractionEncoder("minilm", backend=backend, **options)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"Run: pip install '?onnxruntime\S* '?onnx"):
        lir.LateInteractionEncoder("minilm", backend="onnx")


@pytest.mark.parametrize("backend", ENGINES[:1])
def test_exported_once_and_again_when_it_is_damaged(folder, backend, monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "cache_folder", lambda: tmp_path)
    lir.LateInteractionEncoder(folder, backend=backend).load()
    (path,) = tmp_path.rglob("model.onnx")
    made = path.stat().st_ino
    lir.LateInteractionEncoder(folder, backend=backend).load()
    assert path.stat().st_ino == made
    assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "model.onnx"]
    model = lir.LateInteractionEncoder(folder, backend="torch").load()[0]

    def nothing(arrays):
        return np.zeros((*arrays["input_ids"].shape, model.model.config.hidden_size), np.float32)

    with pytest.raises(ValueError, match=r"differ by .*expected at most 0\.0001"):
        backends._compare(model.model, model.tokenizer, nothing, path)


@pytest.mark.parametrize("backend", ENGINES)
def test_rounding_by_token_keeps_the_vectors_of_a_trained_model(backend):
    text = "One step for all tokens would give a mean cosine of .990: in MiniLM a few have values ten times as large."
    original, other = (
        encoder.encode_docs([text])[0].embs for encoder in encoders("minilm", backend=backend, quantized=True)
    )
    assert 0.995 < (original * other).sum(axis=1).mean() < 0.9999


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("backend", ENGINES)
def test_vectors_depend_on_no_other_text_and_no_number_of_threads(folder, backend, quantized, two_threads):
    encoder = lir.LateInteractionEncoder(folder, backend=backend, quantized=quantized)
    several = encoder.encode_docs(TEXTS)
    torch.set_num_threads(1)
    for text, found, single in zip(TEXTS, several, encoder.encode_docs(TEXTS), strict=True):
        assert np.array_equal(encoder.encode_docs([text])[0].embs, found.embs)
        assert np.array_equal(single.embs, found.embs)


@pytest.mark.parametrize("backend", ENGINES[:1])
@pytest.mark.parametrize(
    ("kind", "config"),
    [("ModernBert", {"global_attn_every_n_layers": 2, "local_attention": 8}), ("XLMRoberta", {}), ("DebertaV2", {})],
)
def test_backbones_of_other_kinds(backend, kind, config, bare, tmp_path):
    import transformers

    sizes = {"vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}Config")(**sizes, intermediate_size=64, pad_token_id=0, **config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bare)
    model = transformers.AutoModel.from_config(made).eval()
    inputs = list(tokenizer("a").keys())
    path = backends.exported(model, tokenizer, inputs, quantized=False, identity=str(tmp_path))
    run = backends.SESSIONS[backend](path.read_bytes(), 1, 1)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**batch).last_hidden_state
    for i, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        found = run({name: batch[name][i : i + 1, :length].numpy() for name in inputs})
        np.testing.assert_allclose(found[0], expected[i, :length], atol=1e-4)


def test_scaled_tokens_give_the_same_product():
    linear = torch.nn.Linear(2, 1)
    linear.weight.data, linear.bias.data = torch.tensor([[2.0, 3.0]]), torch.tensor([5.0])
    values = torch.tensor([[0.0, 0.0], [1.0, -4.0], [100.0, 1.0]])
    assert backends._linear_by_token(linear, values).tolist() == [[5.0], [-5.0], [208.0]]


@pytest.mark.parametrize("backend", ENGINES[:1])
def test_every_backbone_has_the_file_of_its_rounding(folder, backend, monkeypatch, tmp_path):
    import onnx

    monkeypatch.setattr(backends, "cache_folder", lambda: tmp_path)
    lir.LateInteractionEncoder(folder, backend=backend).load()
    (exact,) = tmp_path.rglob("model.onnx")
    assert "IsNaN" not in {node.op_type for node in onnx.load(exact).graph.node}
    older = lir.LateInteractionEncoder(folder, backend=backend, quantized=True).fingerprint
    (small,) = set(tmp_path.rglob("model.onnx")) - {exact}
    tensors = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(small).graph.initializer]
    matrices = [tensor for tensor in tensors if tensor.dtype == np.int8 and tensor.ndim == 2]
    assert max(abs(matrix.astype(int)).max() for matrix in matrices) == 64  # 255 * (64 + 64) < 2 ** 15
    monkeypatch.setattr(backends, "ROUNDING", "otherwise")
    assert lir.LateInteractionEncoder(folder, backend=backend, quantized=True).fingerprint != older
    assert len(list(tmp_path.rglob("model.onnx"))) == 3
    assert {file.name for file in tmp_path.glob("*/*")} == {".lock", "model.onnx"}


@pytest.mark.parametrize("backend", ENGINES[:1])
def test_two_processes_export_one_file(folder, backend, tmp_path):
    script = (
        "import sys, pyterrier_lir as lir; from pathlib import Path; from pyterrier_lir.encode import backends;"
        "backends.cache_folder = lambda: Path(sys.argv[2]);"
        f"print(lir.LateInteractionEncoder(sys.argv[1], backend={backend!r}).encode_docs(['some words'])[0].embs.shape)"
    )
    command = [sys.executable, "-c", script, str(folder), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ.copy(), text=True) for _ in range(2)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert [process.returncode for process in running] == [0, 0]
    assert len(list(tmp_path.rglob("*.onnx"))) == 1
