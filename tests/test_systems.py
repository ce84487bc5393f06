"""Systems are read from text, and become pipelines."""

import pandas as pd
import pytest

import pyterrier_lir as lir
from pyterrier_lir.experiment import first_stage, systems
from pyterrier_lir.experiment.systems import Parts, Spec, parse_systems


def test_systems_are_read():
    assert parse_systems(" bm25 , rerank:num=50, exhaustive:num_results=7,") == [
        Spec("bm25"), Spec("rerank", {"num": 50}), Spec("exhaustive", {"num_results": 7}),
    ]  # fmt: skip
    assert [str(spec) for spec in parse_systems(["bm25", "rerank:num=50"])] == ["bm25", "rerank:num=50"]
    assert parse_systems("rerank, num=50") == parse_systems("rerank:num=50")


def test_several_parameters_of_one_system(monkeypatch):
    kind = systems.Kind("", lambda parts, a=1, b=0.5, c="x", d=None, e=True: (a, b, c, d, e))
    monkeypatch.setitem(systems.SYSTEMS, "new", kind)
    (spec, other) = parse_systems("new:a=2,b=1,c=y,d=3,e=False,bm25")
    assert spec.build(None) == (2, 1, "y", 3, False)
    assert str(other) == "bm25"
    assert "new:a=1,b=0.5,c=x,d=None,e=True" in systems.known_systems()
    for wrong in ("new:a=1.5", "new:a=True", "new:c=1", "new:e=1", "new:a=x"):
        with pytest.raises(ValueError, match="expected a value like the default"):
            parse_systems(wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bm52", ["'bm52'", "exhaustive", "text_rerank"]),
        ("rerank:k=3", ["k=3", "num"]),
        ("rerank:num", ["'num'", "name=value"]),
        ("rerank:num=3,num=4", ["num=4", "once"]),
        ("rerank:num=0", ["num=0", "at least 1"]),
        ("rerank:num=many", ["num=many", "num=100"]),
        ("bm25,bm25", ["twice"]),
        ("", ["at least one"]),
        ("num=3", ["num=3"]),
    ],
)
def test_what_is_not_known_is_named(text, words):
    with pytest.raises(ValueError) as error:
        parse_systems(text)
    assert all(word in str(error.value) for word in words), error.value


def test_a_spec_becomes_its_pipeline(little, tmp_path):
    encoder, index = lir.ToyEncoder(), lir.LirIndex.example()
    parts = Parts(index, encoder, lambda k: first_stage.bm25(little.corpus(), tmp_path / "bm25", k), little.text_loader)
    topics = encoder.query_encoder()(little.topics)
    lexical = first_stage.bm25(little.corpus(), tmp_path / "bm25")
    expected = {
        "bm25:num_results=2": lexical % 2,
        "exhaustive:num_results=3": index.exhaustive(num_results=3),
        "rerank:num=2": lexical % 2 >> index.maxsim(),
        "text_rerank:num=2": lexical % 2 >> little.text_loader() >> encoder.text_scorer(),
    }
    for text, pipeline in expected.items():
        (spec,) = parse_systems(text)
        assert spec.encodes == (spec.kind != "bm25")
        found, wanted = spec.build(parts)(topics), pipeline(topics)
        columns = ["qid", "docno", "score", "rank"]
        pd.testing.assert_frame_equal(found[columns], wanted[columns], check_dtype=False)
