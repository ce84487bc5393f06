"""Transformers in pipelines: operators, experiments, the caches of pyterrier-caching."""

import pandas as pd
import pyterrier as pt
import pytest
from examples import ENCODED, ENCODED_RESULTS, ENCODER, GRAPH, INDEX, QUERIES, RESULTS, same
from pyterrier.measures import RR

import pyterrier_lir as lir

# --- operators and experiments --------------------------------------------------------------------------------


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


def test_a_sum_has_its_queries_again_where_they_are_encoded():
    """`+` leaves them empty in rows that only its right side found."""
    few, everything = ENCODER >> INDEX.exhaustive(num_results=1), ENCODER >> INDEX.exhaustive()
    asked = QUERIES.assign(instruction=["in short", None, "at length"])
    mixed = (few + 2 * everything)(asked)
    assert mixed["query"].isna().sum() == len(mixed) - 3
    encoded = ENCODER.query_encoder()(mixed)
    assert encoded.groupby("qid")["query"].agg(set).to_dict() == {
        q: {t} for q, t in zip(*QUERIES.values.T, strict=True)
    }
    assert encoded["instruction"].isna().sum() == (mixed["qid"] == "2").sum()  # it has none anywhere
    wanted = ENCODER.query_encoder()(mixed.drop(columns=["query", "instruction"]).merge(asked, on="qid"))
    same(INDEX.maxsim()(encoded)[["qid", "docno", "score"]], INDEX.maxsim()(wanted)[["qid", "docno", "score"]])
    texts = pd.DataFrame({"docno": INDEX.docnos, "text": INDEX.docnos})
    scored = ENCODER.text_scorer()(mixed.merge(texts, on="docno"))
    assert (scored["score"] > -float("inf")).all() and scored["query"].notna().all()
    assert mixed["query"].isna().any()  # what was given is as it was
    lost = pd.DataFrame({"qid": ["1"], "query": [None], "docno": ["bread"]})  # no row knows it
    assert ENCODER.query_encoder()(lost)["query_embs"][0].shape == (0, 32)


STAGES = {
    "maxsim": INDEX.maxsim(),
    "maxsim, cut": INDEX.maxsim() % 2 >> INDEX.maxsim(),
    "xtr_scorer": INDEX.xtr_scorer(),
    "centroid_maxsim": INDEX.centroid_maxsim(),
    "early exit": INDEX.early_exit_maxsim(2, k=1),
    "ladr": INDEX.ladr(GRAPH) >> INDEX.maxsim(),
    "prf": INDEX.colbert_prf() >> INDEX.plaid(),
    "prf, documents": INDEX.colbert_prf(return_docs=True) >> INDEX.maxsim(),
    "loader": INDEX.embs_loader() >> lir.MaxSim(),
    "loader, cut": INDEX.embs_loader() >> lir.MaxSim() % 2 >> INDEX.maxsim(),
    "pruning": INDEX.query_pruning(keep=1) >> INDEX.maxsim(),
    "mean": lir.feedback.MeanWeighting() >> INDEX.maxsim(),
    "masks": lir.feedback.MaskWeighting(103) >> INDEX.maxsim(),
    "carving": lir.feedback.BallCarving(tau=-1) >> INDEX.maxsim(),
    "muvera": lir.Muvera() >> INDEX.maxsim(),
    "explain": INDEX.explain(ENCODER) >> INDEX.maxsim(),
}
FEW, EVERYTHING = ENCODER >> INDEX.exhaustive(num_results=1), ENCODER >> INDEX.exhaustive()
FUSED = {"on the left": FEW + 2 * EVERYTHING, "on the right": pt.Transformer.from_df(RESULTS) + 2 * FEW}


@pytest.mark.parametrize("fusion", FUSED)
@pytest.mark.parametrize("stage", STAGES)
def test_a_sum_has_its_vectors_in_every_row(stage, fusion):
    mixed = FUSED[fusion](QUERIES)
    assert mixed["query_embs"].isna().sum() == len(mixed) - 3  # all but the one that FEW found for each query
    known = [name for name in ENCODED.columns if name != "qid"]
    whole = mixed.drop(columns=known).merge(ENCODED, on="qid")
    found, expected = STAGES[stage](mixed), STAGES[stage](whole)
    same(found[["qid", "docno", "score", "rank", "query"]], expected[["qid", "docno", "score", "rank", "query"]])


def test_a_union_with_vectors_and_weights_on_one_side():
    pruned = ENCODER >> INDEX.query_pruning(keep=1) >> INDEX.exhaustive(num_results=1)
    mixed = (pruned | EVERYTHING)(QUERIES)
    assert mixed["query_weights"].isna().sum() == len(mixed) - 3
    found = INDEX.maxsim()(mixed).set_index(["qid", "docno"])["score"]
    # Rows with vectors of their own keep what they had: those of the left side the weights, the others none.
    expected = {**INDEX.maxsim()(EVERYTHING(QUERIES)).set_index(["qid", "docno"])["score"]}
    expected |= {**pruned(QUERIES).set_index(["qid", "docno"])["score"]}
    assert found.to_dict() == expected
    for stage in (lir.feedback.MeanWeighting(), lir.feedback.BallCarving(), INDEX.colbert_prf(return_docs=True)):
        assert len(stage(mixed.assign(rank=0))) == len(mixed)


def test_a_query_that_no_row_has_is_named():
    lost = ENCODED_RESULTS.assign(query_embs=None)
    for stage in (INDEX.maxsim(), INDEX.colbert_prf(), INDEX.query_pruning(keep=1)):
        with pytest.raises(ValueError, match=r"the row of qid '1' has no query_embs.*encoder.query_encoder\(\)"):
            stage(lost)


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
