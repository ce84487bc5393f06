"""The command line: ``python -m pyterrier_lir experiment``, ``... serve`` and ``... mcp``."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_lir.agents import command as mcp
from pyterrier_lir.experiment.systems import known_systems
from pyterrier_lir.serve import command as serve

if TYPE_CHECKING:
    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.experiment.run import Outcome

_DESCRIPTION = """\
Compares retrieval systems on one dataset with one encoder: indexes what is not
indexed yet, runs every system query by query, and writes measures with
significance, times, TREC runs, a trade-off plot and a report.

Two times are reported, in milliseconds, medians over single queries after a
warm-up: encode_ms, to encode the query, and retrieve_ms, from the encoded query
to the ranking.
"""

_EPILOG = """\
systems and their parameters (the defaults are shown):
{systems}

examples:
  # the demonstration: nothing to download, a few minutes on two cores
  python -m pyterrier_lir experiment

  # what else ir_datasets has, and a checkpoint from the Hugging Face hub
  python -m pyterrier_lir experiment --dataset irds:beir/scifact/test \\
      --model lightonai/GTE-ModernColBERT-v1 --out results/scifact

  # how deep should BM25 be re-ranked? The index is made once and reused
  python -m pyterrier_lir experiment --systems \\
      exhaustive,rerank:num=10,rerank:num=100,rerank:num=1000 --baseline exhaustive

  # a first try in seconds: a toy encoder without a model, 20 queries
  python -m pyterrier_lir experiment --model toy --queries 20 --out /tmp/try
"""


SERVERS = {"serve": serve, "mcp": mcp}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit status: 0, or 2 where the arguments do not fit.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.action is None:
        parser.print_help()
        return 2
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(name)s: %(message)s")
    try:
        if args.action in SERVERS:
            SERVERS[args.action].run(args, _encoder(args))
            return 0
        outcome = _experiment(args)
    except (ValueError, KeyError, ImportError, OSError) as error:
        if args.verbose:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"pyterrier_lir: {message}", file=sys.stderr)
        return 2
    report = outcome.save(args.out, depth=args.depth)
    print(_table(outcome))
    print(f"\nReport: {report}")
    print(f"Also in {report.parent}: results.csv, perquery.csv, environment.json, tradeoff.png, runs/")
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m pyterrier_lir",
        description="Late-interaction retrieval as PyTerrier pipelines.",
        epilog="More: python -m pyterrier_lir experiment --help, ... serve --help, ... mcp --help",
        formatter_class=raw,
    )
    actions = parser.add_subparsers(dest="action", title="commands")
    run = actions.add_parser(
        "experiment", help="compare systems on a dataset: table, plot, report", description=_DESCRIPTION,
        epilog=_EPILOG.format(systems=known_systems().strip("\n")), formatter_class=raw,
    )  # fmt: skip
    _add_what(run.add_argument_group("what is compared"))
    _add_how(run.add_argument_group("how"))
    _add_model(run.add_argument_group("the encoder"))
    for name, command in SERVERS.items():
        server = actions.add_parser(name, help=command.HELP, description=command.DESCRIPTION, formatter_class=raw)
        command.add_arguments(server)
        _add_model(server.add_argument_group("the encoder of the index"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dataset", default="lir:pydoc", metavar="ID",
        help="any dataset of PyTerrier with documents, topics and qrels, such as irds:vaswani (default: %(default)s, "
        "docstrings of this Python's standard library)",
    )  # fmt: skip
    group.add_argument("--queries", type=_positive, metavar="N", help="use N queries, drawn at random (default: all)")
    group.add_argument("--fields", metavar="A,B", help="the documents' fields to use (default: title and text)")
    group.add_argument(
        "--systems", default="bm25,exhaustive:num_results=100,plaid:num_results=100,rerank:num=100", metavar="LIST",
        help="see below (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--measures", default="nDCG@10,R@100,RR@10,AP", metavar="LIST",
        help="names of ir_measures; the first is plotted (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--baseline", metavar="SYSTEM", help="tested against it, Holm-corrected (default: the first)")


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model", default="minilm", metavar="NAME",
        help='a checkpoint, as a folder or a name on the Hugging Face hub; "minilm", packaged; or "toy", random word '
        "vectors for trying things out (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--dim", type=_positive, help="dimensions per token (default: 128 for minilm, else the model's own)"
    )
    group.add_argument(
        "--threads", type=_positive, metavar="N",
        help="threads of encoder and methods (default: all cores for the methods, half of them for the encoder, which "
        "slows down many times where it has to share its cores)",
    )  # fmt: skip
    group.add_argument(
        "--batch-size", type=_positive, metavar="N", help="texts in one forward pass (default: the encoder's)"
    )
    group.add_argument(
        "--device", metavar="NAME", help="for the encoder, such as cuda:0 (default: a GPU if there is one)"
    )
    group.add_argument("--verbose", action="store_true", help="log what is done; show where errors come from")


def _add_how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", default="results", metavar="DIR", help="where files are written (default: %(default)s)")
    add("--depth", type=_positive, default=10, metavar="N", help="documents of each ranking that the report shows "
        "(default: %(default)s)")  # fmt: skip
    add("--index", metavar="PATH", help="the late-interaction index, made if it is not there (default: in DIR/indexes)")
    add(
        "--nbits",
        type=int,
        default=4,
        choices=(1, 2, 4, 8),
        help="bits per dimension in the index (default: %(default)s)",
    )
    add("--keep-embs", action="store_true", help="keep fp16 vectors in the index, so that exact scores are exact")
    add("--seed", type=int, default=0, help="of the draw of queries (default: %(default)s)")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number of at least 1")
    return int(text)


def _experiment(args: argparse.Namespace) -> Outcome:
    from pyterrier_lir.experiment.collection import open_collection
    from pyterrier_lir.experiment.run import check, run_experiment

    check(args.systems, args.measures, args.baseline)  # before anything takes time
    encoder = _encoder(args)
    fields = args.fields.split(",") if args.fields else None
    collection = open_collection(args.dataset, fields=fields, num_queries=args.queries, seed=args.seed)
    return run_experiment(
        collection,
        encoder,
        args.systems,
        args.measures,
        folder=Path(args.out) / "indexes",
        index_path=args.index,
        nbits=args.nbits,
        keep_embs=args.keep_embs,
        baseline=args.baseline,
        num_threads=args.threads,
        command=_command(args),
    )


def _encoder(args: argparse.Namespace) -> Encoder:
    given = {"dim": args.dim, "batch_size": args.batch_size}
    if args.model == "toy":
        from pyterrier_lir.encode.toy import ToyEncoder

        return ToyEncoder(**{name: value for name, value in given.items() if value is not None})
    import torch

    from pyterrier_lir.encode.late_interaction import LateInteractionEncoder
    from pyterrier_lir.experiment.environment import cores

    torch.set_num_threads(args.threads or max(1, cores() // 2))
    given["dim"] = args.dim or (128 if args.model == "minilm" else None)
    chosen = {name: value for name, value in {**given, "device": args.device}.items() if value is not None}
    return LateInteractionEncoder(args.model, **chosen)


def _command(args: argparse.Namespace) -> str:
    """The command that runs this again, its paths as they may be published."""
    from pyterrier_lir.experiment.environment import public_path

    words = ["python", "-m", "pyterrier_lir", "experiment"]
    for name, value in vars(args).items():
        if name in ("action", "verbose") or value is None or value is False:
            continue
        is_path = name in ("out", "index") or (name == "model" and Path(value).exists())
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(public_path(value) if is_path else str(value))
    return shlex.join(words)


def _table(outcome: Outcome) -> str:
    """The table for a terminal: measures, marked where they differ significantly from the baseline's, and times."""
    from pyterrier_lir.experiment.report_parts import compare, read_table

    table = read_table(outcome.results)
    header = ["", *outcome.measures, "encode ms", "retrieve ms"]
    rows = [header]
    for _, row in outcome.results.iterrows():
        found = {measure: compare(table, row["name"], measure) for measure in outcome.measures}
        measures = [f"{row[measure]:.3f}{(against and against.mark) or ' '}" for measure, against in found.items()]
        rows.append([row["name"], *measures, f"{row['encode_ms']:.2f}", f"{row['retrieve_ms']:.2f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    note = "\nencode ms, retrieve ms: medians over queries, asked one at a time"
    if outcome.baseline:
        note = f"\n+ better, - worse than {outcome.baseline} (paired t-test, Holm, p < 0.05)" + note
    return "\n".join(["", lines[0], "-" * len(lines[0]), *lines[1:]]) + note


if __name__ == "__main__":
    sys.exit(main())
