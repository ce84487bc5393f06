"""The rows of what a model gives, and which characters of the text each of them stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir.columns import Ints
from pyterrier_lir.encode import checkpoint
from pyterrier_lir.encode.base import Encoded, Located

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

# What sentence-transformers is asked for beside its usual output.
ASK = {"text": {"return_offsets_mapping": True}}


def nothing(dim: int) -> Located:
    """A text without rows."""
    return Located(np.zeros((0, dim), np.float32), np.zeros(0, np.int32), np.zeros((0, 2), np.int32))


def unknown(model: MultiVectorEncoder) -> str | None:
    """Why rows cannot be located: because one stands for several tokens, or the tokenizer does not say; else None."""
    if checkpoint.pools(model, "document"):
        return "the checkpoint pools tokens, so that a row stands for several; expected one that does not."
    if not getattr(model.tokenizer, "is_fast", False):
        name = type(model.tokenizer).__name__
        return f"the tokenizer {name} does not say where its tokens stand; expected a fast one, with a tokenizer.json."
    return None


def real_rows(output: dict[str, Any], pooled: bool) -> Encoded:
    """Selects the rows that count; selecting copies, so that the padded batch can be freed."""
    mask = output["attention_mask"].bool()
    embs = output["token_embeddings"][mask].cpu().numpy()
    if pooled:
        return Encoded(embs, np.full(len(embs), -1, dtype=np.int32))
    return Encoded(embs, output["input_ids"][mask].cpu().numpy().astype(np.int32))


def located_rows(output: dict[str, Any], text: str, prompt_length: int) -> Located:
    """The rows that count of a padded output that was made with `ASK`."""
    mask = output["attention_mask"].bool()
    spans = output["offset_mapping"][mask].cpu().numpy().astype(np.int32) - prompt_length
    embs = output["token_embeddings"][mask].cpu().numpy()
    return Located(embs, output["input_ids"][mask].cpu().numpy().astype(np.int32), _trimmed(spans, text))


def token_spans(model: MultiVectorEncoder, text: str) -> Ints:
    """The characters of each token of the whole text, int32 ``(n, 2)``, blanks left out.

    Raises:
        ValueError: If they are not known.
    """
    if reason := unknown(model):
        raise ValueError(reason)
    found = model.tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
    )["offset_mapping"]
    return _trimmed(np.array(found, np.int32).reshape(-1, 2), text)


def capacity(model: MultiVectorEncoder) -> int:
    """How many tokens of its text a document can have, beside special ones and the prompt."""
    return checkpoint.lengths(model)[1] - len(model.tokenizer(prompt(model))["input_ids"])


def prompt(model: MultiVectorEncoder) -> str:
    """The text that sentence-transformers puts before documents."""
    names = (name for name in ("document", "passage", "corpus") if name in model.prompts)
    return model.prompts.get(next(names, "")) or ""


def _trimmed(spans: Ints, text: str) -> Ints:
    """Offsets without the blanks that some tokenizers count to a word; what is no part of the text is (-1, -1)."""
    blank = np.array([character.isspace() for character in text] + [False])
    trimmed = np.clip(spans, 0, len(text))
    while (leading := (trimmed[:, 0] < trimmed[:, 1]) & blank[trimmed[:, 0]]).any():
        trimmed[leading, 0] += 1
    while (trailing := (trimmed[:, 0] < trimmed[:, 1]) & blank[trimmed[:, 1] - 1]).any():
        trimmed[trailing, 1] -= 1
    trimmed[spans[:, 1] <= 0] = -1
    trimmed[spans[:, 0] == spans[:, 1]] = -1
    return trimmed
