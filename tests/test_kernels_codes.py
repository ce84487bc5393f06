"""Kernels over the codes of documents: examples by hand, and their NumPy twins, bit for bit."""

import subprocess
import sys

import numpy as np
import pytest
from kernel_arrays import DIMS, GUARDED, INF, LENGTHS, NBITS, ROWS, coded, f32, i8, offsets_of, twin

from pyterrier_lir import kernels

# -- centroid_maxsim


def test_centroid_maxsim_by_hand(isa: str) -> None:
    table = np.full((3, 16), 200, dtype=np.uint8)
    table[:, :2] = [[1, 9], [255, 0], [7, 255]]
    offsets = np.array([0, 2, 2, 3, 6], dtype=np.int64)
    codes = np.array([0, 1, 0, 0, 1, 2], dtype=np.uint16)
    assert kernels.centroid_maxsim(table, 2, codes, offsets).tolist() == [255 + 9, -1, 1 + 9, 255 + 255]
    assert kernels.centroid_maxsim(table, 1, codes, offsets).tolist() == [255, -1, 1, 255]
    docids = np.array([3, 1, 3], dtype=np.int64)
    assert kernels.centroid_maxsim(table, 2, codes, offsets, docids).tolist() == [510, -1, 510]
    assert kernels.centroid_maxsim(table, 2, codes, offsets, docids[:0]).shape == (0,)


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
@pytest.mark.parametrize("n", [*ROWS, 100, 128])
def test_centroid_maxsim_equals_twin(isa: str, n: int, code_type: type) -> None:
    rng = np.random.default_rng(11)
    table = rng.integers(0, 256, (70, -(-n // 16) * 16)).astype(np.uint8)
    lengths = rng.integers(0, 9, 400).tolist()
    codes = rng.integers(0, 70, sum(lengths)).astype(code_type)
    offsets = offsets_of(lengths)
    expected = twin(kernels.centroid_maxsim, table, n, codes, offsets)
    for num_threads in (1, 3, 1000):
        scores = kernels.centroid_maxsim(table, n, codes, offsets, num_threads=num_threads)
        np.testing.assert_array_equal(scores, expected)
        assert scores.dtype == np.int32
    docids = rng.integers(0, 400, 50)
    np.testing.assert_array_equal(kernels.centroid_maxsim(table, n, codes, offsets, docids), expected[docids])


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
def test_centroid_maxsim_refuses_what_does_not_exist(isa: str, code_type: type) -> None:
    table = np.zeros((70, 16), dtype=np.uint8)
    offsets = np.array([0, 2, 4], dtype=np.int64)
    for code in (70, 65535, *((-1, -(2**31), 2**31 - 1) if code_type is np.int32 else ())):
        codes = np.array([0, 1, 2, code], dtype=code_type)
        with pytest.raises(ValueError, match=rf"codes\[3\] is {code}, but there are 70 centroids"):
            kernels.centroid_maxsim(table, 3, codes, offsets, num_threads=2)
        # Only what is asked for is read.
        assert kernels.centroid_maxsim(table, 3, codes, offsets, np.array([0])).tolist() == [0]
    with pytest.raises(ValueError, match="docids contains 2"):
        kernels.centroid_maxsim(table, 3, codes, offsets, np.array([2]))
    with pytest.raises(ValueError, match="offsets gives document 1"):
        kernels.centroid_maxsim(table, 3, codes[:3], offsets)
    with pytest.raises(ValueError, match="table has 16 columns for 17 query rows"):
        kernels.centroid_maxsim(table, 17, codes, offsets)
    with pytest.raises(ValueError, match="doc_codes is int64"):
        kernels.centroid_maxsim(table, 3, codes.astype(np.int64), offsets)


# -- maxsim_codes


def test_maxsim_codes_by_hand(isa: str) -> None:
    query = i8([[1, 0, 2], [-1, 3, 0]])
    scores = np.full((2, 16), 1e9, dtype=np.float32)
    scores[:, :2] = [[10, 20], [-1, -2]]
    packed = kernels.pack(np.array([[1, 2, 3], [0, 0, 15], [1, 1, 1]], dtype=np.uint8), 4)
    codes = np.array([0, 1, 1], dtype=np.uint16)
    offsets = np.array([0, 2, 2, 3], dtype=np.int64)
    args = (scores, query, f32(0.5, 2), f32(100, 1000), codes, packed)
    # products: token 0: 7 5, token 1: 30 0, token 2: 3 2
    # token 0: 10 + 100 + 3.5, 20 + 1000 + 10; token 1: -1 + 100 + 15, -2 + 1000; token 2: -1 + 100 + 1.5, 998 + 4
    got = kernels.maxsim_codes(*args, None, None, offsets, nbits=4)
    assert got.tolist() == [114 + 1030, -INF, 100.5 + 1002]
    table = np.ones(256, dtype=np.float32)
    table[[7, 255]] = 0.5, 2
    got = kernels.maxsim_codes(*args, np.array([7, 255, 7], dtype=np.uint8), table, offsets, nbits=4)
    assert got.tolist() == [228 + 1996, -INF, 50.25 + 501]
    got = kernels.maxsim_codes(*args, None, None, offsets, np.array([2, 1, 2, 0]), nbits=4)
    assert got.tolist() == [1102.5, -INF, 1102.5, 1144]


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n", ROWS)
def test_maxsim_codes_equal_twin(isa: str, n: int, dim: int, nbits: int) -> None:
    arguments = coded(n, dim, nbits)
    expected = twin(kernels.maxsim_codes, **arguments)
    got = kernels.maxsim_codes(**arguments)
    assert got.tobytes() == expected.tobytes()
    assert np.isneginf(got).tolist() == [length == 0 for length in LENGTHS]


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
@pytest.mark.parametrize("normalise", [True, False])
def test_maxsim_codes_is_maxsim(isa: str, code_type: type, normalise: bool) -> None:
    """Of the vectors that the codes stand for, with a query that is exact in int8."""
    rng = np.random.default_rng(12)
    dim, n, tokens = 20, 7, sum(LENGTHS)
    centroids = rng.standard_normal((30, dim)).astype(np.float32)
    x = rng.standard_normal((tokens, dim)).astype(np.float32)
    step, lo = np.full(dim, 0.25, dtype=np.float32), np.full(dim, -2, dtype=np.float32)
    codes, _ = kernels.nearest(x, centroids)
    packed, norms = kernels.encode_residuals(x, centroids, codes, step, lo, 4)
    decoded = centroids[codes] + lo + kernels.unpack(packed, dim, 4) * step
    query = rng.integers(-100, 100, (n, dim)).astype(np.int8)
    real = query.astype(np.float32) / 64
    table = np.linspace(0.1, 1, 256).astype(np.float32)
    nearest = np.abs(table - 1 / norms[:, None]).argmin(axis=1).astype(np.uint8)
    factors = table[nearest, None] if normalise else 1
    scores = np.zeros((30, 16), dtype=np.float32)
    scores[:, :n] = centroids @ real.T
    got = kernels.maxsim_codes(
        scores,
        query,
        np.full(n, 0.25 / 64, dtype=np.float32),
        real @ lo,
        codes.astype(code_type),
        packed,
        nearest if normalise else None,
        table if normalise else None,
        offsets_of(LENGTHS),
        nbits=4,
    )
    expected = kernels.maxsim(real, (decoded * factors).astype(np.float32), offsets_of(LENGTHS))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    if normalise:
        np.testing.assert_allclose((norms[:, None] * factors).ravel(), 1, atol=0.02)


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
def test_maxsim_codes_are_independent(isa: str, code_type: type, nbits: int) -> None:
    """Of other documents, of the order of documents, and of threads."""
    lengths = np.random.default_rng(13).integers(0, 40, 200).tolist()
    arguments = coded(n=20, dim=50, nbits=nbits, lengths=lengths, code_type=code_type)
    together = kernels.maxsim_codes(**arguments)
    for num_threads in (2, 3, 1000):
        assert kernels.maxsim_codes(**arguments, num_threads=num_threads).tobytes() == together.tobytes()
    order = np.random.default_rng(14).integers(0, 200, 300)
    assert kernels.maxsim_codes(**arguments, docids=order).tobytes() == together[order].tobytes()
    for k in range(0, 200, 17):
        alone = kernels.maxsim_codes(**arguments, docids=np.array([k]))
        assert alone.tobytes() == together[k : k + 1].tobytes()


def test_maxsim_codes_without_documents_or_rows(isa: str) -> None:
    arguments = coded(n=3, dim=9)
    assert kernels.maxsim_codes(**arguments, docids=np.zeros(0, dtype=np.int64)).shape == (0,)
    assert kernels.maxsim_codes(**coded(lengths=[])).shape == (0,)
    for lengths in ([0], [0, 0], [0, 12, 0, 24, 0]):
        got = kernels.maxsim_codes(**coded(lengths=lengths))
        assert np.isneginf(got).tolist() == [length == 0 for length in lengths]
    nothing = {
        "centroid_scores": arguments["centroid_scores"][:, :0].copy(),
        "query": arguments["query"][:0],
        "query_scale": f32(),
        "query_bias": f32(),
    }
    got = kernels.maxsim_codes(**{**arguments, **nothing})
    assert got.tolist() == [0.0 if length else -INF for length in LENGTHS]


def test_maxsim_codes_of_a_memory_map(isa: str, tmp_path) -> None:
    arguments = coded()
    np.save(tmp_path / "packed.npy", arguments["packed"])
    mapped = np.load(tmp_path / "packed.npy", mmap_mode="r")
    again = kernels.maxsim_codes(**{**arguments, "packed": mapped})
    assert again.tobytes() == kernels.maxsim_codes(**arguments).tobytes()


@pytest.mark.parametrize("code_type", [np.uint16, np.int32])
def test_maxsim_codes_refuse_codes(isa: str, code_type: type) -> None:
    arguments = coded(n=3, dim=8, lengths=[3, 0, 4], code_type=code_type)
    for code in (50, 65535, *((-1, -(2**31), 2**31 - 1) if code_type is np.int32 else ())):
        arguments["codes"][5] = code
        for num_threads in (1, 2):
            with pytest.raises(ValueError, match=rf"codes\[5\] is {code}, but there are 50 centroids"):
                kernels.maxsim_codes(**arguments, num_threads=num_threads)
        assert np.isfinite(kernels.maxsim_codes(**arguments, docids=np.array([0])))


@pytest.mark.parametrize("docids", [None, [1], [0, 1, 2]])
@pytest.mark.parametrize("offsets", [[0, 2, 1, 4], [0, 2, 6, 7], [0, -1, 2, 3], [0, 4, 2**62, 5], [0, 5, 4, 3]])
def test_maxsim_codes_refuse_offsets(isa: str, offsets: list[int], docids: list[int] | None) -> None:
    arguments = coded(n=3, dim=8, lengths=[4]) | {"offsets": np.array(offsets, dtype=np.int64)}
    ids = None if docids is None else np.array(docids, dtype=np.int64)
    with pytest.raises(ValueError, match="offsets gives document"):
        kernels.maxsim_codes(**arguments, docids=ids)


@pytest.mark.parametrize("docid", [-1, len(LENGTHS), 2**40, -(2**63), 2**63 - 1])
def test_maxsim_codes_refuse_documents(isa: str, docid: int) -> None:
    with pytest.raises(ValueError, match=f"docids contains {docid}, but there are 13 documents"):
        kernels.maxsim_codes(**coded(), docids=np.array([0, docid], dtype=np.int64))


def test_maxsim_codes_refuse_wrong_arguments(isa: str) -> None:
    good = coded(n=3, dim=8, lengths=[4])
    for name, value, message in [
        ("centroid_scores", good["centroid_scores"][:, :8].copy(), "centroid_scores has 8 columns for 3 query rows"),
        ("centroid_scores", np.zeros((50, 32), dtype=np.float32), "centroid_scores has 32 columns"),
        ("query", good["query"].astype(np.float32), "query is float32"),
        ("query", good["query"][:, :7].copy(), None),
        ("query", good["query"][:, :5].copy(), "packed has rows of 4 bytes, but 5 dimensions of 4 bits take 3"),
        ("query_scale", f32(1), "query_scale has 1 entries, but must have 3"),
        ("query_bias", f32(1), "query_bias has 1 entries, but must have 3"),
        ("codes", good["codes"].astype(np.int64), "codes is int64"),
        ("codes", good["codes"][:3].copy(), "packed has 4 entries, but must have 3"),
        ("packed", good["packed"][::-1], "packed is not C-contiguous"),
        ("inv_norm", None, "belong together"),
        ("inv_norm", good["inv_norm"][:3], "inv_norm has 3 entries, but must have 4"),
        ("inv_norm_table", None, "belong together"),
        ("inv_norm_table", f32(1), "inv_norm_table has 1 values"),
        ("offsets", good["offsets"][:0], "offsets is empty"),
        ("nbits", 3, "nbits is 3"),
        ("nbits", 8, "packed has rows of 4 bytes, but 8 dimensions of 8 bits take 8"),
        ("num_threads", 0, "num_threads is 0"),
    ]:
        if message is None:
            kernels.maxsim_codes(**{**good, name: value})  # seven values in four bytes are fine
            continue
        with pytest.raises(ValueError, match=message):
            kernels.maxsim_codes(**{**good, name: value})


# -- memory


GUARDED_CODES = (
    GUARDED
    + """
offsets = guarded(np.array([0, 5, 5, 18], dtype=np.int64))
with kernels.forced(sys.argv[1]):
    for dim in (1, 3, 16, 96, 127, 128, 130, 200):
        for n in (1, 17, 33):
            columns = -(-n // 16) * 16
            query, scale, scores = int8_of(n, dim), floats_of(n), floats_of(20, columns)
            for kind in (np.uint16, np.int32):
                codes = guarded(rng.integers(0, 20, 18).astype(kind))
                for nbits in (1, 2, 4, 8):
                    packed = bytes_of(18, -(-dim // (8 // nbits)))
                    inv_norm, table = bytes_of(18), floats_of(256)
                    levels = bytes_of(2**nbits) >> 1
                    for level_table in (None, guarded(levels)) if nbits < 8 else (None,):
                        kernels.maxsim_codes(
                            scores, query, scale, scale, codes, packed, inv_norm, table, offsets, nbits=nbits,
                            level_table=level_table,
                        )
                kernels.centroid_maxsim(bytes_of(20, columns), n, codes, offsets)
            kernels.centroid_scores(query, scale, int8_of(20, dim), floats_of(20))
            kernels.score_table(scores, n)
            kernels.top_cells(scores, n, 3)
        for x in (floats_of(13, dim), guarded(rng.random((13, dim)).astype(np.float16))):
            centroids = floats_of(20, dim)
            codes = guarded(kernels.nearest(x, centroids)[0])
            kernels.nearest_groups(x, centroids, 3)
            kernels.encode_residuals(x, centroids, codes, floats_of(dim) + np.float32(1), floats_of(dim), 4)
        for nbits in (1, 2, 4, 8):
            kernels.unpack(kernels.pack(bytes_of(13, dim) & np.uint8(2**nbits - 1), nbits), dim, nbits)
            kernels.unpack(bytes_of(13, -(-dim // (8 // nbits))), dim, nbits)
print("done")
"""
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects memory as Linux does")
@pytest.mark.parametrize("name", [name for name in kernels.available() if name != "numpy"])
def test_reads_nothing_behind_its_arrays(name: str) -> None:
    """Every array ends where memory ends; a byte more is a segmentation fault."""
    result = subprocess.run([sys.executable, "-c", GUARDED_CODES, name], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "done"), result.stderr
