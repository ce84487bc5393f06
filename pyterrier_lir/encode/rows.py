"""From the padded output of sentence-transformers to the rows of each text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir.encode.base import Encoded

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder


def is_pooled(model: MultiVectorEncoder, task: str) -> bool:
    """Whether a checkpoint's rows stand for several tokens."""
    from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling

    return any(isinstance(module, BaseTokenPooling) and module.applies_to(task) for module in model)


def real_rows(output: dict[str, Any], pooled: bool) -> Encoded:
    """Selects the rows that count; selecting copies, so that the padded batch can be freed."""
    mask = output["attention_mask"].bool()
    embs = output["token_embeddings"][mask].cpu().numpy()
    if pooled:
        return Encoded(embs, np.full(len(embs), -1, dtype=np.int32))
    return Encoded(embs, output["input_ids"][mask].cpu().numpy().astype(np.int32))
