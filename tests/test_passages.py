"""Passages of documents: a document scores what its best passage does."""

import pandas as pd
import pyterrier as pt
import pytest
from rankings import scores

import pyterrier_lir as lir

ENCODER = lir.ToyEncoder(dim=64)
LONG = {
    "long": " ".join(f"v{i}" for i in range(25)),
    "short": "v3 v4",
    "other": " ".join(f"u{i}" for i in range(12)),
}

SLIDING = lir.LateChunking(ENCODER, length=10, stride=5, unit="words").passages()


@pytest.fixture(scope="module")
def passages(tmp_path_factory):
    path = tmp_path_factory.mktemp("p") / "p"
    pipeline = SLIDING >> ENCODER >> lir.LirIndex(path).indexer(keep_embs=True, verbose=False)
    return pipeline.index([{"docno": docno, "text": text} for docno, text in LONG.items()])


def test_passages_cover_their_documents(passages):
    assert [docno for docno in passages.docnos if docno.startswith("short")] == ["short%p0"]
    ids = {docno: set() for docno in LONG}
    for record in passages.get_corpus_iter():
        ids[record["docno"].split("%p")[0]] |= set(record["doc_tok_ids"].tolist())
    for docno, text in LONG.items():
        assert ids[docno] == set(ENCODER.encode_docs([text])[0].tok_ids.tolist())


def test_what_pyterrier_leaves_out():
    """Only whole windows come out of `pt.text.sliding`; ours are the same, and go on to the last word."""
    documents = pd.DataFrame([{"docno": docno, "text": text} for docno, text in LONG.items()])
    theirs = pt.text.sliding(text_attr="text", length=10, stride=5, prepend_attr=None)(documents)
    ours = SLIDING(documents)
    ends = [
        frame[frame["docno"].str.startswith("other")]["text"].str.split().str[-1].tolist() for frame in (theirs, ours)
    ]
    assert ends == [["u9"], ["u9", "u11"]]  # of 12 words, u0 to u11
    both = theirs.merge(ours, on=["docno", "text"])
    assert len(both) == len(theirs) == len(ours) - 1


@pytest.mark.parametrize(("length", "stride"), [(3, 3), (4, 2), (10, 7), (1, 1), (30, 5)])
def test_every_word_is_in_a_passage(length, stride):
    text = " ".join(f"w{i}" for i in range(29))
    cut = lir.LateChunking(ENCODER, length=length, stride=stride, unit="words").passages()
    found = cut(pd.DataFrame({"docno": ["d"], "text": [text]}))["text"]
    assert {word for passage in found for word in passage.split()} == set(text.split())
    assert found.str.split().str.len().max() <= length


def test_a_title_before_each_passage():
    titled = SLIDING >> pt.apply.text(lambda passage: passage["title"] + " " + passage["text"])
    found = titled(pd.DataFrame([{"docno": "d", "title": "Letters", "text": LONG["other"]}]))
    assert [text.split()[:2] for text in found["text"]] == [["Letters", "u0"], ["Letters", "u5"]]


def test_a_document_scores_what_its_best_passage_does(passages):
    q, queries = ENCODER.query_encoder(), pd.DataFrame({"qid": ["1", "2"], "query": ["v3 v4", "u1 v20"]})
    by_passage = (q >> passages.plaid())(queries)
    found = (q >> passages.plaid() >> pt.text.max_passage())(queries)
    assert not found.duplicated(["qid", "docno"]).any()
    best = by_passage.assign(docno=by_passage["docno"].str.split("%p").str[0]).groupby(["qid", "docno"])["score"].max()
    assert scores(found) == best.to_dict()
    assert {"query_embs", "query_tok_ids", "query_encoder"} <= set(found.columns)  # to go on with
    for qid, rows in found.groupby("qid"):
        assert rows.sort_values("rank")["score"].is_monotonic_decreasing, qid
    shuffled = pt.text.max_passage()(by_passage.sample(frac=1, random_state=1))
    assert scores(shuffled) == scores(found)


def test_the_best_passage_is_never_better_than_the_whole_document(passages, tmp_path):
    docs = [{"docno": docno, "text": text} for docno, text in LONG.items()]
    whole = (ENCODER >> lir.LirIndex(tmp_path / "w").indexer(keep_embs=True, verbose=False)).index(docs)
    query = pd.DataFrame({"qid": ["1"], "query": ["v1 v22 u3"]})
    documents = scores((ENCODER.query_encoder() >> whole.exhaustive())(query))
    maxp = scores((ENCODER.query_encoder() >> passages.exhaustive() >> pt.text.max_passage())(query))
    assert all(maxp[pair] <= documents[pair] + 1e-5 for pair in documents)
    assert maxp["1", "long"] < documents["1", "long"] - 0.5  # no passage has both v1 and v22
    assert maxp["1", "short"] == pytest.approx(documents["1", "short"], abs=1e-5)  # one passage, the same


def test_documents_of_passages_are_re_ranked_by_passage(passages):
    """Feedback and re-ranking look passages up, so max_passage comes last."""
    q = ENCODER.query_encoder()
    pipeline = (
        q
        >> passages.plaid() % 9
        >> passages.colbert_prf(return_docs=True)
        >> passages.maxsim()
        >> pt.text.max_passage()
    )
    assert set(pipeline.search("v3 v4")["docno"]) == set(LONG)
    with pytest.raises(ValueError, match=r"expected docnos such as 'long%p0'"):
        (q >> passages.plaid() >> pt.text.max_passage() >> passages.maxsim()).search("v3 v4")
