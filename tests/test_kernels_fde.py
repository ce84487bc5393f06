"""Fixed dimensional encodings and long inner products: against brute force, their NumPy twins, and among builds."""

from itertools import pairwise

import numpy as np
import pytest

from pyterrier_lir import kernels

COMPILED = [name for name in kernels.available() if name != "numpy"]
FUSED = [name for name in COMPILED if name in ("x86_64_v3", "icelake")]
LENGTHS = [0, 3, 1, 30, 0, 60, 250, 1, 0]
SHAPES = [(1, 1, None, None), (3, 4, None, 50), (5, 3, 8, None), (4, 6, 9, 100), (20, 5, 16, None)]  # R, k, p, final
ONES = np.ones(64, np.float32)
KINDS = [
    {"mean": True, "fill": True}, {"mean": True, "fill": False}, {"mean": False, "fill": False},
    {"mean": False, "fill": True},
]  # fmt: skip


def matrices(reps, bits, dim, width=None, final=None, seed=0) -> dict:
    rng = np.random.default_rng(seed)
    size = reps * (width or dim) << bits
    return {
        "planes": rng.standard_normal((reps, bits, dim)).astype(np.float32),
        "thresholds": (0.1 * rng.standard_normal((reps, bits))).astype(np.float32),
        "projections": None if width is None else rng.standard_normal((reps, width, dim)).astype(np.float32),
        "places": None if final is None else rng.integers(0, final, size).astype(np.int32),
        "signs": None if final is None else rng.choice(np.array([-1, 1], np.float32), size),
        "final_dim": final,
    }


def documents(given, dim, lengths=LENGTHS, seed=0):
    """Vectors none of which lies so close to a hyperplane that rounding decides on which side."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((4 * sum(lengths), dim)).astype(np.float32)
    products = np.einsum("td,rkd->trk", vectors.astype(np.float64), given["planes"]) - given["thresholds"]
    clear = vectors[(np.abs(products) > 1e-4).all(axis=(1, 2))][: sum(lengths)]
    assert len(clear) == sum(lengths)
    return clear, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def brute_force(vectors, planes, thresholds, projections, places, signs, final_dim, mean, fill, weights=None):
    """One document, cell by cell, vector by vector, in float64."""
    parts = []
    for rep, normals in enumerate(planes.astype(np.float64)):
        inside = [[bool(normal @ x > t) for normal, t in zip(normals, thresholds[rep], strict=True)] for x in vectors]
        for cell in range(1 << len(normals)):
            wanted = [bool(cell >> bit & 1) for bit in range(len(normals))]
            distances = [sum(a != b for a, b in zip(bits, wanted, strict=True)) for bits in inside]
            held = [i for i, distance in enumerate(distances) if distance == 0]
            value = np.zeros(vectors.shape[1])
            for i in held:
                value += vectors[i] * (1.0 if weights is None else float(weights[i])) / (len(held) if mean else 1)
            if not held and fill and distances:
                value = vectors[distances.index(min(distances))].astype(np.float64)
            parts.append(value if projections is None else projections[rep].astype(np.float64) @ value)
    values = np.concatenate(parts)
    if places is None:
        return values
    out = np.zeros(final_dim)
    for place, sign, value in zip(places, signs, values, strict=True):
        out[place] += sign * value
    return out


# -- encodings


def test_by_hand(isa: str) -> None:
    planes = np.array([[[1, 0], [0, 1]]], dtype=np.float32)  # the cell of (+, +) is 3, of (+, -) 1
    vectors = np.array([[1, 2], [3, 4], [2, -1]], dtype=np.float32)
    arguments = (vectors, np.array([0, 3]), planes, np.zeros((1, 2), np.float32))
    sums = kernels.encode_fde(*arguments, mean=False, fill=False)
    assert sums.tolist() == [[0, 0, 2, -1, 0, 0, 4, 6]]
    weighted = kernels.encode_fde(*arguments, mean=False, fill=False, weights=np.array([1, 2, 0.5], np.float32))
    assert weighted.tolist() == [[0, 0, 1, -0.5, 0, 0, 7, 10]]
    # cell 0 differs by one bit from (2, -1), and by two from the others; cell 2 by one bit from (1, 2)
    means = kernels.encode_fde(*arguments, mean=True, fill=True)
    assert means.tolist() == [[2, -1, 2, -1, 1, 2, 2, 3]]
    shifted = kernels.encode_fde(*arguments[:3], np.array([[2, 0]], np.float32), mean=False, fill=False)
    assert shifted.tolist() == [[2, -1, 0, 0, 1, 2, 3, 4]]  # a bit is set where the product is larger


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6])
def test_fill_against_brute_force(isa: str, bits: int) -> None:
    given = matrices(3, bits, 8)
    vectors, _ = documents(given, 8, [40])
    for count in (1, 2, 5, 40):
        found = kernels.encode_fde(vectors[:count], np.array([0, count]), **given, mean=True, fill=True)[0]
        np.testing.assert_allclose(found, brute_force(vectors[:count], **given, mean=True, fill=True), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_against_brute_force(isa: str, shape, kind) -> None:
    reps, bits, width, final = shape
    given = matrices(min(reps, 4), bits, 7, width, final)
    vectors, offsets = documents(given, 7, [0, 6, 1, 20])
    found = kernels.encode_fde(vectors, offsets, **given, **kind)
    expected = [brute_force(vectors[a:b], **given, **kind) for a, b in pairwise(offsets)]
    np.testing.assert_allclose(found, expected, atol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [1, 16, 128, 130])
def test_twin(isa: str, dim: int, shape, kind) -> None:
    reps, bits, width, final = shape
    given = matrices(reps, bits, dim, width, final)
    vectors, offsets = documents(given, dim)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given["thresholds"][:] = 0  # which lengths do not matter for
    products = np.einsum("td,rkd->trk", vectors, given["planes"])
    vectors[(np.abs(products) < 1e-5).any(axis=(1, 2))] = vectors[0]  # as in documents()
    weights = None if kind["mean"] or kind["fill"] else np.linspace(0.1, 2, len(vectors), dtype=np.float32)
    found = kernels.encode_fde(vectors, offsets, **given, **kind, weights=weights)
    with kernels.forced("numpy"):
        expected = kernels.encode_fde(vectors, offsets, **given, **kind, weights=weights)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)
    assert not found[[0, 4, 8]].any()  # documents without vectors


@pytest.mark.skipif(len(FUSED) < 2, reason="only one build with a fused multiply-add runs here")
@pytest.mark.parametrize("shape", SHAPES)
def test_builds_agree_bit_for_bit(shape) -> None:
    reps, bits, width, final = shape
    given = matrices(reps, bits, 130, width, final)
    vectors, offsets = documents(given, 130)
    results = []
    for name in FUSED:
        with kernels.forced(name):
            results.append(kernels.encode_fde(vectors, offsets, **given, mean=True, fill=True).tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_neither_other_documents_nor_threads_matter(isa: str, shape) -> None:
    reps, bits, width, final = shape
    given = matrices(reps, bits, 24, width, final)
    vectors, offsets = documents(given, 24, LENGTHS * 3)
    whole = kernels.encode_fde(vectors, offsets, **given, mean=True, fill=True)
    threads = kernels.encode_fde(vectors, offsets, **given, mean=True, fill=True, num_threads=3)
    np.testing.assert_array_equal(threads, whole)
    tolerance = 1e-5 if isa == "numpy" else 0  # a NumPy product rounds by its shape
    for k, (start, end) in enumerate(pairwise(offsets)):
        one = kernels.encode_fde(vectors[start:end], np.array([0, end - start]), **given, mean=True, fill=True)
        np.testing.assert_allclose(one[0], whole[k], atol=tolerance, rtol=0)


def test_many_cells(isa: str) -> None:
    given = matrices(1, 12, 16)
    vectors, offsets = documents(given, 16, [3, 9])
    filled = kernels.encode_fde(vectors, offsets, **given, mean=True, fill=True).reshape(2, -1, 16)
    assert {tuple(row) for row in filled[0].tolist()} <= {tuple(row) for row in vectors[:3].tolist()}
    sums = kernels.encode_fde(vectors, offsets, **given, mean=False, fill=False).reshape(2, -1, 16)
    np.testing.assert_allclose(sums[1].sum(axis=0), vectors[3:].sum(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vectors": np.zeros((3, 4), np.float64)}, "vectors is float64"),
        ({"vectors": np.zeros((3, 5), np.float32)}, r"planes has shape \(2, 3, 4\).*the 5 dimensions of vectors"),
        ({"planes": np.zeros((2, 25, 4), np.float32)}, "k from 1 to 24"),
        ({"thresholds": np.zeros((2, 2), np.float32)}, r"thresholds has shape \(2, 2\), but must have \(2, 3\)"),
        ({"projections": np.zeros((2, 3, 5), np.float32)}, r"projections has shape \(2, 3, 5\)"),
        ({"offsets": np.array([0, 4])}, "offsets gives document 0 the tokens 0 to 4"),
        ({"weights": np.ones(2, np.float32), "mean": False}, "weights has 2 entries, but must have 3"),
        ({"weights": np.ones(3, np.float32)}, "only sums are weighted"),
        ({"final_dim": 9}, "places, signs and final_dim belong together"),
        (
            {"places": np.full(64, 9, np.int32), "signs": np.ones(64, np.float32), "final_dim": 9},
            "places lie in 9 to 9",
        ),
        ({"places": np.zeros(63, np.int32), "signs": np.ones(64, np.float32), "final_dim": 9}, "places has 63 entries"),
        ({"num_threads": 0}, "num_threads is 0"),
    ],
)
def test_encode_fde_refuses_wrong_arguments(changed, message) -> None:
    right = {
        "vectors": np.zeros((3, 4), np.float32), "offsets": np.array([0, 3]), "planes": np.zeros((2, 3, 4), np.float32),
        "thresholds": np.zeros((2, 3), np.float32), "mean": True, "fill": False,
    }  # fmt: skip
    kernels.encode_fde(**right)
    with pytest.raises(ValueError, match=message):
        kernels.encode_fde(**{**right, **changed})


# -- inner products


@pytest.mark.parametrize("dim", [1, 15, 16, 17, 1000, 5120])
def test_inner_products(isa: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    vectors = rng.standard_normal((5, dim)).astype(np.float32)
    rows = rng.standard_normal((600, dim)).astype(np.float16)
    expected = vectors.astype(np.float64) @ rows.T
    found = kernels.inner_products(vectors, [rows])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.sqrt(dim))
    numbers = np.array([599, 0, 7, 7])
    np.testing.assert_array_equal(kernels.inner_products(vectors, [rows], numbers), found[:, numbers])
    np.testing.assert_array_equal(kernels.inner_products(vectors, [rows], num_threads=3), found)
    # Neither what else is asked nor where the rows lie plays a part.
    for i in range(5):
        np.testing.assert_array_equal(kernels.inner_products(vectors[i : i + 1], [rows]), found[i : i + 1])
    parts = [rows[:1], rows[1:1], rows[1:20], rows[20:]]
    np.testing.assert_array_equal(kernels.inner_products(vectors, parts), found)
    np.testing.assert_array_equal(kernels.inner_products(vectors, parts, numbers), found[:, numbers])
    assert kernels.inner_products(vectors, [rows[:0]]).shape == (5, 0)
    assert kernels.inner_products(vectors[:0], [rows]).shape == (0, 600)
    assert kernels.inner_products(vectors, []).shape == (5, 0)


@pytest.mark.skipif(len(FUSED) < 2, reason="only one build with a fused multiply-add runs here")
def test_inner_products_of_builds_agree_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    vectors, rows = (
        rng.standard_normal((3, 1000)).astype(np.float32),
        rng.standard_normal((50, 1000)).astype(np.float16),
    )
    results = []
    for name in FUSED:
        with kernels.forced(name):
            results.append(kernels.inner_products(vectors, [rows]).tobytes())
    assert len(set(results)) == 1


def test_inner_products_refuse_wrong_arguments() -> None:
    vectors, rows = np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float16)
    with pytest.raises(ValueError, match=r"vectors have 3 values and parts\[1\] has 4"):
        kernels.inner_products(vectors[:, :3].copy(), [rows[:, :3].copy(), rows])
    with pytest.raises(ValueError, match=r"parts\[0\] is float32"):
        kernels.inner_products(vectors, [rows.astype(np.float32)])
    with pytest.raises(ValueError, match="parts is a ndarray, but must be a list of matrices"):
        kernels.inner_products(vectors, rows)
    with pytest.raises(ValueError, match="numbers lie in 0 to 6, but there are 6 rows"):
        kernels.inner_products(vectors, [rows, rows], np.array([0, 6]))
