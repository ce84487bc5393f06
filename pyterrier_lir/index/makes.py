"""One line in a class for each thing that its objects make: ``plaid = makes(Plaid)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
Made = TypeVar("Made", covariant=True)


class Makes(Protocol[P, Made]):
    """The method, for type checkers and editors: the options of the class, and what comes out."""

    def __get__(self, owner: Any, kind: Any = None) -> Callable[P, Made]:
        """The method of one object."""


def makes(made: Callable[Concatenate[Any, P], Made]) -> Makes[P, Made]:
    """A method that makes a class with the object as the first argument: ``index.plaid(nprobe=8)``.

    The options, their defaults and types are those of the class and stand nowhere else; the method shows them in its
    signature. Its docstring is the beginning of the class's: what it does, and from which columns to which.

    Args:
        made: The class; its constructor takes the object first.
    """

    def make(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Made:
        return made(self, *args, **kwargs)

    signature = inspect.signature(made)
    first, *options = signature.parameters.values()
    self_ = first.replace(name="self", default=first.empty, annotation=first.empty, kind=first.POSITIONAL_ONLY)
    make.__signature__ = signature.replace(parameters=[self_, *options], return_annotation=made)  # type: ignore
    make.__annotations__ = {"return": made}
    make.__doc__ = _summary(made)
    return cast("Makes[P, Made]", make)


def _summary(made: Any) -> str:
    """The first paragraph of a docstring, the one about columns, and where the options are explained."""
    paragraphs = inspect.cleandoc(made.__doc__).split("\n\n")
    kept = [paragraphs[0], *(paragraph for paragraph in paragraphs[1:] if paragraph.startswith("Expected columns"))]
    return "\n\n".join([*kept, f"The options: `{made.__module__}.{made.__qualname__}`."])
