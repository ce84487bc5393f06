"""Arguments of an encoder that have no meaning, found before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyterrier_lir import arguments
from pyterrier_lir.encode import backends, checkpoint

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

    from pyterrier_lir.encode.late_interaction import LateInteractionEncoder


def check(encoder: LateInteractionEncoder) -> None:
    """Refuses what no checkpoint could make sense of.

    Raises:
        ImportError: If the backend's package is missing.
        ValueError: If an argument has no meaning.
    """
    arguments.check_counts(batch_size=encoder.batch_size)
    arguments.check_optional_counts(
        dim=encoder.dim, query_length=encoder.query_length, document_length=encoder.document_length
    )
    if encoder.dtype not in checkpoint.DTYPES:
        raise ValueError(f"dtype={encoder.dtype!r}; expected one of {', '.join(map(repr, checkpoint.DTYPES))}.")
    backends.check(encoder.backend, encoder.quantized)
    unfit = encoder.device not in (None, "cpu") or encoder.dtype not in ("auto", "float32")
    if unfit and backends.elsewhere(encoder):
        backend = backends.asked(encoder.backend, encoder.quantized)
        raise ValueError(
            f"backend={backend!r} with device={encoder.device!r} and dtype={encoder.dtype!r}; expected "
            'device="cpu" and dtype="float32", or neither. Use backend="torch" for others.'
        )
    if encoder.device == []:
        raise ValueError("device=[]; expected at least one name, such as 'cuda:0', or None.")
    unknown = set(encoder.prompts or ()) - {"query", "document", "instruction"}
    if unknown:
        raise ValueError(
            f"prompts for {sorted(unknown)}; expected the keys 'query', 'document' and 'instruction' only."
        )
    if {"dtype", "torch_dtype"} & set(encoder.model_kwargs or ()):
        raise ValueError("model_kwargs holds a dtype; give it as the argument dtype instead.")


def check_dim(encoder: LateInteractionEncoder, model: MultiVectorEncoder) -> None:
    """Refuses a loaded model that has not the dimensions that are expected.

    Raises:
        ValueError: With the way to have them.
    """
    width = model.get_embedding_dimension()
    if encoder.dim is None or encoder.dim == width:
        return
    if encoder.model == checkpoint.MINILM:
        remedy = f"Give dim=None, {width}, or at most {checkpoint.MINILM_AXES}"
    elif checkpoint.has_projection(model):
        remedy = "Give dim=None, and shorten the vectors with Truncate"
    else:
        remedy = "Give dim=None, or make a checkpoint of that width with LateInteractionEncoder.adapt()"
    raise ValueError(f"dim={encoder.dim}, but the checkpoint {encoder.model!r} has {width} dimensions. {remedy}.")
