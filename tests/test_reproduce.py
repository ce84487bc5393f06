"""The reproduction kits: each runs from its command line on a few documents with the toy encoder."""

import importlib
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "reproduce"
PAPERS = ["plaid", "plaid_reproducibility", "xtr", "warp", "muvera", "pooling", "colbert_prf"]

# Not imported while tests are collected: it imports ir_datasets, whose home conftest sets only then.
pytestmark = pytest.mark.skipif(find_spec("pyterrier_pisa") is None, reason="needs the extra [demo]")


@pytest.fixture(scope="module")
def kits():
    """The scripts as modules, gone afterwards: they are found as scripts are, beside each other."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            if str(FOLDER) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kits")


def test_every_kit_is_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*PAPERS, "limit", "training", "kit", "kept", "page"}


def given(folder, *more):
    """The arguments of a small run."""
    small = ["--dataset", "lir:pydoc", "--documents", "210", "--queries", "3", "--encoder", "toy"]
    return [*small, "--folder", str(folder / "indexes"), *more]


@pytest.mark.parametrize("name", PAPERS)
def test_a_kit_runs_its_table(name, kits, folder, capsys):
    out = folder / f"{name}.md"
    kit = kits(name)
    results = kit.main(given(folder, "--out", str(out)))
    text = out.read_text()
    assert capsys.readouterr().out == text
    assert kit.PAPER.title in text and "3 queries" in text and "toy-32-0" in text
    table = text.split("Published for another")[0]
    assert re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[2:] == list(results["name"]) == list(kit.SYSTEMS)
    assert (results["ms"] > 0).all() and results.iloc[:, 1].between(0, 1).all()
    assert all(f"another collection, {name}:" in text for name in kit.PAPER.published)
    assert all(set(figures) - set(kit.SYSTEMS) <= {"vanilla ColBERTv2"} for figures in kit.PAPER.published.values())
    assert f"`python benchmarks/reproduce/{name}.py --dataset lir:pydoc --documents 210 --queries 3 --enc" in text
    assert "cut to 210 documents: all that are relevant" in text and str(folder) not in text


MEASURED = pd.DataFrame(
    {
        "name": ["a", "b"],
        "RR@10": [0.25, 0.5],
        "AP(rel=2)": [0.125, 1.0],
        "ms": [1.25, 2.0],
        "plaid_scored": [7, None],
        "cut": [10.0, 1000.0],
    }
)


def test_published_figures_stand_beside_ours(kits):
    page = kits("page")
    published = {"b": {"RR@10": 0.7775}, "c": {"RR@10": 0.4, "ms": 64.3}}
    names, measures = ["RR@10", "AP(rel=2)", "ms"], {"RR@10", "AP(rel=2)"}
    assert page.beside(MEASURED, published, names, ["plaid_scored"], measures).splitlines() == [
        "| system | RR@10 | *RR@10, paper* | AP(rel=2) | ms | *ms, paper* | plaid_scored |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a | 0.250 |  | 0.125 | 1.2 |  | 7.0 |",
        "| b | 0.500 | *0.7775* | 1.000 | 2.0 |  |  |",
        "| c |  | *0.4* |  |  | *64.3* |  |",
    ]
    assert page.alone({"b": {"ms": 64.3}, "c": {"MAP": 0.25, "ms": 7.0}}).splitlines() == [
        "| system | MAP | ms |",
        "| --- | ---: | ---: |",
        "| b |  | 64.3 |",
        "| c | 0.25 | 7 |",
    ]


def test_a_measure_deeper_than_the_cut_is_blank(kits):
    from pyterrier.measures import AP, RR, R

    deep = MEASURED.assign(**{"R@100": [0.1, 0.2], "RBO": [0.3, 0.4]})
    shown = kits("page").blanked(deep, [RR @ 10, AP(rel=2), R @ 100, "RBO"])
    assert shown["R@100"].isna().tolist() == [True, False]
    assert shown.drop(columns="R@100").equals(deep.drop(columns="R@100"))


def test_the_last_stage_that_retrieves_or_cuts_decides_the_cut(kits):
    import pyterrier as pt

    import pyterrier_lir as lir

    cut, index = kits("kept").cut, lir.LirIndex("none.lir")
    assert cut(index.exhaustive(num_results=7)) == 7
    assert cut(index.muvera() % 200 >> index.maxsim()) == 200
    assert cut(index.plaid(num_results=10) % 200 >> index.maxsim()) == 10
    assert cut(index.plaid(num_results=10) >> index.ladr(index.corpus_graph(), num_results=50)) == 50
    assert cut(pt.Transformer.identity()) == float("inf")


def test_only_figures_of_the_dataset_stand_beside_ours(kits, folder, capsys):
    kit, page, xtr = kits("kit"), kits("page"), kits("xtr")
    published = {"lir:pydoc": {"exhaustive": {"RR@10": 0.75}}, "irds:x": {"exhaustive": {"RR@10": 0.25}}}
    paper = page.Paper("T", "S", published, [])
    systems = {"exhaustive": kit.exhaustive}
    args = kit.parser("xtr.py", "").parse_args(
        ["--encoder", "toy", "--queries", "3", "--folder", str(folder / "whole")]
    )
    args.dataset = "lir:pydoc"
    kit.run(paper, systems, [xtr.RR @ 10], args)
    ours, others = capsys.readouterr().out.split("Published for another collection, irds:x:")
    assert "*0.75*" in ours and "0.25" not in ours
    assert "| exhaustive | 0.25 |" in others and "0.75" not in others


def test_systems_are_chosen_by_name(kits, folder):
    plaid = kits("plaid")
    results = plaid.main(given(folder, "--systems", "PLAID k=100, exhaustive"))
    assert results["name"].tolist() == ["exhaustive", "PLAID k=100"]  # in the order of the table
    with pytest.raises(ValueError, match=r"\['PLAID k=7'\] are unknown; expected .*'exhaustive', 'PLAID k=10'"):
        plaid.main(given(folder, "--systems", "PLAID k=7,exhaustive"))


def test_what_was_measured_is_not_measured_again(kits, tmp_path):
    plaid, kit = kits("plaid"), kits("kit")

    def crash(setting):
        raise RuntimeError("the last row")

    args = plaid.parser("plaid.py", "").parse_args(given(tmp_path))
    measures = [plaid.RR @ 10]
    with pytest.raises(RuntimeError, match="the last row"):
        kit.run(plaid.PAPER, {"exhaustive": kit.exhaustive, "crash": crash}, measures, args)
    first = kit.run(plaid.PAPER, {"exhaustive": kit.exhaustive}, measures, args)
    (kept,) = tmp_path.rglob("exhaustive-*.json")
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "retrieve_ms": 777.0}))
    assert kit.run(plaid.PAPER, {"exhaustive": kit.exhaustive}, measures, args)["ms"].tolist() == [777.0]
    args.fresh = True
    again = kit.run(plaid.PAPER, {"exhaustive": kit.exhaustive}, measures, args)
    assert again["ms"][0] != 777.0 and again["RR@10"].equals(first["RR@10"])
    args.fresh, args.queries = False, 4  # other queries: other figures
    assert kit.run(plaid.PAPER, {"exhaustive": kit.exhaustive}, measures, args)["ms"][0] != 777.0
    assert len(list(tmp_path.rglob("exhaustive-*.json"))) == 2
    assert len(list(tmp_path.rglob("exhaustive-*.res.gz"))) == 2


def test_the_command_names_no_folder(kits, tmp_path):
    args = kits("kit").parser("/a/b/plaid.py", "").parse_args(
        ["--systems", "PLAID k=10", "--encoder", str(tmp_path / "model"), "--folder", "f", "--index", "i", "--fresh"]
    )  # fmt: skip
    assert kits("page").command(args) == (
        "python benchmarks/reproduce/plaid.py --dataset irds:vaswani --systems 'PLAID k=10' --encoder model --nbits 4 "
        "--threads 1"
    )


def test_options_of_the_encoder_reach_it(kits):
    kit = kits("kit")
    found = kit.open_encoder("x", device="cpu", dtype="float32", query_length=None, document_length=300)
    assert repr(found) == "LateInteractionEncoder('x', document_length=300, dtype='float32', device='cpu')"
    with pytest.raises(ValueError, match=r"toy encoder was given \['dtype'\]"):
        kit.open_encoder("toy", dtype="float32", device=None)


def test_rank_biased_overlap_by_hand(kits):
    rbo = kits("plaid_reproducibility").rbo
    assert rbo("abc", "abc", 3) == 1
    assert rbo("abc", "xyz", 3) == 0
    # Overlaps 0/1, 2/2, 2/3; weights 1, 1/2, 1/4: (1/2 + 1/6) / (7/4).
    assert rbo("abc", "bax", 3, p=0.5) == pytest.approx((1 / 2 + 1 / 6) / (7 / 4))
    # A short ranking: overlaps 1/1, 1/2, 1/3.
    assert rbo("abc", "a", 3, p=0.5) == pytest.approx((1 + 1 / 4 + 1 / 12) / (7 / 4))


def test_rank_biased_overlap_of_rows(kits, folder):
    study = kits("plaid_reproducibility")
    rows = study.main(given(folder)).set_index("name")
    assert rows.loc["exhaustive", study.RBO] == 1
    assert rows[study.RBO].between(0, 1).all() and rows.loc["BM25 50 re-ranked", study.RBO] < 1
    assert study.main(given(folder, "--systems", "PLAID 1/.5/256"))[study.RBO].isna().all()


def test_a_graph_is_cut_to_its_first_neighbours(kits):
    class Whole:
        def neighbours(self, document):
            return ["b", "c", "d"]

    assert kits("plaid_reproducibility").FirstNeighbours(Whole(), 2).neighbours("a") == ["b", "c"]


def test_warp_runs_with_the_papers_settings(kits, folder):
    warp, kit = kits("warp"), kits("kit")
    setting = kit.open_setting(warp.parser("warp.py", "").parse_args(given(folder)))
    made = {name: make(setting) for name, make in warp.SYSTEMS.items() if name.startswith("WARP")}
    assert made["WARP nprobe=32"].preset == "paper" and made["WARP nprobe=32"].settings.bound == 128
    assert made["WARP our defaults"].preset == "measured"


def test_muvera_refuses_few_candidates(kits, folder):
    with pytest.raises(ValueError, match="--candidates is 200; expected at least 1,000"):
        kits("muvera").main(given(folder, "--candidates", "200"))


def test_a_cut_collection_keeps_what_is_relevant(kits):
    limit = kits("limit")
    whole = limit.Limit({str(i): "x" for i in range(9)}, {"q": "x"}, [("q", "7"), ("q", "2")])
    cut = kits("kit").Cut(whole, 4)
    assert [document["docno"] for document in cut.get_corpus_iter()] == ["0", "1", "2", "7"]


def test_a_cut_cannot_drop_what_is_relevant(kits):
    limit = kits("limit")
    whole = limit.Limit({str(i): "x" for i in range(9)}, {"q": "x"}, [("q", "7"), ("q", "2"), ("q", "4")])
    with pytest.raises(ValueError, match=r"^1 documents are to be kept, and 3 are relevant"):
        kits("kit").Cut(whole, 1)


def test_limit_is_built_as_the_paper_says(kits):
    limit = kits("limit")
    made, again = limit.make(), limit.make()
    assert made.texts == again.texts and len(made.texts) == 46 and len(made.queries) == 1000
    pairs = made.get_qrels().groupby("qid")["docno"].agg(frozenset)
    assert pairs.map(len).eq(2).all() and pairs.nunique() == 1000
    for qid, query in made.queries.items():
        thing = re.fullmatch(r"Who likes (\w+)\?", query)[1]
        assert {docno for docno, text in made.texts.items() if re.search(rf"\b{thing}\b", text)} == pairs[qid]


def test_limit_runs_on_the_authors_files(kits, folder):
    data = folder / "limit-small"
    data.mkdir()
    lines = {
        "corpus": [
            {"_id": "Ada B", "text": "Ada B likes figs."},
            {"_id": "Cy D", "text": "Cy D likes plums and figs."},
        ],
        "queries": [{"_id": "q0", "text": "Who likes plums?"}],
        "qrels": [{"query-id": "q0", "corpus-id": "Cy D", "score": 1}],
    }
    for name, records in lines.items():
        (data / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    out = folder / "l.md"
    small = ["--limit", str(data), "--encoder", "toy", "--folder", str(folder / "indexes"), "--out", str(out)]
    results = kits("limit").main(small)
    assert results["R@2"].tolist() == [1.0] * 7  # two documents, both come
    text = out.read_text()
    assert "Cy_D" not in text and "the small one of the authors" in text and "--limit limit-small" in text
    with pytest.raises(ValueError, match="--dataset is irds:vaswani; expected none"):
        kits("limit").main([*small, "--dataset", "irds:vaswani"])


def test_one_vector_is_the_mean_at_unit_length(kits):
    import numpy as np

    one = kits("limit").mean(np.array([[1, 0], [0, 1]], np.float32))
    assert one.tolist() == [[pytest.approx(0.5**0.5), pytest.approx(0.5**0.5)]]


def test_the_training_page_by_hand(kits, tmp_path):
    training = kits("training")
    assert training.holm([0.04, 0.01, 0.5]) == [pytest.approx(0.08), pytest.approx(0.03), 0.5]
    folder = tmp_path / "here" / "steps5"
    folder.mkdir(parents=True)
    row = {"seed": 0, "minutes": 2.0, "curve": [[0, 0.25], [5, 0.5]]}
    scores = {
        "untrained-0": {"a": 0.0, "b": 0.5, "c": 0.25},
        "KL-0": {"a": 0.5, "b": 0.75, "c": 0.5},
        "KL-1": {"a": 0.0, "b": 0.75, "c": 0.5},
    }
    for name, values in scores.items():
        kept = {**row, "recipe": name.partition("-")[0], "here": values}
        (folder / f"{name}.json").write_text(json.dumps(kept))
    text = training.page(tmp_path)
    # Differences of the seeds' means: 1/4 for each query, so p is 0.
    assert "| KL | 2 | 2.0 | 0.5000 (0.5833, 0.4167) | +0.2500 | 0 |" in text
    assert "| untrained |  |  | 0.2500 |  |  |" in text and "KL: 0.250 at step 0, 0.500 at step 5." in text
