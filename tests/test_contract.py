"""What PyTerrier expects, asked of every transformer that the package has."""

import importlib.util
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from pyterrier.measures import RR

import pyterrier_lir as lir
from pyterrier_lir.retrieve.muvera_retriever import MuveraRetriever
from pyterrier_lir.retrieve.plaid import Plaid
from pyterrier_lir.retrieve.warp import Warp
from pyterrier_lir.retrieve.xtr import Xtr, XtrScorer

ENCODER = lir.ToyEncoder()
INDEX = lir.LirIndex.example()
SHARDS = lir.distributed.Shards.split(INDEX, INDEX._directory.parent / "shards", 2)

QUERIES = pd.DataFrame({"qid": ["1", "2", "3"], "query": ["bread dough", "a day", "bread dough"]})
ENCODED = ENCODER(QUERIES)
STATS = INDEX.token_stats()
GRAPH = INDEX.corpus_graph(k=2)
RESULTS = QUERIES.merge(pd.DataFrame({"docno": INDEX.docnos}), how="cross").assign(
    text="fresh bread", score=1.0, rank=0
)
ENCODED_RESULTS = ENCODER.query_encoder()(RESULTS)
LOADED = INDEX.embs_loader()(ENCODED_RESULTS)
DOCUMENTS = pd.DataFrame({"docno": ["x", "y"], "text": ["one day", "fresh bread"]})

# name -> how to make the transformer, an input, the columns that it needs, those that it adds, those that it drops
RANK = {"score", "rank"}
QUERY_SIDE = {"query_embs", "query_tok_ids", "query_encoder"}
DOC_SIDE = {"doc_embs", "doc_tok_ids", "doc_encoder"}
ALIGNMENT = {
    "match_matrix", "match_pos", "match_sim", "match_share", "match_exact", "query_words", "doc_words",
}  # fmt: skip
CASES = {
    "encoder-query": (lir.ToyEncoder, QUERIES, ["qid", "query"], QUERY_SIDE, set()),
    "encoder-doc": (lir.ToyEncoder, DOCUMENTS, ["docno", "text"], DOC_SIDE, set()),
    "encoder-score": (lir.ToyEncoder, RESULTS, ["qid", "query", "docno", "text"], RANK, set()),
    "query_encoder": (lambda: ENCODER.query_encoder(), QUERIES, ["query"], QUERY_SIDE, set()),
    "query_encoder-results": (lambda: ENCODER.query_encoder(), RESULTS, ["query"], QUERY_SIDE, set()),
    "doc_encoder": (lambda: ENCODER.doc_encoder(), DOCUMENTS, ["text"], DOC_SIDE, set()),
    "text_scorer": (lambda: ENCODER.text_scorer(), RESULTS, ["qid", "query", "docno", "text"], RANK, set()),
    "exhaustive": (lambda: INDEX.exhaustive(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "exhaustive-docnos": (
        lambda: INDEX.exhaustive(docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set(),
    ),
    "index-maxsim": (lambda: INDEX.maxsim(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "maxsim": (
        lambda: lir.MaxSim(), LOADED, ["qid", "query_embs", "docno", "doc_embs"], RANK, DOC_SIDE,
    ),
    "plaid": (lambda: INDEX.plaid(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "plaid-stats": (
        lambda: INDEX.plaid(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *Plaid.STATS}, set(),
    ),
    "plaid_candidates": (lambda: INDEX.plaid_candidates(), ENCODED, ["qid", "query_embs"], {"docno"}, set()),
    "centroid_maxsim": (lambda: INDEX.centroid_maxsim(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "warp": (lambda: INDEX.warp(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "warp-stats": (
        lambda: INDEX.warp(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *Warp.STATS}, set(),
    ),
    "xtr": (lambda: INDEX.xtr(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "xtr-stats": (
        lambda: INDEX.xtr(stats=True, nprobe=3, impute=0.5), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *Xtr.STATS}, set(),
    ),
    "xtr_scorer": (lambda: INDEX.xtr_scorer(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "muvera": (lambda: INDEX.muvera(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "muvera-stats": (
        lambda: INDEX.muvera(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *MuveraRetriever.STATS}, set(),
    ),
    "muvera-hnsw": (lambda: INDEX.muvera(ann="hnsw"), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "Muvera-query": (lambda: lir.Muvera(k_sim=2, reps=3), ENCODED, ["query_embs"], {"query_vec"}, set()),
    "Muvera-doc": (
        lambda: lir.Muvera(k_sim=2, reps=3, center=INDEX), ENCODER(DOCUMENTS), ["doc_embs"], {"doc_vec"}, set(),
    ),
    "Muvera-both": (
        lambda: lir.Muvera(k_sim=2, d_proj=None, final_dim=64), INDEX.embs_loader()(ENCODED_RESULTS), [],
        {"query_vec", "doc_vec"}, set(),
    ),
    "ball_carving": (lir.feedback.BallCarving, ENCODED, ["query_embs"], set(), {"query_tok_ids"}),
    "embs_loader": (lambda: INDEX.embs_loader(), RESULTS, ["docno"], DOC_SIDE, set()),
    "token_pooling": (lambda: lir.TokenPooling(2), LOADED, ["doc_embs"], set(), set()),
    "token_pruning": (lambda: lir.TokenPruning("first", keep=0.5), LOADED, ["doc_embs"], set(), set()),
    "token_pruning-documents": (
        lambda: lir.TokenPruning("first", keep=0.5), ENCODER(DOCUMENTS), ["doc_embs"], set(), set(),
    ),
    "truncate": (lambda: lir.Truncate(8), LOADED.drop(columns=["query_embs"]), ["doc_embs"], set(), set()),
    "truncate-queries": (lambda: lir.Truncate(8), ENCODED, ["query_embs"], set(), set()),
    "colbert_prf": (
        lambda: INDEX.colbert_prf(), ENCODED_RESULTS, ["qid", "query_embs", "docno", "rank"], {"query_weights"},
        {"docno", "text", "score", "rank"},
    ),
    "colbert_prf-docs": (
        lambda: INDEX.colbert_prf(return_docs=True), ENCODED_RESULTS, ["qid", "query_embs", "docno", "rank"],
        {"query_weights"}, set(),
    ),
    "colbert_prf-columns": (
        lambda: lir.feedback.ColbertPRF(stats=STATS, return_docs=True), LOADED,
        ["qid", "query_embs", "docno", "rank", "doc_embs", "doc_tok_ids"], {"query_weights"}, set(),
    ),
    "query_pruning": (
        lambda: INDEX.query_pruning(keep=1), ENCODED, ["query_embs", "query_tok_ids"], {"query_weights"}, set(),
    ),
    "mask_weighting": (
        lambda: lir.feedback.MaskWeighting(5), ENCODED, ["query_embs", "query_tok_ids"], {"query_weights"}, set(),
    ),
    "candidate_pruning": (
        lambda: lir.rerank.CandidatePruning(0.1, k=2), RESULTS, ["qid", "docno", "score"], set(), set(),
    ),
    "early_exit_maxsim": (
        lambda: INDEX.early_exit_maxsim(1, k=2), ENCODED_RESULTS, ["qid", "query_embs", "docno", "rank"], RANK, set(),
    ),
    "ladr": (lambda: INDEX.ladr(GRAPH), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, {"text"}),
    "explain": (
        lambda: INDEX.explain(ENCODER), ENCODED_RESULTS, ["qid", "query_embs", "query_tok_ids", "docno"], ALIGNMENT,
        set(),
    ),
    "explain-columns": (
        lambda: lir.explain.Explain(), LOADED,
        ["qid", "query_embs", "query_tok_ids", "docno", "doc_embs", "doc_tok_ids"], ALIGNMENT, DOC_SIDE,
    ),
    "explain-text": (
        lambda: ENCODER.explain(), RESULTS, ["qid", "query", "docno", "text"], ALIGNMENT | QUERY_SIDE, set(),
    ),
    "sharded-exhaustive": (lambda: SHARDS.exhaustive(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "sharded-plaid": (lambda: SHARDS.plaid(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "sharded-plaid-stats": (
        lambda: SHARDS.plaid(stats=True, docnos=["earth", "bread"]), ENCODED, ["qid", "query_embs"],
        {"docno", *RANK, *SHARDS.plaid().STATS}, set(),
    ),
    "sharded-warp": (lambda: SHARDS.warp(), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set()),
    "sharded-maxsim": (lambda: SHARDS.maxsim(), ENCODED_RESULTS, ["qid", "query_embs", "docno"], RANK, set()),
    "unseen": (lambda: INDEX.unseen(), DOCUMENTS, ["docno"], set(), set()),
}  # fmt: skip
# Stores of others, where they are installed; tests/test_peers.py says of the others that they are not.
PEERS = {"Qdrant": "qdrant_client", "LanceDB": "lancedb", "DuckDB": "duckdb", "Milvus": "milvus_lite"}
PEERS = {name: module for name, module in PEERS.items() if importlib.util.find_spec(module)}
CASES |= {
    f"peer-{name}": (
        lambda name=name: getattr(lir.peers, name)(INDEX), ENCODED, ["qid", "query_embs"], {"docno", *RANK}, set(),
    )
    for name in PEERS
}  # fmt: skip
RETRIEVERS = [
    "exhaustive", "exhaustive-docnos", "plaid", "warp", "xtr", "muvera", "sharded-exhaustive", "sharded-plaid",
    "sharded-warp",
]  # fmt: skip
SCORERS = ["encoder-score", "text_scorer", "index-maxsim", "maxsim", "centroid_maxsim", "xtr_scorer", "sharded-maxsim"]


# a row depends on the query's other rows
LISTWISE = ["colbert_prf", "colbert_prf-docs", "colbert_prf-columns", "candidate_pruning", "early_exit_maxsim", "ladr"]


@pytest.fixture(params=[name for name in CASES if name not in LISTWISE])
def rowwise_case(request):
    return CASES[request.param]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def same(a, b):
    """Two frames hold the same, but for times; matrices are compared by value."""
    times = [column for column in a.columns if column.endswith("_ms")]
    pd.testing.assert_frame_equal(a.drop(columns=times), b.drop(columns=times))


def test_output_columns(case):
    make, inp, _, added, dropped = case
    out = make()(inp)
    assert set(out.columns) == (set(inp.columns) | added) - dropped


def test_needed_columns(case):
    make, inp, needed, _, _ = case
    for column in needed:
        if column in ("qid", "docno") and make is lir.ToyEncoder:
            continue  # without it the encoder takes the frame for something else
        with pytest.raises(pt.validate.InputValidationError, match=column):
            make()(inp.drop(columns=column))


def test_foreign_columns_stay(case):
    make, inp, _, _, dropped = case
    foreign = inp.assign(note=[f"n{i}" for i in range(len(inp))], qfield=1.5, vector=[np.ones(2)] * len(inp))
    out = make()(foreign)
    if "text" in dropped:  # other documents, or none: what the input says of documents goes
        assert {"note", "qfield", "vector"} & set(out.columns) == {"qfield"}
        return
    assert {"note", "qfield", "vector"} <= set(out.columns)
    key = "docno" if "docno" in inp.columns else "qid"
    if "docno" in inp.columns and "qid" in inp.columns:
        expected = dict(zip(zip(inp["qid"], inp["docno"], strict=True), foreign["note"], strict=True))
        assert out["note"].tolist() == [expected[pair] for pair in zip(out["qid"], out["docno"], strict=True)]
    else:
        expected = dict(zip(inp[key], foreign["note"], strict=True))
        assert out["note"].tolist() == [expected[value] for value in out[key]]


def test_the_input_is_not_changed(case):
    make, inp, *_ = case
    before = pickle.dumps(inp)
    make()(inp)
    assert pickle.dumps(inp) == before


def test_an_empty_frame_gives_the_same_columns(case):
    make, inp, *_ = case
    out = make()(inp)
    empty = make()(inp.iloc[:0])
    assert len(empty) == 0
    assert list(empty.columns) == list(out.columns)


def test_empty_frames_touch_no_model_and_no_index(tmp_path):
    class Untouchable(lir.ToyEncoder):
        def encode_queries(self, texts):
            raise AssertionError("encoded an empty frame")

        encode_docs = encode_queries

    nowhere, encoder = lir.LirIndex(tmp_path / "not built"), Untouchable()
    pipelines = [
        (encoder >> nowhere.exhaustive(), ["qid", "query"]),
        (encoder.query_encoder() >> nowhere.exhaustive() >> nowhere.maxsim(), ["qid", "query"]),
        (nowhere.unseen() >> encoder, ["docno", "text"]),
        (encoder >> nowhere.exhaustive() >> nowhere.embs_loader() >> lir.MaxSim(), ["qid", "query"]),
    ]
    pipelines += [
        (encoder >> nowhere.query_pruning(keep=2) >> nowhere.plaid() >> nowhere.colbert_prf(), ["qid", "query"]),
        (encoder >> nowhere.plaid() >> nowhere.early_exit_maxsim(2) >> nowhere.explain(encoder), ["qid", "query"]),
        (encoder >> nowhere.plaid() >> nowhere.ladr(nowhere.corpus_graph()), ["qid", "query"]),
        (encoder.explain(), ["qid", "query", "docno", "text"]),
        (encoder >> lir.TokenPooling(2) >> lir.TokenPruning("first", keep=0.5) >> lir.Truncate(2), ["docno", "text"]),
    ]
    for pipeline, columns in pipelines:
        assert pt.inspect.transformer_inputs(pipeline)[0]
        assert set(columns) < set(pt.inspect.transformer_outputs(pipeline, columns))
    assert list(encoder.transform_iter([])) == []


def test_one_row(rowwise_case):
    make, inp, *_ = rowwise_case
    whole, one = make()(inp), make()(inp.iloc[[0]])
    keys = [key for key in ("qid", "docno") if key in inp.columns]
    rows = whole[(whole[keys] == inp[keys].iloc[0]).all(axis=1)].reset_index(drop=True)
    same(one.drop(columns="rank", errors="ignore"), rows.drop(columns="rank", errors="ignore"))


def test_a_duplicate_frame_index(case):
    make, inp, *_ = case
    same(make()(inp.set_axis([0] * len(inp))), make()(inp))


def test_torch_tensors_in_cells(case):
    import torch

    make, inp, *_ = case
    tensors = inp.copy()
    for column in {"query_embs", "doc_embs"} & set(inp.columns):
        tensors[column] = pd.Series([torch.from_numpy(value) for value in inp[column]], dtype=object)
    keys = [key for key in ("qid", "docno", "score", "rank") if key in make()(inp).columns]
    same(make()(tensors)[keys], make()(inp)[keys])


def test_unicode(case):
    make, inp, *_ = case
    columns = [c for c in ("qid", "query", "text") if c in inp.columns]
    odd = inp.assign(**{c: [f"ü文{value}" for value in inp[c]] for c in columns})
    out = make()(odd)
    assert len(out) == len(make()(inp))
    assert "qid" not in inp.columns or set(out["qid"]) == set(odd["qid"])


def test_values(case):
    make, *_ = case
    a, b = make(), make()
    assert a == b
    assert hash(a) == hash(b)
    assert repr(a) == repr(b)
    assert a != "something else"
    assert pickle.loads(pickle.dumps(a)) == a


def test_every_argument_counts_for_equality(tmp_path):
    other = lir.LirIndex(tmp_path / "other")
    variants = [
        INDEX.exhaustive(), INDEX.exhaustive(num_results=5), INDEX.exhaustive(docnos=["earth"]),
        INDEX.exhaustive(docnos=[]), INDEX.exhaustive(num_threads=2), other.exhaustive(),
        INDEX.plaid(), INDEX.plaid(num_results=5), INDEX.plaid(nprobe=2), INDEX.plaid(ndocs=9),
        INDEX.plaid(threshold=0.1), INDEX.plaid(threshold_quantile=0.1), INDEX.plaid(min_docs=5),
        INDEX.plaid(preset="paper"),
        INDEX.plaid(docnos=["earth"]), INDEX.plaid(num_threads=2), INDEX.plaid(stats=True), other.plaid(),
        INDEX.plaid_candidates(), INDEX.plaid_candidates(nprobe=2), INDEX.plaid_candidates(min_docs=2),
        INDEX.plaid_candidates(num_threads=2), INDEX.centroid_maxsim(), INDEX.centroid_maxsim(threshold=0.1),
        INDEX.centroid_maxsim(threshold_quantile=0.1), INDEX.centroid_maxsim(missing="drop"),
        INDEX.centroid_maxsim(num_threads=2),
        INDEX.warp(), INDEX.warp(num_results=5), INDEX.warp(nprobe=2), INDEX.warp(t_prime=2), INDEX.warp(bound=2),
        INDEX.warp(groups=2), INDEX.warp(min_docs=2), INDEX.warp(preset="paper"), INDEX.warp(docnos=["earth"]),
        INDEX.warp(num_threads=2), INDEX.warp(stats=True), other.warp(),
        INDEX.xtr(), INDEX.xtr(num_results=5), INDEX.xtr(token_k=2), INDEX.xtr(impute="zero"), INDEX.xtr(impute=0.2),
        INDEX.xtr(normalise="sum"), INDEX.xtr(nprobe=2), INDEX.xtr(docnos=["earth"]), INDEX.xtr(num_threads=2),
        INDEX.xtr(stats=True), other.xtr(),
        INDEX.xtr_scorer(), INDEX.xtr_scorer(token_k=2), INDEX.xtr_scorer(impute="zero"),
        INDEX.xtr_scorer(normalise="sum"), INDEX.xtr_scorer(missing="drop"), INDEX.xtr_scorer(num_threads=2),
        INDEX.maxsim(), INDEX.maxsim(missing="drop"), INDEX.maxsim(num_threads=2), other.maxsim(),
        lir.MaxSim(), lir.MaxSim(num_threads=2), INDEX.embs_loader(), INDEX.embs_loader(missing="drop"),
        lir.ToyEncoder(), lir.ToyEncoder(dim=5), lir.ToyEncoder(seed=1), lir.ToyEncoder(batch_size=5),
        lir.ToyEncoder(text_field="body"), lir.ToyEncoder().query_encoder(), lir.ToyEncoder(seed=1).query_encoder(),
        lir.ToyEncoder().doc_encoder(), lir.ToyEncoder().text_scorer(), lir.ToyEncoder().text_scorer(num_threads=1),
        INDEX.muvera(), INDEX.muvera(num_results=5), INDEX.muvera(ann="pq"), INDEX.muvera(k_sim=3),
        INDEX.muvera(d_proj=None), INDEX.muvera(reps=3), INDEX.muvera(final_dim=64), INDEX.muvera(fill_empty=False),
        INDEX.muvera(projection="sparse"), INDEX.muvera(center=False), INDEX.muvera(seed=1),
        INDEX.muvera(ann="hnsw", ef_search=9), INDEX.muvera(ann="ivfpq", nprobe=2), INDEX.muvera(docnos=["earth"]),
        INDEX.muvera(num_threads=2), INDEX.muvera(stats=True), other.muvera(),
        lir.Muvera(), lir.Muvera(k_sim=3), lir.Muvera(d_proj=None), lir.Muvera(reps=3), lir.Muvera(final_dim=64),
        lir.Muvera(fill_empty=False), lir.Muvera(projection="sparse"), lir.Muvera(center=[0.5, 1]),
        lir.Muvera(center=INDEX), lir.Muvera(center=other), lir.Muvera(seed=1), lir.Muvera(num_threads=2),
        lir.feedback.BallCarving(), lir.feedback.BallCarving(tau=0.5),
        INDEX.unseen(), other.unseen(),
        INDEX.colbert_prf(), INDEX.colbert_prf(fb_docs=4), INDEX.colbert_prf(clusters=25), INDEX.colbert_prf(fb_embs=9),
        INDEX.colbert_prf(beta=0.5), INDEX.colbert_prf(seed=1), INDEX.colbert_prf(return_docs=True),
        lir.feedback.ColbertPRF(stats=STATS), other.colbert_prf(), INDEX.query_pruning(keep=1),
        INDEX.query_pruning(keep=2), other.query_pruning(keep=1), lir.feedback.MaskWeighting(5),
        lir.feedback.MaskWeighting(6), lir.feedback.MaskWeighting(5, exclude=(1,)),
        INDEX.explain(), INDEX.explain(ENCODER), ENCODER.explain(), lir.ToyEncoder(seed=1).explain(),
        other.explain(), lir.explain.Explain(),
        lir.rerank.CandidatePruning(0.1), lir.rerank.CandidatePruning(0.2), lir.rerank.CandidatePruning(0.1, k=2),
        INDEX.early_exit_maxsim(2), INDEX.early_exit_maxsim(3), INDEX.early_exit_maxsim(2, k=2),
        INDEX.early_exit_maxsim(2, missing="drop"), INDEX.early_exit_maxsim(2, num_threads=2),
        other.early_exit_maxsim(2), INDEX.ladr(GRAPH), INDEX.ladr(INDEX.corpus_graph(k=3)),
        INDEX.ladr(INDEX.corpus_graph(k=2, rows=3)), INDEX.ladr(GRAPH, depth=3), INDEX.ladr(GRAPH, depth=None),
        INDEX.ladr(GRAPH, num_results=9), INDEX.ladr(GRAPH, missing="drop"), INDEX.ladr(GRAPH, num_threads=2),
        other.ladr(GRAPH),
        lir.TokenPooling(2), lir.TokenPooling(3), lir.TokenPooling(2, method="kmeans"),
        lir.TokenPooling(2, protected=0), lir.TokenPooling(2, normalise=False), lir.TokenPruning("first", keep=0.5),
        lir.TokenPruning("first", keep=0.4), lir.TokenPruning("first", keep=0.5, protected=0),
        lir.TokenPruning("idf", keep=0.5, stats=STATS), lir.TokenPruning("stopwords", tau=5, stats=STATS),
        lir.TokenPruning("stopwords", tau=6, stats=STATS), lir.Truncate(8), lir.Truncate(9),
    ]  # fmt: skip
    assert len(set(variants)) == len(variants)
    assert len({repr(variant) for variant in variants}) == len(variants)


def test_repr_rebuilds(case):
    make, *_ = case
    names = {"LirIndex": lir.LirIndex, "ToyEncoder": lir.ToyEncoder, "Shards": lir.distributed.Shards}
    from pyterrier_lir.distributed.methods import ShardedExhaustive, ShardedMaxSim, ShardedPlaid, ShardedWarp
    from pyterrier_lir.encode.base import DocEncoder, QueryEncoder
    from pyterrier_lir.explain.alignment import Explain, TextExplain
    from pyterrier_lir.feedback import ColbertPRF, MaskWeighting, QueryPruning
    from pyterrier_lir.index.unseen import Unseen
    from pyterrier_lir.rerank.candidate_pruning import CandidatePruning
    from pyterrier_lir.rerank.corpus_graph import CorpusGraph
    from pyterrier_lir.rerank.early_exit import EarlyExitMaxSim
    from pyterrier_lir.rerank.ladr import Ladr
    from pyterrier_lir.rerank.loader import EmbsLoader
    from pyterrier_lir.rerank.maxsim import IndexMaxSim, MaxSim
    from pyterrier_lir.rerank.text import TextScorer
    from pyterrier_lir.retrieve.exhaustive import Exhaustive
    from pyterrier_lir.retrieve.muvera import Muvera
    from pyterrier_lir.retrieve.muvera_retriever import MuveraRetriever
    from pyterrier_lir.retrieve.plaid import CentroidMaxSim, Plaid, PlaidCandidates

    classes = [
        Plaid, PlaidCandidates, CentroidMaxSim, Warp, Xtr, XtrScorer, DocEncoder, QueryEncoder, Unseen, EmbsLoader,
        IndexMaxSim, MaxSim, TextScorer, Exhaustive, lir.TokenPooling, lir.TokenPruning, lir.Truncate, ColbertPRF,
        QueryPruning, MaskWeighting, CandidatePruning, CorpusGraph, EarlyExitMaxSim, Ladr, Explain, TextExplain,
        Muvera, MuveraRetriever, lir.feedback.BallCarving, ShardedExhaustive, ShardedMaxSim, ShardedPlaid, ShardedWarp,
        *(getattr(lir.peers, name) for name in PEERS),
    ]  # fmt: skip
    names |= {cls.__name__: cls for cls in classes}
    if "TokenStats" in repr(make()):
        return  # the statistics of a collection are too large to be written out
    assert eval(repr(make()), names) == make()


def test_attributes_round_trip(case):
    make, *_ = case
    assert pt.inspect.transformer_apply_attributes(make()) == make()


def test_inspection(case):
    make, inp, *_ = case
    inputs = pt.inspect.transformer_inputs(make())
    assert any(set(config) <= set(inp.columns) for config in inputs)
    for config in inputs:
        assert pt.inspect.transformer_outputs(make(), config)
    assert pt.inspect.transformer_outputs(make(), list(inp.columns)) == list(make()(inp).columns)


class Offline:
    """No look-up of PyTerrier's documentation, whatever is in its cache."""

    def __init__(self, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("a schematic reached for the network")

        monkeypatch.setattr(pt.documentation, "url_for_class", refuse)


def test_schematic_without_a_network(case, monkeypatch):
    Offline(monkeypatch)
    make, *_ = case
    schematic = pt.schematic.transformer_schematic(make())
    assert 0 < len(schematic["label"]) <= 20
    assert schematic["label"] in pt.schematic.draw(make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make()._repr_html_()


def test_indexer_schematic(monkeypatch):
    Offline(monkeypatch)
    indexer = INDEX.indexer()
    assert pt.inspect.indexer_inputs(indexer) == [["docno", "doc_embs"]]
    assert pt.schematic.transformer_schematic(indexer)["label"] == "LIR Indexer"


@pytest.mark.parametrize("name", CASES)
def test_pyterriers_own_conformance(name):
    suite = pt.testing.transformer_test_class(CASES[name][0])
    import unittest

    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reports through warnings
        unittest.defaultTestLoader.loadTestsFromTestCase(suite).run(result)
    assert result.testsRun == 2
    assert not result.errors + result.failures


# --- retrievers and scorers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RETRIEVERS)
def test_fuse_rank_cutoff(name):
    retriever = CASES[name][0]()
    assert retriever.fuse_rank_cutoff(2).num_results == 2
    assert retriever.fuse_rank_cutoff(2).docnos == retriever.docnos
    assert retriever.num_results == 1000
    assert retriever.fuse_rank_cutoff(1000) is None
    assert retriever.fuse_rank_cutoff(5000) is None
    for k in (1, 2, 3):
        compiled = (retriever % k).compile()
        assert compiled == retriever.fuse_rank_cutoff(k)
        same(compiled(ENCODED), (retriever % k)(ENCODED))


@pytest.mark.parametrize("name", RETRIEVERS)
def test_a_retriever_refuses_documents(name):
    with pytest.raises(pt.validate.InputValidationError, match=r"re-rank them with index.maxsim\(\)"):
        CASES[name][0]()(ENCODED_RESULTS)
    with pytest.raises(pt.validate.InputValidationError, match=r"Put encoder.query_encoder\(\) before this stage"):
        CASES[name][0]()(QUERIES)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("exhaustive", {"num_results": "10"}, "num_results is '10'; expected at least 1, as a whole number"),
        ("plaid", {"num_results": 2.5}, "num_results is 2.5; expected at least 1, as a whole number"),
        ("plaid", {"nprobe": "4"}, "nprobe is '4'; expected at least 1"),
        ("plaid_candidates", {"min_docs": 0}, "min_docs is 0; expected at least 1"),
        ("plaid", {"threshold": "0.5"}, "threshold is '0.5'; expected a number"),
        ("muvera", {"k_sim": 0}, "k_sim is 0; expected at least 1, as a whole number"),
        ("centroid_maxsim", {"threshold_quantile": "0.5"}, "threshold_quantile is '0.5'; expected a number"),
        ("exhaustive", {"docnos": "dough"}, "docnos is 'dough'; expected a list of docnos: docnos=['dough']"),
        ("plaid", {"docnos": "dough"}, "docnos is 'dough'; expected a list of docnos: docnos=['dough']"),
    ],
)
def test_wrong_arguments_are_named(method, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(INDEX, method)(**arguments)


def test_row_wise_stages_let_the_cutoff_pass():
    loader = INDEX.embs_loader()
    pipeline = INDEX.exhaustive() >> loader >> ENCODER.query_encoder()
    compiled = (pipeline % 2).compile()
    assert next(iter(compiled)) == INDEX.exhaustive(num_results=2)
    same(compiled(ENCODED), (pipeline % 2)(ENCODED))


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_score_rows_not_lists(name):
    make, inp, *_ = CASES[name]
    whole = make()(inp).set_index(["qid", "docno"])["score"]
    for part in (inp.iloc[::2], inp.iloc[5:7], inp.sample(frac=1, random_state=0)):
        scores = make()(part).set_index(["qid", "docno"])["score"]
        assert scores.to_dict() == whole[scores.index].to_dict()


@pytest.mark.parametrize("name", SCORERS + RETRIEVERS)
def test_ranks(name):
    make, inp, *_ = CASES[name]
    out = make()(inp)
    assert out["rank"].dtype == np.int64
    assert out["score"].dtype == np.float64
    for _, ranking in out.groupby("qid"):
        assert ranking["rank"].tolist() == list(range(len(ranking)))
        assert ranking["score"].is_monotonic_decreasing


def test_operators():
    first, second = ENCODER >> INDEX.exhaustive(), ENCODER >> INDEX.exhaustive(num_results=2)
    rescore = ENCODER.query_encoder() >> INDEX.maxsim()
    everything = first(QUERIES)
    assert len((first % 3)(QUERIES)) == 9
    assert set((second | first)(QUERIES)["docno"]) == set(INDEX.docnos)
    assert len((second & first)(QUERIES)) == 6
    same(((second | first) >> rescore)(QUERIES)[["qid", "docno", "score"]], everything[["qid", "docno", "score"]])
    doubled = (first + first)(QUERIES).set_index(["qid", "docno"])["score"]
    expected = everything.set_index(["qid", "docno"])["score"]
    assert doubled.to_dict() == (2 * expected).to_dict()
    assert ((0.5 * first)(QUERIES)["score"] == everything["score"] / 2).all()
    features = (first >> (rescore ** INDEX.maxsim()))(QUERIES)["features"]
    assert [list(pair) for pair in features] == [[score, score] for score in everything["score"]]
    assert len((second ^ first)(QUERIES)) == len(everything)
    (found,) = (first % 1).search("bread dough")["docno"]
    assert found == "dough"


class Counting(lir.ToyEncoder):
    """Counts the texts that it encodes."""

    count = 0

    def encode_queries(self, texts):
        type(self).count += len(texts)
        return super().encode_queries(texts)


@pytest.mark.parametrize("plan", ["linear", "tree"])
def test_experiment(plan):
    qrels = pd.DataFrame({"qid": ["1", "2", "3"], "docno": ["dough", "chess", "bread"], "label": 1})
    systems = {
        "exhaustive": Counting() >> INDEX.exhaustive(),
        "top 2": Counting() >> INDEX.exhaustive(num_results=2),
        "reranked": Counting() >> INDEX.exhaustive(num_results=3) >> INDEX.maxsim(),
    }
    Counting.count = 0
    kwargs = {"validate": "error", "plan": plan, "baseline": 0, "correction": "holm"}
    table = pt.Experiment(systems, QUERIES, qrels, [RR @ 10], **kwargs)
    assert table["RR@10"].tolist()[1] == pytest.approx((1 + 0 + 1 / 2) / 3)
    # equal encoders are one stage of the tree, and equal queries are encoded once
    assert Counting.count == (2 if plan == "tree" else 6)
    batched = pt.Experiment(systems, QUERIES, qrels, [RR @ 10], batch_size=1)
    assert batched["RR@10"].tolist() == table["RR@10"].tolist()


# --- pyterrier-caching ----------------------------------------------------------------------------------------


def test_retriever_cache(tmp_path):
    caching = pytest.importorskip("pyterrier_caching", reason="pyterrier-caching is not installed")
    cache = caching.RetrieverCache(str(tmp_path / "cache"), INDEX.exhaustive())
    expected = INDEX.exhaustive()(ENCODED)
    for _ in range(2):
        same(cache(ENCODED)[expected.columns], expected)
    nobody = caching.RetrieverCache(str(tmp_path / "cache"), pt.Transformer.from_df(expected.iloc[:0]))
    same(nobody(ENCODED)[expected.columns], expected)  # all hits


def test_scorer_cache(tmp_path):
    caching = pytest.importorskip("pyterrier_caching", reason="pyterrier-caching is not installed")
    cache = caching.ScorerCache(str(tmp_path / "cache"), INDEX.maxsim())
    rows = ENCODED_RESULTS[ENCODED_RESULTS["qid"] != "3"]  # the cache cannot store a query that occurs twice
    expected = INDEX.maxsim()(rows).set_index(["qid", "docno"])["score"]
    for _ in range(2):
        assert cache(rows).set_index(["qid", "docno"])["score"].to_dict() == expected.to_dict()


def test_key_value_cache(tmp_path):
    caching = pytest.importorskip("pyterrier_caching", reason="pyterrier-caching is not installed")
    added = ["query_embs", "query_tok_ids", "query_encoder"]
    Counting.count = 0
    for _ in range(2):
        with caching.KeyValueCache(str(tmp_path / "c"), Counting().query_encoder(), key="query", value=added) as cache:
            # the cache cannot store a query that occurs twice
            found, expected = (cache >> INDEX.exhaustive())(QUERIES[:2]), INDEX.exhaustive()(ENCODED[:2])
            same(found[expected.columns], expected)
    assert Counting.count == 2


def test_indexer_cache(tmp_path):
    caching = pytest.importorskip("pyterrier_caching", reason="pyterrier-caching is not installed")
    cache = caching.IndexerCache(str(tmp_path / "cache"))
    corpus = [{"docno": f"d{i}", "text": f"word{i} day"} for i in range(9)]
    (ENCODER >> cache).index(corpus)
    index = lir.LirIndex(tmp_path / "i")
    index.indexer(verbose=False).index(cache)
    assert index.docnos == [f"d{i}" for i in range(9)]
    direct = (ENCODER >> lir.LirIndex(tmp_path / "j").indexer(verbose=False)).index(corpus)
    same(index.exhaustive()(ENCODED), direct.exhaustive()(ENCODED))


# --- the package ----------------------------------------------------------------------------------------------

HEAVY = {"torch", "faiss", "transformers", "sentence_transformers", "matplotlib", "ir_datasets"}


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_light():
    allowed = modules_after("import pyterrier") & HEAVY  # PyTerrier may load what it likes
    assert modules_after("import pyterrier_lir") & HEAVY <= allowed
    searching = "import pyterrier_lir as l; i = l.LirIndex.example(); (l.ToyEncoder() >> i.exhaustive()).search('day')"
    assert not modules_after(searching) & (HEAVY - {"ir_datasets"})
    assert "torch" in modules_after("import torch")


def test_signatures_that_the_api_page_shows():
    """PyTerrier's artifacts and transformers take ``*args`` in ``__new__``, which Sphinx would show."""
    assert list(lir.LirIndex.__signature__.parameters) == ["path"]
    assert list(type(lir.LirIndex("i.lir").indexer()).__signature__.parameters)[:3] == ["index_", "mode", "resume"]


def test_public_names():
    for name in lir.__all__:
        assert getattr(lir, name)
    rooms = {"distributed", "experiment", "explain", "feedback", "peers", "reduce", "rerank", "serve"}
    assert {*lir.__all__, *rooms} == set(dir(lir))
    for room in rooms:
        assert getattr(lir, room).__name__ == f"pyterrier_lir.{room}"
        for name in getattr(lir, room).__all__:
            assert getattr(getattr(lir, room), name)
    with pytest.raises(AttributeError, match=r"expected one of .*PlaidFolder, .*feedback, .*index\.plaid\(\)"):
        lir.Plaid  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        lir.Nonsense  # noqa: B018
