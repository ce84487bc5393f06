"""Writes a model as PyLate keeps it: its version 1.6 cannot read what sentence-transformers 6 writes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyterrier_lir.encode import checkpoint

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

DENSE = "1_Dense"
IDENTITY = "torch.nn.modules.linear.Identity"


def export(model: MultiVectorEncoder, path: Path) -> None:
    """Writes backbone, projection and settings; ``path`` appears only when all of it is written.

    Raises:
        FileExistsError: If there is something at ``path``.
        ValueError: If the model has what PyLate has not: modules of other kinds, several projections, one with a bias
        or
            an activation, or a prompt that is no token.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; give a path that does not, or remove it first.")
    weight, settings = _projection(model), _settings(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        unfinished = Path(folder, path.name)
        with checkpoint.quiet():
            model[0].model.save_pretrained(str(unfinished))
        model.tokenizer.save_pretrained(str(unfinished))
        _write_dense(unfinished / DENSE, weight)
        length = max(checkpoint.lengths(model))
        modules = [("", "sentence_transformers.models.Transformer"), (DENSE, "pylate.models.Dense.Dense")]
        files: dict[str, Any] = {
            "modules.json": [
                {"idx": i, "name": str(i), "path": place, "type": kind} for i, (place, kind) in enumerate(modules)
            ],
            "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
            "config_sentence_transformers.json": settings,
        }
        for name, content in files.items():
            (unfinished / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
        unfinished.rename(path)


def _projection(model: MultiVectorEncoder) -> Any:
    """The weight of the only projection, ``(dim, width)``; the identity where there is none."""
    import torch
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    known = (Transformer, Dense, MultiVectorMask, Normalize)
    others = [type(module).__name__ for module in model if not isinstance(module, known)]
    dense = [module for module in model if isinstance(module, Dense)]
    plain = all(d.linear.bias is None and isinstance(d.activation_function, torch.nn.Identity) for d in dense)
    if others or len(dense) > 1 or not plain:
        raise ValueError(
            f"the model has {', '.join(others) or 'another projection'}; expected a backbone, at most one "
            "projection without bias and activation, a mask and a normalisation, which is what PyLate has."
        )
    return dense[0].linear.weight.detach() if dense else torch.eye(int(model.get_embedding_dimension()))


def _settings(model: MultiVectorEncoder) -> dict[str, Any]:
    """PyLate's settings: markers, lengths, expansion, skip list."""
    prompts = {side: model.prompts.get(side) or "" for side in ("query", "document")}
    for side, prompt in prompts.items():
        if prompt and prompt not in model.tokenizer.get_added_vocab():
            raise ValueError(
                f"the {side} prompt is {prompt!r}; expected one token of the tokenizer, such as '[Q] ', or none: "
                "PyLate "
                "inserts a marker. Export without prompts."
            )
    expansion = model[0].query_expansion
    query_length, document_length = checkpoint.lengths(model)
    mask = next(module for module in model if type(module).__name__ == "MultiVectorMask")
    return {
        "model_type": "ColBERT",
        "query_prefix": prompts["query"],
        "document_prefix": prompts["document"],
        "query_length": query_length,
        "document_length": document_length,
        "do_query_expansion": expansion is not None,
        "attend_to_expansion_tokens": bool(expansion and expansion["attend"]),
        "skiplist_words": list(mask.skiplist_words),
        "similarity_fn_name": "MaxSim",
    }


def _write_dense(folder: Path, weight: Any) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({"linear.weight": weight.contiguous()}, folder / "model.safetensors")
    sizes = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": False}
    (folder / "config.json").write_text(json.dumps({**sizes, "activation_function": IDENTITY}), encoding="utf-8")
