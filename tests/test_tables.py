"""Tables as papers print them: LaTeX, marks of significance, several datasets side by side."""

import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from fruit import First
from ir_measures import AP, nDCG

from pyterrier_lir.experiment import measure, table

RESULTS = pd.DataFrame({
    "name": ["BM25 & co", "b_1", "c"], "AP": [0.2, 0.25, 0.1], "RR": [0.5, 0.5, 0.4999], "ms": [1.0, 20.5, np.nan],
    "AP +": [None, 5, 1], "AP -": [None, 1, 5],
    "AP p-value": [None, 0.001, 0.03], "AP p-value corrected": [None, 0.002, 0.06],
    "RR +": [None, 0, 0], "RR -": [None, 0, 1],
    "RR p-value": [None, np.nan, 0.9], "RR p-value corrected": [None, np.nan, 0.9],
})  # fmt: skip


def test_a_latex_table():
    heading, caption = {"ms": r"ms $\downarrow$"}, r"As \cite{x}, $k=1$."
    text = table(
        RESULTS, columns=heading, correction="holm", test="paired t-test", caption=caption, label="tab:x"
    )  # fmt: skip
    assert text.splitlines() == [
        r"\begin{table}", r"\centering",
        r"\caption{As \cite{x}, $k=1$. Bold: best. $+$ and $-$: significantly better and worse than BM25 \& co (paired "
        r"t-test, Holm-corrected, $p <$ 0.05).}",
        r"\label{tab:x}", r"\begin{tabular}{lllr}", r"\toprule", r"system & AP & RR & ms $\downarrow$ \\", r"\midrule",
        r"BM25 \& co & 0.200 & \textbf{0.500} & 1.00 \\",
        r"b\_1 & \textbf{0.250}$^{+}$ & \textbf{0.500} & 20.50 \\",
        r"c & 0.100 & \textbf{0.500} & -- \\",  # equal to the best as printed
        r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip


def test_marks_follow_the_level_and_the_correction():
    assert "| c | 0.100 - |" in table(RESULTS, format="markdown", measures=["AP"], alpha=0.1)
    plain = RESULTS.drop(columns=[column for column in RESULTS if "corrected" in column])
    text = table(plain, format="markdown", measures=["AP"])
    assert "| c | 0.100 - |" in text and "not corrected for multiple tests" in text
    assert "corrected for multiple tests" in table(RESULTS)  # nobody said how
    assert "Bonferroni-corrected" in table(RESULTS, correction="bonferroni")
    assert "| c | 0.10 |" in table(RESULTS, format="markdown", measures=["AP"], digits=2)


def test_several_baselines_have_letters(fruit):
    encoder, index, topics, qrels = fruit
    systems = {"first": First(), "exact": index.exhaustive(), "one": index.exhaustive(num_results=1)}
    results = measure(systems, topics, qrels, "RR", encoder=encoder, baseline=["exact", "first"], warm_up=0).results
    text = table(results, format="markdown")
    assert re.findall(r"^\| (.*) \|$", text, re.MULTILINE) == [
        "system | RR", "--- | ---:", "first (a) | 0.125 -b", "exact (b) | **1.000** +a", "one | **1.000** +a",
    ]  # fmt: skip
    assert "than first (a) or exact (b) (paired t-test, Holm-corrected per measure and baseline, p < 0.05)" in text


def test_costs_are_no_measures(fruit):
    encoder, index, topics, qrels = fruit
    results = measure({"plaid": index.plaid()}, topics, qrels, [nDCG @ 10, AP], encoder=encoder, warm_up=0).results
    assert table(results, format="markdown").splitlines() == [
        "| system | nDCG@10 | AP |", "| --- | ---: | ---: |", "| plaid | **1.000** | **1.000** |",
    ]  # fmt: skip


def test_the_caption_says_which_statistic_a_time_is():
    one = pd.DataFrame({"name": ["a"], "AP": [0.2], "retrieve_ms": [1.0], "retrieve_ms_p95": [9.0], "scored": [5]})
    headings = {"retrieve_ms": r"ms$_{50}$", "retrieve_ms_p95": r"ms$_{95}$", "scored": "docs"}
    assert table(one, columns=headings, caption="Costs.").splitlines()[2] == (
        r"\caption{Costs. ms$_{50}$: median milliseconds from the encoded query to the ranking. ms$_{95}$: 95th "
        r"percentile of the milliseconds from the encoded query to the ranking.}"
    )
    marked = table(RESULTS.assign(mrt=1.5), format="markdown", columns={"mrt": "time"}, test="Wilcoxon test")
    assert "(Wilcoxon test, " in marked
    assert "than BM25 & co (corrected for multiple tests, p < 0.05)" in table(RESULTS, format="markdown")
    assert marked.endswith("p < 0.05). time: mean milliseconds per query, all queries in one call.")


def test_p_values_that_pt_experiment_lost_are_no_lack_of_significance(fruit):
    """With Benjamini-Hochberg one system that equals the baseline makes the p-values of all NaN."""
    _encoder, _index, topics, qrels = fruit
    systems = {"first": First(), "same": First(), "right": pt.Transformer.from_df(qrels.assign(score=1.0, rank=0))}
    theirs = pt.Experiment(systems, topics, qrels, [AP], baseline="first", correction="fdr_bh")
    assert theirs["AP p-value corrected"].isna().all()
    with pytest.raises(
        ValueError, match=r"'right' has AP p-value 0.000\d+, but AP p-value corrected NaN.*measure\(\.\.\.\)"
    ):
        table(theirs)
    ours = measure(systems, topics, qrels, AP, baseline="first", correction="fdr_bh", warm_up=0).results
    assert "| right | **1.000** + |" in table(ours, format="markdown")


def test_several_datasets_stand_side_by_side():
    one = pd.DataFrame({"name": ["a", "b"], "AP": [0.2, 0.1], "ms": [1, 2]})
    other = pd.DataFrame({"name": ["b", "c"], "AP": [0.3, 0.3], "ms": [3.0, 4.0]})
    both = {"Sci_Fact": one, "Vaswani": other}
    lines = table(both, columns={"ms": "ms"}).splitlines()
    assert lines[2:11] == [
        r"\begin{tabular}{llrlr}", r"\toprule",
        r" & \multicolumn{2}{l}{Sci\_Fact} & \multicolumn{2}{l}{Vaswani} \\", r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}",
        r"system & AP & ms & AP & ms \\", r"\midrule", r"a & \textbf{0.200} & 1.00 & -- & -- \\",
        r"b & 0.100 & 2.00 & \textbf{0.300} & 3.00 \\", r"c & -- & -- & \textbf{0.300} & 4.00 \\",
    ]  # fmt: skip
    assert table(both, format="markdown").splitlines()[0] == "| system | Sci_Fact AP | Vaswani AP |"


def test_names_are_escaped():
    frame = pd.DataFrame({"name": ["a|b > *c* <d>\ne_f"], "AP": [0.5], "kind": ["x_y"]})
    assert r"a\textbar{}b \textgreater{} *c* \textless{}d\textgreater{} e\_f & \textbf{0.500} & x\_y" in table(
        frame, columns={"kind": "k"}
    )
    assert r"| a\|b > \*c\* \<d> e_f | **0.500** | x_y |" in table(frame, format="markdown", columns={"kind": "a|b"})
    assert r"| system | AP | a\|b |" in table(frame, format="markdown", columns={"kind": "a|b"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "html"}, "html"),
        ({"measures": ["P@5"]}, "P@5"),
        ({"measures": "P@5"}, "'P@5'"),
        ({"digits": -1}, "digits is -1"),
        ({"columns": ["ms"]}, r"columns=\{\"retrieve_ms\": \"ms\"\}"),
        ({"results": RESULTS.iloc[:0]}, "0 rows"),
        ({"results": RESULTS[["name", "ms"]]}, "measures="),
        ({"results": RESULTS.iloc[1:]}, "baseline whose row is not there"),
        ({"results": pd.concat([RESULTS, RESULTS])}, "'BM25 & co' occurs more than once"),
        ({"results": (RESULTS,)}, r"measure\(...\).results"),
    ],
)
def test_tables_that_cannot_be_written(arguments, words):
    with pytest.raises(ValueError, match=words):
        table(**{"results": RESULTS, **arguments})


def test_what_pt_experiment_calls_its_measures(fruit):
    _encoder, _index, topics, qrels = fruit
    results = pt.Experiment([First()], topics, qrels, ["map", "ndcg_cut_10", "mrt"], names=["first"])
    assert table(results, format="markdown").splitlines()[0] == "| system | map | ndcg_cut_10 |"
    assert "| first | **0.125** |" in table(results, format="markdown", measures=[AP] if "AP" in results else "map")
