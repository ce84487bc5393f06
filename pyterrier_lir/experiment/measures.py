"""Measures of ir_measures by their names, such as ``nDCG@10`` and ``R(rel=2)@100``.

What ir_measures 0.4.3 itself offers for this asks for classes of `ast` that Python 3.14 no longer has.
"""

from __future__ import annotations

import ast
from typing import Any


def named(name: str) -> Any:
    """The measure of a name: what it is, its options in brackets, and after ``@`` how far down it looks.

    Raises:
        ValueError: If ir_measures has no such measure, or the measure no such option.
    """
    import ir_measures

    try:
        node, options, cutoff = ast.parse(name.strip(), mode="eval").body, {}, None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            cutoff, node = ast.literal_eval(node.right), node.left
        if isinstance(node, ast.Call) and not node.args:
            options = {str(option.arg): ast.literal_eval(option.value) for option in node.keywords}
            node = node.func
        kind = ir_measures.measures.registry[node.id if isinstance(node, ast.Name) else ""]
        found = kind(**options, **({} if cutoff is None else {kind.AT_PARAM: cutoff}))
        found.validate_params()
    except (SyntaxError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{name!r} is no measure of ir_measures ({error}); expected one such as nDCG@10.") from error
    return found
