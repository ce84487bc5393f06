"""Arguments that nobody means to give: each is refused by name, before NumPy, pybind11 or the memory say it their way.

`benchmarks/torture/fuzz_kernels.py` and `fuzz_frames.py` draw such arguments by the million.
"""

import numpy as np
import pandas as pd
import pytest
from corpora import build, named

import pyterrier_lir as lir
from pyterrier_lir import kernels
from pyterrier_lir.kernels.checks import MAX_THREADS

VECTORS, OFFSETS = np.ones((2, 3), np.float32), np.array([0, 2])
SCORES, BYTES, ONES = np.zeros((4, 16), np.float32), np.ones((1, 3), np.int8), np.ones(1, np.float32)
KERNELS = {
    "num_threads": (lambda value: kernels.maxsim(VECTORS, VECTORS, OFFSETS, num_threads=value), 32),
    "n": (lambda value: kernels.score_table(SCORES, value), 32),
    "p": (lambda value: kernels.top_cells(SCORES, 1, value), 32),
    "count": (lambda value: kernels.nearest_groups(VECTORS, VECTORS, value), 32),
    "dim": (lambda value: kernels.unpack(np.ones((1, 3), np.uint8), value, 8), 32),
    "nbits": (lambda value: kernels.pack(np.ones((1, 3), np.uint8), value), 32),
    "num_docs": (lambda value: kernels.candidates(np.zeros(1, np.int32), OFFSETS, np.zeros(2, np.int32), value), 32),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("value", [None, 0.5, True, "4", 2**70])
def test_a_kernel_wants_whole_numbers(name, value):
    call, bits = KERNELS[name]
    with pytest.raises(ValueError, match=rf"^{name} is {value!r}, but must be a whole number of {bits} bits"):
        call(value)


@pytest.mark.parametrize("value", [None, 0.5, "4"])
def test_as_many_as_there_are_is_a_whole_number(value):
    with pytest.raises(ValueError, match=rf"^k is {value!r}, but must be a whole number"):
        kernels.top_k(ONES, value)
    assert kernels.top_k(ONES, 2**70).tolist() == [0]


def test_threads_have_an_end():
    with pytest.raises(ValueError, match=r"^num_threads is 5000, but must be at most 4096"):
        kernels.maxsim(VECTORS, VECTORS, OFFSETS, num_threads=5000)
    with pytest.raises(ValueError, match=r"^num_threads is 5000; expected at most 4096"):
        lir.MaxSim(num_threads=5000)(pd.DataFrame())
    kernels.maxsim(VECTORS, VECTORS, OFFSETS, num_threads=4)
    assert MAX_THREADS == 4096


def test_more_centroids_than_there_are_take_no_memory():
    groups = np.zeros((1, 1), np.int32)
    with pytest.raises(ValueError, match=r"^p is 2147483647, but there are 4 centroids"):
        kernels.top_cells_in_groups(
            BYTES, ONES, np.ones((4, 3), np.int8), np.ones(4, np.float32), np.array([0, 4]), groups, 2**31 - 1
        )


@pytest.mark.parametrize("name", ["mean", "fill"])
def test_flags_of_an_encoding_are_flags(name):
    planes, thresholds = np.ones((1, 1, 3), np.float32), np.zeros((1, 1), np.float32)
    with pytest.raises(ValueError, match=f"^{name} is 1, but must be True or False"):
        kernels.encode_fde(VECTORS, OFFSETS, planes, thresholds, **{"mean": True, "fill": False, name: 1})


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build(tmp_path_factory.mktemp("odd") / "i", named("", 20, 0))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda index: index.exhaustive(num_results=None), "num_results"),
        (lambda index: index.plaid(num_results=None), "num_results"),
        (lambda index: index.plaid_candidates(nprobe=None), "nprobe"),
        (lambda index: index.warp(num_results=None), "num_results"),
        (lambda index: index.xtr(token_k=None), "token_k"),
        (lambda index: index.xtr_scorer(token_k=None), "token_k"),
        (lambda index: index.muvera(num_results=None), "num_results"),
        (lambda index: index.muvera(k_sim=None), "k_sim"),
        (lambda index: index.lemur(num_results=None), "num_results"),
        (lambda index: index.lemur(hidden=None), "hidden"),
        (lambda index: index.query_pruning(None), "keep"),
        (lambda index: index.colbert_prf(clusters=None), "clusters"),
        (lambda index: index.early_exit_maxsim(1, k=None), "k"),
        (lambda index: index.corpus_graph(k=None), "k"),
        (lambda index: lir.Truncate(None), "dim"),
        (lambda index: lir.ToyEncoder(dim=None), "dim"),
        (lambda index: lir.LateInteractionEncoder("minilm", batch_size=None), "batch_size"),
        (lambda index: lir.train.Schedule(epochs=None), "epochs"),
        (lambda index: lir.rerank.CandidatePruning(0.1, k=None), "k"),
        (lambda index: lir.feedback.MaskWeighting(None), "mask_id"),
    ],
)
def test_none_is_no_number(index, make, name):
    with pytest.raises(ValueError, match=f"^{name} is None; expected at least [01], as a whole number"):
        make(index)


@pytest.mark.parametrize("seed", [None, -1, 2**32, 2**70, 0.5])
def test_a_seed_is_what_every_generator_takes(index, tmp_path, seed):
    makers = [
        index.muvera, index.lemur, index.colbert_prf, lir.Muvera, lir.ToyEncoder, lir.ToyPageEncoder,
        lambda seed: build(tmp_path / "i", named("", 2, 0), seed=seed),
    ]  # fmt: skip
    for make in makers:
        with pytest.raises(ValueError, match=rf"^seed is {seed}; expected a whole number from 0 to 2\*\*32 - 1"):
            make(seed=seed)
    query = pd.DataFrame({"qid": ["1"], "query_embs": [np.eye(1, index.dim, dtype=np.float32)]})
    assert len(index.lemur(hidden=4, tokens=8, epochs=1, seed=2**32 - 1)(query))


@pytest.mark.parametrize("value", [True, np.True_, 2.0, "2"])
def test_a_truth_is_no_count(index, tmp_path, value):
    """Whatever room checks it, and in whatever words; NumPy's truth may have become Python's on the way."""
    shown = "|".join({repr(value), "True"} if isinstance(value, np.bool_) else {repr(value)})
    makers = {
        "num_results": lambda: index.exhaustive(num_results=value),
        "nprobe": lambda: index.plaid(nprobe=value),
        "num_threads": lambda: index.plaid(num_threads=value),
        "seed": lambda: index.muvera(seed=value),
        "batch_size": lambda: lir.LateInteractionEncoder("minilm", batch_size=value),
        "query_length": lambda: lir.LateInteractionEncoder("minilm", query_length=value),
        "epochs": lambda: lir.train.Schedule(epochs=value),
        "steps": lambda: lir.train.Schedule(steps=value),
        "centroids": lambda: build(tmp_path / "i", named("", 2, 0), centroids=value),
        "nbits": lambda: build(tmp_path / "i", named("", 2, 0), nbits=value),
    }
    for name, make in makers.items():
        with pytest.raises(ValueError, match=rf"^{name} is ({shown}); expected "):
            make()


def test_a_word_is_no_truth(index):
    makers = {
        "stats": [index.plaid, index.warp, index.xtr, index.muvera, index.lemur],
        "center": [index.muvera],
        "resume": [index.indexer],
        "keep_embs": [index.indexer],
        "passages": [index.unseen],
    }
    for name, methods in makers.items():
        for make in methods:
            with pytest.raises(ValueError, match=f"^{name} is 'no'; expected True or False"):
                make(**{name: "no"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda index: index.maxsim(missing=np.zeros(3)), "^missing is array"),
        (lambda index: index.muvera(projection=[]), r"^projection is \[\]; expected one of 'dense', 'sparse'"),
        (lambda index: index.muvera(fill_empty=[]), r"^fill_empty is \[\]; expected True or False"),
        (lambda index: index.muvera(ann=np.zeros(3)), "^ann is array"),
        (lambda index: index.xtr(impute=np.zeros(3)), "^impute is array"),
        (lambda index: index.xtr(normalise={}), "^normalise is {}"),
        (lambda index: lir.feedback.BallCarving(tau=float("inf")), "^tau is inf"),
        (lambda index: lir.feedback.MaskWeighting(1, exclude=5), "^exclude is 5; expected token ids"),
    ],
)
def test_what_is_no_word_is_refused_by_name(index, make, message):
    with pytest.raises(ValueError, match=message):
        make(index)


@pytest.mark.parametrize("name", ["plaid", "warp"])
def test_more_than_all_is_all(index, name):
    """Also where 64 bits do not hold it."""
    topics = pd.DataFrame({"qid": ["1"], "query_embs": [VECTORS.repeat(6, 1)[:, :16].copy()]})
    few = {"plaid": ["nprobe", "ndocs", "min_docs"], "warp": ["nprobe", "t_prime", "bound", "groups", "min_docs"]}[name]
    huge = getattr(index, name)(num_threads=1, num_results=2**70, **dict.fromkeys(few, 2**70))(topics)
    assert len(huge) == sum(len(record["doc_embs"]) > 0 for record in index.get_corpus_iter())


@pytest.mark.parametrize("value", ["text", [[1.0], [1.0, 2.0]], [["a"]], [{}]])
def test_embeddings_that_are_no_numbers(index, value):
    topics = pd.DataFrame({"qid": ["1"], "query_embs": pd.Series([value], dtype=object)})
    with pytest.raises(ValueError, match=r"^query_embs holds .*; expected a matrix of numbers"):
        index.exhaustive()(topics)


def test_token_ids_that_a_row_lacks(index):
    topics = pd.DataFrame({"qid": ["1"], "query_embs": [VECTORS], "query_tok_ids": [None]})
    with pytest.raises(ValueError, match=r"^query_tok_ids is None in a row; expected token ids"):
        index.query_pruning(1)(topics)
    with pytest.raises(ValueError, match=r"^query_tok_ids holds .*; expected one id per row of query_embs"):
        index.query_pruning(1)(topics.assign(query_tok_ids=[[2**40, 1]]))


def test_a_docno_that_no_file_can_hold(tmp_path):
    with pytest.raises(ValueError, match=r"^The docno '\\ud800' is no text"):
        build(tmp_path / "i", [{"docno": "\ud800", "doc_embs": VECTORS}])


def test_rows_without_values_are_packed():
    for name in kernels.available():
        with kernels.forced(name):
            assert kernels.pack(np.zeros((2, 0), np.uint8), 4).shape == (2, 0)


def test_numbers_of_any_size_are_finite(index):
    assert index.xtr(impute=2**70).impute == lir.feedback.BallCarving(tau=2**70).tau == 2**70


@pytest.mark.parametrize("rank", ["first", float("nan")])
def test_ranks_are_numbers(index, rank):
    ranking = pd.DataFrame(
        {"qid": ["1", "1"], "docno": ["d1", "d2"], "query_embs": [np.eye(2, 16)] * 2, "rank": [0, rank]}
    )
    for stage in (index.early_exit_maxsim(1), index.colbert_prf()):
        with pytest.raises(ValueError, match=rf"^rank holds {rank!r}; expected numbers"):
            stage(ranking.astype({"rank": object}))
