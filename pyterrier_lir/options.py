"""Wrong options: Python says which one is wrong, and here also which ones there are."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

Class = TypeVar("Class", bound=type)
Function = TypeVar("Function", bound=Callable[..., Any])


def listed(function: Function) -> Function:
    """The same function, whose TypeError lists the options and names the one that was probably meant.

    A NumPy number, as a sweep over an array gives, becomes Python's, which does not overflow and has a place in JSON.

    Args:
        function: A method or constructor; one without keyword-only options is given back as it is.
    """
    signature = inspect.signature(function)
    options = [name for name, parameter in signature.parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    if not options:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            shown = f"{function.__qualname__.removesuffix('.__init__')}()"
            meant = _meant(str(error), options)
            raise TypeError(f"{shown}: {error}; expected named options: {', '.join(options)}.{meant}") from None
        return function(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})

    return cast(Function, call)


def signed(cls: Class) -> Class:
    """A class decorator: shows the arguments of the constructor, which PyTerrier's ``__new__`` hides from Sphinx."""
    _, *arguments = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    cls.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    return cls


def listed_by(cls: Class) -> Class:
    """A class decorator: `listed` for the public methods."""
    for name, value in list(vars(cls).items()):
        if inspect.isfunction(value) and not name.startswith("_"):
            value.__name__, value.__qualname__ = name, f"{cls.__qualname__}.{name}"
            setattr(cls, name, listed(value))
    return cls


def taken_from(cls: type, some: type) -> Callable[[Function], Function]:
    """A decorator for a function that ends in ``**options: Unpack[Some]``: shows them, with the class's defaults.

    Args:
        cls: The class to whose constructor the options are passed on.
        some: The ``TypedDict`` that names them.
    """
    known = inspect.signature(cls).parameters
    taken = [known[name] for name in some.__annotations__]

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[:-1]
        function.__signature__ = signature.replace(parameters=[*own, *taken])  # type: ignore[attr-defined]
        return function

    return decorate


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _meant(error: str, options: list[str]) -> str:
    found = re.search("unexpected keyword argument '(.+)'", error)
    near = difflib.get_close_matches(found.group(1), options, n=1) if found else []
    return f" Did you mean {near[0]}=?" if near else ""
