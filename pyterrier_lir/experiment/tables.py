"""Results as papers print them: LaTeX with booktabs, or Markdown; the best in bold, significance as marks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from string import ascii_lowercase
from typing import Any, NamedTuple

import pandas as pd

from pyterrier_lir import options
from pyterrier_lir.experiment.measures import named
from pyterrier_lir.experiment.significance import correction_name

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
} | {character: "\\" + character for character in "&%$#_{}"}  # fmt: skip
_P_VALUE = re.compile(r"(?P<measure>.+) p-value( corrected)?( vs (?P<base>.+))?")
_TIMES = {
    "encode_ms": "median milliseconds to encode a query",
    "retrieve_ms": "median milliseconds from the encoded query to the ranking",
    "retrieve_ms_mean": "mean milliseconds from the encoded query to the ranking",
    "retrieve_ms_p95": "95th percentile of the milliseconds from the encoded query to the ranking",
    "mrt": "mean milliseconds per query, all queries in one call",
}


class _Block(NamedTuple):
    """The part of one dataset."""

    title: str
    results: pd.DataFrame  # by the systems' names
    measures: list[str]
    p_values: dict[tuple[str, str], str]  # columns by measure and baseline


@options.listed
def table(
    results: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    format: str = "latex",
    measures: Sequence[Any] | None = None,
    columns: Mapping[str, str] | None = None,
    digits: int = 3,
    alpha: float = 0.05,
    correction: str | None = None,
    test: str | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> str:
    """Writes a table of systems and measures, of one dataset or of several side by side.

    A mean that is significantly better or worse than the baseline's is marked + or -. With several baselines each has a
    letter, and the mark is followed by those of the baselines it holds for. Corrected p-values are used where there
    are any. The best mean of a measure, as printed, is bold. The caption says this, and of each column of times which
    statistic it is.

    Args:
        results: ``experiment.measure(...).results``, or what `pt.Experiment` returns, with or without a baseline; or
            several by the name of their dataset: ``{"SciFact": one, "Vaswani": other}``.
        format: ``"latex"`` (needs the package booktabs) or ``"markdown"``.
        measures: The columns to print as measures; None for those with the name of a measure.
        columns: Further columns, such as ``{"retrieve_ms": "ms"}``: heading by column, numbers with two decimals. The
            heading may be LaTeX.
        digits: Decimals of a measure.
        alpha: The level of significance.
        correction: How the p-values were corrected, for the caption; None for what `measure` noted.
        test: What the p-values are of, for the caption, such as ``"paired t-test"``; None for what `measure` noted.
            What `pt.Experiment` gives has no note, so that its caption names a test only if you do.
        caption: What the table shows, as LaTeX where that is written; the meaning of marks and times is added.
        label: Of the LaTeX table, such as ``"tab:main"``.

    Raises:
        ValueError: If the format or a column is unknown, there are no measures or rows, a system's name occurs twice,
            the row of the baseline is missing, or a system has a p-value but no corrected one.

    Example:
        >>> frame = pd.DataFrame({"name": ["BM25", "PLAID"], "AP": [0.25, 0.5]})
        >>> print(table(frame, format="markdown"))
        | system | AP |
        | --- | ---: |
        | BM25 | 0.250 |
        | PLAID | **0.500** |
    """
    if format not in ("latex", "markdown"):
        raise ValueError(f'format is {format!r}; expected "latex" or "markdown". Pass one of them.')
    if not isinstance(digits, int) or digits < 0:
        raise ValueError(f"digits is {digits!r}; expected a whole number from 0 on. Pass digits=3.")
    if not isinstance(columns, (Mapping, type(None))):
        raise ValueError(f'columns is {columns!r}; expected headings by column. Pass columns={{"retrieve_ms": "ms"}}.')
    frames = dict(results) if isinstance(results, Mapping) else {"": results}
    more, latex = dict(columns or {}), format == "latex"
    blocks = [_block(title, frame, measures, more) for title, frame in frames.items()]
    systems = list(dict.fromkeys(name for block in blocks for name in block.results.index))
    letters = _letters(systems, blocks)
    rows = []
    for name in systems:
        cells = [_name(name, latex) + _tag(letters.get(name, ""), latex)]
        for block in blocks:
            cells += [_mean(block, name, measure, digits, letters, alpha, latex) for measure in block.measures]
            cells += [_plain(block, name, column, latex) for column in more]
        rows.append(cells)
    noted = next(iter(frames.values())).attrs
    note = _note(blocks, letters, alpha, test or noted.get("test"), correction or noted.get("correction"))
    times = " ".join(f"{heading}: {_TIMES[column]}." for column, heading in more.items() if column in _TIMES)
    text = " ".join(part for part in (caption, _latex_note(note) if latex else note, times) if part)
    return _latex(blocks, more, rows, text, label) if latex else _markdown(blocks, more, rows, text)


def _block(title: str, results: pd.DataFrame, measures: Sequence[Any] | None, more: Mapping[str, str]) -> _Block:
    if not isinstance(results, pd.DataFrame):
        raise ValueError(
            f"the results are a {type(results).__name__}; expected a frame with one row per system. "
            "Pass measure(...).results."
        )
    chosen = measure_names(results) if measures is None else [measures] if isinstance(measures, str) else measures
    named = [str(measure) for measure in chosen]
    for column in ("name", *named, *more):
        if column not in results.columns:
            raise ValueError(
                f"the results have no column {column!r}; expected one of {list(results.columns)}. "
                "Pass measures= or columns= that are there."
            )
    if not named or not len(results):
        raise ValueError(
            f"the results have {len(results)} rows and the columns {list(results.columns)}; expected systems and "
            "measures. Name the measures: measures=['nDCG@10']."
        )
    twice = results["name"][results["name"].duplicated()]
    if len(twice):
        raise ValueError(
            f"the system {twice.iloc[0]!r} occurs more than once; expected each once. Pass the results of several "
            "datasets apart: table({'SciFact': one, 'Vaswani': other})."
        )
    results = results.set_index(results["name"].astype(str))
    return _Block(title, results, named, _p_values(results))


def _p_values(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The column of the p-values of each measure and baseline, the corrected one where there is one."""
    found: dict[tuple[str, str], str] = {}
    for column in map(str, results.columns):
        match = _P_VALUE.fullmatch(column)
        if match:
            key = match["measure"], match["base"] or _baseline(results, match["measure"])
            if key not in found or "corrected" in column:
                found[key] = column
    for column in found.values():
        _check_corrected(results, column)
    return found


def _check_corrected(results: pd.DataFrame, column: str) -> None:
    """`pt.Experiment` has NaN for a system that equals the baseline, and some corrections then have it for all."""
    plain = column.replace(" corrected", "")
    if plain not in results.columns:
        return
    spoiled = results.index[results[plain].notna() & results[column].isna()]
    if len(spoiled):
        raise ValueError(
            f"the system {spoiled[0]!r} has {plain} {results.loc[spoiled[0], plain]:.3g}, but {column} NaN, as "
            "pt.Experiment gives it where another system equals the baseline in every query; expected both. Pass "
            "experiment.measure(...).results, or leave the equal system out of pt.Experiment."
        )


def _baseline(results: pd.DataFrame, measure: str) -> str:
    """The system that the others were compared with: the one that has neither won nor lost a query."""
    found = results.index[results[f"{measure} +"].isna()]
    if not len(found):
        raise ValueError(
            f"the results are compared with a baseline whose row is not there, only {list(results.index)}; expected it "
            "among them. Leave it in, or drop the columns of the comparison."
        )
    return str(found[0])


def measure_names(results: pd.DataFrame) -> list[str]:
    """The columns that have the name of a measure."""
    return [column for column in results.select_dtypes("number").columns if _is_measure(str(column))]


def _is_measure(name: str) -> bool:
    import ir_measures

    for parse in (named, ir_measures.parse_trec_measure):
        try:
            parse(name)
        except (ValueError, NameError):
            continue
        return True
    return False


def _letters(systems: Sequence[str], blocks: Sequence[_Block]) -> dict[str, str]:
    """A letter for each of several baselines, in the order of the rows; blank for a single one."""
    known = {base for block in blocks for _measure, base in block.p_values}
    bases = [name for name in systems if name in known]
    return {base: letter if len(bases) > 1 else "" for base, letter in zip(bases, ascii_lowercase, strict=False)}


def _mean(
    block: _Block, name: str, measure: str, digits: int, letters: Mapping[str, str], alpha: float, latex: bool
) -> str:
    """A mean with its marks; the best, as printed, is bold."""
    values = block.results[measure]
    value = values.get(name, float("nan"))
    if pd.isna(value):
        return "--" if latex else ""
    text, marks = f"{value:.{digits}f}", _marks(block, name, measure, letters, alpha)
    if text == f"{values.max():.{digits}f}":
        text = rf"\textbf{{{text}}}" if latex else f"**{text}**"
    return text + (f"$^{{{marks}}}$" if latex else f" {marks}") if marks else text


def _marks(block: _Block, name: str, measure: str, letters: Mapping[str, str], alpha: float) -> str:
    """The signs of a mean, such as ``+`` or ``+a-b``."""
    signs: dict[str, str] = {}
    row = block.results.loc[name]
    for base, letter in letters.items():
        column = block.p_values.get((measure, base))
        if column is None or not row[column] < alpha:  # the baseline itself has NaN
            continue
        sign = "+" if row[measure] > block.results.loc[base, measure] else "-"
        signs[sign] = signs.get(sign, "") + letter
    return "".join(sign + signs[sign] for sign in "+-" if sign in signs)


def _plain(block: _Block, name: str, column: str, latex: bool) -> str:
    value = block.results[column].get(name)
    if pd.isna(value):
        return "--" if latex else ""
    return f"{value:.2f}" if isinstance(value, Real) else _name(str(value), latex)


def _note(
    blocks: Sequence[_Block], letters: Mapping[str, str], alpha: float, test: str | None, correction: str | None
) -> str:
    """What the marks mean."""
    if not letters:
        return ""
    several = len(letters) > 1
    against = " or ".join(f"{base} ({letter})" if several else base for base, letter in letters.items())
    corrected = any("corrected" in column for block in blocks for column in block.p_values.values())
    how = "not corrected for multiple tests"
    if corrected:
        how = f"{correction_name(correction)}-corrected" if correction else "corrected for multiple tests"
        how += " per measure and baseline" if several else ""
    tested = f"{test}, {how}" if test else how
    return f"Bold: best. + and -: significantly better and worse than {against} ({tested}, p < {alpha:g})."


def _latex(
    blocks: Sequence[_Block], more: Mapping[str, str], rows: list[list[str]], text: str, label: str | None
) -> str:
    lines = [r"\begin{table}", r"\centering"]
    if text:
        lines.append(rf"\caption{{{text}}}")
    if label:
        lines.append(rf"\label{{{label}}}")
    # Measures have as many digits before the point: aligned to the left they stand in line, whatever marks follow.
    alignment = "l" + "".join("l" * len(block.measures) + "r" * len(more) for block in blocks)
    lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", *_groups(blocks, len(more))]
    heading = ["system"]
    for block in blocks:
        heading += [*map(_escape, block.measures), *more.values()]
    lines += [" & ".join(heading) + r" \\", r"\midrule", *(" & ".join(row) + r" \\" for row in rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _groups(blocks: Sequence[_Block], more: int) -> list[str]:
    """The datasets above their columns."""
    if not any(block.title for block in blocks):
        return []
    titles, rules, first = [""], [], 2
    for block in blocks:
        width = len(block.measures) + more
        titles.append(rf"\multicolumn{{{width}}}{{l}}{{{_escape(block.title)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return [" & ".join(titles) + r" \\", " ".join(rules)]


def _markdown(blocks: Sequence[_Block], more: Mapping[str, str], rows: list[list[str]], text: str) -> str:
    heading = ["system"]
    for block in blocks:
        heading += [
            _name(f"{block.title} {column}".strip(), latex=False) for column in (*block.measures, *more.values())
        ]
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    written = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{written}\n\n{text}" if text else written


def _tag(letter: str, latex: bool) -> str:
    return "" if not letter else f" ({letter})" if not latex else rf" (\textit{{{letter}}})"


def _name(text: str, latex: bool) -> str:
    text = " ".join(text.split())
    return _escape(text) if latex else re.sub(r"([|*<`\\])", r"\\\1", text)


def _latex_note(text: str) -> str:
    return _escape(text).replace("+ and -:", "$+$ and $-$:").replace(rf"p {_SPECIAL['<']} ", "$p <$ ")


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
