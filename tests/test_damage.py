"""Damaged indexes: refused when opened or verified; a search may rank wrongly, but never crashes."""

import pandas as pd
import pytest
from uses import bulk, files, outcomes, uses

import pyterrier_lir as lir


def damages(file, others):
    """Ways to damage a file, with what it holds then; None where it is missing."""
    data = file.read_bytes()
    twins = [f.read_bytes() for f in others if f.stat().st_size == len(data) and f.read_bytes() != data]
    flipped = bytearray(data)
    if data:
        flipped[len(data) // 2] ^= 4
    damaged = {"truncated": data[:-1], "enlarged": data + b"\0", "missing": None, "emptied": b"",
               "flipped": bytes(flipped)}  # fmt: skip
    if twins:
        damaged["swapped"] = twins[0]
    return {how: content for how, content in damaged.items() if content != data}


def put(file, content):
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)


def test_it_works_without_damage(copy):
    assert set(outcomes(copy).values()) == {None}


def test_a_damaged_small_file_is_refused_when_opened(copy):
    small, count = files(copy, small=True), 0
    assert {f.name for f in small} == {"pt_meta.json", "segment.json", "codec.json", "000003.i64"}
    for file in small:
        data = file.read_bytes()
        for how, content in damages(file, small).items():
            put(file, content)
            with pytest.raises(FileNotFoundError if file.name == "pt_meta.json" and how == "missing" else ValueError,
                               match=str(copy) if how == "missing" else file.name):  # fmt: skip
                len(lir.LirIndex(copy))
            put(file, data)
            count += 1
    assert count >= 25  # five files, five damages
    len(lir.LirIndex(copy))


def test_damage_to_a_bulk_file_is_found_by_its_size_or_by_verify(copy):
    bulky, seen = files(copy, small=False), set()
    assert len({f.name for f in bulky}) >= 18
    for file in bulky:
        data = file.read_bytes()
        for how, content in damages(file, bulky).items():
            put(file, content)
            if how not in ("flipped", "swapped"):
                with pytest.raises(ValueError, match=file.name):
                    len(lir.LirIndex(copy))
            with pytest.raises(ValueError, match=file.name):
                lir.LirIndex(copy).verify()
            seen.add(how)
        put(file, data)
    assert seen == {"truncated", "enlarged", "missing", "emptied", "flipped", "swapped"}
    lir.LirIndex(copy).verify()


def test_damage_is_not_copied_and_sealed_by_compacting(copy):
    file = next(copy.rglob("residuals.u8"))
    put(file, damages(file, [])["flipped"])
    before = (copy / "pt_meta.json").read_bytes()
    with pytest.raises(ValueError, match=r"residuals\.u8 has sha256"):
        lir.LirIndex(copy).compact()
    assert (copy / "pt_meta.json").read_bytes() == before


def test_what_is_derived_is_made_again_when_its_size_is_wrong(whole, copy):
    expected = uses(lir.LirIndex(whole[0]))["warp"]()
    folder = copy / "derived" / "cell_tokens" / "000001"
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        for how in ("truncated", "enlarged", "missing", "emptied"):
            put(file, damages(file, [])[how])
            pd.testing.assert_frame_equal(uses(lir.LirIndex(copy))["warp"](), expected)
            if file.name != "derived.json":
                assert file.read_bytes() == data


def test_verify_finds_damage_to_what_is_derived(copy):
    """Whose hash nothing else holds, so that each meta holds its own: damaged, it is made again."""
    expected = {name: use() for name, use in uses(lir.LirIndex(copy)).items() if name in ("warp", "muvera")}
    for file in sorted((copy / "derived").rglob("*.*")):
        if not file.is_file() or file.suffix == ".lock" or not file.stat().st_size:
            continue
        data = file.read_bytes()
        put(file, damages(file, [])["flipped"])
        if file.name != "derived.json":
            with pytest.raises(ValueError, match=rf"{file.name} has sha256 .* Remove the folder .*/derived"):
                lir.LirIndex(copy).verify()
        else:
            lir.LirIndex(copy).verify()  # nothing takes it for whole
        put(file, data)
    for file in (copy / "derived").rglob("derived.json"):
        put(file, damages(file, [])["flipped"])
    for name, ranking in expected.items():
        pd.testing.assert_frame_equal(uses(lir.LirIndex(copy))[name](), ranking)
    lir.LirIndex(copy).compact()  # does not need it


def test_flipped_bits_in_what_is_derived_end_no_process(copy):
    derived = [f for f in bulk(copy) if "derived" in f.parts]
    assert {f.name for f in derived} == {"blocks.u32", "docs.i32", "offsets.i64", "inv_norms.u8", "edges.i32", "df.i64",
                                         "cf.i64", "ids.i32", "vectors.f16", "docids.i64", "index.faiss"}  # fmt: skip
    for names, message in (
        ({"index.faiss"}, r"index.faiss is damaged; expected sha256"),
        (None, "docids.i64 is damaged"),
    ):
        for file in derived:
            if names is None or file.name in names:
                put(file, damages(file, [])["flipped"])
        only = ["warp", "xtr, cells", "muvera", "hnsw", "neighbours", "ladr", "prf", "token stats"]
        errors = {name: error for name, error in outcomes(copy, only).items() if error}
        assert all(error.startswith("ValueError") for error in errors.values()), errors
        assert message in errors["hnsw"]
