"""The kernels: against a loop in float64, against their NumPy twins, and against what a score must not depend on."""

from itertools import pairwise

import numpy as np
import pytest

from pyterrier_lir import kernels

COMPILED = [name for name in kernels.available() if name != "numpy"]
FUSED = [name for name in COMPILED if name in ("x86_64_v3", "icelake")]
TOLERANCE = {np.float16: 5e-3, np.float32: 1e-5}
LENGTHS = [0, 3, 1, 30, 0, 0, 24, 25, 180, 2, 7, 1, 0]


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    values = rng.standard_normal((rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def collection(n: int = 32, dim: int = 128, lengths: list[int] = LENGTHS, dtype: type = np.float32, seed: int = 0):
    """A query, tokens and offsets."""
    rng = np.random.default_rng(seed)
    return unit_rows(rng, n, dim), unit_rows(rng, sum(lengths), dim).astype(dtype), offsets_of(lengths)


def oracle(query, tokens, offsets, weights=None) -> np.ndarray:
    """MaxSim, one product at a time, in float64."""
    scores = []
    for start, end in pairwise(offsets):
        total = 0.0 if end > start else -np.inf
        for i, row in enumerate(query.astype(np.float64)):
            best = -np.inf
            for token in tokens[start:end].astype(np.float64):
                best = max(best, float((row * token).sum()))
            if end > start:
                total += best * (1.0 if weights is None else float(weights[i]))
        scores.append(total)
    return np.array(scores)


# -- values


def test_hand_computed(isa: str) -> None:
    query = np.array([[1, 0], [0, 2]], dtype=np.float32)
    tokens = np.array([[1, 1], [3, -4], [-1, -1], [0.5, 0.25]], dtype=np.float32)
    offsets = np.array([0, 2, 2, 3, 4], dtype=np.int64)
    # document 0: max(1, 3) + max(2, -8); 1: no tokens; 2: -1 - 2; 3: 0.5 + 0.5
    assert kernels.maxsim(query, tokens, offsets).tolist() == [5.0, -np.inf, -3.0, 1.0]
    assert kernels.maxsim(query, tokens.astype(np.float16), offsets).tolist() == [5.0, -np.inf, -3.0, 1.0]
    weights = np.array([2, 0.5], dtype=np.float32)
    assert kernels.maxsim(query, tokens, offsets, weights=weights).tolist() == [7.0, -np.inf, -3.0, 1.25]
    docids = np.array([3, 0, 3], dtype=np.int64)
    assert kernels.maxsim(query, tokens, offsets, docids).tolist() == [1.0, 5.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", [1, 7, 96, 128, 384])
@pytest.mark.parametrize("n", [1, 17, 33, 40])
def test_equals_float64(isa: str, n: int, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(1)
    query = unit_rows(rng, n, dim)
    exact_tokens = unit_rows(rng, sum(LENGTHS), dim)
    offsets = offsets_of(LENGTHS)
    expected = oracle(query, exact_tokens, offsets)
    scores = kernels.maxsim(query, exact_tokens.astype(dtype), offsets)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(np.isneginf(scores), np.isneginf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(scores[finite] / n, expected[finite] / n, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 48, 49, 64, 100])
def test_equals_twin(isa: str, n: int, dtype: type) -> None:
    query, tokens, offsets = collection(n=n, dim=130, dtype=dtype)
    weights = np.random.default_rng(2).uniform(0, 2, n).astype(np.float32)
    with kernels.forced("numpy"):
        expected = kernels.maxsim(query, tokens, offsets, weights=weights)
    np.testing.assert_allclose(kernels.maxsim(query, tokens, offsets, weights=weights), expected, rtol=1e-5, atol=1e-5)


def test_every_half_precision_number(isa: str) -> None:
    bits = np.arange(2**16).astype(np.uint16)
    numbers = bits.view(np.float16)
    numbers = numbers[np.isfinite(numbers)].reshape(-1, 1)
    offsets = np.arange(len(numbers) + 1, dtype=np.int64)
    one = np.ones((1, 1), dtype=np.float32)
    np.testing.assert_array_equal(kernels.maxsim(one, numbers, offsets), numbers[:, 0].astype(np.float32))
    wide = np.ascontiguousarray(np.repeat(numbers, 16, axis=1))  # whole vectors, not the rest of a row
    first = np.eye(1, 16, 5, dtype=np.float32)
    np.testing.assert_array_equal(kernels.maxsim(first, wide, offsets), numbers[:, 0].astype(np.float32))


def test_negative_similarities_stay_negative(isa: str) -> None:
    rng = np.random.default_rng(3)
    query = np.abs(unit_rows(rng, 20, 128)) + 0.01
    lengths = [1, 5, 23, 24, 25, 48, 0]
    tokens = -np.abs(unit_rows(rng, sum(lengths), 128)) - 0.01
    scores = kernels.maxsim(query, tokens, offsets_of(lengths))
    assert (scores < -0.1).all()
    np.testing.assert_allclose(scores[:-1], oracle(query, tokens, offsets_of(lengths))[:-1], rtol=1e-5)


def test_query_with_itself(isa: str) -> None:
    query, _, _ = collection(n=23)
    score = kernels.maxsim(query, query, np.array([0, 23], dtype=np.int64))
    np.testing.assert_allclose(score, [23.0], rtol=1e-6)


def test_query_without_rows(isa: str) -> None:
    _, tokens, offsets = collection()
    scores = kernels.maxsim(np.zeros((0, 128), dtype=np.float32), tokens, offsets)
    assert scores.tolist() == [0.0 if length else -np.inf for length in LENGTHS]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [0, 5], [5, 0], [0, 24, 0, 0, 24, 0]])
def test_empty_documents(isa: str, lengths: list[int]) -> None:
    query, tokens, offsets = collection(n=5, lengths=lengths)
    scores = kernels.maxsim(query, tokens, offsets)
    assert scores.shape == (len(lengths),)
    assert [bool(np.isneginf(score)) for score in scores] == [length == 0 for length in lengths]


def test_no_documents_asked_for(isa: str) -> None:
    query, tokens, offsets = collection()
    assert kernels.maxsim(query, tokens, offsets, np.zeros(0, dtype=np.int64)).shape == (0,)


# -- what a score does not depend on


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("n", [7, 32, 40])
def test_independent_of_the_other_documents(isa: str, n: int, dtype: type) -> None:
    query, tokens, offsets = collection(n=n, dtype=dtype)
    together = kernels.maxsim(query, tokens, offsets)
    for k in range(len(LENGTHS)):
        alone = kernels.maxsim(query, tokens, offsets, np.array([k], dtype=np.int64))
        assert alone.tobytes() == together[k : k + 1].tobytes()
    order = np.random.default_rng(4).permutation(np.repeat(np.arange(len(LENGTHS)), 2))
    assert kernels.maxsim(query, tokens, offsets, order).tobytes() == together[order].tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_independent_of_threads(isa: str, dtype: type) -> None:
    lengths = np.random.default_rng(5).integers(0, 60, 500).tolist()
    query, tokens, offsets = collection(n=20, dim=96, lengths=lengths, dtype=dtype)
    one = kernels.maxsim(query, tokens, offsets, num_threads=1)
    for num_threads in (2, 3, 8, 1000):
        assert kernels.maxsim(query, tokens, offsets, num_threads=num_threads).tobytes() == one.tobytes()


def test_independent_of_the_order_of_tokens_and_rows(isa: str) -> None:
    query, tokens, _ = collection(n=33, lengths=[100])
    offsets = np.array([0, 100], dtype=np.int64)
    rng = np.random.default_rng(6)
    score = kernels.maxsim(query, tokens, offsets)
    shuffled = tokens[rng.permutation(100)]
    np.testing.assert_allclose(kernels.maxsim(query, shuffled, offsets), score, rtol=1e-6)
    np.testing.assert_allclose(kernels.maxsim(query[rng.permutation(33)], tokens, offsets), score, rtol=1e-6)


def test_more_tokens_never_lower_the_score(isa: str) -> None:
    query, tokens, _ = collection(n=9, lengths=[60])
    ends = np.arange(1, 61, dtype=np.int64)
    scores = np.array([kernels.maxsim(query, tokens, np.array([0, end]))[0] for end in ends])
    assert (np.diff(scores) >= 0).all()
    assert scores[-1] > scores[0]
    twice = np.concatenate([tokens, tokens])
    assert kernels.maxsim(query, twice, np.array([0, 120]))[0] == scores[-1]


@pytest.mark.skipif(len(FUSED) < 2, reason="needs two builds with a fused multiply-add")
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("n", [1, 9, 17, 32, 50])
def test_fused_builds_agree(n: int, dtype: type) -> None:
    query, tokens, offsets = collection(n=n, dim=200, dtype=dtype)
    results = []
    for name in FUSED:
        with kernels.forced(name):
            results.append(kernels.maxsim(query, tokens, offsets).tobytes())
    assert len(set(results)) == 1


# -- weights


def test_weights(isa: str) -> None:
    query, tokens, offsets = collection(n=20)
    weights = np.random.default_rng(7).uniform(0, 3, 20).astype(np.float32)
    weights[[0, 5, 19]] = 0
    kept = weights > 0
    scores = kernels.maxsim(query, tokens, offsets, weights=weights)
    full = np.isfinite(scores)
    assert full.tolist() == [length > 0 for length in LENGTHS]
    without = kernels.maxsim(query[kept], tokens, offsets, weights=weights[kept])
    np.testing.assert_allclose(scores[full], without[full], rtol=1e-6)
    np.testing.assert_allclose(scores[full], oracle(query, tokens, offsets, weights)[full], rtol=1e-5)
    twice = kernels.maxsim(query, tokens, offsets, weights=2 * weights)
    assert twice.tobytes() == (2 * scores).tobytes()
    ones = kernels.maxsim(query, tokens, offsets, weights=np.ones(20, dtype=np.float32))
    assert ones.tobytes() == kernels.maxsim(query, tokens, offsets).tobytes()
    nothing = kernels.maxsim(query, tokens, offsets, weights=np.zeros(20, dtype=np.float32))
    assert nothing.tolist() == [0.0 if length else -np.inf for length in LENGTHS]


# -- arguments


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_memory_map(isa: str, tmp_path, dtype: type, mode: str) -> None:
    query, tokens, offsets = collection(dtype=dtype)
    np.save(tmp_path / "tokens.npy", tokens)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode=mode)
    assert kernels.maxsim(query, mapped, offsets).tobytes() == kernels.maxsim(query, tokens, offsets).tobytes()


@pytest.mark.parametrize("docid", [-1, len(LENGTHS), 2**40, -(2**63), 2**63 - 1])
def test_refuses_unknown_documents(isa: str, docid: int) -> None:
    query, tokens, offsets = collection()
    with pytest.raises(ValueError, match=f"docids contains {docid}, but there are 13 documents"):
        kernels.maxsim(query, tokens, offsets, np.array([0, docid], dtype=np.int64))


@pytest.mark.parametrize("docids", [None, [1], [0, 1, 2]])
@pytest.mark.parametrize("offsets", [[0, 2, 1, 4], [0, 2, 6, 7], [0, -1, 2, 3], [0, 4, 2**62, 5], [0, 5, 4, 3]])
def test_refuses_wrong_offsets(isa: str, offsets: list[int], docids: list[int] | None) -> None:
    query, tokens, _ = collection(n=3, dim=8, lengths=[4])
    ids = None if docids is None else np.array(docids, dtype=np.int64)
    with pytest.raises(ValueError, match="offsets gives document"):
        kernels.maxsim(query, tokens, np.array(offsets, dtype=np.int64), ids)


def test_refuses_wrong_arguments(isa: str) -> None:
    query, tokens, offsets = collection(n=4, dim=8)
    with pytest.raises(ValueError, match="query is float64"):
        kernels.maxsim(query.astype(np.float64), tokens, offsets)
    with pytest.raises(ValueError, match="query is list"):
        kernels.maxsim(query.tolist(), tokens, offsets)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="query has shape"):
        kernels.maxsim(query[0], tokens, offsets)
    with pytest.raises(ValueError, match="tokens is float64, but must be a NumPy array of float16 or float32"):
        kernels.maxsim(query, tokens.astype(np.float64), offsets)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tokens is not C-contiguous"):
        kernels.maxsim(query, np.asfortranarray(tokens), offsets)
    with pytest.raises(ValueError, match="query has 7 dimensions and tokens have 8"):
        kernels.maxsim(np.ascontiguousarray(query[:, :7]), tokens, offsets)
    with pytest.raises(ValueError, match="at least 1"):
        kernels.maxsim(query[:, :0], tokens[:, :0], offsets)
    with pytest.raises(ValueError, match="offsets is int32"):
        kernels.maxsim(query, tokens, offsets.astype(np.int32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="offsets is empty"):
        kernels.maxsim(query, tokens, offsets[:0])
    with pytest.raises(ValueError, match="docids is int32"):
        kernels.maxsim(query, tokens, offsets, np.array([1], dtype=np.int32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights has 3 values for 4 query rows"):
        kernels.maxsim(query, tokens, offsets, weights=np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match="weights is float64"):
        kernels.maxsim(query, tokens, offsets, weights=np.ones(4))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_threads is 0"):
        kernels.maxsim(query, tokens, offsets, num_threads=0)


# -- top_k


def test_top_k_by_hand() -> None:
    scores = np.array([1, 3, -np.inf, 3, 2, -3e38, 3], dtype=np.float32)
    assert kernels.top_k(scores, 2).tolist() == [1, 3]
    assert kernels.top_k(scores, 4).tolist() == [1, 3, 6, 4]
    assert kernels.top_k(scores, 100).tolist() == [1, 3, 6, 4, 0, 5]
    assert kernels.top_k(scores, 0).tolist() == []
    assert kernels.top_k(np.full(3, -np.inf), 2).tolist() == []
    assert kernels.top_k(scores[:0], 2).tolist() == []
    assert kernels.top_k(scores, 2).dtype == np.int64


def test_top_k_with_ties() -> None:
    rng = np.random.default_rng(8)
    for _ in range(50):
        scores = rng.integers(-3, 3, 200).astype(np.float32)
        scores[rng.random(200) < 0.1] = -np.inf
        expected = sorted(np.flatnonzero(np.isfinite(scores)), key=lambda i: (-scores[i], i))
        for k in (1, 10, 50, 199, 200):
            assert kernels.top_k(scores, k).tolist() == expected[:k]


def test_top_k_refuses_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="k is -1"):
        kernels.top_k(np.zeros(3), -1)
    with pytest.raises(ValueError, match="scores is int64"):
        kernels.top_k(np.arange(3), 1)
    with pytest.raises(ValueError, match="scores has shape"):
        kernels.top_k(np.zeros((3, 1)), 1)
