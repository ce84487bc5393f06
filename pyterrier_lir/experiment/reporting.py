"""The report of an experiment: one HTML file that holds everything it shows, and loads nothing.

Its policy for contents allows no source but itself, and no script but the one whose hash it names: text of strangers
(queries, documents, docnos) can be shown, never run.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments
from pyterrier_lir.experiment.inputs import check_names, check_topics, judgements
from pyterrier_lir.experiment.measuring import Measured
from pyterrier_lir.experiment.plots import tradeoff_plot
from pyterrier_lir.experiment.report_parts import Table, differences, environment, read_table, systems_table
from pyterrier_lir.experiment.side_by_side import ALIGNED, DEPTH, as_json, markup, page_data
from pyterrier_lir.options import listed

if TYPE_CHECKING:
    from pyterrier_lir.agents.texts import Texts

HERE = Path(__file__).parent
STYLE, SCRIPT = HERE / "report.css", HERE / "side_by_side.js"


@listed
def report(
    found: Measured,
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    *,
    title: str = "Experiment",
    texts: Texts = None,
    explain: pt.Transformer | None = None,
    depth: int = DEPTH,
    aligned: int = ALIGNED,
    about: Mapping[str, Any] | None = None,
    test: str | None = None,
) -> str:
    """Writes what an experiment found as one page of HTML: tables, plot, and any two rankings beside each other.

    A click on a query shows the rankings of two systems, by default of the baseline and the best, with ranks, scores,
    judgements and what moved; with texts also how each document begins, and with ``explain`` what the query met in the
    first ones. The page loads nothing; with 300 queries and 8 systems it has less than 5 MB.

    Args:
        found: What `pyterrier_lir.experiment.measure` gave. ``Measured(results, perquery, rankings)`` makes it of what
            `pt.Experiment` gives, without and with ``perquery=True``, and of the rankings by name.
        topics: ``qid, query``, and what ``explain`` needs besides. If it has fewer queries than were measured,
            only these are shown; the table of systems stays as measured.
        qrels: ``qid, docno, label``.
        title: Above the page.
        texts: Documents by docno, or a transformer that adds ``text``, such as ``dataset.text_loader()``; None for
            none.
        explain: From queries with documents (and texts, if there are some) to explained rows, such as
            ``encoder.query_encoder() >> index.explain(encoder)`` or ``encoder.explain()``; None for no alignments. The
            query is that of the topics, whatever a system made of it.
        depth: Documents of each ranking that are shown.
        aligned: Documents at the top of each ranking that are explained.
        about: What the numbers were made with, as ``environment.json`` has it.
        test: What the p-values are of, such as ``"paired t-test"``; None for what `measure` noted. What `pt.Experiment`
            gives has no note, so that the page names a test only if you do.

    Returns:
        HTML: ``Path("report.html").write_text(page, encoding="utf-8")``.

    Raises:
        ValueError: If the results have no measure, topics or judgements are not in this form, ``depth`` or ``aligned``
            is no such number, a system has no ranking or a name that is no string, or a pipeline gives no texts or
            explains nothing.
    """
    page, _ = page_and_plot(
        found, topics, qrels, title=title, texts=texts, explain=explain, depth=depth, aligned=aligned, about=about,
        test=test,
    )  # fmt: skip
    return page


def page_and_plot(
    found: Measured, topics: pd.DataFrame, qrels: pd.DataFrame, *, title: str, texts: Texts,
    explain: pt.Transformer | None, depth: int, aligned: int, about: Mapping[str, Any] | None, test: str | None = None,
) -> tuple[str, bytes | None]:  # fmt: skip
    """The `report`, and the trade-off plot in it as PNG; None where no times were taken."""
    if not isinstance(found, Measured):
        raise ValueError(
            f"found is a {type(found).__name__}; expected what measure(...) gives. Of pt.Experiment's results make it: "
            "Measured(results, perquery, rankings)."
        )
    arguments.check_counts(depth=depth)
    arguments.check_counts(0, aligned=aligned)
    topics = check_topics(topics, None, warm_up=0)
    table = read_table(found.results, test=test)
    values, rankings = _values(found.perquery, table.measures), _rankings(found)
    data = page_data(
        rankings, values, topics, judgements(qrels, topics), pair=_pair(table), texts=texts,
        explain=explain if aligned else None, depth=depth, aligned=aligned,
    )  # fmt: skip
    compared, plot = differences(table, values[table.measures[0]], topics), _plot(table)
    parts = [
        f"<h1>{escape(title)}</h1><p class=soft>{escape(_intro(found, about))}</p>",
        f"<h2>Systems</h2>{systems_table(table)}{_figure(table, plot)}",
        f"<h2 id=rankings>Rankings side by side</h2>{markup(data)}",
        f"<h2>{escape(table.measures[0])} minus that of {escape(str(table.baseline))}</h2>{compared}" * bool(compared),
        environment(about) if about else "",
    ]
    return _page(title, "".join(parts), as_json(data)), plot


def _rankings(found: Measured) -> dict[str, pd.DataFrame]:
    """The rankings of the systems, in the order of the results."""
    names = found.results["name"].tolist()
    check_names(names)
    for what, there in (("ranking", found.rankings), ("values of single queries", found.perquery["name"].unique())):
        missing = [name for name in names if name not in there]
        if missing:
            raise ValueError(
                f"the system {missing[0]!r} is in the results and has no {what}, only {list(there)} have; expected "
                "those of all. Leave it out of the results, or make all three again: measure(...)."
            )
    return {name: found.rankings[name] for name in names}


def _values(perquery: pd.DataFrame, measures: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Of every measure a frame with the queries as rows and the systems as columns."""
    perquery = perquery.astype({"qid": str})
    if "measure" in perquery.columns:  # as pt.Experiment has it
        rows = {measure: perquery[perquery["measure"].astype(str) == measure] for measure in measures}
        return {measure: own.pivot(index="qid", columns="name", values="value") for measure, own in rows.items()}
    return {measure: perquery.pivot(index="qid", columns="name", values=measure) for measure in measures}


def _pair(table: Table) -> tuple[str, str]:
    """The systems that are shown first: the baseline, or the first one, and the best of the others."""
    first = table.baseline or str(table.results["name"].iloc[0])
    ordered = table.results.sort_values(table.measures[0], ascending=False, kind="stable")["name"]
    return first, next((name for name in ordered if name != first), first)


def _intro(found: Measured, about: Mapping[str, Any] | None) -> str:
    if about is None:
        return f"{found.perquery['qid'].nunique():,} queries, {len(found.rankings):,} systems."
    dataset, encoder = about["dataset"], about["encoder"]
    return (
        f"{dataset['documents']:,} documents, {dataset['queries']:,} queries, {dataset['judgements']:,} judgements. "
        f"Encoder: {encoder.get('model', encoder['class'])}, {about['index']['dim']} dimensions. {about['date'][:10]}."
    )


def _plot(table: Table) -> bytes | None:
    if "retrieve_ms" not in table.results:
        return None
    file = io.BytesIO()
    tradeoff_plot(table.results, y=table.measures[0]).savefig(file, format="png")
    return file.getvalue()


def _figure(table: Table, plot: bytes | None) -> str:
    if plot is None:
        return ""
    data = base64.b64encode(plot).decode()
    return (
        f'<h2>Time and quality</h2><figure><img alt="{escape(table.measures[0])} against time" '
        f'src="data:image/png;base64,{data}"><figcaption>Left is faster, up is better. Filled: no other system is both '
        "faster and better.</figcaption></figure>"
    )


def _page(title: str, body: str, data: str) -> str:
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}: late-interaction experiment</title>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body>{body}\n"
        f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script></body></html>\n'
    )
