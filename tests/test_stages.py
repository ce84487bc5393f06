"""Retrievers and scorers: cutoffs, ranks, and what they refuse."""

import re

import numpy as np
import pyterrier as pt
import pytest
from cases import CASES
from examples import ENCODED, ENCODED_RESULTS, ENCODER, INDEX, QUERIES, same

RETRIEVERS = [
    "exhaustive", "exhaustive-docnos", "plaid", "warp", "xtr", "muvera", "lemur", "sharded-exhaustive", "sharded-plaid",
    "sharded-warp",
]  # fmt: skip
SCORERS = ["encoder-score", "text_scorer", "index-maxsim", "maxsim", "centroid_maxsim", "xtr_scorer", "sharded-maxsim"]


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
