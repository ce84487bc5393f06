"""Neighbours: the real packages take our pipelines, with the language models that they ship for tests."""

import gzip
import json

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir import adapters

TOY = lir.ToyEncoder()
TEXTS = {
    "apple": "an apple a day keeps the doctor away",
    "bread": "fresh bread needs flour water salt and yeast",
    "dough": "let the bread dough rest for a day",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    index = lir.LirIndex(tmp_path_factory.mktemp("adapters") / "i.lir")
    (TOY >> index.indexer(keep_embs=True, verbose=False)).index(corpus)
    return TOY.query_encoder() >> index.exhaustive()


# --- LangChain ----------------------------------------------------------------------------------------------------


def test_a_langchain_retriever(pipeline):
    pytest.importorskip("langchain_core", reason="needs langchain-core: pip install '.[langchain]'")
    from langchain_core.retrievers import BaseRetriever

    retriever = adapters.langchain_retriever(pipeline, TEXTS, k=2)
    assert isinstance(retriever, BaseRetriever)
    found = retriever.invoke("bread dough")
    assert [(one.id, one.page_content, one.metadata["rank"]) for one in found] == [
        ("dough", TEXTS["dough"], 1),
        ("bread", TEXTS["bread"], 2),
    ]
    assert found[0].metadata["score"] == pytest.approx(2, abs=1e-3)
    assert set(found[0].metadata) == {"docno", "score", "rank"}
    assert [[one.id for one in each] for each in retriever.batch(["bread dough", "apple"])] == [
        ["dough", "bread"],
        [one.id for one in retriever.invoke("apple")],
    ]


def test_a_langchain_chain_reads_what_was_found(pipeline):
    pytest.importorskip("langchain_core", reason="needs langchain-core: pip install '.[langchain]'")
    from langchain_core.language_models import FakeListChatModel
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnablePassthrough

    prompts = []

    def seen(prompt):
        prompts.append(prompt.to_string())
        return prompt

    retriever = adapters.langchain_retriever(pipeline, TEXTS, k=1)
    ask = ChatPromptTemplate.from_template("{context}\n{question}")
    context = retriever | (lambda found: "\n".join(one.page_content for one in found))
    model = FakeListChatModel(responses=["a day"])
    chain = {"context": context, "question": RunnablePassthrough()} | ask | seen | model | StrOutputParser()
    assert chain.invoke("how long does bread dough rest?") == "a day"
    assert prompts == [f"Human: {TEXTS['dough']}\nhow long does bread dough rest?"]


# --- LlamaIndex ---------------------------------------------------------------------------------------------------


def test_a_llamaindex_retriever(pipeline):
    pytest.importorskip("llama_index.core", reason="needs llama-index-core: pip install '.[llamaindex]'")
    from llama_index.core.retrievers import BaseRetriever

    retriever = adapters.llamaindex_retriever(pipeline, TEXTS, k=2)
    assert isinstance(retriever, BaseRetriever)
    found = retriever.retrieve("bread dough")
    assert [(one.node.node_id, one.node.text) for one in found] == [
        ("dough", TEXTS["dough"]),
        ("bread", TEXTS["bread"]),
    ]
    assert found[0].score == pytest.approx(2, abs=1e-3)
    assert found[0].metadata["rank"] == 1


def test_a_llamaindex_query_engine_reads_what_was_found(pipeline):
    pytest.importorskip("llama_index.core", reason="needs llama-index-core: pip install '.[llamaindex]'")
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine

    retriever = adapters.llamaindex_retriever(pipeline, TEXTS, k=1)
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    answer = engine.query("how long does bread dough rest?")
    assert [one.node.node_id for one in answer.source_nodes] == ["dough"]
    assert TEXTS["dough"] in str(answer)  # the mock says what it was asked
    assert "score" not in str(answer)


# --- DSPy ---------------------------------------------------------------------------------------------------------


def test_dspy_retrieves_and_answers(pipeline):
    pytest.importorskip("dspy", reason="needs dspy, which brings many packages: pip install '.[dspy]'")
    import dspy
    from dspy.utils import DummyLM

    class Answers(dspy.Module):
        def __init__(self):
            super().__init__()
            self.retrieve = dspy.Retrieve(k=1)
            self.answer = dspy.Predict("context, question -> answer")

        def forward(self, question):
            context = self.retrieve(question).passages
            return dspy.Prediction(context=context, answer=self.answer(context=context, question=question).answer)

    search = adapters.dspy_retriever(pipeline, TEXTS, k=2)
    assert [(one.long_text, one.docno) for one in search("bread dough")] == [
        (TEXTS["dough"], "dough"),
        (TEXTS["bread"], "bread"),
    ]
    with dspy.context(lm=DummyLM([{"answer": "a day"}]), rm=search):
        found = Answers()("how long does bread dough rest?")
    assert found.context == [TEXTS["dough"]]
    assert found.answer == "a day"


# --- pyterrier_rag ------------------------------------------------------------------------------------------------


def test_a_reader_of_pyterrier_rag(pipeline):
    rag = pytest.importorskip(
        "pyterrier_rag", reason="needs pyterrier-rag, which brings many packages: pip install '.[rag]'"
    )
    from pyterrier_rag.backend import Backend, BackendOutput
    from pyterrier_rag.prompt import Concatenator
    from pyterrier_rag.readers import Reader

    class Echo(Backend):
        """It ships no language model for tests; this one says what it was asked."""

        supports_message_input = False

        def generate(self, prompts, **options):
            return [BackendOutput(text=prompt) for prompt in prompts]

    assert "Reader" in dir(rag.readers)
    loaded = pipeline % 1 >> pt.apply.text(lambda row: TEXTS[row["docno"]])
    answer = (loaded >> Concatenator() >> Reader(Echo("echo"))).search("how long does bread dough rest?")
    assert len(answer) == 1
    assert TEXTS["dough"] in answer["qanswer"][0]
    assert "how long does bread dough rest?" in answer["qanswer"][0]


# --- what they share ----------------------------------------------------------------------------------------------


def test_documents_carry_what_their_row_says(pipeline):
    from pyterrier_lir.adapters.documents import documents

    more = pipeline >> pt.apply.generic(lambda ranking: ranking.assign(source="kitchen", year=1999, tags=[["x"]] * 3))
    found = documents(more, TEXTS, "bread dough", 1)[0]
    assert found.metadata == {"source": "kitchen", "year": 1999, "docno": "dough", "score": found.score, "rank": 1}
    with pytest.raises(ValueError, match="k is 0; expected at least 1"):
        documents(more, TEXTS, "bread dough", 0)


def test_a_missing_package_is_named(pipeline, monkeypatch):
    import sys

    for module, make, package in [
        ("langchain_core.documents", adapters.langchain_retriever, "langchain-core"),
        ("llama_index.core.retrievers", adapters.llamaindex_retriever, "llama-index-core"),
        ("dspy", adapters.dspy_retriever, "dspy"),
    ]:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f"Run: pip install '?{package}"):
            make(pipeline, TEXTS)
    with pytest.raises(AttributeError, match="has no attribute 'haystack_retriever'; expected one of dspy_retriever"):
        _ = adapters.haystack_retriever


# --- Anserini and Pyserini ----------------------------------------------------------------------------------------


def test_sparse_and_dense_vectors_in_pyserinis_files(tmp_path):
    sparse = '{"id": 7, "contents": "a b", "vector": {"a": 120, "b": 3}}\n\n{"docid": "e", "vector": {}}\n'
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write(sparse)
    (tmp_path / "b.jsonl").write_text('{"_id": "d", "contents": "", "vector": [0.5, -1]}\n')
    found = list(adapters.read_vectors(tmp_path))
    by_docno = {record["docno"]: record for record in found}
    assert by_docno["7"] == {"docno": "7", "text": "a b", "toks": {"a": 120, "b": 3}}
    assert by_docno["e"] == {"docno": "e", "toks": {}}
    np.testing.assert_array_equal(by_docno["d"]["doc_vec"], np.array([0.5, -1], np.float32))
    assert adapters.write_vectors(found, tmp_path / "out.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {"id": "7", "contents": "a b", "vector": {"a": 120.0, "b": 3.0}} in lines
    assert {"id": "d", "contents": "", "vector": [0.5, -1.0]} in lines


def test_unfinished_vectors_are_not_read(tmp_path):
    def stops():
        yield {"docno": "b", "doc_vec": [1.0]}
        raise KeyboardInterrupt

    adapters.write_vectors([{"docno": "a", "doc_vec": [1.0]}], tmp_path / "a.jsonl")
    with pytest.raises(KeyboardInterrupt):
        adapters.write_vectors(stops(), tmp_path / "b.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    (tmp_path / ".b.jsonl").write_text('{"id": "b", "vector": [1.0]}\n')  # as a process that was killed leaves it
    assert [record["docno"] for record in adapters.read_vectors(tmp_path)] == ["a"]


def test_vectors_that_are_none(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: .* is no vector; expected an object with id and vector"):
        list(adapters.read_vectors(tmp_path / "a.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no file that ends in \.jsonl"):
        list(adapters.read_vectors(tmp_path / "empty"))
    with pytest.raises(ValueError, match="'d' has neither toks nor doc_vec; expected one"):
        adapters.write_vectors([{"docno": "d"}], tmp_path / "b.jsonl")
    assert not (tmp_path / "b.jsonl").exists()


def test_topics_in_anserinis_file(tmp_path):
    topics = pd.DataFrame({"qid": ["01", "2"], "query": ["what's a\tquery,\nin  two lines?", "übung"]})
    adapters.write_topics(topics, tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_text("utf-8") == "01\twhat's a query, in two lines?\n2\tübung\n"
    again = adapters.read_topics(tmp_path / "t.tsv")
    assert again.values.tolist() == [["01", "what's a query, in two lines?"], ["2", "übung"]]
    (tmp_path / "bad.tsv").write_text("1 no tab\n")
    with pytest.raises(ValueError, match="line 1: '1 no tab' has no tab; expected a name and a query"):
        adapters.read_topics(tmp_path / "bad.tsv")


def test_a_run_of_anserini_is_a_first_stage(pipeline, tmp_path):
    """Ranks from 1, a blank between the columns."""
    lines = ["q1 Q0 apple 1 9.5 Anserini", "q1 Q0 dough 2 8.25 Anserini", "q2 Q0 bread 1 3.0 Anserini"]
    (tmp_path / "run.txt").write_text("\n".join(lines) + "\n")
    topics = pd.DataFrame({"qid": ["q1", "q2"], "query": ["bread dough", "flour"]})
    first = pt.Transformer.from_df(pt.io.read_results(str(tmp_path / "run.txt")))
    text = pt.apply.text(lambda row: TEXTS[row["docno"]])
    reranked = (first >> text >> TOY.text_scorer())(topics)
    assert reranked[["qid", "docno", "rank"]].values.tolist() == [
        ["q1", "dough", 0],
        ["q1", "apple", 1],
        ["q2", "bread", 0],
    ]
    pt.io.write_results(reranked, str(tmp_path / "out.txt"), run_name="lir")
    columns = [line.split() for line in (tmp_path / "out.txt").read_text().splitlines()]
    assert [row[:4] + row[5:] for row in columns] == [
        ["q1", "Q0", "dough", "0", "lir"], ["q1", "Q0", "apple", "1", "lir"], ["q2", "Q0", "bread", "0", "lir"],
    ]  # fmt: skip
