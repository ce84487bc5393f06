"""ColBERT-PRF, query-row pruning, [MASK] weighting: what is added, what it weighs, and that it can be turned off."""

import io
import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.feedback import ColbertPRF, MaskWeighting, MeanWeighting, QueryPruning

ENCODER = lir.ToyEncoder(dim=64)
TEXTS = {
    "d1": "the bread yeast yeast",
    "d2": "the bread flour",
    "d3": "the yeast flour water",
    "d4": "the chess board",
    "d5": "the sea",
}
CORPUS = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]


def word_id(word):
    return int(ENCODER.encode_queries([word])[0].tok_ids[0])


NAMES = {word_id(word): word for text in TEXTS.values() for word in text.split()}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("i") / "i"
    return (ENCODER >> lir.LirIndex(path).indexer(keep_embs=True, verbose=False)).index(CORPUS)


def ranking(*docnos, query="bread", qid="1"):
    """A query with documents in this order."""
    rows = {"qid": qid, "query": query, "docno": docnos, "score": -np.arange(len(docnos)), "rank": range(len(docnos))}
    return ENCODER.query_encoder()(pd.DataFrame(rows))


def words(row):
    return [NAMES[int(i)] for i in row["query_tok_ids"]]


# --- ColBERT-PRF --------------------------------------------------------------------------------------------------


def test_what_is_added_and_what_it_weighs(index):
    (row,) = index.colbert_prf(fb_docs=2)(ranking("d1", "d2", "d4")).to_dict("records")
    # "the" is in all 5 documents and weighs ln(6 / 6): it is never added
    added = dict(zip(words(row)[1:], row["query_weights"][1:].tolist(), strict=True))
    assert added == {
        "bread": pytest.approx(np.log(6 / 3)), "yeast": pytest.approx(np.log(6 / 3)),
        "flour": pytest.approx(np.log(6 / 3)),
    }  # fmt: skip
    assert words(row)[0] == "bread"
    assert row["query_weights"][0] == 1
    assert row["query_embs"].shape == (4, 64)
    for embs, word in zip(row["query_embs"], words(row), strict=True):
        np.testing.assert_allclose(embs, ENCODER.encode_queries([word])[0].embs[0], atol=1e-3)  # from fp16


def test_added_rows_are_the_rarest_and_sorted(index):
    (row,) = index.colbert_prf(fb_docs=3, fb_embs=3)(ranking("d4", "d1", "d2")).to_dict("records")
    assert set(words(row)[1:3]) == {"chess", "board"}
    np.testing.assert_allclose(row["query_weights"][1:], np.log([6 / 2, 6 / 2, 6 / 3]), rtol=1e-6)
    (few,) = index.colbert_prf(fb_docs=3, fb_embs=1)(ranking("d4", "d1", "d2")).to_dict("records")
    assert len(few["query_embs"]) == len(few["query_weights"]) == len(few["query_tok_ids"]) == 2


def test_beta_multiplies_the_weights_and_0_changes_no_score(index):
    inp = ranking("d1", "d2", "d3", "d4", "d5")
    once, twice = (index.colbert_prf(beta=beta)(inp)["query_weights"][0] for beta in (1, 2))
    np.testing.assert_allclose(twice[1:], 2 * once[1:])
    off = index.colbert_prf(beta=0, return_docs=True) >> index.maxsim()
    np.testing.assert_array_equal(off(inp)["score"], index.maxsim()(inp)["score"])
    retrieved = index.colbert_prf(beta=0) >> index.plaid()
    pd.testing.assert_frame_equal(
        retrieved(inp)[["docno", "score"]], index.plaid()(ENCODER(inp[["qid", "query"]][:1]))[["docno", "score"]]
    )


def test_no_rows_to_add_leaves_the_query(index):
    inp = ranking("d1", "d2")
    for nothing in (index.colbert_prf(fb_embs=0), index.colbert_prf()):
        rows = inp if nothing.fb_embs == 0 else ranking("d5", query="")  # a blank query stays blank
        (row,) = nothing(rows).to_dict("records")
        assert row["query_embs"].tobytes() == rows["query_embs"][0].tobytes()
        assert row["query_weights"].tolist() == [1] * len(rows["query_embs"][0])


def test_feedback_by_rank_and_of_so_many_documents(index):
    inp = ranking("d1", "d2", "d4")
    shuffled = inp.iloc[[2, 0, 1]]
    assert set(words(index.colbert_prf(fb_docs=1)(shuffled).iloc[0])) == {"bread", "yeast"}
    assert set(words(index.colbert_prf(fb_docs=2)(shuffled).iloc[0])) == {"bread", "yeast", "flour"}


def test_it_changes_the_ranking(index):
    first = ENCODER.query_encoder() >> index.exhaustive()
    expanded = first >> index.colbert_prf(fb_docs=2) >> index.exhaustive()
    found = expanded.search("bread").set_index("docno")["score"]
    # d3 has no "bread", but "yeast" and "flour", which the first two documents have in common with it
    assert list(found.index[:3]) == ["d1", "d2", "d3"]
    assert found["d3"] > first.search("bread").set_index("docno")["score"]["d3"] + np.log(2)


def test_documents_of_one_repeated_token():
    stats = lir.index.token_stats.TokenStats.count([[5, 5, 5], [6]])
    inp = pd.DataFrame({
        "qid": ["1"], "query_embs": [np.eye(4, dtype=np.float32)[:1]], "docno": ["d"], "rank": [0],
        "doc_embs": [np.eye(4, dtype=np.float32)[[1, 1, 1]]], "doc_tok_ids": [np.array([5, 5, 5])],
    })  # fmt: skip
    (row,) = ColbertPRF(stats=stats)(inp).to_dict("records")
    assert row["query_embs"].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_allclose(row["query_weights"], [1, np.log(3 / 2)], rtol=1e-6)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """An index whose tokens form no clean clusters, and a ranking of it."""
    rng = np.random.default_rng(2)
    records = [
        {"docno": f"d{i}", "doc_embs": rng.standard_normal((30, 8)), "doc_tok_ids": rng.integers(0, 40, 30)}
        for i in range(12)
    ]
    index = lir.LirIndex(tmp_path_factory.mktemp("i") / "i").indexer(keep_embs=True, verbose=False).index(records)
    inp = pd.DataFrame({"qid": "1", "query_embs": [rng.standard_normal((3, 8)).astype(np.float32)] * 12})
    return index, inp.assign(docno=[f"d{i}" for i in range(12)], rank=range(12), score=0.0)


def test_every_parameter_changes_the_query_and_the_same_ones_do_not(noisy):
    index, inp = noisy
    variants = [
        {}, {"fb_docs": 4}, {"clusters": 12}, {"fb_embs": 9}, {"beta": 0.5}, {"seed": 1},
    ]  # fmt: skip
    found = []
    for options in variants:
        a, b = (index.colbert_prf(**options)(inp).iloc[0] for _ in range(2))
        assert a["query_embs"].tobytes() == b["query_embs"].tobytes()
        found.append((a["query_embs"].tobytes(), a["query_weights"].tobytes()))
    assert len(set(found)) == len(variants)


def test_padding_and_the_order_of_the_best_documents_do_not_matter(noisy):
    index, inp = noisy
    loaded, stats = index.embs_loader()(inp), index.token_stats()
    expected = index.colbert_prf()(inp).iloc[0]
    padded = loaded.assign(
        doc_embs=[np.concatenate([embs, np.zeros((3, 8), np.float32)]) for embs in loaded["doc_embs"]],
        doc_tok_ids=[np.concatenate([ids, [0, 0, 0]]) for ids in loaded["doc_tok_ids"]],
    )
    turned = loaded.assign(rank=[2, 1, 0, *range(3, 12)])
    for rows in (loaded, padded, turned):  # from columns as from the index
        out = ColbertPRF(stats=stats)(rows).iloc[0]
        assert out["query_embs"].tobytes() == expected["query_embs"].tobytes()
        assert out["query_weights"].tobytes() == expected["query_weights"].tobytes()


def test_from_text(index):
    stats = lir.index.token_stats.TokenStats.count(one.tok_ids for one in ENCODER.encode_docs(list(TEXTS.values())))
    assert stats == index.token_stats()
    texts = pt.apply.text(lambda row: TEXTS[row["docno"]])
    inp = ranking("d1", "d2", "d4")
    (row,) = (texts >> ENCODER.doc_encoder() >> ColbertPRF(stats=stats))(inp).to_dict("records")
    (other,) = index.colbert_prf()(inp).to_dict("records")
    assert sorted(words(row)) == sorted(words(other))
    assert "doc_embs" not in row
    returned = (texts >> ENCODER.doc_encoder() >> ColbertPRF(stats=stats, return_docs=True) >> lir.MaxSim())(inp)
    expected = (index.colbert_prf(return_docs=True) >> index.maxsim())(inp)
    assert returned["docno"].tolist() == expected["docno"].tolist()
    np.testing.assert_allclose(returned["score"], expected["score"], atol=1e-2)


def test_documents_without_vectors_add_nothing(index):
    empty = {"doc_embs": [], "doc_tok_ids": []}
    full = index.embs_loader()(ranking("d2"))
    inp = pd.concat([full, pd.DataFrame([{**ranking("d5").iloc[0], **empty, "rank": 1}])], ignore_index=True)
    prf = ColbertPRF(stats=index.token_stats())
    pd.testing.assert_frame_equal(prf(inp), prf(full))
    (alone,) = prf(inp[1:]).to_dict("records")
    assert words(alone) == ["bread"]
    with pytest.raises(ValueError, match="doc_embs has 2 dimensions; expected 64"):
        prf(full.assign(doc_embs=[np.ones((len(full["doc_embs"][0]), 2))]))


def test_weights_of_the_query_are_kept(index):
    inp = ranking("d1", "d2", query="bread sea")
    inp["query_weights"] = [np.array([0.5, 0], np.float32)] * 2
    (row,) = index.colbert_prf()(inp).to_dict("records")
    assert row["query_weights"][:2].tolist() == [0.5, 0]
    assert len(row["query_weights"]) == len(row["query_embs"]) == len(row["query_tok_ids"]) == 5


def test_columns_of_the_query_stay_and_those_of_documents_go(index):
    inp = ranking("d1", "d2").assign(text="t", query_0="before", docid=7)
    out = index.colbert_prf()(inp)
    assert list(out.columns) == [
        "qid", "query", "query_embs", "query_tok_ids", "query_encoder", "query_0", "query_weights",
    ]  # fmt: skip
    docs = index.colbert_prf(return_docs=True)(inp)
    assert set(docs.columns) == {*inp.columns, "query_weights"}
    pd.testing.assert_frame_equal(docs[["docno", "score", "rank"]], inp[["docno", "score", "rank"]])
    assert all(len(embs) == 4 for embs in docs["query_embs"])
    without = index.colbert_prf()(inp.drop(columns="query_tok_ids"))
    assert "query_tok_ids" not in without.columns


def test_several_queries(index):
    inp = pd.concat([ranking("d1", "d2"), ranking("d4", query="chess", qid="2")])
    out = index.colbert_prf()(inp)
    assert out["qid"].tolist() == ["1", "2"]
    assert set(words(out.iloc[1])) == {"chess", "board"}


def test_compiling_cuts_before_the_ranker_only(index):
    pipeline = ENCODER.query_encoder() >> index.plaid() >> index.colbert_prf(fb_docs=2) >> index.plaid()
    assert index.plaid().fuse_rank_cutoff(2) in list(pipeline.compile())
    queries = pd.DataFrame({"qid": ["1", "2"], "query": ["bread", "chess board"]})
    pd.testing.assert_frame_equal(pipeline.compile()(queries), pipeline(queries))
    returned = index.plaid() >> index.colbert_prf(return_docs=True)
    assert list(returned.compile()) == list(returned)


def test_compiling_changes_no_query_where_ranks_have_gaps(index, tmp_path):
    other = lir.LirIndex(tmp_path / "some")  # without d1, the best one for bread
    (ENCODER >> other.indexer(verbose=False)).index(CORPUS[1:])
    ranker, prf = index.exhaustive(), ColbertPRF(stats=index.token_stats(), fb_docs=1)
    pipeline = ENCODER.query_encoder() >> ranker >> other.embs_loader(missing="drop") >> prf
    for expanded in (pipeline, pipeline.compile()):
        assert set(words(expanded.search("bread").iloc[0])) == {"bread", "flour"}  # of d2, "the" weighs nothing


# --- query-row pruning --------------------------------------------------------------------------------------------


def query_of(text, **extra):
    return ENCODER(pd.DataFrame({"qid": ["1"], "query": [text], **extra}))


def test_pruning_keeps_the_rarest_rows(index):
    # occurrences: the 5, yeast 3, bread 2, chess 1, castle none
    out = index.query_pruning(keep=2)(query_of("the yeast castle chess bread"))
    assert out["query_weights"][0].tolist() == [0, 0, 0, 1, 1]
    out = index.query_pruning(keep=4)(query_of("the yeast castle chess bread"))
    assert out["query_weights"][0].tolist() == [1, 1, 0, 1, 1]  # what does not occur goes first
    out = index.query_pruning(keep=1)(query_of("flour bread"))
    assert out["query_weights"][0].tolist() == [1, 0]  # equally rare: the first


def test_pruning_looks_at_rows_that_weigh_something(index):
    inp = query_of("chess yeast bread", query_weights=[np.array([0, 3, 0.5], np.float32)])
    assert index.query_pruning(keep=1)(inp)["query_weights"][0].tolist() == [0, 0, 0.5]
    assert index.query_pruning(keep=2)(inp)["query_weights"][0].tolist() == [0, 3, 0.5]


def test_pruning_nothing_changes_nothing(index):
    inp = query_of("the yeast chess")
    for retriever in (index.plaid(), index.warp(), index.exhaustive(), index.xtr(), index.plaid_candidates()):
        expected = retriever(inp)
        pd.testing.assert_frame_equal((index.query_pruning(keep=3) >> retriever)(inp)[expected.columns], expected)
    with pytest.raises(ValueError, match="keep is 0; expected at least 1, as a whole number"):
        index.query_pruning(keep=0)


def test_fewer_rows_find_fewer_documents_and_all_rows_score_them(index):
    prune = ENCODER.query_encoder() >> index.query_pruning(keep=1)
    candidates = index.plaid_candidates(nprobe=1)
    assert set((prune >> candidates).search("the chess")["docno"]) == {"d4"}
    assert len((ENCODER.query_encoder() >> candidates).search("the chess")) == 5
    scored = (prune >> candidates >> pt.apply.query_weights(drop=True) >> index.maxsim()).search("the chess")
    whole = (ENCODER.query_encoder() >> index.exhaustive()).search("the chess").set_index("docno")["score"]
    assert scored.set_index("docno")["score"].to_dict() == {"d4": whole["d4"]}
    assert pt.inspect.transformer_outputs(prune >> candidates >> pt.apply.query_weights(drop=True), ["qid", "query"])


# --- [MASK] weighting ---------------------------------------------------------------------------------------------

MASK, CLS = 103, 101
EMBS = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0.9, 0.1, 0], [0.8, 0, 0.1], [0, 0, 0.5]], np.float32)
IDS = np.array([CLS, 5, 6, MASK, MASK, MASK], np.int32)


def weighted(transformer, embs=EMBS, ids=IDS, weights=None):
    frame = pd.DataFrame({"qid": ["1"], "query_embs": [embs], "query_tok_ids": [ids]})
    frame = frame if weights is None else frame.assign(query_weights=[np.array(weights, np.float32)])
    return transformer(frame)["query_weights"][0].tolist()


def test_masks_go_to_the_nearest_row():
    assert weighted(MaskWeighting(MASK)) == [2, 3, 1, 0, 0, 0]  # two are nearest to 5, one to [CLS]
    assert weighted(MaskWeighting(MASK, exclude=[CLS])) == [1, 4, 1, 0, 0, 0]  # words only
    assert weighted(MaskWeighting(7)) == [1] * 6  # no such rows


def test_columns_of_arrow_weigh_as_those_of_numpy(index):
    pytest.importorskip("pyarrow", reason="needs the extra [test]: pyarrow reads parquet files")
    topics = pt.new.queries([f"word{i} bread" + " sea" * (i % 3) for i in range(50)])
    plain = ENCODER.query_encoder()(topics)
    lists = plain.assign(**{name: [e.tolist() for e in plain[name]] for name in ("query_embs", "query_tok_ids")})
    file = io.BytesIO()
    lists.to_parquet(file)
    arrow = pd.read_parquet(file, dtype_backend="pyarrow")
    for stage in (index.query_pruning(keep=1), MeanWeighting(), MaskWeighting(word_id("sea"))):
        weights = [found.tolist() for found in stage(plain)["query_weights"]]
        assert [found.tolist() for found in stage(arrow)["query_weights"]] == weights


def test_the_sum_of_the_weights_stays():
    assert sum(weighted(MaskWeighting(MASK))) == len(EMBS)
    assert weighted(MaskWeighting(MASK), weights=[1, 2, 0, 0.5, 0, 0.25]) == [1.25, 2.5, 0, 0, 0, 0]
    assert weighted(MaskWeighting(MASK), weights=[0, 0, 0, 1, 1, 1]) == [0, 0, 0, 1, 1, 1]  # nobody to give it to
    padded = np.concatenate([EMBS, np.zeros((1, 3), np.float32)])
    assert weighted(MaskWeighting(MASK), padded, np.append(IDS, MASK)) == [2, 3, 1, 0, 0, 0, 1]


def test_mask_weights_count_in_every_scorer(index):
    query = ENCODER(pd.DataFrame({"qid": ["1"], "query": ["bread sea bread"]}))
    ids = query["query_tok_ids"][0].copy()
    ids[2] = MASK  # an expansion row that says "bread"
    query["query_tok_ids"] = [ids]
    found = (MaskWeighting(MASK) >> index.exhaustive())(query).set_index("docno")["score"]
    expected = index.exhaustive()(ENCODER(pd.DataFrame({"qid": ["1"], "query": ["bread sea bread"]})))
    expected = expected.set_index("docno")["score"]
    np.testing.assert_allclose(found[expected.index], expected, atol=1e-5)  # 2 times "bread", once "sea"


# --- all of them --------------------------------------------------------------------------------------------------


def test_an_index_without_token_ids_says_so(tmp_path):
    index = lir.LirIndex(tmp_path / "i").indexer(verbose=False).index([{"docno": "d1", "doc_embs": np.eye(64)[:3]}])
    with pytest.raises(
        ValueError, match=r"has no token ids; expected them for ColBERT-PRF\. Index records with doc_tok"
    ):
        index.colbert_prf()(ranking("d1"))
    with pytest.raises(ValueError, match="has no token ids; expected them for token frequencies"):
        index.query_pruning(keep=2)(query_of("bread"))
    with pytest.raises(pt.validate.InputValidationError, match="an encoder that gives query_tok_ids"):
        index.query_pruning(keep=2)(query_of("bread").drop(columns="query_tok_ids"))


def test_other_encoders_and_unknown_documents_are_refused(index):
    with pytest.raises(ValueError, match="expected the same encoder"):
        index.colbert_prf()(ranking("d1").assign(query_encoder="another"))
    with pytest.raises(ValueError, match="'d99'"):
        index.colbert_prf()(ranking("d99"))
    with pytest.raises(
        ValueError, match=r"query_tok_ids has shape \(1,\); expected \(2,\), one id per row of query_embs"
    ):
        MaskWeighting(1)(query_of("a b").assign(query_tok_ids=[[1]]))


@pytest.mark.parametrize(("make", "message"), [
    (lambda i: ColbertPRF(), "expected one of them: index.colbert_prf(), or ColbertPRF(stats=index.token_stats())"),
    (lambda i: ColbertPRF(i, stats=i.token_stats()), "expected one of them"),
    (lambda i: i.colbert_prf(fb_docs=0), "fb_docs is 0; expected at least 1"),
    (lambda i: i.colbert_prf(clusters=2.5), "clusters is 2.5; expected at least 1, as a whole number"),
    (lambda i: i.colbert_prf(fb_embs=25), "fb_embs is 25; expected at most clusters, 24"),
    (lambda i: i.colbert_prf(fb_embs=-1), "fb_embs is -1; expected at least 0"),
    (lambda i: i.colbert_prf(beta=-1), "beta is -1; expected a number of at least 0"),
    (lambda i: i.colbert_prf(return_docs="no"), "return_docs is 'no'; expected True or False"),
    (lambda i: i.colbert_prf(beta="1"), "beta is '1'; expected a number of at least 0"),
    (lambda i: i.colbert_prf(seed=-1), "seed is -1; expected a whole number from 0"),
    (lambda i: i.query_pruning(keep="3"), "keep is '3'; expected at least 1"),
    (lambda i: MaskWeighting("[MASK]"), "mask_id is '[MASK]'; expected at least 0, as a whole number"),
])  # fmt: skip
def test_wrong_arguments_are_named(index, make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(index)


def test_everything_composes(index, tmp_path):
    """First stage, re-ranking, feedback, re-ranking again; and feedback after a fusion, which drops the embeddings."""
    pta = pytest.importorskip("pyterrier_alpha", reason="pyterrier-alpha is not installed")
    from pyterrier_lir.experiment.first_stage import bm25 as make_bm25

    bm25, q = make_bm25(CORPUS, tmp_path / "bm25", engine="bm25s"), ENCODER.query_encoder()
    queries = pd.DataFrame({"qid": ["1", "2"], "query": ["bread flour", "chess"]})
    prf = bm25 % 50 >> q >> index.maxsim() >> index.colbert_prf(return_docs=True) >> index.maxsim()
    out = prf(queries)
    # bread, flour, yeast get ln 2, water ln 3: d3 (flour, yeast, water) 1 + 2 ln 2 + ln 3, d2 (bread, flour) 2 + 2 ln 2
    assert out.groupby("qid")["docno"].first().to_dict() == {"1": "d3", "2": "d4"}
    assert out["score"][0] == pytest.approx(1 + 2 * np.log(2) + np.log(3), abs=0.5)
    assert set(zip(out["qid"], out["docno"], strict=True)) == set(
        zip(*(bm25(queries)[name] for name in ("qid", "docno")), strict=True)
    )
    fused = pta.RRFusion(bm25, q >> index.plaid()) >> q >> index.colbert_prf() >> index.plaid() % 2
    assert fused(queries).groupby("qid")["docno"].first().to_dict() == {"1": "d3", "2": "d4"}
    hybrid = (0.1 * bm25 + (q >> index.warp())) >> q >> index.colbert_prf(return_docs=True) >> index.maxsim()
    assert len(hybrid(queries)) == 2 * len(TEXTS)
    assert isinstance(index.query_pruning(keep=1), QueryPruning)
