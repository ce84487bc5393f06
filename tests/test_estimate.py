"""Estimates: bytes that can be worked out, indexes that are there, and what the growth of ours was measured to be."""

from pathlib import Path

import numpy as np
import pytest

import pyterrier_lir as lir
from pyterrier_lir.experiment import estimate
from pyterrier_lir.index.files import folder_size

GROWTH = Path(__file__).parents[1] / "benchmarks" / "results" / "growth.md"


def test_bytes_can_be_worked_out():
    found = estimate(1000, 100, docno_bytes=8)
    # 16 sqrt(100,000) = 5,060: 4,096 centroids of 5 * 128 + 12 bytes, 64 groups of 4 * 128 + 8
    codec = 4096 * 652 + 64 * 520
    # 64 of the residual, 2 of the centroid, 1 of the norm, 4 of the token id, .95 times 2 + 4 of lists
    tokens = 100_000 * (64 + 2 + 1 + 4 + 0.95 * 6)
    assert found["centroids"] == 4096
    assert found["index_gb"] * 1e9 == pytest.approx(codec + tokens + 1000 * (24 + 8))
    assert found["warp_copy_gb"] * 1e9 == pytest.approx(100_000 * 69 + 8 * 4096)
    assert estimate(1000, 100, cores=4, encode_tokens_per_second=1000)["encode_hours"] == pytest.approx(100 / 3600)


@pytest.mark.parametrize(("nbits", "keep_embs", "tok_ids"), [(4, False, True), (2, False, False), (8, True, True)])
def test_it_is_the_size_of_an_index(tmp_path, nbits, keep_embs, tok_ids):
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((2000, 32))
    lengths = rng.integers(10, 60, 400)
    corpus = []
    for i, length in enumerate(lengths):
        rows = topics[rng.integers(0, 2000, length)] + 0.3 * rng.standard_normal((length, 32))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        ids = {"doc_tok_ids": np.arange(length)} if tok_ids else {}
        corpus.append({"docno": f"document-{i}", "doc_embs": rows.astype(np.float32), **ids})
    index = lir.LirIndex(tmp_path / "i.lir").indexer(nbits=nbits, keep_embs=keep_embs, verbose=False).index(corpus)
    size = folder_size(index._directory) / 1e9
    options = {"dim": 32, "nbits": nbits, "keep_embs": keep_embs, "tok_ids": tok_ids, "docno_bytes": 12}
    assert estimate(400, lengths.mean(), **options)["index_gb"] == pytest.approx(size, rel=0.2)
    assert estimate(400, like=index)["index_gb"] == pytest.approx(size, rel=0.03)


def test_it_is_within_a_fifth_of_what_was_measured():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in GROWTH.read_text().splitlines()]
    rows = [row for row in rows if len(row) == 13 and row[3] in ("WARP", "PLAID")]
    assert len(rows) >= 6
    for tokens, documents, centroids, method, ms, *_, megabytes in rows:
        count, size = (int(text.replace(",", "")) for text in (documents, tokens))
        found = estimate(count, size / count, tok_ids=False, docno_bytes=5)
        assert found["centroids"] == int(centroids.replace(",", ""))
        assert found[f"{method.lower()}_ms"] == pytest.approx(float(ms), rel=0.2)
        whole = found["index_gb"] + (found["warp_copy_gb"] if method == "WARP" else 0)
        assert 1000 * whole == pytest.approx(float(megabytes), rel=0.2)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"dim": 64}, "index_gb"), ({"nbits": 2}, "index_gb"), ({"keep_embs": True}, "index_gb"),
        ({"tok_ids": False}, "index_gb"), ({"docno_bytes": 40}, "index_gb"), ({"query_rows": 64}, "plaid_ms"),
        ({"cores": 8}, "build_hours"), ({"shards": 4}, "warp_ms"), ({"tokens_per_document": 30}, "build_cpu_seconds"),
        ({"documents": 10**8}, "build_memory_gb"), ({"dim": 64}, "build_cpu_seconds"),
    ],
)  # fmt: skip
def test_every_parameter_changes_something(change, name):
    given = {"documents": 10**7, "tokens_per_document": 60}
    assert estimate(**given)[name] != estimate(**{**given, **change})[name]


def test_it_prints_and_refuses():
    assert "8,993,672,870" in str(estimate(138_364_198, 65))
    with pytest.raises(ValueError, match="tokens_per_document is None"):
        estimate(10)
    with pytest.raises(ValueError, match="documents is 0"):
        estimate(0, 10)
    with pytest.raises(ValueError, match="nbits is 3"):
        estimate(10, 10, nbits=3)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("encode_tokens_per_second", 0, "more than 0"), ("encode_tokens_per_second", -1, "more than 0"),
        ("encode_tokens_per_second", "3300", "more than 0"), ("docno_bytes", -5, "at least 0"),
        ("docno_bytes", float("nan"), "at least 0"), ("keep_embs", "no", "True or False"),
        ("tok_ids", None, "True or False"),
    ],
)  # fmt: skip
def test_what_cannot_be_estimated(name, value, expected):
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; expected {expected}"):
        estimate(1000, 50, **{name: value})
