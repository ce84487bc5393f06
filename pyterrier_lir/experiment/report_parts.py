"""The parts of a report that need no script: systems with their measures and costs, differences, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import pandas as pd

from pyterrier_lir.experiment.significance import correction_name
from pyterrier_lir.experiment.tables import measure_names
from pyterrier_lir.facts import megabytes

# Costs that are shown where the results have them: heading, and what the note says.
_TIMES = (
    "Times are milliseconds per query, one query at a time, after a warm-up: medians, and the 95th percentile below."
)
_COSTS = {
    "encode_ms": ("encode ms", f"{_TIMES} “encode” makes the query’s embeddings,"),
    "retrieve_ms": ("retrieve ms", "“retrieve” goes from there to the ranking."),
    "scored": ("scored", "“scored” is the mean number of documents scored per query."),
    "index_mb": ("index", "“index” is the size of the index, and what the system derives from it and keeps beside it."),
}


class Table(NamedTuple):
    """The results of an experiment, and how they are read.

    Attributes:
        results: One row per system.
        measures: Their columns that are measures; the first one counts most.
        baseline: The system that the others are compared with.
        test: By which test; None where nobody said.
    """

    results: pd.DataFrame
    measures: list[str]
    baseline: str | None
    test: str | None = None


def read_table(results: pd.DataFrame, measures: Sequence[str] | None = None, test: str | None = None) -> Table:
    """The results with their measures, and the baseline, the first of several: the one with nothing compared.

    Raises:
        ValueError: If there is no measure.
    """
    measures = measure_names(results) if measures is None else list(measures)
    if not measures or "name" not in results:
        raise ValueError(
            f"the results have the columns {list(results.columns)}; expected name and a measure. Pass measure(...)."
        )
    several = [str(column) for column in results if str(column).startswith(f"{measures[0]} + vs ")]
    if several:
        suffix = several[0].removeprefix(f"{measures[0]} +")
        results = results.rename(columns=lambda column: str(column).removesuffix(suffix))
    column = f"{measures[0]} +"
    bases = results["name"][results[column].isna()].tolist() if column in results else []
    return Table(results, measures, str(bases[0]) if bases else None, test or results.attrs.get("test"))


class Comparison(NamedTuple):
    """A system against the baseline in one measure.

    ``mark`` is "+" or "-" where the mean is significantly better or worse, else blank; ``p`` is corrected where the
    results have it so, and NaN where a single query leaves nothing to test.
    """

    mark: str
    wins: int
    losses: int
    p: float


def compare(table: Table, name: str, measure: str, alpha: float = 0.05) -> Comparison | None:
    """Reads the comparison with the baseline out of the table of `pt.Experiment`; None where nothing was compared."""
    results = table.results.set_index("name")
    if table.baseline is None or name == table.baseline:
        return None
    p = float(results.loc[name, f"{measure} p-value{_corrected(table)}"])
    better = results.loc[name, measure] > results.loc[table.baseline, measure]
    mark = ("+" if better else "-") if p < alpha else ""  # NaN is not smaller
    return Comparison(mark, int(results.loc[name, f"{measure} +"]), int(results.loc[name, f"{measure} -"]), p)


def systems_table(table: Table) -> str:
    """Systems with their measures, times and other costs, and what they mean."""
    costs = {column: shown for column, shown in _COSTS.items() if column in table.results}
    rows = []
    for _, row in table.results.iterrows():
        cells = [escape(row["name"]), *(_measure(table, row, measure) for measure in table.measures)]
        cells += [_cost(column, row) for column in costs]
        rows.append("<tr>" + "".join(f"<td>{cell}" for cell in cells))
    notes = [meaning for _, meaning in costs.values()]
    if table.baseline:
        how = table.results.attrs.get("correction")
        tested = f"{correction_name(how)}-corrected" if how else "corrected" if _corrected(table) else "not corrected"
        tested = escape(f"{table.test}, {tested}" if table.test else tested)
        notes.insert(
            0,
            f"Below a value: queries better and worse than {escape(table.baseline)}, and ▲ or ▼ where the difference "
            f"is significant ({tested}, p &lt; 0.05). Bold: the best, as printed.",
        )
    names = ["System", *table.measures, *(heading for heading, _ in costs.values())]
    head = "".join(f"<th>{escape(name)}" for name in names)
    body = f"<table><tr>{head}{''.join(rows)}</table>"
    return f"<div class=scroll tabindex=0>{body}</div><p class=soft>{' '.join(notes)}</p>"


def _corrected(table: Table) -> str:
    return " corrected" if f"{table.measures[0]} p-value corrected" in table.results else ""


def _cost(column: str, row: pd.Series[Any]) -> str:
    value = row[column]
    if pd.isna(value):
        return "–"
    if column == "index_mb":
        derived = row.get("derived_mb", 0)
        return megabytes(1e6 * value) + (f"<small>+ {megabytes(1e6 * derived)}</small>" if derived > 0 else "")
    if column == "retrieve_ms" and "retrieve_ms_p95" in row:
        return f"{value:.2f}<small>95%: {row['retrieve_ms_p95']:.2f}</small>"
    return f"{value:,.0f}" if column == "scored" else f"{value:.2f}"


def _measure(table: Table, row: pd.Series[Any], measure: str) -> str:
    value = f"{row[measure]:.3f}"
    if value == f"{table.results[measure].max():.3f}":
        value = f"<span class=best>{value}</span>"
    found = compare(table, row["name"], measure)
    if found is None:
        return value + ("<small>baseline</small>" if row["name"] == table.baseline else "")
    mark = {"+": " <span class=up>▲</span>", "-": " <span class=down>▼</span>"}.get(found.mark, "")
    counts = f"<small>+{found.wins} &minus;{found.losses}</small>"
    return f"{value}{mark}{counts}<small>{_chance(found)}</small>"


def _chance(found: Comparison) -> str:
    if not found.wins and not found.losses:
        return "identical"
    if pd.isna(found.p):
        return "one query: no test"
    return "p &lt; 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"


def differences(table: Table, values: pd.DataFrame, topics: pd.DataFrame) -> str:
    """For each system, the differences of single queries from the baseline; the largest ones can be looked into.

    Args:
        table: The results.
        values: The first measure, queries as rows and systems as columns.
        topics: ``qid, query``, in the order of the report's data.
    """
    if table.baseline is None:
        return ""
    names, texts = list(table.results["name"]), dict(zip(topics["qid"], topics["query"], strict=True))
    numbers = {qid: i for i, qid in enumerate(topics["qid"])}
    values = values[values.index.isin(topics["qid"])]
    parts = []
    for name in names:
        apart = (values[name] - values[table.baseline]).dropna().sort_values(ascending=False, kind="stable")
        if name == table.baseline or not len(apart):
            continue
        parts.append(f"<h3>{escape(name)}</h3>")
        if not apart.any():
            parts.append("<p class=soft>No query differs.</p>")
            continue
        extremes = dict([*apart.head(3).items(), *apart.tail(3)[::-1].items()])
        rows = [
            f"<tr><td class=wide><button type=button class=jump data-query={numbers[str(qid)]} "
            f"data-system={names.index(name)}>{escape(str(texts[str(qid)]))}</button>"
            f"<td class={'up' if d > 0 else 'down'}>{d:+.3f}"
            for qid, d in extremes.items()
            if d
        ]
        parts.append(f"{_bars(apart.tolist())}<table>{''.join(rows)}</table>")
    return "".join(parts)


def _bars(differences: Sequence[float], width: int = 900, height: int = 110) -> str:
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


def environment(about: Mapping[str, Any]) -> str:
    """What the numbers were made with."""
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
    listed = "".join(f"<dt>{escape(k)}<dd>{escape(str(v))}" for k, v in rows.items())
    command = about["settings"]["command"]
    again = f"<h2>Run it again</h2><pre>{escape(command)}</pre>" if command else ""
    return f"<h2>Environment</h2><dl>{listed}</dl>{again}"
