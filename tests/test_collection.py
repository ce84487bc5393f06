"""Datasets are brought into one shape."""

import pandas as pd
import pytest
from little import Little

from pyterrier_lir.experiment.collection import JoinFields, open_collection


def test_a_dataset_with_fields_is_brought_into_one_shape(little):
    assert list(little.topics) == ["qid", "query"]
    assert little.topics["qid"].tolist() == ["q1", "q2", "q3"]  # q4 has no judgement
    assert little.fields == ("title", "text")
    assert list(little.corpus())[::4] == [
        {"docno": "apple", "text": "Fruit an apple a day keeps the doctor away"},
        {"docno": "earth", "text": "the earth turns around once a day"},
    ]
    frame = pd.DataFrame({"qid": ["q1"], "docno": ["bread"]})
    loaded = little.text_loader()(frame)
    assert loaded["text"].tolist() == ["Baking fresh bread needs flour water salt and yeast"]
    assert "title" not in loaded
    assert open_collection("little", dataset=Little(), fields=["text"]).checksum != little.checksum


def test_queries_are_drawn_by_a_seed():
    def drawn(seed, n=2):
        return open_collection("little", dataset=Little(), num_queries=n, seed=seed)

    assert drawn(1).topics.equals(drawn(1).topics) and len(drawn(1).topics) == 2
    assert len({tuple(drawn(seed).topics["qid"]) for seed in range(8)}) > 1
    assert set(drawn(1).qrels["qid"]) == set(drawn(1).topics["qid"])
    assert len(drawn(1, n=99).topics) == 3
    with pytest.raises(ValueError, match="at least 1"):
        drawn(1, n=0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("get_corpus_iter", lambda **_: iter([]), "no documents"),
        ("get_corpus_iter", lambda **_: iter([{"docno": "a b", "text": "x"}]), "a b"),
        ("get_corpus_iter", lambda **_: iter([{"docno": "a", "body": "x"}]), "body"),
        ("get_qrels", lambda: pd.DataFrame({"qid": ["zz"], "docno": ["a"], "label": [1]}), "no topic"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(name, value, words):
    dataset = Little()
    setattr(dataset, name, value)
    with pytest.raises(ValueError, match=words):
        open_collection("little", dataset=dataset)


def test_fields_are_joined_without_stray_blanks():
    frame = pd.DataFrame({"title": ["A", " ", None], "text": ["b", "c", "d "], "docno": ["1", "2", "3"]})
    assert JoinFields(["title", "text"])(frame).to_dict("list") == {"text": ["A b", "c", "d"], "docno": ["1", "2", "3"]}


def test_a_document_without_a_title_does_not_hide_the_titles_of_others():
    def corpus_of(*documents, **options):
        dataset = Little()
        dataset.get_corpus_iter = lambda **_: iter(documents)
        return list(open_collection("little", dataset=dataset, **options).corpus())

    untitled, titled = {"docno": "d1", "title": None, "text": "a"}, {"docno": "d2", "title": "Important", "text": "b"}
    assert corpus_of(untitled, titled) == [{"docno": "d1", "text": "a"}, {"docno": "d2", "text": "Important b"}]
    assert corpus_of(titled, {"docno": "d3", "text": "c"})[1] == {"docno": "d3", "text": "c"}
    assert corpus_of(untitled, titled, fields=["title"])[1] == {"docno": "d2", "text": "Important"}
