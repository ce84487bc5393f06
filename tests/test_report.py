"""The report: its data are numbers that can be worked out, a browser shows them, and nothing else runs."""

import json
import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import RR, nDCG

import pyterrier_lir as lir
from pyterrier_lir.experiment import Measured, measure, report

ENCODER = lir.ToyEncoder(dim=64)
EVIL = "</script><script>window.ran=1</script>"
TEXTS = {
    "plain": "fresh bread and yeast",
    EVIL: 'bread <img src=x onerror="window.ran=1"> rolls',
    "Ä\"'&ü": "Bäckerei: Brot & Hefe, „yeast“",
    "chess": "the queen of chess",
}
TOPICS = pd.DataFrame([["1", "bread yeast"], ["2", 'queen <b>of</b> "Käse" <!--']], columns=["qid", "query"])
QRELS = pd.DataFrame([["1", "plain", 2], ["1", "chess", 0], ["2", "chess", 1]], columns=["qid", "docno", "label"])
MEASURES = ["RR@10", "nDCG@10"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    path = tmp_path_factory.mktemp("report") / "i.lir"
    return (ENCODER >> lir.LirIndex(path).indexer(keep_embs=True, verbose=False)).index(corpus)


@pytest.fixture(scope="module")
def found(index):
    """A system, and its ranking turned round."""
    best = index.exhaustive()
    turned = best >> pt.apply.doc_score(lambda row: -row["score"])
    return measure({"turned": turned, "<best>": best}, TOPICS, QRELS, MEASURES, encoder=ENCODER, baseline="turned")


@pytest.fixture(scope="module")
def page(index, found):
    explain = ENCODER.query_encoder() >> index.explain(ENCODER)
    return report(found, TOPICS, QRELS, title="Bread & <chess>", texts=TEXTS, explain=explain)


@pytest.fixture
def opened(page, browser, tmp_path):
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    browser.window(1200)
    browser.open(tmp_path / "report.html")
    return browser


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


# --- the data -----------------------------------------------------------------------------------------------------


def test_the_data_of_a_query_by_hand(page):
    data = data_of(page)
    assert (data["systems"], data["measures"], data["pair"]) == (["turned", "<best>"], MEASURES, [0, 1])
    query = data["queries"][0]
    docnos = [data["docs"][i][0] for i in query["docs"]]
    assert sorted(docnos) == sorted(TEXTS)
    of = {docno: (query["labels"][i], query["ranks"][1][i]) for i, docno in enumerate(docnos)}
    assert of["plain"] == (2, 1) and of["chess"] == (0, 4) and of[EVIL][0] is None  # two words, none, one of the query
    assert [5 - rank for rank in query["ranks"][1]] == query["ranks"][0]
    assert query["scores"][1][docnos.index("plain")] == pytest.approx(2, abs=1e-3)  # both words are there
    assert [-score for score in query["scores"][1]] == query["scores"][0]
    assert (query["relevant"], query["reached"]) == (1, [[4], [1]])
    # last and first of four: 1/4 and 1; 1/log2(5) and 1 of the best possible
    assert query["values"] == [[0.25, 1], [round(1 / np.log2(5), 4), 1]]


def test_the_alignment_of_a_document_by_hand(page):
    data = data_of(page)
    query = data["queries"][0]
    assert query["tokens"] == ["bread", "yeast"]
    place = next(i for i, doc in enumerate(query["docs"]) if data["docs"][doc][0] == "plain")
    assert data["docs"][query["docs"][place]] == ["plain", TEXTS["plain"], [" fresh", " bread", " and", " yeast"]]
    assert query["matches"][place] == [[1, 1.0, 50.0, 1], [3, 1.0, 50.0, 1]]  # each brings half, by the same word


def test_rankings_are_cut_at_the_depth_and_the_page_says_so(index, found):
    explain = ENCODER.query_encoder() >> index.explain(ENCODER)
    page = report(found, TOPICS, QRELS, texts=TEXTS, explain=explain, depth=2, aligned=1)
    (query, _), docs = data_of(page)["queries"], data_of(page)["docs"]
    assert sorted(query["ranks"][0]) == [1, 2, 3, 4]  # by the other system, however deep
    assert [[score is None for score in scores] for scores in query["scores"]] == [
        [rank > 2 for rank in ranks] for ranks in query["ranks"]
    ]
    assert [match is None for match in query["matches"]] == [rank not in (1, 4) for rank in query["ranks"][0]]
    assert "the first 2 documents of each ranking" in page and "The first 1 documents of each ranking show" in page
    shallow = report(found, TOPICS, QRELS, depth=1)
    assert [len(query["docs"]) for query in data_of(shallow)["queries"]] == [2, 2]
    assert "matches" not in data_of(shallow)["queries"][0] and "by MaxSim" not in shallow
    assert all(doc[1:] == [""] for doc in data_of(shallow)["docs"]) and len(docs[0]) > 1


def test_texts_from_a_transformer_and_alignments_in_them(found):
    loader = pt.apply.generic(lambda rows: rows.assign(text=[TEXTS[docno] for docno in rows["docno"]]))
    data = data_of(report(found, TOPICS, QRELS, texts=loader, explain=ENCODER.explain()))
    parts = {docno: "".join(parts) for docno, _, parts in data["docs"]}
    assert parts["Ä\"'&ü"] == TEXTS["Ä\"'&ü"]  # the text as it stands, not tokens


def test_long_texts_are_cut():
    words = [f"word{i}" for i in range(400)]
    words[200] = "bread"
    ranking = pd.DataFrame({"qid": ["1"], "docno": ["long"], "score": [-np.inf], "rank": [0]})
    outcome = measured({"only": ranking})
    long = report(outcome, TOPICS[:1], QRELS, texts={"long": " ".join(words)}, explain=ENCODER.explain())
    ((_, snippet, parts),) = data_of(long)["docs"]
    assert snippet == " ".join(words[:30]) + " …"  # 10 words of 5 characters, 20 of 6, and blanks: 200
    assert parts[0] == " … " == parts[-1] and " bread" in parts
    assert len("".join(parts).replace("…", "").split()) <= 2 * 25  # two matches, twelve words on both sides
    assert data_of(long)["queries"][0]["scores"] == [["-inf"]]


def test_the_report_of_what_pt_experiment_gives():
    names = {name: pd.DataFrame({"qid": ["1", "2"], "docno": name, "score": 1.0, "rank": 0}) for name in TEXTS}
    outcome = measured(names)
    data = data_of(report(outcome, TOPICS, QRELS))
    assert data["pair"] == [0, 3]  # the first one, and of the others the one whose document is relevant for q2
    assert data["queries"][1]["values"] == [[0, 0, 0, 1], [0, 0, 0, 1]]
    assert data["queries"][1]["reached"] == [[], [], [], [1]]
    assert data["queries"][0]["values"][1] == [1, 0, 0, 0]


def test_the_page_names_the_test_that_was_used(found):
    assert "(paired t-test, Holm-corrected, p &lt; 0.05)" in report(found, TOPICS, QRELS)
    systems = dict(zip(("turned", "<best>"), found.rankings.values(), strict=True))
    results = pt.Experiment(systems, TOPICS, QRELS, [RR @ 10], baseline="turned", test="wilcoxon")
    others = found._replace(results=results)
    assert "is significant (not corrected, p &lt; 0.05)" in report(others, TOPICS, QRELS)  # nobody said by what
    assert "(Wilcoxon &amp; co, not corrected, p" in report(others, TOPICS, QRELS, test="Wilcoxon & co")


def test_several_baselines_and_no_correction(index):
    systems = {name: index.exhaustive(num_results=k) for name, k in (("a", 1), ("b", 2), ("c", 3))}
    both = measure(
        systems, TOPICS, QRELS, MEASURES, encoder=ENCODER, baseline=["b", "a"], correction=None, warm_up=0
    )  # fmt: skip
    page = report(both, TOPICS, QRELS)
    assert data_of(page)["pair"] == [1, 0] and "than b, and" in page and "not corrected" in page


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"found": pd.DataFrame()}, r"found is a DataFrame; expected what measure\(\.\.\.\) gives"),
        ({"depth": 0}, "depth is 0; expected at least 1"),
        ({"aligned": -1}, "aligned is -1; expected at least 0"),
        ({"topics": TOPICS.drop(columns="query")}, "expected qid, query"),
        ({"qrels": QRELS.assign(label="x")}, "label 'x'"),
        (
            {"texts": pt.apply.generic(lambda rows: rows)},
            r"texts gives the columns \['docno'\]; expected docno and text",
        ),
        ({"explain": pt.apply.generic(lambda rows: rows)}, "the row has no query_words"),
    ],
)
def test_what_cannot_be_reported(found, changed, words):
    given = {"found": found, "topics": TOPICS, "qrels": QRELS, **changed}
    with pytest.raises(ValueError, match=words):
        report(given.pop("found"), given.pop("topics"), given.pop("qrels"), **given)


def test_fewer_topics_show_fewer_queries(found):
    page = report(found, TOPICS[1:], QRELS)
    assert [query["qid"] for query in data_of(page)["queries"]] == ["2"] and "2 queries, 2 systems" in page
    assert re.findall(r"data-query=(\d+) data-system=(\d+)", page) == [("0", "1")]
    assert page.count("<rect") == 1


def test_topics_may_have_titles_and_texts_of_their_own(found):
    topics = TOPICS.assign(title="A title", text="A narrative")
    for encoder in (ENCODER, lir.ToyEncoder(dim=64, text_field=("title", "text"))):
        loader = pt.apply.generic(lambda rows: rows.assign(title="", text=[TEXTS[docno] for docno in rows["docno"]]))
        explain = encoder.explain()
        data = data_of(report(found, topics, QRELS, texts=loader, explain=explain))
        assert data == data_of(report(found, TOPICS, QRELS, texts=loader, explain=explain))


def test_results_may_be_sorted(found):
    page = report(found._replace(results=found.results.iloc[::-1]), TOPICS, QRELS)
    data = data_of(page)
    assert data["systems"] == ["<best>", "turned"] and data["pair"] == [1, 0]
    assert set(re.findall(r"data-system=(\d+)", page)) == {"0"}
    assert data["queries"][0]["values"][0] == [1, 0.25]


def test_every_system_needs_a_ranking_and_a_name(found):
    for change, words in (
        ({"rankings": {"turned": found.rankings["turned"]}}, r"'<best>' .* has no ranking, only \['turned'\] have"),
        ({"perquery": found.perquery.query("name == '<best>'")}, "'turned' .* has no values of single queries"),
        ({"results": found.results.assign(name=[1, 2])}, "a system has the name 1; expected a string. Name it '1'"),
    ):
        with pytest.raises(ValueError, match=words):
            report(found._replace(**change), TOPICS, QRELS)


def test_30_queries_and_8_systems_take_less_than_half_a_megabyte():
    """And 300 less than 5, as documents that are shared by queries are written once."""
    random = np.random.RandomState(0)
    words = ["".join(random.choice(list("etaoinshrdlu"), random.randint(3, 9))) for _ in range(500)]
    texts = {f"doc{i:05d}": " ".join(random.choice(words, 180)) for i in range(1500)}
    topics = pd.DataFrame({"qid": range(30), "query": [" ".join(random.choice(words, 12)) for _ in range(30)]})
    docnos = np.array([random.choice(list(texts), 30, replace=False) for _ in range(30)])
    rankings = {}
    for system in range(8):  # each shifts a document by a few places
        order = (np.arange(30) + random.normal(0, 2, (30, 30))).argsort(axis=1)
        rankings[f"system {system}"] = pd.DataFrame({
            "qid": np.repeat(topics["qid"].astype(str), 30), "score": np.tile(np.linspace(20, 10, 30), 30),
            "docno": np.take_along_axis(docnos, order, axis=1).ravel(), "rank": np.tile(np.arange(30), 30),
        })  # fmt: skip
    qrels = pd.DataFrame({"qid": topics["qid"], "docno": docnos[:, 0], "label": 1})
    outcome = measured(rankings, topics.astype({"qid": str}), qrels.astype({"qid": str}))
    page = report(outcome, topics, qrels, texts=texts, explain=lir.ToyEncoder(dim=8).explain())
    matches = [match for query in data_of(page)["queries"] for match in query["matches"] if match]
    assert len(matches) > 100 and all(len(match) == 12 for match in matches)
    assert len(page.encode()) < 0.5e6


def measured(rankings, topics=TOPICS, qrels=QRELS):
    """Of finished rankings, by PyTerrier."""
    measures = [RR @ 10, nDCG @ 10]
    arguments = (list(rankings.values()), topics, qrels, measures)
    return Measured(
        pt.Experiment(*arguments, names=list(rankings)),
        pt.Experiment(*arguments, names=list(rankings), perquery=True),
        rankings,
    )


# --- in the browser -----------------------------------------------------------------------------------------------


def test_a_click_on_a_query_shows_two_rankings(opened):
    opened.click("#queries tbody button", 1)
    assert opened.texts("#asked") == [TOPICS["query"][1]]  # markup is text
    assert opened.texts("h4 .name") == ["turned", "<best>"]
    opened.click("#queries tbody button", 0)
    assert opened.texts("#asked") == ["bread yeast"]
    one, other = (opened.texts(f".pair section:nth-child({side}) .docno") for side in (1, 2))
    assert one == other[::-1] and other[0] == "plain" and other[-1] == "chess" and EVIL in one
    labels = dict(zip(other, opened.texts(".pair section:nth-child(2) .label"), strict=True))
    assert labels == {"plain": "relevant 2", "chess": "label 0", EVIL: "unjudged", "Ä\"'&ü": "unjudged"}
    assert opened.texts(".pair section:nth-child(2) .moved") == [
        f"{moved} in A" for moved in ("▲3 rank 4", "▲1 rank 3", "▼1 rank 2", "▼3 rank 1")
    ]
    assert opened.texts(".pair section:nth-child(2) .rank") == ["1", "2", "3", "4"]
    assert opened.texts(".pair section > .soft") == ["Relevant at rank 4", "Relevant at rank 1"]
    assert opened.texts("h4 .value") == ["RR@10 0.250", "RR@10 1.000"]
    assert opened.texts("#queries tbody td:nth-child(4)") == ["+0.750", "+0.750"]
    assert opened.problems == []


def test_the_first_documents_show_what_the_query_met(opened):
    best = ".pair section:nth-child(2) li:first-child "
    assert opened.texts(best + "mark") == ["bread", "yeast"]
    assert opened.texts(best + ".text") == ["fresh bread and yeast"]
    assert opened.run(f"document.querySelector('{best}details').open") is False
    opened.click(best + "summary")
    assert [row.split("\t") for row in opened.texts(best + "tbody tr")] == [
        ["bread", "bread", "1.00", "50.0 %"], ["yeast", "yeast", "1.00", "50.0 %"],
    ]  # fmt: skip
    assert len(opened.texts(".pair section:nth-child(2) details")) == 3  # of four
    assert opened.texts(".pair section:nth-child(2) li:last-child .text") == [TEXTS["chess"]]


def test_other_systems_measures_orders_and_words(opened):
    opened.choose("#a", "1")
    assert opened.texts("h4 .name") == ["<best>", "<best>"]
    assert set(opened.texts(".moved")) == {"= A", "= B"}
    opened.choose("#a", "0")
    opened.choose("#measure", "1")
    assert opened.texts("h4 .value") == ["nDCG@10 0.431", "nDCG@10 1.000"]
    opened.choose("#find", "KÄSE")
    assert opened.texts("#queries button") == [TOPICS["query"][1]] == opened.texts("#asked")
    assert opened.texts("#queries th")[0] == "1 of 2 queries"
    opened.choose("#find", "nothing like this")
    assert opened.texts("#queries button") == []
    opened.choose("#find", "")
    assert len(opened.texts("#queries button")) == 2


def test_the_keyboard_is_enough(opened):
    opened.run("document.querySelector('#find').focus()")
    opened.press("Tab", "ArrowDown")
    assert opened.texts("#asked") == [TOPICS["query"][1]]
    opened.press("ArrowUp")
    assert opened.texts("#asked") == ["bread yeast"]
    assert opened.run("document.activeElement.innerText") == "bread yeast"
    opened.press("Tab", "Enter")
    assert opened.run("document.querySelector('details').open") is True
    opened.run("document.querySelectorAll('button.jump')[1].focus()")
    opened.press("Enter")
    assert opened.run("document.activeElement.innerText") == opened.texts("#asked")[0] == TOPICS["query"][1]


def test_nothing_runs_and_nothing_is_loaded(opened):
    opened.click("#queries tbody button", 1)
    assert opened.run("typeof window.ran") == "undefined"
    assert opened.texts("h1") == ["Bread & <chess>"] and "<chess>" in opened.run("document.title")
    assert {address.split(":")[0] for address in opened.requests} <= {"file", "data", "about"}
    inserted = "s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    opened.run(f"(() => {{ const {inserted}; }})()")
    opened.run("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    assert opened.run("typeof window.ran") == "undefined"
    assert sum("Content Security Policy" in str(problem) for problem in opened.problems) == 2
    opened.problems.clear()


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_is_as_wide_as_the_window(opened, width):
    opened.window(width)
    opened.click("summary")
    assert opened.run("document.documentElement.scrollWidth") == width
    lefts = opened.run(
        "[...document.querySelectorAll('.pair section')].map(e => Math.round(e.getBoundingClientRect().x))"
    )
    assert (lefts[0] < lefts[1]) == (width == 1200)  # beside each other, or below


def test_dark_is_dark(opened):
    paper = "getComputedStyle(document.body).backgroundColor"
    light = opened.run(paper)
    opened.window(1200, dark=True)
    assert (light, opened.run(paper)) == ("rgb(255, 255, 255)", "rgb(21, 24, 30)")


def test_a_single_system_has_one_ranking(browser, tmp_path):
    ranking = pd.DataFrame({"qid": ["1"], "docno": ["plain"], "score": [1.0], "rank": [0]})
    (tmp_path / "one.html").write_text(report(measured({"only": ranking}), TOPICS, QRELS), encoding="utf-8")
    browser.window(1200)
    browser.open(tmp_path / "one.html")
    assert browser.texts("h4 .name") == ["only"] and browser.texts(".moved") == []
    browser.click("#queries tbody button", 1)
    assert browser.texts(".pair p") == ["No relevant document was found.", "Nothing was found."]
