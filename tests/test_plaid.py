"""PLAID: exact where nothing is approximated, the same in stages, never without results."""

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, documents

from pyterrier_lir.retrieve.plaid import _best, measured_settings, paper_settings


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build(tmp_path_factory.mktemp("plaid") / "i", documents(400, longest=30), keep_embs=False)


@pytest.fixture(scope="module")
def topics():
    queries = [clustered(n, seed=100 + n) for n in (1, 5, 17, 33)]
    return pd.DataFrame({"qid": list("abcd"), "query_embs": queries})


def centroids(index):
    return index.store.manifest["centroids"]


def test_exact_where_nothing_is_left_out(index, topics):
    everything = index.plaid(nprobe=centroids(index), ndocs=4 * len(index))
    pd.testing.assert_frame_equal(everything(topics), index.exhaustive()(topics))


def test_exact_from_fp16(tmp_path, topics):
    index = build(tmp_path / "i", documents(200), keep_embs=True)
    everything = index.plaid(nprobe=centroids(index), ndocs=4 * len(index))
    pd.testing.assert_frame_equal(everything(topics), index.exhaustive()(topics))


@pytest.mark.parametrize("settings", [{}, {"preset": "paper"}, {"nprobe": 1, "ndocs": 8, "num_results": 5}])
def test_scores_are_exact_whatever_the_parameters(index, topics, settings):
    exact = index.exhaustive()(topics).set_index(["qid", "docno"])["score"]
    found = index.plaid(**settings)(topics)
    assert found["score"].tolist() == exact[pd.MultiIndex.from_frame(found[["qid", "docno"]])].tolist()


def test_recall_rises_with_nprobe_and_ndocs(index):
    topics = pd.DataFrame({"qid": [str(i) for i in range(40)], "query_embs": [clustered(8, seed=i) for i in range(40)]})
    exact = index.exhaustive(num_results=10)(topics)
    wanted = set(zip(exact["qid"], exact["docno"], strict=True))

    def recall(**settings):
        found = index.plaid(num_results=10, min_docs=1, **settings)(topics)
        return len(wanted & set(zip(found["qid"], found["docno"], strict=True))) / len(wanted)

    by_cells = [recall(nprobe=n, ndocs=4000) for n in (1, 4, 16, centroids(index))]
    by_docs = [recall(nprobe=centroids(index), ndocs=n) for n in (40, 80, 400, 1600)]
    assert by_cells == sorted(by_cells)
    assert by_docs == sorted(by_docs)
    assert by_cells[0] < by_cells[-1] == by_docs[-1] == 1
    assert by_docs[0] < 1


def test_there_are_as_many_results_as_exhaustive_search_has(index, topics):
    exact = index.exhaustive(num_results=350)(topics)
    found = index.plaid(num_results=350, nprobe=1, ndocs=1)(topics)
    assert found.groupby("qid").size().to_dict() == exact.groupby("qid").size().to_dict()


@pytest.mark.parametrize("threshold", [1.5, 0.99])
def test_pruning_everything_still_gives_results(index, topics, threshold):
    assert len(index.plaid(threshold=threshold, num_results=10)(topics)) == 40


@pytest.mark.parametrize(("threshold", "ndocs"), [(None, 60), (0.3, 60), (0.3, 400)])
def test_in_stages(index, topics, threshold, ndocs):
    k = 10
    staged = (
        index.plaid_candidates(nprobe=2)
        >> index.centroid_maxsim(threshold=threshold) % ndocs
        >> index.centroid_maxsim() % max(ndocs // 4, k)
        >> index.maxsim() % k
    )
    whole = index.plaid(num_results=k, nprobe=2, ndocs=ndocs, threshold=threshold)
    pd.testing.assert_frame_equal(staged(topics), whole(topics))


def test_the_first_stage_gives_neither_score_nor_rank(index, topics):
    found = index.plaid_candidates()(topics)
    assert list(found.columns) == ["qid", "query_embs", "docno"]
    sizes = [len(index.plaid_candidates(nprobe=n)(topics)) for n in (1, 2, 8)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    few = set(index.plaid_candidates(nprobe=1)(topics).query("qid == 'd'")["docno"])
    assert few < set(index.plaid_candidates(nprobe=3)(topics).query("qid == 'd'")["docno"])
    assert len(index.plaid_candidates(nprobe=1, min_docs=200)(topics.iloc[[0]])) >= 200


def test_the_first_stage_in_a_part_of_the_index(index, topics):
    some = index.docnos[::3]
    everywhere = index.plaid_candidates(nprobe=2)(topics)
    found = index.plaid_candidates(nprobe=2, docnos=some)(topics)
    expected = everywhere[everywhere["docno"].isin(some)]
    assert found[["qid", "docno"]].values.tolist() == expected[["qid", "docno"]].values.tolist()
    with pytest.raises(ValueError, match="'nowhere'"):
        index.plaid_candidates(docnos=["nowhere"])(topics)


def test_centroid_scores_are_close_to_exact(index, topics):
    candidates = index.plaid_candidates(nprobe=8)(topics)
    rough = index.centroid_maxsim()(candidates).set_index(["qid", "docno"])["score"]
    exact = index.maxsim()(candidates).set_index(["qid", "docno"])["score"]
    assert np.corrcoef(rough, exact[rough.index])[0, 1] > 0.95


def test_thresholds(index, topics):
    candidates = index.plaid_candidates(nprobe=8)(topics)
    keys = ["qid", "docno"]

    def scores(**settings):
        return index.centroid_maxsim(**settings)(candidates).set_index(keys)["score"].sort_index()

    plain = scores()
    assert scores(threshold=-2).equals(plain)
    assert scores(threshold_quantile=0).equals(plain)
    assert (scores(threshold=0.5) <= plain).all()
    assert (scores(threshold=0.5) < plain).any()
    assert (scores(threshold_quantile=0.9) <= scores(threshold_quantile=0.5)).all()
    with pytest.raises(ValueError, match=r"threshold is 0.5 and threshold_quantile is 0.9; expected one"):
        index.plaid(threshold=0.5, threshold_quantile=0.9)
    with pytest.raises(ValueError, match=r"threshold_quantile is 1\.0"):
        index.centroid_maxsim(threshold_quantile=1.0)


def test_within_a_set(index, topics):
    wanted = [f"d{i}" for i in range(0, 400, 7)]
    exact = index.exhaustive(docnos=wanted)(topics)
    found = index.plaid(docnos=wanted, ndocs=1600)(topics)
    pd.testing.assert_frame_equal(found, exact)
    assert len(index.plaid(docnos=[])(topics)) == 0
    with pytest.raises(ValueError, match="'nowhere'"):
        index.plaid(docnos=["nowhere"])(topics)


def test_more_cells_are_probed_and_more_documents_scored_where_there_are_more_centroids():
    assert [measured_settings(10, 1 << power).nprobe for power in (12, 16, 17, 20)] == [4, 4, 8, 8]
    # a 16th of 2^13 is 512, of 2^15 it is 2,048; a quarter of them gets exact scores
    kept = [measured_settings(10, 1 << power).ndocs for power in range(12, 19)]
    assert kept == [512, 512, 1024, 2048, 4096, 4096, 4096]
    assert measured_settings(1000, 1 << 15) == (4, 8000, None)  # eight times k, where that is more


def test_settings_are_resolved_for_each_call(index):
    assert paper_settings(10) == (1, 256, 0.5)
    assert paper_settings(100) == (2, 1024, 0.45)
    assert paper_settings(1000) == (4, 4096, 0.4)
    assert paper_settings(2000) == (4, 8000, 0.4)
    assert index.plaid(num_results=10, preset="paper").settings == (1, 256, 0.5)
    assert index.plaid(num_results=10, preset="paper", nprobe=3).settings == (3, 256, 0.5)
    assert index.plaid(num_results=10, preset="paper", threshold_quantile=0.5).settings == (1, 256, None)
    assert index.plaid().settings == measured_settings(1000, centroids(index))
    retriever = index.plaid(num_results=10)
    before = retriever.settings
    index.plaid(num_results=1000).settings  # noqa: B018
    assert retriever.settings == before
    with pytest.raises(ValueError, match="preset is 'fast'; expected one of 'measured', 'paper'"):
        index.plaid(preset="fast")
    for bad in ({"nprobe": 0}, {"ndocs": 0}, {"num_results": 0}, {"min_docs": 0}, {"num_threads": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} is 0; expected at least 1"):
            index.plaid(**bad)


@pytest.mark.parametrize("settings", [{}, {"preset": "paper"}, {"nprobe": 1, "ndocs": 16, "threshold": 0.4}])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_a_cutoff_that_is_compiled_changes_nothing(index, topics, settings, k):
    retriever = index.plaid(num_results=100, **settings)
    compiled = (retriever % k).compile()
    assert compiled == retriever.fuse_rank_cutoff(k)
    pd.testing.assert_frame_equal(compiled(topics), (retriever % k)(topics))
    assert retriever.fuse_rank_cutoff(100) is None


def test_neither_threads_nor_batches_matter(index, topics):
    one = index.plaid(num_threads=1)(topics)
    pd.testing.assert_frame_equal(index.plaid(num_threads=3)(topics), one)
    alone = pd.concat([index.plaid(num_threads=2)(topics.iloc[[i]]) for i in range(4)], ignore_index=True)
    pd.testing.assert_frame_equal(alone, one)


def test_weights(index, topics):
    doubled = topics.assign(query_weights=[2 * np.ones(len(q)) for q in topics["query_embs"]])
    plain, twice = index.plaid()(topics), index.plaid()(doubled)
    assert twice["docno"].tolist() == plain["docno"].tolist()
    assert twice["score"].tolist() == pytest.approx((2 * plain["score"]).tolist(), rel=1e-5)
    first = topics.assign(query_weights=[np.arange(len(q)) == 0 for q in topics["query_embs"]])
    alone = topics.assign(query_embs=[q[:1] for q in topics["query_embs"]])
    assert index.plaid()(first)["score"].tolist() == index.plaid()(alone)["score"].tolist()
    nothing = topics.assign(query_weights=[np.zeros(len(q)) for q in topics["query_embs"]])
    assert len(index.plaid()(nothing)) == 0


@pytest.mark.parametrize("bar", [{"threshold": 0.5}, {"threshold_quantile": 0.9}])
def test_a_weight_that_all_rows_share_changes_no_ranking(index, topics, bar):
    quartered = topics.assign(query_weights=[np.full(len(q), 0.25) for q in topics["query_embs"]])
    search = index.plaid(num_results=10, nprobe=2, ndocs=40, **bar)
    for stage in (search, index.plaid_candidates() >> index.centroid_maxsim(**bar)):
        plain, found = stage(topics), stage(quartered)
        assert found["docno"].tolist() == plain["docno"].tolist()
        assert found["score"].tolist() == (plain["score"] / 4).tolist()  # exact, as 4 is a power of 2


def test_a_threshold_is_of_similarities_before_weights(index, topics):
    tripled = topics.assign(query_weights=[np.full(len(q), 3.0) for q in topics["query_embs"]])
    found = (index.plaid_candidates() >> index.centroid_maxsim(threshold=1.5))(tripled)
    assert (found.groupby("qid")["score"].nunique() == 1).all()  # no cosine reaches 1.5: no centroid takes part


def test_stats(index, topics):
    rows = index.plaid(num_results=10, nprobe=2, ndocs=80, stats=True)(topics).groupby("qid").first()
    sizes = index.plaid_candidates(nprobe=2)(topics).groupby("qid").size()
    assert rows["plaid_candidates"].tolist() == sizes.tolist()
    assert rows["plaid_scored"].tolist() == [min(20, size) for size in sizes]
    assert (rows[["plaid_candidates_ms", "plaid_interaction_ms", "plaid_scoring_ms"]] > 0).all(axis=None)


def test_ties_are_in_index_order(tmp_path):
    docs = list(documents(60, longest=10))
    docs += [{**d, "docno": f"again-{d['docno']}"} for d in docs]
    index = build(tmp_path / "i", docs)
    topics = pd.DataFrame({"qid": [str(i) for i in range(20)], "query_embs": [clustered(5, seed=i) for i in range(20)]})
    exact = index.exhaustive(num_results=6)(topics)
    assert (exact["docno"].str.startswith("again").groupby(exact["qid"]).sum() == 3).all()
    # the cut between stages falls between the two copies of a document, whose scores are the same
    found = index.plaid(num_results=6, nprobe=64, ndocs=4 * 41, min_docs=1)(topics)
    pd.testing.assert_frame_equal(found, exact)


def test_what_a_stage_keeps_stays_in_index_order():
    docids, sums = np.array([4, 7, 9, 11]), np.array([5, 3, 8, 5], np.int32)
    assert _best(docids, sums, 2).tolist() == [4, 9]  # of the two that score 5 the first in the index
    assert _best(docids, sums, 3).tolist() == [4, 9, 11]
    assert _best(docids, sums, 9).tolist() == [4, 7, 9, 11]


def test_a_document_finds_itself(index):
    docs = [d for d in documents(400, longest=30) if len(d["doc_embs"]) >= 5][:50]
    topics = pd.DataFrame({"qid": [d["docno"] for d in docs], "query_embs": [d["doc_embs"] for d in docs]})
    first = index.plaid(num_results=1)(topics)
    assert (first["qid"] == first["docno"]).mean() > 0.95
