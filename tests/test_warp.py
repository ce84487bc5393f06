"""WARP: exact where every cell is probed, the same as XTR's scorer on its triples, never without results."""

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, documents

from pyterrier_lir import kernels
from pyterrier_lir.index.scoring import CodedQuery
from pyterrier_lir.kernels import reference
from pyterrier_lir.retrieve.triples import scan
from pyterrier_lir.retrieve.warp import Size, measured_settings, paper_settings, warp_select


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build(tmp_path_factory.mktemp("warp") / "i", documents(400, longest=30))


@pytest.fixture(scope="module")
def topics():
    queries = [clustered(n, seed=100 + n) for n in (1, 5, 17, 33)]
    return pd.DataFrame({"qid": list("abcd"), "query_embs": queries})


def centroids(index):
    return index.store.manifest["centroids"]


def coded(index, query, num_threads=1):
    return CodedQuery(query, None, index.store.codec, num_threads)


def unnormalised_maxsim(index, query):
    """MaxSim with centroid + residual of every document, in float64 and from the definition."""
    (segment,), codec = index.store.segments, index.store.codec
    levels = kernels.unpack(np.asarray(segment.residuals), codec.dim, codec.nbits)
    tokens = codec.centroids.vectors[segment.codes].astype(float) + codec.lo + codec.step * levels
    scores = {}
    for i, docno in enumerate(segment.docnos):
        rows = tokens[segment.offsets[i] : segment.offsets[i + 1]]
        if len(rows):
            scores[docno] = (query.astype(float) @ rows.T).max(axis=1).sum()
    return pd.Series(scores)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("t_prime", [1, 50, 10**6])
def test_exact_where_every_cell_is_probed(tmp_path, topics, nbits, t_prime):
    index = build(tmp_path / "i", documents(150, longest=20), nbits=nbits)
    found = index.warp(nprobe=centroids(index), t_prime=t_prime)(topics)
    for qid, query in zip(topics["qid"], topics["query_embs"], strict=True):
        scores = found[found["qid"] == qid].set_index("docno")["score"]
        wanted = unnormalised_maxsim(index, query)
        assert set(scores.index) == set(wanted.index)
        # the query is rounded to 8 bits: at most 1/254 of its largest value for each of 16 dimensions and each row
        np.testing.assert_allclose(scores[wanted.index], wanted, atol=0.01 * len(query))


def test_exact_to_the_bit_of_a_float(index, topics):
    """The same integer products as MaxSim from codes: only the order of the sum over rows differs."""
    (segment,), codec = index.store.segments, index.store.codec
    found = index.warp(nprobe=centroids(index))(topics)
    for qid, query in zip(topics["qid"], topics["query_embs"], strict=True):
        one = coded(index, query)
        wanted = kernels.maxsim_codes(
            one.centroid_scores, one.levels, one.scale, one.bias, segment.codes, segment.residuals, None, None,
            segment.offsets, nbits=codec.nbits,
        )  # fmt: skip
        scores = found[found["qid"] == qid]
        np.testing.assert_allclose(scores["score"], wanted[index.store.lookup(scores["docno"].tolist())], atol=1e-5)


def test_by_hand(tmp_path):
    """Three cells on three axes, of which one is probed: the other rows' scores are imputed."""
    axes = np.eye(4, dtype=np.float32)
    docs = [("x", [0, 0]), ("y", [1]), ("z", [2]), ("xy", [0, 1])]
    index = build(
        tmp_path / "i", [{"docno": name, "doc_embs": axes[rows]} for name, rows in docs], nbits=8, centroids=3
    )
    query = np.array([[0.8, 0.6, 0, 0], [0, 0.6, 0.8, 0]], dtype=np.float32)
    topics = pd.DataFrame({"qid": ["1"], "query_embs": [query]})
    # Cells: x (3 tokens, .8 and 0), y (2 tokens, .6 and .6), z (1 token, 0 and .8). One probe: row 0 sees the cell of
    # x, row 1 that of z. After three tokens row 0 imputes .8 (the first cell), row 1 .6 (the second: 1 + 2 tokens).
    found = index.warp(nprobe=1, t_prime=3, min_docs=1)(topics)
    assert found["docno"].tolist() == ["z", "x", "xy"]
    np.testing.assert_allclose(found["score"], [0.8 + 0.8, 0.8 + 0.6, 0.8 + 0.6], atol=0.02)
    # With one token to reach, row 1 imputes .8; with four, row 0 imputes .6 and row 1 0.
    first = index.warp(nprobe=1, t_prime=1, min_docs=1)(topics)
    np.testing.assert_allclose(first["score"], [1.6, 1.6, 1.6], atol=0.02)
    last = index.warp(nprobe=1, t_prime=4, min_docs=1)(topics).set_index("docno")["score"]
    np.testing.assert_allclose(last[["x", "xy", "z"]], [0.8, 0.8, 0.8 + 0.6], atol=0.02)


def test_what_is_imputed(index, topics):
    sizes, query = index.store.cell_sizes, coded(index, topics["query_embs"][3])
    cells, scores = query.best_cells(40)
    reach = np.cumsum(sizes[cells], axis=1)
    before = np.full(len(cells), np.inf)
    for t_prime in (1, 10, 100, 300, 10**6):
        _cells, _scores, imputed = warp_select(query, sizes, 4, t_prime, 40, None)
        by_hand = [row[min((total < t_prime).sum(), 39)] for row, total in zip(scores, reach, strict=True)]
        assert imputed.tolist() == by_hand
        assert (imputed <= before).all()
        before = imputed
    assert (warp_select(query, sizes, 4, 10**6, 40, None)[2] == scores[:, 39]).all()  # the last one of bound
    assert (warp_select(query, sizes, 4, 10**6, 1, None)[2] == scores[:, 3]).all()  # bound is not less than nprobe


def test_what_was_found_may_be_less_than_what_is_imputed(index, topics):
    """Found scores count all the same: they have the residual, the imputed score has not."""
    query = coded(index, topics["query_embs"][2])
    cells, cell_scores, imputed = warp_select(query, index.store.cell_sizes, 8, 1, 8, None)
    ((_first, _size, triples),) = scan(index.store, query, cells, cell_scores, normalise=False)
    assert (triples.scores < np.repeat(imputed, np.diff(triples.row_offsets))).any()


def test_the_scorer_of_xtr_gives_the_same_ranking(index, topics):
    """WARP's triples and imputed scores through the specification of `score_triples`."""
    for query in topics["query_embs"]:
        one = coded(index, query)
        nprobe, t_prime, bound, _ = index.warp(nprobe=6).settings
        cells, cell_scores, imputed = warp_select(one, index.store.cell_sizes, nprobe, t_prime, bound, None)
        ((_first, _size, triples),) = scan(index.store, one, cells, cell_scores, normalise=False)
        docids, scores = reference.score_triples(*triples, imputed, len(index))
        order = np.lexsort((docids, -scores))
        found = index.warp(nprobe=6, min_docs=1)(pd.DataFrame({"qid": ["1"], "query_embs": [query]}))
        assert found["docno"].tolist() == index.store.names(docids[order])
        assert found["score"].tolist() == scores[order].tolist()


def test_implicit_and_explicit_decompression_agree(index, topics):
    query, codec = topics["query_embs"][1], index.store.codec
    one, (segment,) = coded(index, query), index.store.segments
    cells, cell_scores, _ = warp_select(one, index.store.cell_sizes, 5, 1, 5, None)
    ((_first, _size, triples),) = scan(index.store, one, cells, cell_scores, normalise=False)
    levels = kernels.unpack(np.asarray(segment.residuals), codec.dim, codec.nbits)
    tokens = codec.centroids.vectors[segment.codes] + codec.lo + codec.step * levels
    explicit = []
    for i, row in enumerate(cells):
        for cell in row:
            explicit += (tokens[segment.codes == cell] @ query[i]).tolist()
    np.testing.assert_allclose(triples.scores, explicit, atol=0.01)


def test_as_many_results_as_exhaustive_search_has(index, topics):
    exact = index.exhaustive(num_results=350)(topics)
    found = index.warp(num_results=350, nprobe=1)(topics)
    assert found.groupby("qid").size().to_dict() == exact.groupby("qid").size().to_dict()
    few = index.warp(num_results=350, nprobe=1, min_docs=1)(topics)
    assert len(few) < len(found)
    assert set(few["qid"]) == set("abcd")


@pytest.mark.parametrize("tokens", [1, 2, 3, 10, 100, 1000])
@pytest.mark.parametrize("preset", ["measured", "paper"])
def test_tiny_collections(tmp_path, tokens, preset):
    docs = [{"docno": str(i), "doc_embs": clustered(1, 96, seed=i)} for i in range(tokens)]
    index = build(tmp_path / "i", docs)
    topics = pd.DataFrame({"qid": list("abc"), "query_embs": [clustered(n, 96, seed=n) for n in (1, 14, 40)]})
    found = index.warp(num_results=10, preset=preset)(topics)
    assert found.groupby("qid").size().tolist() == [min(10, tokens)] * 3
    assert np.isfinite(found["score"]).all()


def test_settings():
    # sqrt(8 * 480,133) = 1,959; sqrt(8 * 100,000) = 894, which no whole thousand is left of
    assert paper_settings(Size(480_133, 8192, 10), None) == (32, 1000, 128, None)
    assert paper_settings(Size(100_000, 4096, 10), 16) == (16, 894, 128, None)
    assert paper_settings(Size(1, 1, 10), None).t_prime == 2
    assert paper_settings(Size(690_000_000, 262_144, 100), None).t_prime == 50_000
    assert paper_settings(Size(690_000_000, 262_144, 1000), None).t_prime == 100_000
    # four times 32 cells of 480,133 / 8,192 = 58.6 tokens
    assert measured_settings(Size(480_133, 8192, 10), None)[:3] == (32, 7503, 192)
    assert measured_settings(Size(480_133, 8192, 10), 64)[:3] == (64, 15005, 384)
    assert measured_settings(Size(480_133, 8192, 10), 4)[:3] == (4, 938, 128)
    assert measured_settings(Size(10, 4, 10), None).groups is None
    assert measured_settings(Size(10**9, 262_144, 10), None).groups is not None


def test_more_cells_are_probed_where_there_are_more():
    # a 256th of 2^14 is 2^6; up to 2^13 it is 32 at most, from 2^17 on 512 at least
    probed = [measured_settings(Size(10**7, 1 << power, 10), None).nprobe for power in range(12, 20)]
    assert probed == [32, 32, 64, 128, 256, 512, 512, 512]
    # four times 128 cells of 10,000,000 / 32,768 = 305.2 tokens, looked for among 768 cells
    assert measured_settings(Size(10**7, 1 << 15, 10), None) == (128, 156_250, 768, None)
    # what is given counts, and the paper's preset has the paper's number
    assert measured_settings(Size(10**7, 1 << 15, 10), 32)[:3] == (32, 39_063, 192)
    assert paper_settings(Size(10**7, 1 << 15, 10), None).nprobe == 32


def test_every_setting_changes_something(index, topics):
    plain = index.warp(nprobe=4, min_docs=1)(topics)
    for other in ({"nprobe": 8}, {"t_prime": 2000}, {"t_prime": 2000, "bound": 5}, {"groups": 1}, {"preset": "paper"}):
        changed = index.warp(**{"nprobe": 4, "min_docs": 1, **other})(topics)
        assert not changed[["docno", "score"]].equals(plain[["docno", "score"]]), other
    a = index.warp(nprobe=4, t_prime=2000, bound=5, min_docs=1)(topics)
    b = index.warp(nprobe=4, t_prime=2000, bound=300, min_docs=1)(topics)
    assert not a["score"].equals(b["score"])
    for bad in ("nprobe", "t_prime", "bound", "groups", "min_docs", "num_results"):
        with pytest.raises(ValueError, match=f"{bad} is 0; expected at least 1"):
            index.warp(**{bad: 0})
    with pytest.raises(ValueError, match="preset is 'fast'; expected one of 'measured', 'paper'"):
        index.warp(preset="fast")


def test_all_groups_are_no_groups(index, topics):
    count = len(index.store.codec.centroids.coarse)
    assert count > 4
    pd.testing.assert_frame_equal(index.warp(groups=count)(topics), index.warp()(topics))
    one = coded(index, topics["query_embs"][3])
    full, _ = one.best_cells(8)
    shares = [
        np.mean([len(set(a) & set(b)) / 8 for a, b in zip(full, one.best_cells(8, groups)[0], strict=True)])
        for groups in (1, 2, 4, count - 1)
    ]
    assert shares == sorted(shares)
    assert 0.2 < shares[0] < shares[2]
    # groups that hold too few cells are joined by others
    assert index.warp(groups=1, nprobe=centroids(index))(topics).equals(index.warp(nprobe=centroids(index))(topics))


def test_neither_threads_nor_batches_matter(index, topics):
    one = index.warp(num_threads=1, nprobe=8)(topics)
    pd.testing.assert_frame_equal(index.warp(num_threads=3, nprobe=8)(topics), one)
    alone = [index.warp(num_threads=2, nprobe=8)(topics.iloc[[i]]) for i in range(4)]
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), one)


def test_within_a_set(index, topics):
    wanted = [f"d{i}" for i in range(0, 400, 7)]
    everything = index.warp(nprobe=centroids(index))(topics)
    expected = everything[everything["docno"].isin(wanted)]
    found = index.warp(docnos=wanted, nprobe=centroids(index))(topics)
    assert found["docno"].tolist() == expected["docno"].tolist()
    assert found["score"].tolist() == expected["score"].tolist()
    few = index.warp(docnos=wanted, nprobe=1)(topics)
    assert few.groupby("qid").size().tolist() == expected.groupby("qid").size().tolist()
    assert len(index.warp(docnos=[])(topics)) == 0
    with pytest.raises(ValueError, match="'nowhere'"):
        index.warp(docnos=["nowhere"])(topics)


def test_no_more_cells_than_it_takes(index, topics):
    """Where all documents of the set are found, the cells are not doubled, however many results are asked for."""
    every = index.warp(nprobe=8, min_docs=1)(topics)
    wanted = sorted(set.intersection(*(set(group["docno"]) for _, group in every.groupby("qid"))))
    assert len(wanted) > 5
    found = index.warp(nprobe=8, docnos=wanted, num_results=1000, stats=True)(topics)
    cells = index.warp(nprobe=8, min_docs=1, stats=True)(topics).drop_duplicates("qid")["warp_tokens"]
    assert found.drop_duplicates("qid")["warp_tokens"].tolist() == cells.tolist()


def test_weights(index, topics):
    doubled = topics.assign(query_weights=[2 * np.ones(len(q)) for q in topics["query_embs"]])
    plain, twice = index.warp(nprobe=8)(topics), index.warp(nprobe=8)(doubled)
    assert twice["docno"].tolist() == plain["docno"].tolist()
    np.testing.assert_allclose(twice["score"], 2 * plain["score"], rtol=1e-5)  # what is imputed is weighted as well
    first = topics.assign(query_weights=[np.arange(len(q)) == 0 for q in topics["query_embs"]])
    alone = topics.assign(query_embs=[q[:1] for q in topics["query_embs"]])
    assert index.warp()(first)["score"].tolist() == index.warp()(alone)["score"].tolist()
    assert len(index.warp()(topics.assign(query_weights=[np.zeros(len(q)) for q in topics["query_embs"]]))) == 0


def test_stats(index, topics):
    rows = index.warp(num_results=10, nprobe=2, min_docs=1, stats=True)(topics).groupby("qid").first()
    for qid, query in zip(topics["qid"], topics["query_embs"], strict=True):
        cells, _ = coded(index, query).best_cells(2)
        assert rows.loc[qid, "warp_tokens"] == index.store.cell_sizes[cells].sum()
    every = index.warp(nprobe=2, min_docs=1)(topics).groupby("qid").size()
    assert rows["warp_docs"].tolist() == every.tolist()
    assert (rows[["warp_select_ms", "warp_scan_ms", "warp_reduce_ms"]] > 0).all(axis=None)


@pytest.mark.parametrize("settings", [{}, {"preset": "paper"}, {"nprobe": 1}])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_a_cutoff_that_is_compiled_changes_nothing(index, topics, settings, k):
    retriever = index.warp(num_results=100, **settings)
    compiled = (retriever % k).compile()
    assert compiled == retriever.fuse_rank_cutoff(k)
    pd.testing.assert_frame_equal(compiled(topics), (retriever % k)(topics))


def test_ties_are_in_index_order(tmp_path, topics):
    docs = list(documents(60, longest=10))
    docs += [{**d, "docno": f"again-{d['docno']}"} for d in docs]
    index = build(tmp_path / "i", docs)
    found = index.warp(nprobe=4)(topics)
    for _qid, group in found.groupby("qid"):
        first = [name for name in group["docno"] if not name.startswith("again")]
        assert group["docno"].tolist() == [name for docno in first for name in (docno, f"again-{docno}")]


def test_a_document_finds_itself(index):
    docs = [d for d in documents(400, longest=30) if len(d["doc_embs"]) >= 5][:50]
    topics = pd.DataFrame({"qid": [d["docno"] for d in docs], "query_embs": [d["doc_embs"] for d in docs]})
    first = index.warp(num_results=1)(topics)
    assert (first["qid"] == first["docno"]).mean() > 0.95


def test_refined_by_exact_scores(index, topics):
    refined = (index.warp(num_results=50) >> index.maxsim())(topics)
    exact = index.exhaustive()(topics).set_index(["qid", "docno"])["score"]
    assert refined["score"].tolist() == exact[pd.MultiIndex.from_frame(refined[["qid", "docno"]])].tolist()
