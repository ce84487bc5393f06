"""An index that ColBERTv2's own engine built: its vectors and scores."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from originals import LOTTE, imported


@pytest.fixture(scope="module")
def lotte(tmp_path_factory):
    """ColBERTv2's index of 500 passages, imported."""
    if not LOTTE.is_dir():
        pytest.skip(f"needs a ColBERTv2 index under {LOTTE} (set LIR_TEST_DATA)")
    return imported(LOTTE / "plaid", tmp_path_factory.mktemp("lotte") / "i")


@pytest.fixture(scope="module")
def lotte_vectors(lotte):
    """Its vectors, decompressed in float64 as the format is described."""

    def read(name):
        return torch.load(LOTTE / "plaid" / f"{name}.pt", weights_only=True, map_location="cpu")

    residuals, weights = read("0.residuals").numpy(), read("buckets")[1].double().numpy()
    bits = np.unpackbits(residuals, axis=1).reshape(len(residuals), 128, 2)
    vectors = read("centroids").double().numpy()[read("0.codes").numpy()] + weights[bits[:, :, 0] + 2 * bits[:, :, 1]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.split(vectors, np.cumsum(json.loads((LOTTE / "plaid" / "doclens.0.json").read_text()))[:-1])


@pytest.fixture(scope="module")
def lotte_topics():
    queries = np.load(LOTTE / "query_embedding.npy")
    qids = [line.split("\t")[0] for line in (LOTTE.parent / "queries.tsv").read_text().splitlines()]
    return pd.DataFrame({"qid": qids, "query_embs": list(queries)})


def test_a_real_index_decodes_to_its_vectors(lotte, lotte_vectors):
    assert (len(lotte), lotte.store.manifest["tokens"], lotte.dim) == (500, 56_658, 128)
    errors = [
        np.abs(record["doc_embs"] - vectors).max()
        for record, vectors in zip(lotte.get_corpus_iter(), lotte_vectors, strict=True)
    ]
    assert max(errors) < 0.0005


def test_a_real_index_scores_as_its_vectors_do(lotte, lotte_vectors, lotte_topics):
    some = lotte_topics[::5]
    offsets = np.cumsum([0, *map(len, lotte_vectors)])[:-1]
    tokens = np.concatenate(lotte_vectors).T
    exact = np.array([np.maximum.reduceat(query @ tokens, offsets, axis=1).sum(axis=0) for query in some["query_embs"]])
    found = lotte.exhaustive()(some)
    rows = {qid: i for i, qid in enumerate(some["qid"])}
    assert len(found) == exact.size
    errors = np.abs(found["score"] - exact[found["qid"].map(rows), found["docno"].astype(int)])
    assert errors.max() < 0.06  # .0017 for each of 32 rows, which are rounded to 8 bits
    assert errors.mean() < 0.01


def test_overlap_of_a_real_index_with_exact_search(lotte, lotte_topics):
    """Plain decompression finds .774 of what the uncompressed vectors have among their first ten."""
    columns = ["qid", "docno", "rank", "score"]
    (file,) = LOTTE.glob("*top10*")
    wanted = pd.read_csv(file, sep="\t", names=columns, dtype={"qid": str, "docno": str})
    wanted = set(zip(wanted["qid"], wanted["docno"], strict=True))

    def overlap(retriever):
        found = (retriever % 10)(lotte_topics)
        return len(wanted & set(zip(found["qid"], found["docno"], strict=True))) / len(wanted)

    assert len(wanted) == 1000
    assert overlap(lotte.exhaustive()) == pytest.approx(0.774, abs=0.003)
    assert overlap(lotte.plaid()) > 0.75
    assert overlap(lotte.warp()) > 0.74
