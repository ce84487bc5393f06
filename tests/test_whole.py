"""Searches in one call equal their stages, bit for bit: over segments, deletions, filters and threads."""

import signal
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from corpora import build, clustered, named

import pyterrier_lir as lir
from pyterrier_lir import frames, kernels
from pyterrier_lir.index import cell_tokens, whole
from pyterrier_lir.rerank.maxsim import IndexMaxSim

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no kernels are compiled here: there are only stages")

DOCS = list(named("", 240, seed=1))
WEIGHTS = np.linspace(0.5, 2, 5).astype(np.float32)
TOPICS = pd.DataFrame(
    {
        "qid": ["1", "2", "3", "4"],
        "query_embs": [clustered(n, seed=n) for n in (1, 5, 23, 40)],
        "query_weights": [None, WEIGHTS, None, None],
    }
)
SEARCHES = [
    ("plaid", {}),
    ("plaid", {"nprobe": 1, "ndocs": 40, "min_docs": 1}),
    ("plaid", {"nprobe": 2, "ndocs": 60, "threshold": 0.3}),
    ("plaid", {"nprobe": 2, "ndocs": 40, "threshold": 0.7}),
    ("plaid", {"num_results": 200}),
    ("warp", {}),
    ("warp", {"nprobe": 1, "t_prime": 3, "bound": 2, "min_docs": 1}),
    ("warp", {"nprobe": 2, "t_prime": 1000, "bound": 3}),
    ("warp", {"nprobe": 2, "groups": 1, "min_docs": 1}),
    ("warp", {"num_results": 200, "groups": 2}),
    ("exhaustive", {}),
]


@pytest.fixture(scope="module", params=[(1, {}), (3, {"keep_embs": True}), (40, {"nbits": 2, "codec": "quantile"})])
def index(request, tmp_path_factory):
    """Of 1, 3 and 40 segments, each seventh document deleted where there are several."""
    parts, options = request.param
    bounds = np.linspace(0, len(DOCS), parts + 1).astype(int)
    # The first part holds enough for a codec of some centroids.
    index = build(tmp_path_factory.mktemp("whole") / "i", DOCS[: bounds[1]], **options)
    for first, last in pairwise(bounds[1:]):
        index.add(DOCS[first:last])
    if parts > 1:
        index.delete([record["docno"] for record in DOCS[::7]])
    assert len(index.store.segments) == parts
    return index


def staged(transformer, topics):
    """What the stages find, one after the other."""
    store = transformer.index_.store
    queries = frames.queries(topics, store.dim)
    wanted = store.subset(transformer.docnos)
    if isinstance(transformer, type(transformer.index_.exhaustive())):
        found = transformer._retrieve_by_segment(store, queries, wanted)
    else:
        found = [transformer.retrieve(store, query, wanted, 1) for query in queries]
    return [(one[0].tolist(), one[1].tolist()) for one in found]


def in_one_call(transformer, topics):
    ranking = transformer(topics)
    docids = np.array(transformer.index_.store.lookup(ranking["docno"].tolist()))
    rows = [(ranking["qid"] == qid).to_numpy() for qid in topics["qid"]]
    return [(docids[row].tolist(), ranking["score"][row].tolist()) for row in rows]


@pytest.mark.parametrize("docnos", [None, [record["docno"] for record in DOCS[1::7]][:20]])
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize(("name", "options"), SEARCHES)
def test_one_call_is_its_stages(index, name, options, num_threads, docnos):
    search = getattr(index, name)(**{"num_results": 10, **options}, num_threads=num_threads, docnos=docnos)
    expected = staged(search, TOPICS)
    assert in_one_call(search, TOPICS) == expected
    assert [in_one_call(search, TOPICS.iloc[i : i + 1])[0] for i in range(len(TOPICS))] == expected
    assert sum(len(docids) for docids, _ in expected) >= len(TOPICS)


def test_scores_of_named_documents_are_those_of_exhaustive_search(index):
    exact = index.exhaustive(num_results=1000)(TOPICS)
    shuffled = exact.drop(columns=["score", "rank"]).sample(frac=1, random_state=0)

    def rescored():
        return index.maxsim()(shuffled)[exact.columns].sort_values("qid", kind="stable", ignore_index=True)

    pd.testing.assert_frame_equal(rescored(), exact)
    with kernels.forced("numpy"):  # where nothing is compiled: from segment to segment
        assert whole.searcher(index.store) is None
        by_segment = rescored()
    if index.store.manifest["keep_embs"]:  # sums in NumPy's order
        np.testing.assert_allclose(by_segment["score"], exact["score"], rtol=1e-5, atol=1e-5)
    else:
        pd.testing.assert_frame_equal(by_segment, exact)


def test_stats_say_what_the_stages_say(index):
    for name in ("plaid", "warp"):
        search = getattr(index, name)(num_results=10, stats=True)
        store = index.store
        found = [search.retrieve(store, query, store.subset(None), 1).stats for query in frames.queries(TOPICS, 16)]
        counts, times = list(search.STATS[:2]), list(search.STATS[2:])
        one_call = search(TOPICS).drop_duplicates("qid")
        assert one_call[counts].to_numpy().tolist() == [[*map(float, one[:2])] for one in found]
        assert (one_call[times].to_numpy() > 0).all()


def test_an_index_without_tokens_has_no_results(tmp_path):
    index = build(tmp_path / "i", [{"docno": "a", "doc_embs": np.zeros((0, 16), np.float32)}])
    for name in ("plaid", "warp", "exhaustive"):
        assert not len(getattr(index, name)()(TOPICS))
    scored = index.maxsim()(TOPICS.assign(docno="a"))
    assert scored["score"].tolist() == [-np.inf] * 4


def test_documents_of_no_segment_with_tokens_score_nothing(tmp_path):
    empty = [{"docno": f"e{i}", "doc_embs": np.zeros((0, 16), np.float32)} for i in range(3)]
    without_ids = [{key: value for key, value in one.items() if key != "doc_tok_ids"} for one in DOCS[:60]]
    index = build(tmp_path / "i", without_ids[:30])
    index.add(empty)
    index.add(without_ids[30:])
    scored = IndexMaxSim(index)(TOPICS.iloc[:1].merge(pd.DataFrame({"docno": ["e1", "d40", "d2"]}), how="cross"))
    exact = index.exhaustive()(TOPICS.iloc[:1]).set_index("docno")["score"]
    found = scored.set_index("docno")["score"]
    assert found["e1"] == -np.inf
    for docno in ("d40", "d2"):
        assert found[docno] == exact.get(docno, -np.inf)


def test_a_code_that_names_no_centroid_is_refused_by_every_thread(tmp_path):
    build(tmp_path / "i", DOCS[:100])
    (codes,) = (tmp_path / "i" / "segments").rglob("codes.u16")
    damaged = np.fromfile(codes, "<u2")
    damaged[len(damaged) // 2 :] = 60_000
    damaged.tofile(codes)
    for num_threads in (1, 2):
        with pytest.raises(ValueError, match=r"is 60000, but there are \d+ centroids"):
            lir.LirIndex(tmp_path / "i").exhaustive(num_threads=num_threads)(TOPICS)
        with pytest.raises(ValueError, match=r"is 60000, but there are \d+ centroids"):
            lir.LirIndex(tmp_path / "i").exhaustive(num_threads=num_threads)(TOPICS.iloc[:1])


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    store = build(tmp_path / "i", DOCS[:50]).store
    query = whole.query_arrays(frames.queries(TOPICS, 16), store.codec)
    searcher = whole.searcher(store)
    with pytest.raises(ValueError, match="wanted has 3 entries, but must have 50"):
        searcher.exhaustive(query, num_results=1, wanted=np.ones(3, bool), num_threads=1)
    with pytest.raises(ValueError, match="queries have 4 dimensions, the index has 16"):
        searcher.exhaustive(
            query._replace(embs=np.zeros((1, 4), np.float32)), num_results=1, wanted=None, num_threads=1
        )
    (segment,) = store.segments
    arrays = whole._arrays(0, segment)
    codec = store.codec
    with pytest.raises(ValueError, match="packed has 3 entries"):
        kernels.searcher.Searcher(
            50, 4, *codec.centroid_bytes, None, codec.inv_norm_table, [arrays._replace(packed=arrays.packed[:3])], []
        )


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([5], [range(0, 1)]),
        ([8] * 4, [range(0, 4)]),
        ([8] * 5, [range(0, 4), range(4, 5)]),  # 32 is 4 times 8,
        ([8] * 6, [range(0, 6)]),  # but not of 16
        ([1000, 10, 10, 10], [range(0, 1), range(1, 4)]),
        ([10, 10, 10, 1000], [range(0, 4)]),
    ],
)
def test_runs_of_segments(sizes, expected):
    assert cell_tokens.runs(sizes) == expected


def test_a_run_replaces_what_its_segments_had(tmp_path):
    parts = [DOCS[a : a + 60] for a in range(0, 240, 60)]
    index = build(tmp_path / "i", parts[0])
    index.warp()(TOPICS)
    for part in parts[1:]:
        index.add(part)
        index.warp()(TOPICS)
    left = sorted(path.name for path in (tmp_path / "i" / "derived" / "cell_tokens").glob("0*"))
    filled = [segment for segment in index.store.segments if segment.num_tokens]
    runs = cell_tokens.runs([segment.num_tokens for segment in filled])
    assert left == [filled[run.start].folder.path.name for run in runs]


@pytest.mark.parametrize("name", ["plaid", "warp", "exhaustive"])
def test_an_interrupt_ends_a_long_search(index, name):
    """As Ctrl-C and a notebook's stop button do. Python sees signals one by one only if it is asked between queries."""
    store = index.store
    many = whole.query_arrays(frames.queries(TOPICS, 16) * 8000, store.codec)
    options = {"num_results": 10, "wanted": None, "num_threads": 2}
    searches = {
        "plaid": lambda: whole.searcher(store).plaid(many, nprobe=4, ndocs=512, threshold=None, at_least=10, **options),
        "warp": lambda: whole.cell_searcher(store).warp(
            many, nprobe=4, t_prime=9, bound=9, groups=None, at_least=10, **options
        ),
        "exhaustive": lambda: whole.searcher(store).exhaustive(many, **options),
    }
    seen = []

    def third(*_):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, third)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(KeyboardInterrupt):
            searches[name]()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(getattr(index, name)(num_results=10)(TOPICS)) == 40
