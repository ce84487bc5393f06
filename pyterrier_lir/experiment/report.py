"""The report of an experiment: one HTML file that holds everything it shows."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from pyterrier_lir.facts import megabytes

if TYPE_CHECKING:
    from pyterrier_lir.experiment.run import Outcome

# Columns that are shown where the results have them: heading, and what the caption says.
_COSTS = {
    "scored": ("scored", "“scored” is the mean number of documents scored per query."),
    "index_mb": ("index", "“index” is the size of the index, and what the system derives from it and keeps beside it."),
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2430;--soft:#5d6473;--line:#dfe2e8;--paper:#fff;--card:#f6f7f9;
--up:#23814f;--down:#b3412f;--accent:#2f6fb0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ee;--soft:#9aa2b3;--line:#343a47;--paper:#15181e;--card:#1d2129;
--up:#5cc48b;--down:#ee8a76;--accent:#7fb2e8}}
*{box-sizing:border-box}
body{margin:0 auto;padding:3rem 1.5rem 4rem;max-width:62rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .35rem;letter-spacing:-.01em}
h2{font-size:1.1rem;margin:2.75rem 0 .75rem}h3{font-size:.95rem;margin:1.5rem 0 .25rem;font-weight:600}
p{margin:.5rem 0;max-width:46rem}.soft,figcaption{color:var(--soft);font-size:.875rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.925rem}
th,td{padding:.45rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;border-bottom:2px solid var(--line)}th:first-child,td:first-child{text-align:left;padding-left:0}
td.wide{white-space:normal;text-align:left}
td small{display:block;color:var(--soft);font-size:.75rem;line-height:1.3}.best{font-weight:700}
.up{color:var(--up)}.down{color:var(--down)}
figure{margin:0}figure img{width:100%;border-radius:.5rem;border:1px solid var(--line);background:#fff}
svg{display:block;width:100%;height:auto;background:var(--card);border-radius:.5rem}
svg .up{fill:var(--up)}svg .down{fill:var(--down)}svg line{stroke:var(--soft);stroke-width:.5}
svg text{fill:var(--soft);font-size:10px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.5rem;font-size:.9rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code,pre{font:.85rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);padding:.9rem 1.1rem;border-radius:.5rem;white-space:pre-wrap;overflow-wrap:anywhere}
@media(max-width:40rem){dl{grid-template-columns:1fr}dt{margin-top:.5rem}}
"""


class Comparison(NamedTuple):
    """A system against the baseline in one measure.

    ``mark`` is "+" or "-" where the mean is significantly better or worse, else blank; ``p`` is Holm-corrected, and NaN
    where a single query leaves nothing to test.
    """

    mark: str
    wins: int
    losses: int
    p: float


def compare(outcome: Outcome, name: str, measure: str, alpha: float = 0.05) -> Comparison | None:
    """Reads the comparison with the baseline out of the table of `pt.Experiment`; None where nothing was compared."""
    table = outcome.results.set_index("name")
    if outcome.baseline is None or name == outcome.baseline:
        return None
    p = float(table.loc[name, f"{measure} p-value corrected"])
    better = table.loc[name, measure] > table.loc[outcome.baseline, measure]
    mark = ("+" if better else "-") if p < alpha else ""  # NaN is not smaller
    return Comparison(mark, int(table.loc[name, f"{measure} +"]), int(table.loc[name, f"{measure} -"]), p)


def render(outcome: Outcome, plot: bytes) -> str:
    """The report as HTML; nothing in it is loaded from elsewhere.

    Args:
        outcome: What was found.
        plot: The trade-off plot as PNG.
    """
    about = outcome.environment
    dataset, encoder = about["dataset"], about["encoder"]
    picture = base64.b64encode(plot).decode()
    intro = (
        f"{dataset['documents']:,} documents, {dataset['queries']:,} queries, {dataset['judgements']:,} judgements. "
        f"Encoder: {encoder.get('model', encoder['class'])}, {about['index']['dim']} dimensions. {about['date'][:10]}."
    )
    parts = [
        f"<h1>{escape(dataset['id'])}</h1><p class=soft>{escape(intro)}</p>",
        f"<h2>Systems</h2>{_results(outcome)}",
        "<h2>Time and quality</h2>",
        f'<figure><img alt="{escape(outcome.measures[0])} against time" src="data:image/png;base64,{picture}">'
        "<figcaption>Left is faster, up is better. Filled: no other system is both faster and better.</figcaption>"
        "</figure>",
        _differences(outcome),
        f"<h2>Environment</h2>{_environment(about)}",
        _rerun(about["settings"]["command"]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(dataset['id'])}: late-interaction experiment</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _results(outcome: Outcome) -> str:
    costs = {column: shown for column, shown in _COSTS.items() if column in outcome.results}
    names = ["System", *outcome.measures, "encode ms", "retrieve ms", *(heading for heading, _ in costs.values())]
    rows = []
    for _, row in outcome.results.iterrows():
        cells = [escape(row["name"]), *(_measure(outcome, row, measure) for measure in outcome.measures)]
        slow = f"<small>95%: {_cost('retrieve_ms', row['retrieve_ms_p95'])}</small>"
        cells += [_cost("encode_ms", row["encode_ms"]), _cost("retrieve_ms", row["retrieve_ms"]) + slow]
        cells += [_cost(column, row[column]) for column in costs]
        if row.get("derived_mb", 0) > 0:
            cells[-1] += f"<small>+ {megabytes(1e6 * row['derived_mb'])}</small>"
        rows.append("<tr>" + "".join(f"<td>{cell}" for cell in cells))
    notes = [
        "Times are milliseconds per query, one query at a time, after a warm-up: medians, and the 95th percentile "
        "below. “encode” makes the query’s embeddings, “retrieve” goes from there to the ranking.",
        *(meaning for _, meaning in costs.values()),
    ]
    if outcome.baseline:
        notes.insert(
            0,
            f"Below a value: queries better and worse than {escape(outcome.baseline)}, and ▲ or ▼ where the difference "
            "is significant (paired t-test, Holm-corrected, p &lt; 0.05). Bold: the best, as printed.",
        )
    head = "".join(f"<th>{escape(name)}" for name in names)
    return f"<div class=scroll><table><tr>{head}{''.join(rows)}</table></div><p class=soft>{' '.join(notes)}</p>"


def _cost(column: str, value: float) -> str:
    if pd.isna(value):
        return "–"
    if column == "index_mb":
        return megabytes(1e6 * value)
    return f"{value:,.0f}" if column == "scored" else f"{value:.2f}"


def _measure(outcome: Outcome, row: pd.Series[Any], measure: str) -> str:
    value = f"{row[measure]:.3f}"
    if value == f"{outcome.results[measure].max():.3f}":
        value = f"<span class=best>{value}</span>"
    found = compare(outcome, row["name"], measure)
    if found is None:
        return value + ("<small>baseline</small>" if row["name"] == outcome.baseline else "")
    mark = {"+": " <span class=up>▲</span>", "-": " <span class=down>▼</span>"}.get(found.mark, "")
    counts = f"<small>+{found.wins} &minus;{found.losses}</small>"
    return f"{value}{mark}{counts}<small>{_chance(found)}</small>"


def _chance(found: Comparison) -> str:
    if not found.wins and not found.losses:
        return "identical"
    if pd.isna(found.p):
        return "one query: no test"
    return "p &lt; 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"


def _differences(outcome: Outcome) -> str:
    """For each system, the differences of single queries from the baseline, and the largest ones in words."""
    if outcome.baseline is None:
        return ""
    measure = outcome.measures[0]
    wide = outcome.perquery.pivot(index="qid", columns="name", values=measure)
    texts = outcome.topics.set_index("qid")["query"]
    parts = [f"<h2>Query by query: {escape(measure)} minus that of {escape(outcome.baseline)}</h2>"]
    for name in outcome.results["name"]:
        difference = (wide[name] - wide[outcome.baseline]).dropna().sort_values(ascending=False, kind="stable")
        if name == outcome.baseline or not len(difference):
            continue
        parts.append(f"<h3>{escape(name)}</h3>{_bars(difference.tolist())}")
        extremes = [*difference.head(3).items(), *difference.tail(3)[::-1].items()]
        rows = [
            f"<tr><td class=wide>{escape(str(texts[qid]))}<td class={'up' if d > 0 else 'down'}>{d:+.3f}"
            for qid, d in dict(extremes).items()
            if d
        ]
        parts.append(f"<table>{''.join(rows)}</table>" if rows else "<p class=soft>No query differs.</p>")
    return "".join(parts)


def _bars(differences: list[float], width: int = 900, height: int = 110) -> str:
    """One bar per query, sorted, as inline SVG; more queries than pixels are thinned out."""
    shown = differences[:: max(1, len(differences) // width)]
    middle, step = height / 2, (width - 60) / len(shown)
    largest = max(max(map(abs, shown)), 1e-9)
    bars = []
    for i, value in enumerate(shown):
        length = abs(value) / largest * (middle - 8)
        y, kind = (middle - length, "up") if value > 0 else (middle, "down")
        if value:
            x, wide = 50 + i * step, step * 0.86
            bars.append(f'<rect class={kind} x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{length:.2f}"/>')
    labels = "".join(
        f'<text x="44" y="{y:.0f}" text-anchor="end">{value:+.2f}</text>'
        for y, value in ((14, largest), (height - 6, -largest))
    )
    axis = f'<line x1="50" x2="{width - 10}" y1="{middle}" y2="{middle}"/>'
    box = f'viewBox="0 0 {width} {height}" role="img" aria-label="differences"'
    return f"<svg {box}>{''.join(bars)}{axis}{labels}</svg>"


def _environment(about: dict[str, Any]) -> str:
    processor, index, dataset, threads = about["processor"], about["index"], about["dataset"], about["threads"]
    made = "made before" if index["seconds_to_make"] is None else f"made in {index['seconds_to_make']:.0f} s"
    rows = {
        "Processor": f"{processor['model']}, {processor['cores']} cores, {about['memory_gb']} GB",
        "Graphics processor": about["gpu"] or "none",
        "Instruction sets": " ".join(processor["flags"]),
        "Kernels": f"{about['kernels']}, {threads['methods']} threads; torch {threads['torch']} threads",
        "Software": f"Python {about['python']} on {about['system']}, "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        "Encoder": about["encoder"]["fingerprint"],
        "Index": f"{index['documents']:,} documents, {index['dim']} dimensions, {index['megabytes']} MB, {made}",
        "Dataset": f"{dataset['id']}, fields {' + '.join(dataset['fields'])}, sha256 {dataset['sha256']}",
        "Queries drawn": "all" if about["settings"]["seed"] is None else f"by seed {about['settings']['seed']}",
        "Warm-up": f"{about['settings']['warm_up']} queries per system",
        "Date": about["date"],
    }
    return "<dl>" + "".join(f"<dt>{escape(k)}<dd>{escape(str(v))}" for k, v in rows.items()) + "</dl>"


def _rerun(command: str | None) -> str:
    return f"<h2>Run it again</h2><pre>{escape(command)}</pre>" if command else ""
