"""Fewer patches: by where they are, by what is printed on them, by what is like them; and scores that are means."""

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from PIL import Image

import pyterrier_lir as lir
from pyterrier_lir.columns import patch_ids, patch_numbers
from pyterrier_lir.feedback import MeanWeighting
from pyterrier_lir.pages.images import PageError
from pyterrier_lir.pages.render import TextPage
from pyterrier_lir.reduce import BlankPruning, GridPooling
from pyterrier_lir.reduce.blank import contrasts

TOY = lir.ToyPageEncoder()


def page(rows, width, dim=None, prompt=0):
    """Patches that are unit vectors of their own, or those of a number of dimensions; and rows of a prompt."""
    count = rows * width
    embs = np.eye(count + prompt, dtype=np.float32)
    if dim:
        embs = np.random.default_rng(0).standard_normal((count + prompt, dim)).astype(np.float32)
    ids = np.concatenate([np.full(prompt, 7), patch_ids(np.arange(count))])
    grid = np.array([rows, width], dtype=np.int32)
    return {"docno": "d", "doc_embs": embs, "doc_tok_ids": ids.astype(np.int32), "doc_grid": grid}


def reduced(transformer, record):
    row = transformer(pd.DataFrame([record])).iloc[0]
    return row["doc_embs"], row["doc_tok_ids"].tolist()


# --- by place -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "size", "groups"),
    [
        ("rows", None, [[0, 1, 2], [3, 4, 5]]),
        ("columns", None, [[0, 3], [1, 4], [2, 5]]),
        ("both", None, [[0, 1, 2], [3, 4, 5], [0, 3], [1, 4], [2, 5]]),
        ("blocks", 2, [[0, 1, 3, 4], [2, 5]]),
        ("blocks", 3, [[0, 1, 2, 3, 4, 5]]),
        ("blocks", 1, [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_groups_of_two_lines_of_three(by, size, groups):
    embs, ids = reduced(GridPooling(by, size=size, normalise=False), page(2, 3))
    assert [np.flatnonzero(row).tolist() for row in embs] == groups
    assert embs.sum(axis=1) == pytest.approx(1)  # means
    assert all(patch in group for patch, group in zip(patch_numbers(ids), groups, strict=True))
    unit, _ = reduced(GridPooling(by, size=size), page(2, 3))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)


def test_rows_of_the_prompt_stay():
    record = page(2, 2, prompt=1)
    embs, ids = reduced(GridPooling("blocks", size=2, normalise=False), record)
    assert embs.tolist() == [[1, 0, 0, 0, 0], [0, 0.25, 0.25, 0.25, 0.25]]
    assert ids == [7, -2]
    bare = record | {"doc_embs": record["doc_embs"][:1], "doc_tok_ids": record["doc_tok_ids"][:1]}
    assert reduced(GridPooling("rows"), bare)[1] == [7]


def test_patches_that_are_gone_are_missing_in_the_means():
    record = page(2, 2)
    record |= {"doc_embs": record["doc_embs"][1:], "doc_tok_ids": record["doc_tok_ids"][1:]}
    embs, _ = reduced(GridPooling("rows", normalise=False), record)
    assert embs.tolist() == [[0, 1, 0, 0], [0, 0, 0.5, 0.5]]


@pytest.mark.parametrize(("size", "factor"), [(2, 4), (3, 9), (5, 25), (7, 49)])
def test_factors_of_light_colpali(size, factor):
    """Merging by likeness and by place leave about as many vectors; both stand before an index."""
    record = page(32, 32, dim=16)
    by_place = len(reduced(GridPooling("blocks", size=size), record)[0])
    by_likeness = len(reduced(lir.TokenPooling(factor, method="kmeans", protected=0), record)[0])
    assert by_place == (-(-32 // size)) ** 2
    assert 0.75 * 1024 // factor <= by_likeness <= 1024 // factor


def test_merging_by_likeness_keeps_what_is_equal():
    """Light-ColPali on a page of nine different vectors, each on nine patches: factor 9 loses nothing."""
    record = page(9, 9, dim=16)
    nine = record["doc_embs"][:9] / np.linalg.norm(record["doc_embs"][:9], axis=1, keepdims=True)
    record["doc_embs"] = np.tile(nine, (9, 1))
    merged, ids = reduced(lir.TokenPooling(9, protected=0), record)
    query = np.random.default_rng(1).standard_normal((5, 16))
    np.testing.assert_allclose((query @ merged.T).max(axis=1), (query @ nine.T).max(axis=1), rtol=1e-5)
    assert (patch_numbers(ids) >= 0).all()


def test_arguments_of_grid_pooling():
    for arguments, options, message in (
        (("diagonals",), {}, "by is 'diagonals'; expected one of 'rows', 'columns', 'blocks', 'both'"),
        (("blocks",), {}, "size is missing; expected it for blocks"),
        (("rows",), {"size": 2}, "size is 2; expected it for blocks, and only there"),
        (("blocks",), {"size": 0}, "size is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            GridPooling(*arguments, **options)
    with pytest.raises(ValueError, match=r"doc_grid is .*expected rows and columns of patches"):
        reduced(GridPooling("rows"), page(2, 2) | {"doc_grid": [0, 2]})


@pytest.mark.parametrize("pool", [GridPooling("rows"), GridPooling("blocks", size=2), BlankPruning()])
def test_a_grid_that_is_too_small_for_the_patches(pool):
    record = page(2, 2) | {"image": picture()}
    with pytest.raises(ValueError, match=r"patch 3, doc_grid is 1 x 2; expected .* 0 to 1\. Encode the page again"):
        reduced(pool, record | {"doc_grid": [1, 2]})
    reduced(pool, record | {"doc_grid": [2, 3]})  # pruned patches may be missing


# --- by what is printed -------------------------------------------------------------------------------------------


def test_contrasts_of_uneven_patches():
    luminance = np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 9]], dtype=np.uint8)
    assert contrasts(luminance, (1, 2)).tolist() == [[1, 7]]  # two pixels and three
    assert contrasts(luminance, (2, 1)).tolist() == [[4], [9]]
    assert contrasts(luminance[:1, :1], (2, 2)).tolist() == [[0, 0], [0, 0]]  # more patches than pixels


def picture():
    """Two patches beside each other: a soft slope of 0 to 9, and plain grey."""
    pixels = np.full((4, 20), 100, np.uint8)
    pixels[:, :10] = np.arange(10)
    return np.repeat(pixels[..., None], 3, axis=2)


@pytest.mark.parametrize(("tolerance", "stay"), [(0, [0]), (8, [0]), (9, [0]), (8.5, [0])])
def test_blank_patches_go(tolerance, stay):
    _, ids = reduced(BlankPruning(tolerance=tolerance), page(1, 2) | {"image": picture()})
    assert patch_numbers(ids).tolist() == stay


def test_tolerance_decides():
    record = page(2, 2) | {"image": np.vstack([picture(), 255 - picture()])}
    assert patch_numbers(reduced(BlankPruning(tolerance=8), record)[1]).tolist() == [0, 2]
    record = page(2, 2, prompt=1) | {"image": np.vstack([picture(), 255 - picture()])}
    assert reduced(BlankPruning(tolerance=9), record)[1] == [7]  # nothing but the prompt
    bare = page(1, 2) | {"image": Image.new("RGB", (9, 9))}
    assert patch_numbers(reduced(BlankPruning(), bare)[1]).tolist() == [0]  # one row at least


def test_a_drawn_page_without_its_blanks_scores_the_same():
    """The query's words are printed, so its best patches are."""
    records = pd.DataFrame([{"docno": "d", "image": TextPage("we have green pears")}])
    whole, pruned = TOY(records), (TOY >> BlankPruning())(records)
    query = TOY.encode_queries(["green pears"])[0].embs
    scores = [(query @ frame["doc_embs"][0].T).max(axis=1).sum() for frame in (whole, pruned)]
    assert scores[0] == pytest.approx(scores[1])
    assert len(pruned["doc_embs"][0]) <= 10 < len(whole["doc_embs"][0]) == 1024


def test_arguments_of_blank_pruning():
    with pytest.raises(ValueError, match=r"tolerance is 300; expected .* 0 <= tolerance <= 255"):
        BlankPruning(tolerance=300)
    with pytest.raises(PageError, match="cannot be read"):
        reduced(BlankPruning(), page(1, 2) | {"image": b"no picture"})
    with pytest.raises(pt.validate.InputValidationError, match="scan"):
        reduced(BlankPruning(image_field="scan"), page(1, 2))


# --- means --------------------------------------------------------------------------------------------------------


def test_weights_sum_to_one():
    query = {"qid": "1", "query_embs": np.eye(4, dtype=np.float32), "query_tok_ids": np.arange(4)}
    assert MeanWeighting()(pd.DataFrame([query]))["query_weights"][0].tolist() == [0.25] * 4
    weighted = query | {"query_weights": np.array([1, 3, 0, 0], np.float32)}
    assert MeanWeighting()(pd.DataFrame([weighted]))["query_weights"][0].tolist() == [0.25, 0.75, 0, 0]
    padded = query | {"query_embs": np.diag([1, 1, 0, 0]).astype(np.float32)}
    assert MeanWeighting()(pd.DataFrame([padded]))["query_weights"][0].tolist() == [0.5, 0.5, 0, 0]
    none = query | {"query_embs": np.zeros((4, 4), np.float32)}
    assert MeanWeighting()(pd.DataFrame([none]))["query_weights"][0].tolist() == [0] * 4


def test_scores_become_means():
    index, encoder = lir.LirIndex.example(), lir.ToyEncoder()
    topics = pt.new.queries(["bread dough rises", "day"])
    sums = (encoder >> index.exhaustive())(topics)
    means = (encoder >> MeanWeighting() >> index.exhaustive())(topics)
    words = sums["query"].str.split().str.len()
    np.testing.assert_allclose(means["score"], sums["score"] / words, rtol=1e-2)
    assert means["docno"].tolist() == sums["docno"].tolist()
