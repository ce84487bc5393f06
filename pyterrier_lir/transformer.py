"""What all our transformers share: they are values, they draw without a network, they survive empty input."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_lir import options

DOCS = "https://pyterrier.readthedocs.io/en/latest/ext/pyterrier-lir/index.html"


class LirTransformer(pt.Transformer):
    """A PyTerrier transformer that is a value: equal arguments make equal, interchangeable transformers.

    Every constructor argument is kept under its own name (or with a leading underscore), which is what
    `pt.inspect.transformer_attributes` reads. Equality, hash and repr follow from that, so that
    ``pt.Experiment(plan="tree")`` and the caches of pyterrier-caching share work between pipelines.
    """

    LABEL: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Lists the options where one is wrong, and shows them in help and notebooks, where PyTerrier hides them."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = options.listed(cls.__init__)  # type: ignore[method-assign]
            options.signed(cls)

    def _arguments(self) -> dict[str, Any]:
        return {attribute.name: attribute.value for attribute in pt.inspect.transformer_attributes(self)}

    def __repr__(self) -> str:
        shown = []
        for attribute in pt.inspect.transformer_attributes(self):
            if attribute.init_default_value is inspect.Parameter.empty:
                shown.append(repr(attribute.value))
            elif not _same(attribute.value, attribute.init_default_value):
                shown.append(f"{attribute.name}={_short(attribute.value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._arguments() == other._arguments()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self).__name__, *(_hashable(value) for value in self._arguments().values())))

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Arguments that are indexes or encoders are factories, not stages of an inner pipeline."""
        return {}

    @property
    def derived(self) -> tuple[str, ...]:
        """What it reads of the structures that its index derives: names of folders under ``derived/``."""
        return ()

    def work(self, inp: pd.DataFrame) -> dict[str, float]:
        """What it counts on these rows, summed over them, such as ``scored``: documents scored from their tokens."""
        return {}

    @property
    def schematic(self) -> dict[str, Any]:
        """The box in PyTerrier's schematics. A given ``help_url`` keeps PyTerrier from asking the network."""
        return {"label": self.LABEL or type(self).__name__, "help_url": DOCS}

    def transform_iter(self, inp: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """As `transform`, over records. No records in, no records out: an empty chunk has no columns to check."""
        records = list(inp)
        return iter(self.transform(_frame(records)).to_dict(orient="records")) if records else iter(())


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and bool(a == b))


def _short(value: Any) -> str:
    """A repr for a label: long collections give their size."""
    if isinstance(value, (tuple, list, set, frozenset)) and len(value) > 5:
        return f"<{len(value)} values>"
    return repr(value)


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((key, _hashable(item)) for key, item in value.items()))
    return tuple(value) if isinstance(value, list) else value


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    try:
        return pd.DataFrame(records)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON may hold and Arrow's strings do not
        return pd.DataFrame(records, dtype=object)
