"""The first stage: BM25 of either engine."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir.experiment import first_stage


@pytest.fixture(params=["pisa", "bm25s"])
def engine(request):
    pytest.importorskip({"pisa": "pyterrier_pisa", "bm25s": "bm25s"}[request.param])
    return request.param


def test_bm25_ranks_by_shared_words_and_keeps_columns(engine, little, tmp_path, capfd):
    retriever = first_stage.bm25(little.corpus(), tmp_path / "bm25", engine=engine)
    topics = lir.ToyEncoder()(pd.DataFrame({"qid": ["1", "2", "3"], "query": ["doughs of bread", "", "chess"]}))
    found = retriever(topics)
    assert found["docno"].tolist() == ["dough", "bread", "chess"]
    assert found["rank"].tolist() == [0, 1, 0]
    assert found["qid"].tolist() == ["1", "1", "3"]
    assert set(topics.columns) < set(found.columns)
    np.testing.assert_array_equal(found["query_embs"][1], topics["query_embs"][0])
    assert set(retriever(topics.iloc[:0]).columns) == set(found.columns)
    assert retriever(topics.iloc[1:2]).empty
    assert (retriever % 1)(topics)["docno"].tolist() == ["dough", "chess"]
    assert retriever.fuse_rank_cutoff(1)(topics)["docno"].tolist() == ["dough", "chess"]
    written = capfd.readouterr()
    assert written.out == "" and "Storing" not in written.err


def test_bm25_opens_what_is_there(engine, little, tmp_path):
    first = first_stage.bm25(little.corpus(), tmp_path / "bm25", 3, engine=engine)
    again = first_stage.bm25(iter([]), tmp_path / "bm25", 3)
    assert again == first and hash(again) == hash(first)
    pd.testing.assert_frame_equal(again(little.topics), first(little.topics))


def test_a_failing_corpus_leaves_no_index(engine, little, tmp_path):
    def breaks():
        yield from little.corpus()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        first_stage.bm25(breaks(), tmp_path / "bm25", engine=engine)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no documents"):
        first_stage.bm25(iter([]), tmp_path / "bm25", engine=engine)
    with pytest.raises(ValueError, match="a b"):
        first_stage.bm25([{"docno": "a b", "text": "x"}], tmp_path / "bm25", engine=engine)
    assert len(first_stage.bm25(little.corpus(), tmp_path / "bm25", engine=engine)(little.topics))


def test_unknown_engine(tmp_path):
    with pytest.raises(ValueError, match="lucene"):
        first_stage.bm25([], tmp_path / "x", engine="lucene")


@pytest.mark.parametrize("analyser", ["english", "any"])
def test_queries_come_back_as_they_were_asked(engine, analyser, little, tmp_path):
    retriever = first_stage.bm25(little.corpus(), tmp_path / "bm25", engine=engine, analyser=analyser)
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["Chess!", "chess?"], "n": [1, 2]}, index=[5, 5])
    found = retriever(topics)
    assert found.drop(columns="score").to_dict("list") == {
        "qid": ["1", "2"], "query": ["Chess!", "chess?"], "n": [1, 2], "docno": ["chess", "chess"], "rank": [0, 0],
    }  # fmt: skip
    assert retriever(topics.assign(query="zzz"))["query"].dtype == topics["query"].dtype


def test_of_two_builds_of_an_index_the_first_to_finish_is_used(engine, little, tmp_path):
    """As of two processes: the other one starts and finishes while this one reads its corpus."""

    def overtaken(**other):
        for i, document in enumerate(little.corpus()):
            if i == 2:
                first_stage.bm25([{"docno": "other", "text": "bread"}], tmp_path / "bm25", engine=engine, **other)
            yield document

    found = first_stage.bm25(overtaken(), tmp_path / "bm25", engine=engine)
    assert found.search("bread")["docno"].tolist() == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["bm25"]
    shutil.rmtree(tmp_path / "bm25")
    with pytest.raises(ValueError, match=r"analyser is 'english', but the index at .*bm25 was made with 'any'"):
        first_stage.bm25(overtaken(analyser="any"), tmp_path / "bm25", engine=engine, analyser="english")
    assert [path.name for path in tmp_path.iterdir()] == ["bm25"]


def test_an_index_is_finished_when_it_appears(engine, little, tmp_path):
    retriever = first_stage.bm25(little.corpus(), tmp_path / "bm25", engine=engine)
    files = sorted((tmp_path / "bm25").iterdir())
    assert len(retriever(little.topics)) and sorted((tmp_path / "bm25").iterdir()) == files


def test_an_index_of_another_engine_is_refused(little, tmp_path):
    first_stage.bm25(little.corpus(), tmp_path / "bm25", engine="bm25s")
    with pytest.raises(ValueError, match=r"engine is 'pisa', but the index at .* was made with 'bm25s'"):
        first_stage.bm25(little.corpus(), tmp_path / "bm25", engine="pisa")


def test_texts_and_queries_are_read_as_encoders_read_them(engine, tmp_path):
    texts = {"none": None, "nan": np.nan, "na": pd.NA, "number": 1997, "half": "bread \ud800 dough", "whole": "flour"}
    corpus = [{"docno": docno, "text": text} for docno, text in texts.items()]
    retriever = first_stage.bm25(corpus, tmp_path / "bm25", engine=engine)
    asked = [None, np.nan, 1997, "dough \udfff", "flour"]
    found = retriever(pd.DataFrame({"qid": list("12345"), "query": asked}))
    assert found["docno"].tolist() == ["number", "half", "whole"]
    assert found["query"].tolist() == asked[2:]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"docno": 1, "text": "x"}, "the docno 1 is"),
        ({"docno": None, "text": "x"}, "the docno None is"),
        ({"docno": "\ud800", "text": "x"}, r"the docno '\\ud800' is"),
        ({"docno": "d", "body": "x"}, r"has the fields \['docno', 'body'\]; expected docno and text"),
        ({"docno": "d", "text": ["x", "y"]}, r"text is \['x', 'y'\], of the type list"),
    ],
)
def test_documents_that_cannot_be_indexed(engine, document, words, tmp_path):
    for corpus in ([document], [{"docno": "first", "text": "some words"}, document]):
        with pytest.raises(ValueError, match=words):
            first_stage.bm25(corpus, tmp_path / "bm25", engine=engine)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("analyser", ["english", "any"])
def test_a_corpus_without_words_is_refused(engine, analyser, tmp_path):
    with pytest.raises(ValueError, match="the corpus has no words to search for"):
        first_stage.bm25(
            [{"docno": "a", "text": ""}, {"docno": "b", "text": "... !"}], tmp_path / "i", engine=engine,
            analyser=analyser,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_stop_words_are_no_words_for_bm25s(tmp_path):
    with pytest.raises(ValueError, match="the corpus has no words to search for"):
        first_stage.bm25([{"docno": "a", "text": "the"}], tmp_path / "i", engine="bm25s")


@pytest.mark.parametrize("num_results", [0, -1, 1.5, "3"])
def test_results_are_counted(little, num_results, tmp_path):
    with pytest.raises(ValueError, match=f"num_results is {num_results!r}; expected at least 1"):
        first_stage.bm25(little.corpus(), tmp_path / "i", num_results)


def test_the_document_at_which_pisa_stops_is_named(tmp_path):
    """Its thread writes in the encoding of the locale; that of "C" has no é."""
    pytest.importorskip("pyterrier_pisa")
    code = (
        "import pyterrier_lir as lir\n"
        "corpus = [{'docno': f'd{i}', 'text': text} for i, text in enumerate(['tea', 'caf\\u00e9', 'milk'])]\n"
        "try: lir.experiment.bm25(corpus, 'i', engine='pisa')\n"
        "except Exception as error: print(repr(error))\n"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | locale, check=True, capture_output=True, text=True
    )
    assert "RuntimeError(\"PISA stopped at the document 'd1'" in done.stdout
    assert not list(tmp_path.iterdir())
