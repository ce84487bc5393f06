"""Re-ranking less than the list (pruning, early exit) and more than the list (graphs)."""

import pickle
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from rankings import scores

import pyterrier_lir as lir
from pyterrier_lir import frames
from pyterrier_lir.index import scoring
from pyterrier_lir.rerank import CandidatePruning
from pyterrier_lir.rerank.corpus_graph import CorpusGraph

DIM, DOCS = 16, 60


@pytest.fixture(scope="module")
def corpus():
    """Documents of 0 to 12 tokens near 20 topics."""
    rng = np.random.default_rng(7)
    topics, docs = rng.standard_normal((20, DIM)), {}
    for i in range(DOCS):
        embs = topics[i % 20] + 0.6 * rng.standard_normal((int(rng.integers(0, 13)), DIM))
        docs[f"d{i}"] = embs / np.maximum(np.linalg.norm(embs, axis=1, keepdims=True), 1e-9)
    return docs


@pytest.fixture(scope="module")
def index(corpus, tmp_path_factory):
    records = [{"docno": docno, "doc_embs": embs} for docno, embs in corpus.items()]
    return lir.LirIndex(tmp_path_factory.mktemp("i") / "i").indexer(keep_embs=True, verbose=False).index(records)


@pytest.fixture(scope="module")
def topics():
    rng = np.random.default_rng(8)
    queries = [rng.standard_normal((n, DIM)).astype(np.float32) for n in (1, 5, 33)]
    return pd.DataFrame({"qid": ["a", "b", "c"], "query": ["x", "y", "z"], "query_embs": queries})


@pytest.fixture(scope="module")
def ranking(topics, corpus):
    """40 documents for each query, in an order that has nothing to do with MaxSim."""
    rng = np.random.default_rng(9)
    parts = []
    for _, topic in topics.iterrows():
        docnos = rng.permutation(list(corpus))[:40]
        rows = pd.DataFrame({"docno": docnos, "score": np.sort(rng.standard_normal(40))[::-1], "rank": range(40)})
        parts.append(pd.DataFrame([topic] * 40).reset_index(drop=True).join(rows))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def scored(monkeypatch):
    """Every document that is scored, as often as it is."""
    calls = []
    real = scoring.Scorer.documents

    def noting(self, query, docids):
        calls.extend(docids.tolist())
        return real(self, query, docids)

    monkeypatch.setattr(scoring.Scorer, "documents", noting)
    return calls


# --- candidate pruning --------------------------------------------------------------------------------------------


def pruned(alpha, k, values):
    inp = pd.DataFrame({"qid": "1", "docno": [f"d{i}" for i in range(len(values))], "score": values})
    return CandidatePruning(alpha, k=k)(inp)["score"].tolist()


def test_alpha_is_how_far_below_the_kth_a_score_may_be():
    assert pruned(0, 2, [10.0, 8, 8, 7]) == [10, 8, 8]  # the two best, and what equals the second
    assert pruned(0.1, 2, [10.0, 8, 7.2, 7.1]) == [10, 8, 7.2]
    assert pruned(1, 2, [10.0, 8, 0.1, -0.1]) == [10, 8, 0.1]  # all that are positive
    assert pruned(0.5, 1, [-2.0, -3, -3.1]) == [-2, -3]  # also where scores are negative
    assert pruned(np.inf, 1, [0.0, -3, -9]) == [0, -3, -9]
    assert pruned(0, 3, [3.0, 1]) == [3, 1]  # fewer than k
    assert pruned(0, 1, [1.0, 3, 2]) == [3]  # whatever the order of the rows


def test_pruning_looks_at_each_query_apart(ranking):
    out = CandidatePruning(0, k=10)(ranking)
    assert (out.groupby("qid").size() == 10).all()
    expected = ranking[ranking["rank"] < 10].reset_index(drop=True)
    pd.testing.assert_frame_equal(out, expected)


# --- early exit ---------------------------------------------------------------------------------------------------


def in_order(exact, k, beta):
    """Early exit one document at a time: how many of a list of scores are looked at."""
    best, failures = sorted(exact[:k]), 0
    for done in range(k, len(exact)):
        if failures == beta:
            return done
        if exact[done] > best[0]:
            best, failures = sorted([*best[1:], exact[done]]), 0
        else:
            failures += 1
    return len(exact)


@pytest.mark.parametrize("beta", [1, 2, 4, 9, np.inf])
@pytest.mark.parametrize("k", [1, 5, 39, 40, 41])
def test_early_exit_stops_after_so_many_failures(index, ranking, beta, k):
    exact = scores(index.maxsim()(ranking))
    found = index.early_exit_maxsim(beta, k=k)(ranking)
    assert len(found) == len(ranking)
    for qid, rows in ranking.groupby("qid"):
        wanted = [exact[qid, docno] for docno in rows["docno"]]
        until = in_order(wanted, k, beta) if k < 40 else 40
        expected = [score if i < until else -np.inf for i, score in enumerate(wanted)]
        got = found[found["qid"] == qid].set_index("docno")["score"]
        assert got[rows["docno"]].tolist() == expected


def test_early_exit_that_never_exits_is_plain_re_ranking(index, ranking):
    plain = index.maxsim()(ranking)
    assert np.isinf(plain["score"]).any()  # some documents are empty
    whole = CandidatePruning(np.inf) >> index.early_exit_maxsim(np.inf)
    columns = ["qid", "docno", "score", "rank"]
    finite = np.isfinite(plain["score"])
    pd.testing.assert_frame_equal(whole(ranking)[finite][columns], plain[finite][columns])


def test_early_exit_scores_nothing_that_it_need_not(index, ranking, scored):
    out = index.early_exit_maxsim(2, k=5)(ranking)
    empty = sum(len(index.store.document(docid)[0]) == 0 for docid in scored)
    assert len(scored) - empty == np.isfinite(out["score"]).sum() < len(ranking)


def test_what_was_not_scored_comes_last_in_the_old_order(index, ranking):
    out = index.early_exit_maxsim(1, k=3)(ranking.sample(frac=1, random_state=0))
    old = ranking.set_index(["qid", "docno"])["rank"]
    for qid, rows in out.groupby("qid"):
        assert rows["rank"].tolist() == list(range(40))
        assert rows["score"].is_monotonic_decreasing
        left = [old[qid, docno] for docno in rows["docno"][np.isinf(rows["score"])]]
        assert left == sorted(left)
        assert len(left) > 10


def test_early_exit_honours_weights(index, ranking):
    first = [np.eye(1, len(embs), dtype=np.float32)[0] for embs in ranking["query_embs"]]
    single = ranking.assign(query_embs=[embs[:1] for embs in ranking["query_embs"]])
    weighted = index.early_exit_maxsim(3)(ranking.assign(query_weights=first))
    assert scores(weighted) == scores(index.early_exit_maxsim(3)(single))


# --- the corpus graph ---------------------------------------------------------------------------------------------


def test_neighbours_are_the_nearest_documents(index, corpus):
    graph = index.corpus_graph(k=5)
    documents = pd.DataFrame({"qid": list(corpus), "query_embs": list(corpus.values())})
    searched, exact = index.plaid(num_results=6)(documents), index.exhaustive()(documents)
    shared = []
    for docno, embs in corpus.items():
        expected, best = (
            [found for found in frame[frame["qid"] == docno]["docno"] if found != docno][:5]
            for frame in (searched, exact)
        )
        assert graph.neighbours(docno) == expected
        assert len(expected) == (5 if len(embs) else 0)  # an empty document has none
        assert index.store.names(graph.neighbours(int(docno[1:])).astype(int)) == expected
        shared.append(len(set(expected) & set(best)))
    assert sum(shared) > 0.8 * np.count_nonzero(shared) * 5  # most of them are the nearest of all


def test_the_graph_is_derived_once_by_its_parameters(index, monkeypatch):
    edges = index.corpus_graph(k=3).edges
    assert edges.shape == (DOCS, 3)
    assert edges.dtype == np.int32
    folder = index.store.path / "derived" / "corpus_graph"
    assert (folder / "k=3,rows=32" / "edges.i32").exists()
    assert (index.corpus_graph(k=3, rows=1).edges != edges).any()  # searched by one token of each document
    monkeypatch.setattr(CorpusGraph, "_nearest", None)  # read, not made again
    np.testing.assert_array_equal(lir.LirIndex(index.path).corpus_graph(k=3).edges, edges)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(index.corpus_graph(k=3))).edges, edges)


def test_the_graph_does_not_depend_on_blocks(corpus, index, tmp_path, monkeypatch):
    from pyterrier_lir.rerank import corpus_graph

    monkeypatch.setattr(corpus_graph, "BLOCK", 7)
    records = [{"docno": docno, "doc_embs": embs} for docno, embs in corpus.items()]
    other = lir.LirIndex(tmp_path / "i").indexer(keep_embs=True, verbose=False).index(records)
    np.testing.assert_array_equal(other.corpus_graph(k=4).edges, index.corpus_graph(k=4).edges)


def test_the_graph_is_that_of_a_search_for_each_document(index):
    """Many documents are asked for in one call; the stages of PLAID, one by one, say what it must give."""
    store, plaid, k = index.store, index.plaid(num_results=5), 4
    wanted = np.full((DOCS, k), -1)
    for docid in range(DOCS):
        embs = store.document(docid)[0]
        if len(embs):
            query = frames.Query(embs, None, None)  # of 12 tokens at most, which all are searched for
            near = plaid.retrieve(store, query, None, 1).docids
            near = near[near != docid][:k]
            wanted[docid, : len(near)] = near
    np.testing.assert_array_equal(index.corpus_graph(k=k).edges, wanted)


def test_a_graph_of_few_documents_has_gaps(tmp_path):
    records = [{"docno": name, "doc_embs": np.eye(4)[:n]} for name, n in (("a", 2), ("b", 1), ("c", 0))]
    index = lir.LirIndex(tmp_path / "i").indexer(verbose=False).index(records)
    assert index.corpus_graph(k=4).edges.tolist() == [[1, -1, -1, -1], [0, -1, -1, -1], [-1] * 4]
    with pytest.raises(ValueError, match="docnos are not in the index"):
        index.corpus_graph(k=4).neighbours("z")


# --- LADR ---------------------------------------------------------------------------------------------------------


class Edges:
    """A graph that is written down; docnos as another library gives them."""

    def __init__(self, near):
        self.near = near

    def neighbours(self, document):
        return np.array(self.near.get(document, []), dtype=object)


def complete(corpus):
    return Edges({docno: list(corpus) for docno in corpus})


@pytest.mark.parametrize("depth", [None, 1, 100])
def test_a_complete_graph_finds_everything(index, corpus, topics, ranking, depth):
    found = index.ladr(complete(corpus), depth=depth)(ranking)
    expected = index.exhaustive()(topics)
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])


def test_a_graph_without_edges_re_ranks(index, ranking):
    found = index.ladr(Edges({}))(ranking)
    expected = index.maxsim()(ranking)
    expected = expected[np.isfinite(expected["score"])].reset_index(drop=True)
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])


def test_proactive_goes_one_step_and_adaptive_until_nothing_is_new(index, corpus, ranking, scored):
    filled = [docno for docno, embs in corpus.items() if len(embs)]
    chain = Edges({a: [b] for a, b in pairwise(filled)})
    seed = ranking[:1].assign(docno=filled[0])
    assert set(index.ladr(chain, depth=None)(seed)["docno"]) == set(filled[:2])
    assert set(index.ladr(chain, depth=1000)(seed)["docno"]) == set(filled)
    narrow, wide = (set(index.ladr(chain, depth=depth)(seed)["docno"]) for depth in (1, 5))
    assert {filled[0], filled[1]} <= narrow < wide  # it goes on as long as what is new is among the best
    scored.clear()
    index.ladr(complete(corpus), depth=7)(ranking[:40])
    assert sorted(scored) == list(range(DOCS))  # each once


def test_ladr_with_the_graph_of_the_index(index, topics, ranking, scored):
    few = ranking[ranking["rank"] < 3]
    ladr = index.ladr(index.corpus_graph(k=4), depth=20)
    exact, found = scores(index.exhaustive()(topics)), scores(ladr(few))
    assert set(found) > {pair for pair in scores(few) if pair in exact}
    assert all(found[pair] == exact[pair] for pair in found)
    assert len(found) < len(exact)
    deeper = scores(index.ladr(index.corpus_graph(k=4), depth=40)(few))
    assert set(found) <= set(deeper)
    broader = scores(index.ladr(index.corpus_graph(k=8), depth=20)(few))
    assert len(broader) > len(found)


def test_ladr_cuts(index, corpus, ranking):
    ladr = index.ladr(complete(corpus))
    compiled = (ladr % 3).compile()
    assert compiled == index.ladr(ladr.graph, num_results=3)
    pd.testing.assert_frame_equal(compiled(ranking), (ladr % 3)(ranking))
    assert ladr.fuse_rank_cutoff(1000) is None


def test_neighbours_that_the_index_does_not_hold(index, ranking):
    stranger = Edges({docno: ["d1", "elsewhere"] for docno in ranking["docno"]})
    with pytest.raises(ValueError, match="'elsewhere'"):
        index.ladr(stranger)(ranking)
    assert len(index.ladr(stranger, missing="drop")(ranking))


# --- pyterrier-adaptive -------------------------------------------------------------------------------------------


ENCODER = lir.ToyEncoder(dim=64)


class Counting(lir.ToyEncoder):
    """Counts the queries that it encodes."""

    count = 0

    def encode_queries(self, texts):
        type(self).count += len(texts)
        return super().encode_queries(texts)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Documents of two neighbouring words each, so that similar documents form a chain."""
    docs = [{"docno": f"d{i}", "text": f"w{i} w{i + 1} same"} for i in range(30)]
    path = tmp_path_factory.mktemp("w") / "w"
    return (ENCODER >> lir.LirIndex(path).indexer(keep_embs=True, verbose=False)).index(docs)


def test_gar_does_not_encode_a_query_twice(words):
    adaptive = pytest.importorskip("pyterrier_adaptive", reason="pyterrier-adaptive is not installed")
    encoder, graph = Counting(dim=64), words.corpus_graph(k=4)
    seeds = pd.DataFrame({
        "qid": ["1", "1", "2"], "query": ["w5 w6", "w5 w6", "w20"], "docno": ["d3", "d0", "d20"],
        "score": [3.0, 1.0, 2.0], "rank": [0, 1, 0],
    })  # fmt: skip
    gar = adaptive.GAR(encoder.query_encoder() >> words.maxsim(), graph, num_results=12, batch_size=2)
    Counting.count = 0
    found = gar(seeds)
    assert Counting.count == 2
    assert found[found["qid"] == "1"]["docno"].iloc[0] == "d5"  # two steps from the seed d3
    exact = scores((ENCODER >> words.exhaustive())(seeds[["qid", "query"]].drop_duplicates()))
    for pair, score in scores(found[found["iteration"] >= 0]).items():
        assert score == pytest.approx(exact[pair], abs=1e-5)
    off = adaptive.GAR(encoder.query_encoder() >> words.maxsim(), graph, enabled=False)(seeds)
    assert scores(off) == pytest.approx(scores((ENCODER.query_encoder() >> words.maxsim())(seeds)))


def test_a_query_is_remembered_after_retrieval_only():
    stage = Counting().query_encoder()
    ranking = pd.DataFrame({"qid": ["1"], "query": ["bread"], "docno": ["d"]})
    Counting.count = 0
    for _ in range(3):
        stage(ranking)
    assert Counting.count == 1
    stage(ranking.assign(query="sea"))  # nothing but the last frame is kept
    stage(ranking)
    assert Counting.count == 3
    for _ in range(2):
        stage(ranking[["qid", "query"]])  # before retrieval every frame is encoded, also when it is timed
    assert Counting.count == 5
    assert pickle.loads(pickle.dumps(stage))._remembered == {}


def test_ladr_takes_a_graph_of_pyterrier_adaptive(words, tmp_path):
    adaptive = pytest.importorskip("pyterrier_adaptive", reason="pyterrier-adaptive is not installed")
    docs = [
        {"docno": record["docno"], "text": f"w{i} w{i + 1} same"} for i, record in enumerate(words.get_corpus_iter())
    ]
    graph = adaptive.CorpusGraph.from_retriever(ENCODER >> words.exhaustive(num_results=5), docs, tmp_path / "g", k=4)
    seeds = ENCODER.query_encoder()(pd.DataFrame({"qid": ["1"], "query": ["w5 w6"], "docno": ["d3"]}))
    theirs, ours = words.ladr(graph, depth=5)(seeds), words.ladr(words.corpus_graph(k=4), depth=5)(seeds)
    assert theirs["docno"][0] == ours["docno"][0] == "d5"
    assert set(theirs["docno"]) == set(ours["docno"])


def test_adaptive_re_ranking_composes(words):
    q = ENCODER.query_encoder()
    seeds = q >> words.plaid(num_results=2)
    pipeline = seeds >> words.ladr(words.corpus_graph(k=4), depth=10) % 5 >> words.maxsim()
    out = pipeline.search("w7 w8")
    assert out["docno"].iloc[0] == "d7"
    assert len(out) == 5
    pruned = q >> words.plaid() >> CandidatePruning(0.1, k=2) >> words.early_exit_maxsim(2, k=2)
    assert pruned.search("w7 w8")["docno"].iloc[0] == "d7"


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "message"), [
    (lambda i: CandidatePruning(-0.1), "alpha is -0.1; expected a number of at least 0; float('inf') keeps all"),
    (lambda i: CandidatePruning(0.1, k=0), "k is 0; expected at least 1"),
    (lambda i: i.early_exit_maxsim(0), "beta is 0; expected at least 1, as a whole number"),
    (lambda i: i.early_exit_maxsim(np.zeros(3)), "beta is array([0., 0., 0.]); expected at least 1"),
    (lambda i: i.early_exit_maxsim(1.5), "beta is 1.5; expected at least 1, as a whole number"),
    (lambda i: i.early_exit_maxsim(2, k=0), "k is 0; expected at least 1"),
    (lambda i: i.early_exit_maxsim(2, missing="skip"), "missing is 'skip'; expected one of 'error', 'drop'"),
    (lambda i: i.early_exit_maxsim(2, num_threads=0), "num_threads is 0"),
    (lambda i: i.corpus_graph(k=0), "k is 0; expected at least 1"),
    (lambda i: i.corpus_graph(rows="all"), "rows is 'all'; expected at least 1"),
    (lambda i: i.ladr("graph"), "graph is 'graph'; expected a corpus graph: index.ladr(index.corpus_graph(k=16))"),
    (lambda i: i.ladr(i.corpus_graph(), depth=0), "depth is 0; expected at least 1"),
    (lambda i: i.ladr(i.corpus_graph(), num_results=0), "num_results is 0; expected at least 1"),
    (lambda i: i.ladr(i.corpus_graph(), missing="no"), "missing is 'no'"),
])  # fmt: skip
def test_wrong_arguments_are_named(index, make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(index)
