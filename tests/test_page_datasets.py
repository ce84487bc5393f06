"""Collections of pages: the drawn one, folders and parquet files, and the toy that reads drawn pages."""

import io

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from PIL import Image
from pyterrier.measures import RR

import pyterrier_lir as lir
from pyterrier_lir.columns import patch_numbers
from pyterrier_lir.datasets import PageFiles, visual
from pyterrier_lir.datasets.docstrings import Collection, Docstring
from pyterrier_lir.pages.render import CELL, COLUMNS, LINES, PlotPage, TablePage, TextPage, draw_lines, wrapped

TOY = lir.ToyPageEncoder()


# --- drawing ------------------------------------------------------------------------------------------------------


def ink(image):
    return np.asarray(image.convert("L")) < 128


def test_every_character_has_a_cell():
    width, height = CELL
    image = ink(draw_lines(["a b", " c"], columns=3, height=2))
    cells = image.reshape(2, height, 3, width).any(axis=(1, 3))
    assert cells.tolist() == [[True, False, True], [False, True, False]]
    assert (image[:height, :width] == ink(draw_lines(["xa"], columns=2, height=1))[:, width:]).all()


def test_text_is_broken_and_cut():
    assert wrapped("a b\n\nc") == ["a b", "", "c"]
    assert max(map(len, wrapped("word " * 40))) <= COLUMNS
    page = TextPage("\n".join("x" for _ in range(99))).open()
    assert page.size == (COLUMNS * CELL[0], LINES * CELL[1])


def test_a_table_has_rules_and_both_columns():
    page = np.asarray(TablePage((("name", "what it is"), ("other", "z" * 200))).open())
    assert (page[CELL[1] - 1] == 180).all()  # below the first row
    assert len(TablePage((("n" * 99, "x"),)).open().getbbox()) == 4


def test_a_plot_is_of_the_size_of_a_page():
    page = PlotPage((("short", 1), ("long", 9)), "words").open()
    assert page.size == (COLUMNS * CELL[0], LINES * CELL[1])
    blue = np.asarray(page)[..., 2].astype(int) - np.asarray(page)[..., 0] > 60
    bars = np.flatnonzero(np.diff(np.concatenate([[0], blue.sum(axis=1) > 5, [0]])))
    upper, lower = blue[bars[0] : bars[1]].sum(axis=1).max(), blue[bars[2] : bars[3]].sum(axis=1).max()
    assert lower / upper == pytest.approx(9, rel=0.1)


# --- the drawn collection -----------------------------------------------------------------------------------------

MEMBERS = [Docstring(f"zoo.Cage.{name}", f"Feeds the {name} now.", "one two " * i) for i, name in enumerate("abcd")]
OWNER = Docstring("zoo.Cage", "Holds a number of animals safely.", "")


def test_pages_of_an_owner():
    chosen = Collection({"x": "some text"}, {"x": "What is some text about here."})
    made = visual.build(chosen, [*MEMBERS, OWNER])
    assert made.pages["x"] == TextPage("some text")
    assert made.pages["table:zoo.Cage"] == TablePage(tuple((m.name[-1], m.summary) for m in MEMBERS))
    assert made.pages["plot:zoo.Cage"].bars == (("a", 0), ("b", 2), ("c", 4), ("d", 6))
    assert made.queries == {"x": "What is some text about here.", "zoo.Cage": "Holds a number of animals safely."}
    assert made.relevant == {"x": ("x",), "zoo.Cage": ("table:zoo.Cage", "plot:zoo.Cage")}
    assert made.texts["plot:zoo.Cage"] == "a b c d"


def test_owners_that_make_no_page():
    chosen = Collection({}, {})
    assert not visual.build(chosen, [*MEMBERS[:3], OWNER]).pages  # too few
    assert not visual.build(chosen, MEMBERS).pages  # no owner's docstring
    assert not visual.build(chosen, [*MEMBERS, OWNER._replace(summary="Cage.")]).pages  # no question
    twice = OWNER._replace(name="other")
    assert not visual.build(chosen, [*MEMBERS, OWNER, twice]).pages  # not the only one to ask it
    many = [Docstring(f"zoo.Cage.m{i:02}", "A member.", "") for i in range(20)]
    assert len(visual.build(chosen, [*many, OWNER]).pages["table:zoo.Cage"].rows) == visual.MAX_MEMBERS


def test_the_collection_of_this_python():
    dataset = pt.get_dataset("lir:pages")
    pages = pd.DataFrame(dataset.get_corpus_iter(verbose=False))
    assert pages["kind"].value_counts().to_dict() == {"text": 2000, "table": 100, "plot": 100}
    topics, qrels = dataset.get_topics(), dataset.get_qrels()
    assert set(qrels["qid"]) == set(topics["qid"])
    assert set(qrels["docno"]) <= set(pages["docno"])
    assert dataset == pt.get_dataset("lir:pages")
    texts = pages.set_index("docno")["text"]
    for topic in topics.itertuples():  # known by construction, not by words
        relevant = qrels.loc[qrels["qid"] == topic.qid, "docno"]
        assert not any(topic.query in texts[docno] for docno in relevant)
    with pytest.raises(ValueError, match="no variant 'title'"):
        dataset.get_topics("title")


# --- the toy ------------------------------------------------------------------------------------------------------


def test_the_toy_sees_words():
    query = TOY.encode_queries(["green pears"])[0]
    assert TOY.tokens(query.tok_ids) == [" gre", "gree", "reen", "een ", " pea", "pear", "ears", "ars "]
    page = TOY.encode_docs([TextPage("we have green pears")])[0]
    best = (query.embs @ page.embs.T).max(axis=1)
    # patches begin at even places: " gre" of " green" at 7 is not one, "gree" at 8 is
    assert (best > 0.999).tolist() == [False, True, False, True, False, True, False, True]
    assert TOY.encode_docs([TextPage("we have red pears")])[0].embs.shape == (1024, 128)


def test_the_toy_finds_the_page(tmp_path):
    words = ["green pears", "red apples", "yellow bananas", "brown bread"]
    index = lir.LirIndex(tmp_path / "i")
    pages = [{"docno": f"d{i}", "image": TextPage(f"They sell {text} here today")} for i, text in enumerate(words)]
    (TOY >> index.indexer(verbose=False)).index(iter(pages))
    topics = pd.DataFrame({"qid": [f"q{i}" for i in range(4)], "query": words})
    qrels = pd.DataFrame({"qid": topics["qid"], "docno": [f"d{i}" for i in range(4)], "label": 1})
    assert pt.Experiment([TOY >> index.exhaustive()], topics, qrels, [RR])["RR"].tolist() == [1.0]


def test_blank_patches_of_the_toy_are_equal():
    page = TOY.encode_docs([TextPage("word")])[0]
    assert np.unique(page.embs[patch_numbers(page.tok_ids) >= 32], axis=0).shape == (1, 128)
    np.testing.assert_allclose(np.linalg.norm(page.embs, axis=1), 1, atol=1e-6)


def test_the_toys_arguments_change_something():
    page = [TextPage("word")]
    base = TOY.encode_docs(page)[0].embs
    assert not np.array_equal(lir.ToyPageEncoder(seed=1).encode_docs(page)[0].embs, base)
    assert lir.ToyPageEncoder(dim=9).encode_docs(page)[0].embs.shape == (1024, 9)
    assert len({lir.ToyPageEncoder(**o).fingerprint for o in ({}, {"dim": 9}, {"seed": 1})}) == 3
    larger = Image.new("RGB", (1024, 1024), "white")
    assert TOY.patch_grid(larger) == (32, 32)
    assert TOY.encode_queries(["", "a"])[1].embs.shape == (0, 128)


# --- folders ------------------------------------------------------------------------------------------------------


def png(colour):
    data = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(data, format="png")
    return data.getvalue()


COLOURS = {"red": "#ff0000", "green": "#00ff00"}
TOPICS = [["q1", "the red one"], ["q2", "the green one"]]
QRELS = [["q1", "red", 1], ["q2", "green", 1]]


@pytest.fixture
def plain(tmp_path):
    (tmp_path / "images" / "sub").mkdir(parents=True)
    (tmp_path / "images" / "red.png").write_bytes(png("#ff0000"))
    (tmp_path / "images" / "sub" / "green.png").write_bytes(png("#00ff00"))
    (tmp_path / "images" / "notes.txt").write_text("no picture")
    (tmp_path / "queries.tsv").write_text('q1\tthe "red one\nq2\tthe green one\n')
    (tmp_path / "qrels.txt").write_text("q1 0 red 1\nq2 0 sub/green 1\n")
    return tmp_path


def test_plain_files(plain):
    dataset = PageFiles(plain)
    pages = list(dataset.get_corpus_iter(verbose=False))
    assert [page["docno"] for page in pages] == ["red", "sub/green"]
    assert dataset.get_topics()["query"].tolist() == ['the "red one', "the green one"]
    assert dataset.get_qrels()[["qid", "docno", "label"]].values.tolist() == [["q1", "red", 1], ["q2", "sub/green", 1]]
    assert TOY.encode_docs([page["image"] for page in pages])[1].embs.shape == (1024, 128)


@pytest.mark.parametrize("folders", [True, False])
def test_parquet_in_parts(tmp_path, folders):
    pytest.importorskip("pyarrow", reason="needs the extra [test]: pyarrow reads parquet files")
    cells = [{"bytes": png(colour), "path": None} for colour in COLOURS.values()]
    parts = {
        "corpus": pd.DataFrame({"corpus-id": list(COLOURS), "image": cells}),
        "queries": pd.DataFrame(TOPICS, columns=["query-id", "query"]),
        "qrels": pd.DataFrame(QRELS, columns=["query-id", "corpus-id", "score"]),
    }
    for name, frame in parts.items():
        path = tmp_path / name / "test-00000-of-00001.parquet" if folders else tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        frame.to_parquet(path)
    dataset = PageFiles(tmp_path)
    pages = list(dataset.get_corpus_iter(verbose=False))
    assert [page["docno"] for page in pages] == ["red", "green"]
    assert TOY.open(pages[1]["image"]).getpixel((0, 0)) == (0, 255, 0)
    assert dataset.get_topics().values.tolist() == TOPICS
    assert dataset.get_qrels().values.tolist() == QRELS


def test_parquet_of_questions(tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra [test]: pyarrow reads parquet files")
    rows = [
        ("the red one", "red.png", png("#ff0000")), ("also red", "red.png", png("#ff0000")),
        (None, "green.png", png("#00ff00")),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["query", "image_filename", "image"])
    frame["image"] = [{"bytes": data} for data in frame["image"]]
    frame.to_parquet(tmp_path / "test.parquet")
    dataset = PageFiles(tmp_path)
    assert [page["docno"] for page in dataset.get_corpus_iter(verbose=False)] == ["red.png", "green.png"]
    assert dataset.get_topics().values.tolist() == [["0", "the red one"], ["1", "also red"]]
    assert dataset.get_qrels().values.tolist() == [["0", "red.png", 1], ["1", "red.png", 1]]


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        PageFiles(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no images, queries\.tsv, qrels\.txt; expected"):
        PageFiles(tmp_path)
    pytest.importorskip("pyarrow", reason="needs the extra [test]: pyarrow reads parquet files")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(ValueError, match="has the columns a; expected one called image_filename"):
        list(PageFiles(tmp_path).get_corpus_iter(verbose=False))
