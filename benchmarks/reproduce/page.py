"""The page of a kit: our figures, the published ones, the command that made the page, and what differs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pyterrier_lir.experiment import environment

if TYPE_CHECKING:
    from kit import Setting

Figures = Mapping[str, Mapping[str, float]]  # by system, then by measure

MS = "ms"  # the name of the time per query among published figures
PRIVATE = ("kit", "keep_embs", "folder", "index", "out", "fresh")  # what the printed command leaves out
SAME = (
    "The model, the collection and the machine, unless they are the paper's. Then compare the order of the systems, "
    "not their figures."
)
TIMES = (
    "Our ms are medians of single queries, without encoding. Which statistic the paper's are, and whether encoding is "
    "part of them, we have not read."
)


@dataclass(frozen=True)
class Paper:
    """What is reproduced.

    Attributes:
        title: Authors, title, venue.
        source: Where in the paper, or where else, the published figures stand; "" where there are none.
        published: For each dataset, as ``--dataset`` names it, the figures by system and measure, as fractions;
            ``"ms"`` is a time per query.
        differs: What else differs here, sentence by sentence.
        deeper: Whether the paper evaluates a system deeper than it is cut: its recall at 1,000 is that of all it finds.
    """

    title: str
    source: str
    published: Mapping[str, Figures]
    differs: Sequence[str]
    deeper: bool = False


def page(paper: Paper, setting: Setting, results: pd.DataFrame, measures: Sequence[Any], more: Sequence[str]) -> str:
    """The whole page, in Markdown.

    Args:
        paper: What is reproduced.
        setting: What it was reproduced with.
        results: One row per system: ``name``, measures, ``ms``, ``cut``, ``load``.
        measures: Measures of ir_measures, or names of other measures.
        more: Further columns.
    """
    shown = results if paper.deeper else blanked(results, measures)
    names = [*map(str, measures), MS]
    here = paper.published.get(setting.collection.name, {})
    elsewhere = {name: figures for name, figures in paper.published.items() if name != setting.collection.name}
    lines = [
        f"# {paper.title}",
        "",
        f"Here: {'; '.join(facts(setting, results))}. ms: median of single queries, from the encoded query to the "
        "ranking.",
        "",
        f"Made with `{command(setting.args)}`.",
        "",
        f"Paper: {paper.source}" if paper.source else "Paper: no figures are quoted.",
        "",
        beside(shown, here, names, more, set(names[:-1])),
        "",
    ]
    for name, figures in elsewhere.items():
        lines += [f"Published for another collection, {name}:", "", alone(figures), ""]
    lines += [
        "What differs:",
        "",
        *(f"- {sentence}" for sentence in [SAME, *cut_sentence(setting.args), *paper.differs]),
    ]
    return "\n".join(lines)


def blanked(results: pd.DataFrame, measures: Sequence[Any]) -> pd.DataFrame:
    """The results without what is deeper than a system is cut: its recall at 100 would be that at its cut."""
    shown = results.copy()
    for measure in measures:
        depth = getattr(measure, "params", {}).get("cutoff", 0)
        shown[str(measure)] = shown[str(measure)].where(~(shown["cut"] < depth))
    return shown


def beside(
    results: pd.DataFrame, published: Figures, names: Sequence[str], more: Sequence[str], measures: set[str]
) -> str:
    """One table: for every measure our figure and, in italics, the published one where there is any."""
    ours = results.set_index("name")
    shared = [m for m in names if any(m in figures for figures in published.values())]
    heading = ["system"]
    for m in names:
        heading += [m, f"*{m}, paper*"] if m in shared else [m]
    rows = []
    for name in dict.fromkeys([*ours.index, *published]):
        row = [name]
        for m in names:
            row.append(figure(m, ours[m].get(name), measures))
            if m in shared:
                paper = published.get(name, {}).get(m)
                row.append("" if paper is None else f"*{paper:g}*")
        rows.append(row + [figure(column, ours[column].get(name), measures) for column in more])
    return markdown([*heading, *more], rows)


def alone(published: Figures) -> str:
    """The figures of a paper, with the measures that it has; the time stands last."""
    there = sorted(dict.fromkeys(m for figures in published.values() for m in figures), key=lambda m: m == MS)
    rows = [[name, *(f"{f[m]:g}" if m in f else "" for m in there)] for name, f in published.items()]
    return markdown(["system", *there], rows)


def figure(column: str, value: float | None, measures: set[str]) -> str:
    """A figure as it is printed: three decimals for a measure, one for the rest."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:.3f}" if column in measures else f"{value:,.1f}"


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first stand to the right."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def facts(setting: Setting, results: pd.DataFrame) -> list[str]:
    """What the figures were made with."""
    collection, args = setting.collection, setting.args
    about, nbits = environment.describe(args.threads), setting.index.store.manifest["parameters"]["nbits"]
    encoder = setting.encoder.facts()
    lengths = [f"{key} {encoder[key]}" for key in ("query length", "document length", "device") if key in encoder]
    return [
        f"{collection.name}: {collection.num_documents:,} documents, {len(collection.topics):,} queries",
        ", ".join([f"encoder {public(args.encoder)} (`{setting.encoder.fingerprint}`)", *lengths]),
        f"{nbits} bits",
        f"{about['processor']['model']}, {about['processor']['cores']} cores, threads: {args.threads}, "
        f"kernels `{about['kernels']}`",
        f"load {results['load'].min():.1f} to {results['load'].max():.1f}",
    ]


def command(args: argparse.Namespace) -> str:
    """The command that makes the page again: all that matters, but no folder of this machine."""
    words = ["python", f"benchmarks/reproduce/{args.kit}"]
    for name, value in vars(args).items():
        if name not in PRIVATE and value is not None and value is not False:
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else [shlex.quote(public(value))]
    return " ".join(words)


def public(value: Any) -> str:
    """The value as text; of a folder or file only its name."""
    text = str(value)
    return Path(text).name if Path(text).is_absolute() or Path(text).exists() else text


def cut_sentence(args: argparse.Namespace) -> list[str]:
    """What a cut collection does to the figures."""
    if args.documents is None:
        return []
    return [
        f"The collection is cut to {args.documents:,} documents: all that are relevant to some query are kept and most "
        "others are not, so all figures are higher than on the whole collection."
    ]
