"""Token pooling, static pruning, dimension cuts: what goes together, what stays, and that the index takes it all."""

import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.index.token_stats import TokenStats
from pyterrier_lir.reduce.pooling import METHODS

RNG = np.random.default_rng(3)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def document(m, dim=16, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((m, dim)))


def frame(embs, ids=None):
    record = {"docno": "d", "doc_embs": embs}
    return pd.DataFrame([record if ids is None else {**record, "doc_tok_ids": np.asarray(ids, np.int32)}])


def reduced(transformer, embs, ids=None):
    out = transformer(frame(embs, ids))
    return out["doc_embs"][0] if ids is None else (out["doc_embs"][0], out["doc_tok_ids"][0].tolist())


def maxsim(query, doc):
    return (query.astype(np.float64) @ doc.astype(np.float64).T).max(axis=1).sum()


# --- pooling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalise", [True, False])
def test_factor_1_is_the_identity(method, normalise):
    embs = RNG.standard_normal((9, 4)).astype(np.float32)  # not of unit length
    out, ids = reduced(lir.TokenPooling(1, method=method, normalise=normalise), embs, range(9))
    assert out.tobytes() == embs.tobytes()
    assert ids == list(range(9))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("m", "factor", "protected", "expected"), [
    (21, 2, 1, 1 + 10), (21, 3, 1, 1 + 6), (21, 1.5, 1, 1 + 13), (21, 2, 0, 10), (21, 2, 5, 5 + 8),
    (21, 100, 1, 1 + 1), (2, 2, 1, 2), (1, 2, 1, 1), (1, 2, 0, 1), (3, 2, 7, 3),
])  # fmt: skip
def test_number_of_rows(method, m, factor, protected, expected):
    embs = document(m)
    out, ids = reduced(lir.TokenPooling(factor, method=method, protected=protected), embs, range(m))
    assert len(out) == len(ids) <= expected
    if method != "kmeans":  # which may leave a group empty
        assert len(out) == expected
    np.testing.assert_allclose(out[:protected], embs[:protected], atol=1e-6)
    assert ids[:protected] == list(range(m))[:protected]


@pytest.mark.parametrize("method", METHODS)
def test_pooled_rows_are_means_of_groups_that_partition_the_rows(method):
    embs = document(14)
    groups = METHODS[method](embs[1:], 4)
    assert len(groups) == 13
    out = reduced(lir.TokenPooling(3, method=method, normalise=False), embs)
    expected = [embs[1:][groups == group].mean(axis=0) for group in np.unique(groups)]
    np.testing.assert_allclose(out, [embs[0], *expected], atol=1e-6)


def test_sequential_groups_are_neighbours():
    embs = np.arange(14, dtype=np.float32).reshape(7, 2)
    out = reduced(lir.TokenPooling(2, method="sequential", normalise=False), embs)
    assert out.tolist() == [[0, 1], [3, 4], [7, 8], [11, 12]]  # row 0, then the means of rows 1-2, 3-4, 5-6


@pytest.mark.parametrize("method", ["hierarchical", "kmeans"])
def test_copies_merge_perfectly(method):
    distinct = np.eye(6, dtype=np.float32)[:5]
    rows = distinct[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]] if method == "hierarchical" else distinct.repeat(2, axis=0)
    out = reduced(lir.TokenPooling(2, method=method, protected=0), rows)
    assert {tuple(row) for row in out.tolist()} == {tuple(row) for row in distinct.tolist()}


@pytest.mark.parametrize("length", [0.3, 2, 30])
def test_hierarchical_looks_at_directions_whatever_the_lengths(length):
    embs = document(101) + document(1, seed=1)  # all on one side
    lengths = np.where(np.arange(101) % 2, length, 1)[:, None]
    groups = reduced(lir.TokenPooling(2, normalise=False), unit(embs))
    assert len(groups) == 51  # the first, and half of the others
    assert len(reduced(lir.TokenPooling(2), length * unit(embs))) == 51
    assert len(reduced(lir.TokenPooling(2), lengths * unit(embs))) == 51
    np.testing.assert_allclose(reduced(lir.TokenPooling(2, normalise=False), 2 * unit(embs)), 2 * groups, atol=1e-6)


def test_kmeans_moves_rows_to_the_nearest_mean():
    a, b = unit(np.array([[1, 0.0]])), unit(np.array([[0.0, 1]]))
    rows = np.concatenate([a, a, b, a, b, b])  # sequential halves are mixed
    out = reduced(lir.TokenPooling(3, method="kmeans", protected=0), rows)
    assert {tuple(row) for row in out.tolist()} == {(1.0, 0.0), (0.0, 1.0)}


def test_a_pooled_row_keeps_the_id_of_its_member_nearest_to_the_mean():
    rows = unit(np.array([[1, 0, 0], [1, 0.3, 0], [1, 0.9, 0], [0, 0, 1]]))
    out, ids = reduced(lir.TokenPooling(2, protected=0), rows, [7, 8, 9, 5])
    assert sorted(ids) == [5, 8]  # the mean of 7, 8, 9 lies next to 8
    assert out[ids.index(5)].tolist() == [0, 0, 1]


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_means_are_never_larger(method):
    queries = [unit(RNG.standard_normal((5, 16))) for _ in range(50)]
    embs = document(40)
    means = reduced(lir.TokenPooling(3, method=method, normalise=False), embs)
    assert all(maxsim(query, means) <= maxsim(query, embs) + 1e-6 for query in queries)
    scaled = reduced(lir.TokenPooling(3, method=method, normalise=True), embs)
    # A mean at unit length is nearer to itself than any member of its group is.
    assert any(maxsim(row[None], scaled) > maxsim(row[None], embs) + 1e-3 for row in scaled)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("factor", "protected", "normalise"), [(2, 1, True), (3, 1, False), (1.5, 0, True), (9, 4, 0)])
def test_hierarchical_equals_sentence_transformers(factor, protected, normalise):
    torch = pytest.importorskip("torch")
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    for m in (1, 2, 30, 300):
        embs = document(m, dim=128, seed=m)
        theirs = HierarchicalTokenPooling(
            factor, num_protected_tokens=protected, normalize_embeddings=bool(normalise)
        ).pool_one(torch.from_numpy(embs))
        ours = reduced(lir.TokenPooling(factor, protected=protected, normalise=bool(normalise)), embs)
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_hierarchical_equals_pylate():
    pylate = pytest.importorskip(
        "pylate.models", reason="PyLate is not installed: it wants other versions of what this package needs"
    )
    import torch

    embs = document(300, dim=128)
    (theirs,) = pylate.ColBERT.pool_embeddings_hierarchical(None, [torch.from_numpy(embs)], pool_factor=2)
    ours = reduced(lir.TokenPooling(2, normalise=False), embs)
    np.testing.assert_allclose(ours, theirs.cpu().numpy(), atol=1e-5)


# --- pruning ------------------------------------------------------------------------------------------------------

# four documents; 1 is in all of them, 2 in three, 3 in two (but five times), 4 and 5 in one
CORPUS = [[1, 2, 3, 3, 3], [1, 2, 4], [1, 2, 3, 3], [1, 5]]


@pytest.fixture(scope="module")
def stats():
    return TokenStats.count(CORPUS)


def test_token_statistics(stats):
    assert stats.num_docs == 4
    assert stats.document_frequency([1, 2, 3, 4, 5, 6]).tolist() == [4, 3, 2, 1, 1, 0]
    assert stats.collection_frequency([1, 2, 3, 4, 5, 6]).tolist() == [4, 3, 5, 1, 1, 0]
    np.testing.assert_allclose(stats.idf([1, 3, 6]), [0, np.log(5 / 3), np.log(5)], rtol=1e-6)
    assert stats.most_frequent(3).tolist() == [1, 2, 3]
    assert stats.most_frequent(99).tolist() == [1, 2, 3, 4, 5]
    assert stats == TokenStats.count(CORPUS)
    assert hash(stats) == hash(TokenStats.count(iter(CORPUS)))
    assert stats != TokenStats.count(CORPUS[1:])


def test_pooled_rows_of_a_checkpoint_and_empty_documents_do_not_count():
    stats = TokenStats.count([[7, -1, -1], [], [-1]])
    assert stats.num_docs == 1
    assert stats.document_frequency([7, -1]).tolist() == [1, 0]
    assert TokenStats.count([]).idf([1]).tolist() == [0.0]


def test_the_index_counts_its_tokens(tmp_path, stats, monkeypatch):
    from pyterrier_lir.index import token_stats

    monkeypatch.setattr(token_stats, "BLOCK", 4)  # documents longer and shorter than a block
    records = [
        {"docno": f"d{i}", "doc_embs": document(len(ids), seed=i), "doc_tok_ids": ids} for i, ids in enumerate(CORPUS)
    ]
    index = lir.LirIndex(tmp_path / "i").indexer(verbose=False).index(records)
    assert index.token_stats() == stats
    assert (tmp_path / "i" / "derived" / "token_stats" / "df.i64").exists()
    again = lir.LirIndex(tmp_path / "i")
    monkeypatch.setattr(token_stats, "write", None)  # it is read, not counted again
    assert again.token_stats() == stats


def test_an_index_without_token_ids_says_so(tmp_path):
    index = lir.LirIndex(tmp_path / "i").indexer(verbose=False).index([{"docno": "d", "doc_embs": document(5)}])
    with pytest.raises(ValueError, match=r"has no token ids; expected them for token frequencies\. Index records with"):
        index.token_stats()
    with pytest.raises(pt.validate.InputValidationError, match=r"adds them where the index was made from such"):
        lir.TokenPruning("idf", keep=0.5, stats=TokenStats.count(CORPUS))(frame(document(3)))


def test_first_keeps_what_comes_first():
    assert reduced(lir.TokenPruning("first", keep=0.5), document(5), range(5))[1] == [0, 1, 2]  # half of 5, rounded up
    assert reduced(lir.TokenPruning("first", keep=0.01), document(5), range(5))[1] == [0]
    assert reduced(lir.TokenPruning("first", keep=0.2, protected=3), document(5), range(5))[1] == [0, 1, 2]


def test_idf_keeps_the_rarest_tokens_in_their_order(stats):
    ids = [1, 3, 2, 4, 3]
    assert reduced(lir.TokenPruning("idf", keep=0.4, stats=stats, protected=0), document(5), ids)[1] == [3, 4]
    assert reduced(lir.TokenPruning("idf", keep=0.4, stats=stats), document(5), ids)[1] == [1, 4]  # 1 is protected
    assert reduced(lir.TokenPruning("idf", keep=0.8, stats=stats, protected=0), document(5), ids)[1] == [3, 2, 4, 3]


def test_stopwords_go_from_all_documents(stats):
    ids = [1, 3, 2, 4, 3]
    assert reduced(lir.TokenPruning("stopwords", tau=2, stats=stats, protected=0), document(5), ids)[1] == [3, 4, 3]
    assert reduced(lir.TokenPruning("stopwords", tau=2, stats=stats), document(5), ids)[1] == [1, 3, 4, 3]
    assert reduced(lir.TokenPruning("stopwords", tau=3, stats=stats, protected=0), document(5), ids)[1] == [4]


def test_pruning_that_keeps_all_is_the_identity(stats):
    embs, ids = document(5), [1, 2, 3, 4, 5]
    for everything in (
        lir.TokenPruning("first", keep=1),
        lir.TokenPruning("idf", keep=1.0, stats=stats),
        lir.TokenPruning("stopwords", tau=0, stats=stats, protected=0),
    ):
        out, kept = reduced(everything, embs, ids)
        assert out.tobytes() == embs.tobytes()
        assert kept == ids


def test_pruning_never_raises_a_score_and_never_empties_a_document(stats):
    embs, ids = document(6), [1, 2, 1, 3, 2, 1]
    pruned = [
        lir.TokenPruning("first", keep=0.3, protected=0),
        lir.TokenPruning("idf", keep=0.3, stats=stats, protected=0),
        lir.TokenPruning("stopwords", tau=5, stats=stats, protected=0),
    ]
    for transformer in pruned:
        out, kept = reduced(transformer, embs, ids)
        assert 1 <= len(out) == len(kept) < 6
        assert all((embs == row).all(axis=1).any() for row in out)
        for _ in range(20):
            query = unit(RNG.standard_normal((4, 16)))
            assert maxsim(query, out) <= maxsim(query, embs)


# --- truncation ---------------------------------------------------------------------------------------------------


def test_truncate_scales_back_to_unit_length():
    assert reduced(lir.Truncate(2), np.array([[3, 4, 12.0], [0, 2, 1]])).tolist() == [
        pytest.approx([0.6, 0.8]), [0.0, 1.0],
    ]  # fmt: skip
    whole = RNG.standard_normal((3, 4)).astype(np.float32)
    assert reduced(lir.Truncate(4), whole).tobytes() == whole.tobytes()


def test_truncate_cuts_queries_and_documents_and_renames_the_encoder(tmp_path):
    encoder = lir.ToyEncoder(dim=64)
    corpus = [{"docno": str(i), "text": f"word{i} word{i + 1}"} for i in range(9)]
    index = (encoder >> lir.Truncate(16) >> lir.LirIndex(tmp_path / "i").indexer(keep_embs=True, verbose=False)).index(
        corpus
    )
    assert index.dim == 16
    assert index.store.encoder == "toy-64-0[:16]"
    found = (encoder.query_encoder() >> lir.Truncate(16) >> index.plaid() % 1).search("word4 word5")
    assert found["docno"].tolist() == ["4"]
    assert found["score"].tolist() == [pytest.approx(2, abs=1e-2)]
    with pytest.raises(ValueError, match=r"encoded by 'toy-64-0', the documents by 'toy-64-0\[:16\]'"):
        (encoder.query_encoder() >> index.plaid()).search("word4")
    with pytest.raises(ValueError, match=r"encoded by 'toy-16-0', the documents by 'toy-64-0\[:16\]'"):
        (lir.ToyEncoder(dim=16).query_encoder() >> index.plaid()).search("word4")


# --- all of them --------------------------------------------------------------------------------------------------

ALL = {
    "hierarchical": lambda stats: lir.TokenPooling(2),
    "kmeans": lambda stats: lir.TokenPooling(2, method="kmeans"),
    "sequential": lambda stats: lir.TokenPooling(2, method="sequential"),
    "first": lambda stats: lir.TokenPruning("first", keep=0.5),
    "idf": lambda stats: lir.TokenPruning("idf", keep=0.5, stats=stats),
    "stopwords": lambda stats: lir.TokenPruning("stopwords", tau=1, stats=stats),
    "truncate": lambda stats: lir.Truncate(8),
}


@pytest.mark.parametrize("name", ALL)
def test_padding_and_empty_documents(name, stats):
    padded = np.concatenate([document(4), np.zeros((3, 16), np.float32)])
    inp = pd.DataFrame({
        "docno": ["a", "b"], "doc_embs": [padded, np.zeros((0, 16), np.float32)],
        "doc_tok_ids": [np.array([1, 2, 3, 4, 0, 0, 0]), np.zeros(0, int)],
    })  # fmt: skip
    out = ALL[name](stats)(inp)
    stripped = inp.assign(doc_embs=[padded[:4], padded[:0]], doc_tok_ids=[np.arange(1, 5), np.zeros(0)])
    expected = ALL[name](stats)(stripped)
    if name != "truncate":  # which leaves padding where it is
        assert out["doc_embs"][0].tobytes() == expected["doc_embs"][0].tobytes()
        assert out["doc_tok_ids"][0].tolist() == expected["doc_tok_ids"][0].tolist()
    assert len(out["doc_embs"][1]) == 0


@pytest.mark.parametrize("name", ALL)
def test_reductions_stand_between_encoder_and_index(name, tmp_path):
    encoder = lir.ToyEncoder(dim=16)
    corpus = [{"docno": str(i), "text": " ".join(["the", *(f"w{i}x{j}" for j in range(i)), "the"])} for i in range(7)]
    corpus.append({"docno": "empty", "text": ""})
    whole = (encoder >> lir.LirIndex(tmp_path / "a").indexer(verbose=False)).index(corpus)
    reduction = ALL[name](whole.token_stats())
    small = (encoder >> reduction >> lir.LirIndex(tmp_path / "b").indexer(verbose=False)).index(corpus)
    again = (reduction >> lir.LirIndex(tmp_path / "c").indexer(verbose=False)).index(whole.get_corpus_iter())
    for index in (small, again):
        assert index.docnos == whole.docnos
        assert index.store.has_tok_ids
        assert index.info()["tokens"] * index.dim < whole.info()["tokens"] * whole.dim
    if name == "stopwords":  # the last "the" of every document; the first one is protected, and is all that "0" has
        assert small.info()["tokens"] == whole.info()["tokens"] - 7


def test_reductions_compose_and_let_a_cutoff_pass():
    inp = pd.DataFrame({
        "qid": "1", "query": "q", "docno": list("abc"), "score": [3.0, 2, 1], "rank": range(3),
        "doc_embs": [document(8, seed=s) for s in range(3)],
    })  # fmt: skip
    both = lir.TokenPooling(2) >> lir.TokenPruning("first", keep=0.5)
    assert [len(embs) for embs in both(inp)["doc_embs"]] == [2, 2, 2]  # 1 + 7 // 2 = 4, of which half
    for transformer in (lir.TokenPooling(2), lir.TokenPruning("first", keep=0.5), lir.Truncate(4)):
        compiled = (transformer % 2).compile()
        assert next(iter(compiled)) == pt.RankCutoff(2)
        assert len(compiled(inp)) == 2


def test_a_fixed_number_of_vectors_per_document(tmp_path):
    # constant space, as ConstBERT has it: nothing special for the index
    docs = {f"d{i}": document(32, seed=i) for i in range(20)}
    records = [{"docno": docno, "doc_embs": embs} for docno, embs in docs.items()]
    index = lir.LirIndex(tmp_path / "i").indexer(keep_embs=True, verbose=False).index(records)
    assert index.info()["tokens"] == 20 * 32
    query = document(6, seed=99)
    topics = pd.DataFrame({"qid": ["1"], "query_embs": [query]})
    expected = sorted(docs, key=lambda docno: -maxsim(query, docs[docno].astype(np.float16)))
    for retriever in (index.exhaustive(), index.plaid(), index.warp(nprobe=99) >> index.maxsim()):
        assert retriever(topics)["docno"].tolist() == expected


@pytest.mark.parametrize(("make", "message"), [
    (lambda: lir.TokenPooling(0.5), "factor is 0.5; expected at least 1: 2 leaves half of the vectors"),
    (lambda: lir.TokenPooling("2"), "factor is '2'; expected at least 1"),
    (lambda: lir.TokenPooling(2, method="ward"), "method is 'ward'; expected one of 'hierarchical', 'kmeans'"),
    (lambda: lir.TokenPooling(2, protected=-1), "protected is -1; expected at least 0, as a whole number"),
    (lambda: lir.TokenPooling(2, normalise="no"), "normalise is 'no'; expected True or False"),
    (lambda: lir.TokenPooling(2, protected=None), "protected is None; expected at least 0"),
    (lambda: lir.TokenPruning("last", keep=0.5), "method is 'last'; expected one of 'first', 'idf', 'stopwords'"),
    (lambda: lir.TokenPruning("first"), "keep is missing; expected for this method: TokenPruning('first', keep=0.5)"),
    (lambda: lir.TokenPruning("first", keep=0), "keep is 0; expected a share of the rows, 0 < keep <= 1"),
    (lambda: lir.TokenPruning("first", keep=50), "keep is 50; expected a share of the rows"),
    (lambda: lir.TokenPruning("first", keep=0.5, tau=3), "tau is 3; expected for this method: TokenPruning('first', k"),
    (lambda: lir.TokenPruning("idf", keep=0.5), "stats is missing; expected for this method: TokenPruning('idf', ke"),
    (lambda: lir.TokenPruning("stopwords", tau=-1, stats=TokenStats.count([])), "tau is -1; expected at least 0"),
    (lambda: lir.Truncate(0), "dim is 0; expected at least 1"),
    (lambda: lir.Truncate(20)(frame(document(3))), "doc_embs has 16 dimensions; expected at least 20. At most: T"),
])  # fmt: skip
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
