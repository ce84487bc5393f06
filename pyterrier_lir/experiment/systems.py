"""The systems that an experiment can compare, and the words by which they are asked for.

A system is written as its name and, after a colon, its parameters: ``rerank:num=50``. Several systems are separated
by commas, and so are several parameters: in ``muvera:num=50,probe=4,bm25`` the second item has no name and goes on with
the first. This module imports nothing heavy, so that ``--help`` can list the systems.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyterrier as pt

    from pyterrier_lir.encode.base import Encoder
    from pyterrier_lir.index.artifact import LirIndex


@dataclass(frozen=True)
class Parts:
    """What systems are put together from.

    Attributes:
        index: The late-interaction index of the collection.
        encoder: The encoder that made it.
        bm25: Gives a BM25 retriever of so many results.
        text_loader: Gives a transformer that adds the documents' ``text``.
        num_threads: Threads that a method may use; None for all cores.
    """

    index: LirIndex
    encoder: Encoder
    bm25: Callable[[int], pt.Transformer]
    text_loader: Callable[[], pt.Transformer]
    num_threads: int | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of system: what it is, how it is built from the parts and its parameters, whether it encodes queries."""

    summary: str
    build: Callable[..., pt.Transformer]
    encodes: bool = True

    def parameters(self) -> dict[str, Any]:
        """The parameters and their defaults."""
        return {name: p.default for name, p in list(inspect.signature(self.build).parameters.items())[1:]}


def _text_rerank(parts: Parts, num: int = 20) -> pt.Transformer:
    """`Encoder.text_scorer` in two steps, because the query's encoding is timed apart and must not be done again."""
    from pyterrier_lir.rerank.maxsim import MaxSim

    scorer = MaxSim(num_threads=parts.num_threads)
    return parts.bm25(num) >> parts.text_loader() >> parts.encoder.doc_encoder() >> scorer


# A new method is one more line here. Its parameters are those of the function, with their defaults.
SYSTEMS: dict[str, Kind] = {
    "bm25": Kind("BM25 over stemmed words", lambda p, num_results=1000: p.bm25(num_results), encodes=False),
    "exhaustive": Kind(
        "MaxSim over all documents (exact with keep_embs)",
        lambda p, num_results=1000: p.index.exhaustive(num_results=num_results, num_threads=p.num_threads),
    ),
    "plaid": Kind(
        "PLAID: cells, centroid interaction, exact scores of what is left",
        lambda p, num_results=1000, nprobe=None, ndocs=None, preset="measured": p.index.plaid(
            num_results=num_results, nprobe=nprobe, ndocs=ndocs, preset=preset, num_threads=p.num_threads
        ),
    ),
    "warp": Kind(
        "WARP: all tokens of the probed cells, what they miss imputed",
        lambda p, num_results=1000, nprobe=None, preset="measured": p.index.warp(
            num_results=num_results, nprobe=nprobe, preset=preset, num_threads=p.num_threads
        ),
    ),
    "warp_rerank": Kind(
        "the best num of WARP, re-ranked by MaxSim of the vectors in the index",
        lambda p, num=64, nprobe=None: (
            p.index.warp(num_results=num, nprobe=nprobe, num_threads=p.num_threads)
            >> p.index.maxsim(num_threads=p.num_threads)
        ),
    ),
    "xtr": Kind(
        "XTR: the mean over rows of retrieved tokens, what is missing imputed",
        lambda p, num_results=1000, token_k=10_000, impute="kth": p.index.xtr(
            num_results=num_results, token_k=token_k, impute=impute, num_threads=p.num_threads
        ),
    ),
    "muvera": Kind(
        "the best num of MUVERA, re-ranked by MaxSim of the vectors in the index",
        lambda p, num=200, ann="flat", k_sim=5, d_proj=16, reps=20, center=True: (
            p.index.muvera(
                num_results=num,
                ann=ann,
                k_sim=k_sim,
                d_proj=d_proj,
                reps=reps,
                center=center,
                num_threads=p.num_threads,
            )
            >> p.index.maxsim(num_threads=p.num_threads)
        ),
    ),
    "rerank": Kind(
        "the best num of BM25, re-ranked by MaxSim of the vectors in the index",
        lambda p, num=100: p.bm25(num) >> p.index.maxsim(num_threads=p.num_threads),
    ),
    "text_rerank": Kind("the best num of BM25, re-ranked by MaxSim of their freshly encoded text", _text_rerank),
}


@dataclass(frozen=True)
class Spec:
    """A system that was asked for: its kind's name, and the parameters that were given."""

    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ",".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.kind}:{given}" if given else self.kind

    @property
    def encodes(self) -> bool:
        """Whether the system needs the query's embeddings."""
        return SYSTEMS[self.kind].encodes

    def build(self, parts: Parts) -> pt.Transformer:
        """The system as a transformer of topics that are encoded already."""
        return SYSTEMS[self.kind].build(parts, **self.parameters)


def parse_systems(specs: str | Sequence[str]) -> list[Spec]:
    """Reads systems, as in ``"bm25,exhaustive,rerank:num=100"``.

    Raises:
        ValueError: If a name, a parameter or a value is not known, or a system is named twice.
    """
    items = specs.split(",") if isinstance(specs, str) else [item for spec in specs for item in spec.split(",")]
    texts: list[str] = []
    for item in (item.strip() for item in items):
        if texts and "=" in item and ":" not in item:
            texts[-1] += ("," if ":" in texts[-1] else ":") + item
        elif item:
            texts.append(item)
    parsed = [_parse(text) for text in texts]
    if not parsed:
        raise ValueError(f"no system was named; expected at least one. Known: {known_systems()}")
    names = [str(spec) for spec in parsed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the system {twice!r} is named twice; expected distinct systems. Leave one out.")
    return parsed


def known_systems() -> str:
    """The known systems with their parameters' defaults, one per line."""
    lines = []
    for name, kind in SYSTEMS.items():
        defaults = ",".join(f"{key}={value}" for key, value in kind.parameters().items())
        lines.append(f"  {name + (':' + defaults if defaults else ''):<30} {kind.summary}")
    return "\n" + "\n".join(lines)


def _parse(text: str) -> Spec:
    name, _, rest = text.partition(":")
    if name not in SYSTEMS:
        raise ValueError(f"the system {name!r} is unknown; expected one of these: {known_systems()}")
    defaults = SYSTEMS[name].parameters()
    parameters: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key not in defaults or key in parameters:
            raise ValueError(
                f"the system {text!r} has {item!r}; expected name=value, each name once, out of: "
                f"{', '.join(defaults) or 'no parameters'}. Known systems: {known_systems()}"
            )
        parameters[key] = _value(text, key, value, defaults[key])
    return Spec(name, parameters)


def _value(text: str, key: str, value: str, default: Any) -> Any:
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = value
    wanted = (int, float) if isinstance(default, float) else type(default)
    if default is not None and (
        not isinstance(parsed, wanted) or isinstance(parsed, bool) != isinstance(default, bool)
    ):
        raise ValueError(
            f"the system {text!r} has {key}={value}; expected a value like the default, {key}={default!r}."
        )
    if isinstance(default, int) and not isinstance(default, bool) and parsed < 1:
        raise ValueError(f"the system {text!r} has {key}={value}; expected at least 1.")
    return parsed
