"""Similarity maps: the right similarity at the right place of the page, as numbers, picture and HTML."""

import io
import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from PIL import Image

import pyterrier_lir as lir
from pyterrier_lir.explain import page_html, page_map, page_similarities
from pyterrier_lir.explain.page_map import chosen_tokens, overlays
from pyterrier_lir.pages.render import TextPage
from pyterrier_lir.reduce import BlankPruning

TOY = lir.ToyPageEncoder()
PAGE = TextPage("bread\n" * 3 + "we have green pears")


@pytest.fixture(scope="module")
def row():
    return TOY.explain()(pt.new.queries(["pears"]).assign(docno="d", image=[PAGE])).iloc[0]


def test_similarities_are_where_the_patches_are(row):
    maps = page_similarities(row)
    assert maps.shape == (4, 32, 32)
    query, page = TOY.encode_queries(["pears"])[0].embs, TOY.encode_docs([PAGE])[0].embs
    np.testing.assert_allclose(maps, (query @ page.T).reshape(4, 32, 32), atol=1e-6)
    # "pears" begins at character 14 of the fourth line: "pear" is the patch 7 of line 3, "ars " the patch 8
    assert [np.unravel_index(m.argmax(), m.shape) for m in maps[[1, 3]]] == [(3, 7), (3, 8)]


def test_the_index_gives_the_same_map(tmp_path, row):
    index = lir.LirIndex(tmp_path / "i")
    (TOY >> index.indexer(keep_embs=True, verbose=False)).index([{"docno": "d", "image": PAGE}])
    found = (TOY >> index.exhaustive() >> index.explain(TOY)).search("pears").iloc[0]
    np.testing.assert_allclose(page_similarities(found, TOY.patch_grid(PAGE)), page_similarities(row), atol=2e-3)
    with pytest.raises(ValueError, match=r"no doc_grid, and no grid is given; .*grid=encoder\.patch_grid"):
        page_similarities(found)


def test_patches_that_were_pruned_have_no_similarity():
    steps = TOY.query_encoder() >> TOY.doc_encoder() >> BlankPruning() >> lir.explain.Explain(encoder=TOY)
    found = steps(pt.new.queries(["pears"]).assign(docno="d", image=[PAGE])).iloc[0]
    maps = page_similarities(found)
    assert np.isnan(maps[:, 10:]).all()
    assert np.isfinite(maps[:, 3, 7]).all()
    assert overlays(maps)[:, 10:, :, 3].max() == 0


def test_a_picture_is_redder_where_the_word_is(row):
    figure = page_map(row, PAGE, tokens=[1], width=5.12)
    data = io.BytesIO()
    figure.savefig(data, dpi=100)
    pixels = np.asarray(Image.open(data).convert("RGB")).astype(int)
    red = (pixels[..., 0] - pixels[..., 1] > 90) & (pixels[..., 2] < 200)
    page = figure.axes[0].get_window_extent()
    scale = 100 / figure.dpi
    down, right = (axis.mean() for axis in np.nonzero(red))
    height = pixels.shape[0]
    assert (down - (height - page.y1 * scale)) / (page.height * scale) == pytest.approx(3.5 / 32, abs=0.02)
    assert (right - page.x0 * scale) / (page.width * scale) == pytest.approx(7.5 / 32, abs=0.02)


def test_a_picture_for_each_token(row):
    assert [axes.get_title()[:4] for axes in page_map(row, PAGE).axes] == [" pea", "pear", "ears", "ars "]
    assert len(page_map(row, PAGE, tokens=[3, 1]).axes) == 2
    wide, high = (page_map(row, PAGE, across=n).get_size_inches() for n in (4, 1))
    assert wide[0] > high[0]
    assert wide[1] < high[1]
    assert page_map(row, PAGE, width=1).get_size_inches()[0] == pytest.approx(4)
    many = {"match_share": np.arange(20) / 190}
    assert chosen_tokens(many) == list(range(12, 20))


def test_html(row):
    found = page_html(row, PAGE, width=300)
    assert found._repr_html_() == found
    assert len(re.findall('type="radio"', found)) == len(re.findall("<g class", found)) == 4
    assert len(re.findall(" checked", found)) == 1
    assert 'viewBox="0 0 32 32"' in found
    assert 'width="300" height="300"' in found
    assert "<script" not in found
    layer = re.search(r'<g class="lir\w+-1">(.*?)</g>', found)[1]
    deep = max(re.findall(r'x="(\d+)" y="(\d+)"[^>]*rgba\(209,73,91,([\d.]+)\)', layer), key=lambda m: float(m[2]))
    assert deep[:2] == ("7", "3")
    assert '<rect x="7" y="3" width="1" height="1" fill="none"' in layer  # what MaxSim took


def test_words_are_escaped_in_html(row):
    odd = dict(row) | {"query_words": ["<b>", "a", "&", "$x$"]}
    assert "&lt;b&gt;" in page_html(odd, PAGE)
    assert page_map(odd, PAGE).axes[3].get_title().startswith("$x$")


def test_rows_that_are_no_pages(row):
    text = (lir.ToyEncoder() >> lir.LirIndex.example().exhaustive() % 1 >> lir.LirIndex.example().explain()).search(
        "day"
    )
    with pytest.raises(ValueError, match="no row of the document is a patch"):
        page_similarities(text.iloc[0], (2, 2))
    with pytest.raises(ValueError, match="has a patch 1023, the grid is 4 x 4; expected that of this page"):
        page_similarities(row, (4, 4))
    with pytest.raises(ValueError, match="no match_matrix"):
        page_map(pd.Series({"docno": "d"}), PAGE)
    with pytest.raises(ValueError, match=r"tokens is \[9\]; expected some of the query's 4 rows"):
        page_map(row, PAGE, tokens=[9])
    with pytest.raises(ValueError, match="the image is 5"):
        page_map(row, 5)


@pytest.mark.parametrize("draw", [page_map, page_html])
def test_a_blank_query_has_no_map(draw):
    blank = TOY.explain()(pt.new.queries([" "]).assign(docno="d", image=[PAGE])).iloc[0]
    assert page_similarities(blank).shape == (0, 32, 32)
    with pytest.raises(ValueError, match="the query ' ' has no rows; expected one with tokens"):
        draw(blank, PAGE)
