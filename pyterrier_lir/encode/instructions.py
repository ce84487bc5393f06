"""Instructions: what is asked of a search beside its query, and how a checkpoint wants both to be joined."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

INSTRUCTION = "instruction"  # the column, and the name of the prompt
DEFAULT = "{instruction} {query}"
_FIELD = re.compile(r"\{(instruction|query)\}")


def joined(instruction: str, query: str, template: str | None = None) -> str:
    """A query with its instruction, as the template has them; braces in either are left alone.

    Example:
        >>> joined("Only reviews.", "late interaction", "Instruct: {instruction} Query: {query}")
        'Instruct: Only reviews. Query: late interaction'
    """
    values = {"instruction": instruction, "query": query}
    return _FIELD.sub(lambda match: values[match[1]], template or DEFAULT).strip()


def set_template(model: MultiVectorEncoder, template: str | None) -> None:
    """Sets how a query is joined with its instruction; None leaves the checkpoint's own.

    Raises:
        ValueError: If the template, given or the checkpoint's, lacks ``{instruction}`` or ``{query}``.
    """
    template = model.prompts.get(INSTRUCTION) if template is None else template
    if template is None:
        return
    missing = [name for name in ("{instruction}", "{query}") if name not in template]
    if missing:
        raise ValueError(
            f"the prompt for instructions is {template!r}, without {missing[0]}; expected both of them, such as "
            'prompts={"instruction": "Instruct: {instruction} Query: {query}"}.'
        )
    model.prompts[INSTRUCTION] = template
