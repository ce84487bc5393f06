"""What PyTerrier expects, asked of every transformer that the package has."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from cases import CASES, PEERS
from examples import INDEX, same

import pyterrier_lir as lir
from pyterrier_lir.rerank import lite
from pyterrier_lir.retrieve.lemur_retriever import LemurRetriever
from pyterrier_lir.retrieve.muvera_retriever import MuveraRetriever
from pyterrier_lir.retrieve.plaid import Plaid
from pyterrier_lir.retrieve.warp import Warp
from pyterrier_lir.retrieve.xtr import Xtr, XtrScorer

# a row depends on the query's other rows
LISTWISE = ["colbert_prf", "colbert_prf-docs", "colbert_prf-columns", "candidate_pruning", "early_exit_maxsim", "ladr"]
# what gives a ranking
RANKING = [name for name, (_, inp, _, added, dropped) in CASES.items() if "rank" in {*inp.columns, *added} - dropped]
RENAMING = ["late_chunking", "passages"]  # a document becomes its passages


@pytest.fixture(params=[name for name in CASES if name not in LISTWISE + RENAMING])
def rowwise_case(request):
    return CASES[request.param]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


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
        assert out["note"].tolist() == [expected[value.split("%p")[0]] for value in out[key]]


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


@pytest.mark.parametrize("name", RANKING)
def test_a_ranking_cut_to_nothing(name):
    make, inp, *_ = CASES[name]
    for pipeline in (make() % 0, (make() % 0).compile()):
        out = pipeline(inp)
        assert len(out) == 0
        assert set(out.columns) == set(make()(inp).columns)


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


def test_repr_rebuilds(case):
    make, *_ = case
    names = {"LirIndex": lir.LirIndex, "ToyEncoder": lir.ToyEncoder, "Shards": lir.distributed.Shards}
    from pyterrier_lir.distributed.methods import ShardedExhaustive, ShardedMaxSim, ShardedPlaid, ShardedWarp
    from pyterrier_lir.encode.base import DocEncoder, QueryEncoder
    from pyterrier_lir.encode.late_chunking import Passages
    from pyterrier_lir.encode.page_model import PageDocEncoder
    from pyterrier_lir.encode.video import VideoEncoder
    from pyterrier_lir.explain.alignment import Explain, PageExplain, TextExplain
    from pyterrier_lir.feedback import ColbertPRF, MaskWeighting, QueryPruning
    from pyterrier_lir.index.unseen import Unseen
    from pyterrier_lir.pages import PdfPages, VideoFrames
    from pyterrier_lir.reduce import BlankPruning, GridPooling
    from pyterrier_lir.rerank.candidate_pruning import CandidatePruning
    from pyterrier_lir.rerank.corpus_graph import CorpusGraph
    from pyterrier_lir.rerank.early_exit import EarlyExitMaxSim
    from pyterrier_lir.rerank.ladr import Ladr
    from pyterrier_lir.rerank.loader import EmbsLoader
    from pyterrier_lir.rerank.maxsim import IndexMaxSim, MaxSim
    from pyterrier_lir.rerank.pages import PageScorer
    from pyterrier_lir.rerank.text import TextScorer
    from pyterrier_lir.retrieve.exhaustive import Exhaustive
    from pyterrier_lir.retrieve.muvera import Muvera
    from pyterrier_lir.retrieve.plaid_stages import CentroidMaxSim, PlaidCandidates

    classes = [
        Plaid, PlaidCandidates, CentroidMaxSim, Warp, Xtr, XtrScorer, DocEncoder, QueryEncoder, Unseen, EmbsLoader,
        IndexMaxSim, MaxSim, TextScorer, Exhaustive, lir.TokenPooling, lir.TokenPruning, lir.Truncate, ColbertPRF,
        QueryPruning, MaskWeighting, CandidatePruning, CorpusGraph, EarlyExitMaxSim, Ladr, Explain, TextExplain,
        Muvera, MuveraRetriever, LemurRetriever, lite.Lite, lir.feedback.BallCarving, lir.LateChunking, Passages,
        lir.agents.QueryRewrite, lir.feedback.MeanWeighting, lir.ToyPageEncoder, PageDocEncoder, PageScorer,
        VideoEncoder, GridPooling, BlankPruning, PdfPages, VideoFrames, ShardedExhaustive, ShardedMaxSim, ShardedPlaid,
        ShardedWarp, PageExplain, *(getattr(lir.peers, name) for name in PEERS),
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
