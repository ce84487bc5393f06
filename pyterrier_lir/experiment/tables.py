"""Results as papers print them: LaTeX with booktabs, or Markdown; the best in bold, significance as marks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_lowercase

import pandas as pd

_CORRECTIONS = {"holm": "Holm-corrected", "bonferroni": "Bonferroni-corrected", "hs": "Holm-Sidak-corrected"}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    character: "\\" + character for character in "&%$#_{}"
}
_P_VALUE = re.compile(r"(?P<measure>.+) p-value( corrected)?( vs (?P<base>.+))?")


def table(
    results: pd.DataFrame,
    *,
    format: str = "latex",
    measures: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    digits: int = 3,
    alpha: float = 0.05,
    correction: str | None = "holm",
    caption: str | None = None,
    label: str | None = None,
) -> str:
    """Writes a table of systems and measures.

    A mean that is significantly better or worse than the baseline's is marked + or -. With several baselines each has a
    letter, and the mark is followed by those of the baselines it holds for. Corrected p-values are used where there
    are any. The best mean of a measure, as printed, is bold.

    Args:
        results: ``experiment.measure(...).results``, or what `pt.Experiment` returns, with or without a baseline.
        format: ``"latex"`` (needs the package booktabs) or ``"markdown"``.
        measures: The columns to print as measures; None for those with the name of a measure of ir_measures.
        columns: Further columns, such as ``{"retrieve_ms": "ms"}``: heading by column, printed with two decimals.
        digits: Decimals of a measure.
        alpha: The level of significance.
        correction: How the p-values were corrected, for the caption; it is not used for plain p-values.
        caption: What the table shows; the meaning of the marks is added.
        label: Of the LaTeX table, such as ``"tab:main"``.

    Raises:
        ValueError: If the format or a column is unknown.

    Example:
        >>> frame = pd.DataFrame({"name": ["BM25", "PLAID"], "AP": [0.25, 0.5]})
        >>> print(table(frame, format="markdown"))
        | system | AP |
        | --- | ---: |
        | BM25 | 0.250 |
        | PLAID | **0.500** |
    """
    if format not in ("latex", "markdown"):
        raise ValueError(f'format is {format!r}; expected "latex" or "markdown".')
    compared = _p_values(results)
    chosen = list(measures) if measures is not None else _measures(results)
    more = dict(columns or {})
    for column in ("name", *chosen, *more):
        if column not in results.columns:
            raise ValueError(f"the results have no column {column!r}; expected one of {list(results.columns)}.")
    letters = _letters(results, compared)
    latex = format == "latex"
    rows = []
    for position, (_, row) in enumerate(results.iterrows()):
        name = _escape(str(row["name"])) if latex else str(row["name"]).replace("|", "\\|")
        cells = [name + _tag(letters.get(str(row["name"]), ""), latex)]
        for measure in chosen:
            marks = _marks(results, position, measure, compared, letters, alpha)
            best = f"{row[measure]:.{digits}f}" == f"{results[measure].max():.{digits}f}"
            cells.append(_value(row[measure], digits, marks, best, latex))
        rows.append(cells + [_value(row[column], 2, "", False, latex) for column in more])
    note = _note(results, compared, letters, alpha, correction)
    text = " ".join(part for part in (caption, note) if part)
    heading = ["system", *chosen, *more.values()]
    # Measures have as many digits before the point: aligned to the left they stand in line, whatever marks follow.
    alignment = "l" + "l" * len(chosen) + "r" * len(more)
    return _latex(heading, rows, alignment, text, label) if latex else _markdown(heading, rows, text)


def _p_values(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The column of the p-values of each measure and baseline, the corrected one where there is one."""
    found: dict[tuple[str, str], str] = {}
    for column in map(str, results.columns):
        match = _P_VALUE.fullmatch(column)
        if match:
            key = match["measure"], match["base"] or _baseline(results, match["measure"])
            if key not in found or "corrected" in column:
                found[key] = column
    return found


def _baseline(results: pd.DataFrame, measure: str) -> str:
    """The system that `pt.Experiment` compared with: the one that has neither won nor lost a query."""
    return str(results["name"][results[f"{measure} +"].isna()].iloc[0])


def _measures(results: pd.DataFrame) -> list[str]:
    return [column for column in results.select_dtypes("number").columns if _is_measure(str(column))]


def _is_measure(name: str) -> bool:
    import ir_measures

    try:
        ir_measures.parse_measure(name)
    except (ValueError, NameError):
        return False
    return True


def _letters(results: pd.DataFrame, compared: dict[tuple[str, str], str]) -> dict[str, str]:
    """A letter for each of several baselines, in the order of the rows; blank for a single one."""
    bases = [str(name) for name in results["name"] if str(name) in {base for _measure, base in compared}]
    return {base: letter if len(bases) > 1 else "" for base, letter in zip(bases, ascii_lowercase, strict=False)}


def _marks(
    results: pd.DataFrame, position: int, measure: str, compared: dict[tuple[str, str], str],
    letters: dict[str, str], alpha: float,
) -> str:  # fmt: skip
    """The signs of a mean, such as ``+`` or ``+a-b``."""
    signs: dict[str, str] = {}
    row = results.iloc[position]
    for base, letter in letters.items():
        column = compared.get((measure, base))
        if column is None or not row[column] < alpha:  # the baseline itself and equal rankings have NaN
            continue
        other = results.loc[results["name"] == base, measure].iloc[0]
        sign = "+" if row[measure] > other else "-"
        signs[sign] = signs.get(sign, "") + letter
    return "".join(sign + signs[sign] for sign in "+-" if sign in signs)


def _note(
    results: pd.DataFrame, compared: dict[tuple[str, str], str], letters: dict[str, str], alpha: float,
    correction: str | None,
) -> str:  # fmt: skip
    """What the marks mean."""
    if not letters:
        return ""
    several = len(letters) > 1
    against = " or ".join(f"{base} ({letter})" if several else base for base, letter in letters.items())
    corrected = any("corrected" in column for column in compared.values())
    how = f", {_CORRECTIONS.get(correction, f'{correction}-corrected')}" if corrected and correction else ""
    how = how or (", corrected for multiple tests" if corrected else ", not corrected for multiple tests")
    scope = " per measure and baseline" if several and corrected else ""
    test = f"paired t-test{how}{scope}, p < {alpha:g}"
    return f"Bold: best. + and -: significantly better and worse than {against} ({test})."


def _value(value: float, digits: int, marks: str, best: bool, latex: bool) -> str:
    if pd.isna(value):
        return "--" if latex else ""
    text = f"{value:.{digits}f}"
    if latex:
        return (rf"\textbf{{{text}}}" if best else text) + (rf"$^{{{marks}}}$" if marks else "")
    return (f"**{text}**" if best else text) + (f" {marks}" if marks else "")


def _tag(letter: str, latex: bool) -> str:
    return "" if not letter else f" ({letter})" if not latex else rf" (\textit{{{letter}}})"


def _latex(heading: list[str], rows: list[list[str]], alignment: str, text: str, label: str | None) -> str:
    lines = [r"\begin{table}", r"\centering"]
    if text:
        lines.append(rf"\caption{{{_sentence(text)}}}")
    if label:
        lines.append(rf"\label{{{label}}}")
    lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
    lines += [" & ".join(map(_escape, heading)) + r" \\", r"\midrule"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _markdown(heading: list[str], rows: list[list[str]], text: str) -> str:
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    written = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{written}\n\n{text}" if text else written


def _sentence(text: str) -> str:
    return _escape(text).replace("+ and -:", "$+$ and $-$:").replace("p <", "$p <$")


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
