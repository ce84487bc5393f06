"""What others may rely on, one line for each: names with their signatures, columns, commands and endpoints.

``python tests/public_names.py`` writes `tests/public_names.txt`, in whose diff a change of the public face is seen.
"""

import argparse
import importlib
import inspect
from functools import cached_property
from pathlib import Path

import pyterrier_lir as lir
from pyterrier_lir import __main__ as command_line
from pyterrier_lir import columns
from pyterrier_lir.serve.endpoints import Endpoints
from pyterrier_lir.train.trainer import train
from pyterrier_lir.transformer import LirTransformer

FILE = Path(__file__).parent / "public_names.txt"


def lines():
    """All of it; needs the packages of the extra ``serve``."""
    for name in sorted({*lir.__all__} - {"__version__"}):
        yield from _named(f"lir.{name}", getattr(lir, name))
    for room in lir._ROOMS:
        module = importlib.import_module(f"pyterrier_lir.{room}")
        for name in sorted({*module.__all__} - {*lir.__all__}):
            yield from _named(f"lir.{room}.{name}", getattr(module, name))
    yield f"lir.train{_signature(train)}"
    yield from (f"column {value}" for name, value in vars(columns).items() if name.isupper() and type(value) is str)
    yield from _commands()
    yield from _endpoints()


def _named(name, value):
    """A function, or a class with the members that not every transformer has."""
    yield f"{name}{_signature(value)}"
    if not inspect.isclass(value):
        return
    ours = [base for base in value.__mro__ if base.__module__.startswith("pyterrier_lir")]
    common = {*dir(LirTransformer)} if issubclass(value, LirTransformer) else set()
    for key in sorted({key for base in ours for key in vars(base)} - common):
        if not key.startswith("_") and not key.isupper():
            member = inspect.getattr_static(value, key)
            is_value = isinstance(member, (property, cached_property)) or not callable(getattr(value, key))
            yield f"{name}.{key}" if is_value else f"{name}.{key}{_signature(getattr(value, key))}"


def _signature(value):
    """Names, order and defaults of the parameters, without types; of errors and texts what they are."""
    if inspect.isclass(value) and issubclass(value, (Exception, str)):
        return f"({value.__base__.__name__})"
    found = inspect.signature(value)
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _commands():
    parser = command_line._parser()
    (actions,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for name, command in sorted(actions.choices.items()):
        for action in command._actions:
            if action.dest != "help":
                default = "" if action.default is None else f" = {action.default}"
                yield f"python -m pyterrier_lir {name} {' '.join(action.option_strings) or action.dest}{default}"


def _endpoints():
    endpoints = Endpoints(None, lir.serve.Settings(workers=1))
    for path, endpoint in sorted(endpoints.by_path.items()):
        yield f"GET {path}{_signature(endpoint)}"
    endpoints.close()


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in lines()), encoding="utf-8")
