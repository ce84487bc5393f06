"""Every method of the index on documents of a thousand vectors, and where it is exact."""

import numpy as np
import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir.pages.render import TextPage
from pyterrier_lir.reduce import GridPooling

WORDS = (
    "apples bread cheese dates eggs flour grapes honey jam kale lemons milk nuts olives pears quinces rice salt".split()
)
TOY = lir.ToyPageEncoder(dim=64)
TEXTS = ["\n".join(" ".join(np.roll(WORDS, 7 * i + j)[: 3 + i % 5]) for j in range(i + 1)) for i in range(16)]
PAGES = [{"docno": f"p{i:02}", "image": TextPage(text)} for i, text in enumerate(TEXTS)]
QUERIES = TOY.query_encoder()(pd.DataFrame({"qid": ["1", "2", "3"], "query": ["fresh apples", "olives pears", "rice"]}))
N = len(PAGES)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    index = lir.LirIndex(tmp_path_factory.mktemp("pages") / "i")
    (TOY >> index.indexer(keep_embs=True, verbose=False)).index(iter(PAGES))
    return index


def scores(frame):
    return frame.set_index(["qid", "docno"])["score"].sort_index()


def test_a_page_has_a_thousand_patches(index):
    info = index.info()
    assert info["tokens"] == N * 1024
    assert index.store.document(3)[1].tolist() == list(range(-2, -1026, -1))


def test_exhaustive_is_the_formula(index):
    embs = [page.embs.astype(np.float16).astype(np.float64) for page in TOY.encode_docs([p["image"] for p in PAGES])]
    found = scores(index.exhaustive(num_results=N)(QUERIES))
    for row in QUERIES.itertuples():
        for page, doc in zip(PAGES, embs, strict=True):
            expected = (row.query_embs.astype(np.float64) @ doc.T).max(axis=1).sum()
            assert found[row.qid, page["docno"]] == pytest.approx(expected, abs=1e-4)


def exact(index):
    """Each method with nothing left out."""
    cells = index.info()["centroids"]
    return {
        "plaid": index.plaid(num_results=N, nprobe=cells, ndocs=4 * N, threshold=-1),
        "plaid in stages": index.plaid_candidates(nprobe=cells) >> index.maxsim(),
        "warp, re-ranked": index.warp(num_results=N, nprobe=cells) >> index.maxsim(),
        "xtr, re-ranked": index.xtr(num_results=N, token_k=N * 1024) >> index.maxsim(),
        "muvera, re-ranked": index.muvera(num_results=N) >> index.maxsim(),
        "ladr": index.exhaustive(num_results=2) >> index.ladr(index.corpus_graph(k=N - 1)),
    }


@pytest.mark.parametrize(
    "name", ["plaid", "plaid in stages", "warp, re-ranked", "xtr, re-ranked", "muvera, re-ranked", "ladr"]
)
def test_methods_are_exact_where_nothing_is_left_out(index, name):
    expected = scores(index.exhaustive(num_results=N)(QUERIES))
    found = scores(exact(index)[name](QUERIES))
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("method", ["plaid", "warp", "xtr", "muvera"])
def test_methods_find_the_best_pages_as_they_come(index, method):
    best = scores(index.exhaustive(num_results=1)(QUERIES)).index
    found = getattr(index, method)(num_results=N)(QUERIES)
    assert set(best) <= {(row.qid, row.docno) for row in found.itertuples()}
    assert np.isfinite(found["score"]).all()


def test_candidates_by_lines_and_columns(index, tmp_path):
    """64 vectors find candidates, 1,024 score them."""
    small = lir.LirIndex(tmp_path / "small")
    (TOY >> GridPooling("both") >> small.indexer(verbose=False)).index(iter(PAGES))
    assert small.info()["tokens"] == N * 64
    found = scores((small.exhaustive(num_results=N) >> index.maxsim())(QUERIES))
    np.testing.assert_allclose(found, scores(index.exhaustive(num_results=N)(QUERIES)), atol=1e-3)


def test_methods_that_ask_for_words_say_what_patches_are(index):
    """Patches are no tokens of a vocabulary: nothing is ranked by their frequencies."""
    for ask in (index.token_stats, lambda: index.colbert_prf()(index.exhaustive()(QUERIES))):
        with pytest.raises(ValueError, match="no tokens of a vocabulary, only patches of pages"):
            ask()
    stats = lir.LirIndex.example().token_stats()
    with pytest.raises(ValueError, match=r"has patches of a page, which are no tokens .*BlankPruning"):
        (TOY >> lir.TokenPruning("idf", keep=0.5, stats=stats))(pd.DataFrame(PAGES[:1]))
    half = (TOY >> lir.TokenPruning("first", keep=0.5))(pd.DataFrame(PAGES[:1]))
    assert len(half["doc_embs"][0]) == 512
