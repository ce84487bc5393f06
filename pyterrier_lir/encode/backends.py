"""Backbones run by ONNX Runtime or OpenVINO instead of torch: exported once into a cache, from there for every process.

What follows the backbone (projection, mask, normalisation) stays in torch. An exported backbone is compared with the
original, and refused where a vector differs by more than `TOLERANCE`.

The quantised one differs by design, and its encoder has another fingerprint. Its weights have 7 bits, in steps of their
own for each output channel: with 8, sums of two products would overflow the 16 bits that processors without VNNI have
for them. What they are multiplied with has 8 bits, in steps of its own for each token: a few tokens have values ten
times those of others, which common steps would round away.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyterrier as pt

from pyterrier_lir.encode import checkpoint
from pyterrier_lir.installing import pip_install

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

    from pyterrier_lir.encode.late_interaction import LateInteractionEncoder

LOGGER = logging.getLogger(__name__)
BACKENDS = ("torch", "onnx", "openvino")
PACKAGES = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnxruntime", "onnx")}
TOLERANCE = 1e-4  # of a value of a token vector
OPSET = 17
ROUNDING = "7-bit weights by channel, 8-bit inputs by token"  # of a quantised backbone: in fingerprints, names of files
SAMPLE = ("What does late interaction compare?", "token vectors", "a")  # of several lengths, so that some are padded

Arrays = dict[str, npt.NDArray[np.int64]]
Run = Callable[[Arrays], npt.NDArray[np.float32]]


def check(backend: str, quantized: bool) -> None:
    """Refuses a backend that does not exist or is not installed.

    Raises:
        ImportError: If a package is missing.
        ValueError: If there is no such backend, or if torch is to be quantised.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}; expected one of {', '.join(map(repr, BACKENDS))}.")
    if quantized and backend == "torch":
        raise ValueError("quantized=True with backend='torch'; expected 'onnx' or 'openvino', which are exact enough.")
    for package in PACKAGES.get(backend, ()):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"backend={backend!r} needs the package {package}, which is not installed. "
                f"Run: {pip_install(*PACKAGES[backend])}"
            ) from error


def replace(model: MultiVectorEncoder, encoder: LateInteractionEncoder) -> None:
    """Puts an exported backbone in the place of a model's own, in place.

    Args:
        model: In float32 on the processor; its first module is a transformer that takes token ids.
        encoder: Names checkpoint, backend and quantisation. Threads of a forward pass are torch's.

    Raises:
        ValueError: If the backbone cannot be exported, or gives other vectors than it did.
    """
    import torch

    original = model[0].model
    inputs = list(model[0].tokenizer(SAMPLE[0]).keys())
    # All that the backbone depends on; lengths, prompts and projection come after it or before.
    facts = [checkpoint.identity(encoder.model, encoder.revision, None), encoder.model_kwargs, encoder.language]
    identity = json.dumps(facts, sort_keys=True, default=str)
    path = exported(original, model[0].tokenizer, inputs, quantized=encoder.quantized, identity=identity)
    run = {"onnx": _onnx_session, "openvino": _openvino_session}[encoder.backend](path, torch.get_num_threads())
    if not encoder.quantized:
        _compare(original, model[0].tokenizer, run, path)
    model[0].model = _module(original.config, inputs, run)


def exported(model: Any, tokenizer: Any, inputs: Sequence[str], *, quantized: bool, identity: str) -> Path:
    """The file of an exported backbone in the cache, made now if it is not there; one process makes it, others wait."""
    facts = [identity, str(OPSET), ",".join(inputs), "eager", ROUNDING if quantized else "float32"]
    path = cache_folder() / hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16] / "model.onnx"
    if not path.exists():
        make = _export_quantised if quantized else _export
        with _locked(path.parent):
            if not path.exists():
                _write(path, lambda to: make(model, tokenizer, inputs, to))
    return path


def cache_folder() -> Path:
    """Where exports are kept: a folder of PyTerrier's home."""
    return Path(pt.io.pyterrier_home()) / "pyterrier_lir" / "onnx"


def _export(model: Any, tokenizer: Any, inputs: Sequence[str], to: Path) -> None:
    import torch

    class LastHidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            return self.model(**dict(zip(inputs, values, strict=True))).last_hidden_state

    batch = tokenizer(list(SAMPLE), padding=True, return_tensors="pt")
    axes = {name: {0: "batch", 1: "length"} for name in [*inputs, "token_embeddings"]}
    LOGGER.info("exporting the backbone to %s", to)
    try:
        model.set_attn_implementation("eager")  # the others look for NaN, a tenth of the time
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, about what `_compare` then checks
            torch.onnx.export(
                LastHidden().eval(), tuple(batch[name] for name in inputs), str(to), input_names=list(inputs),
                output_names=["token_embeddings"], dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
    except Exception as error:  # whatever the exporter meets in a model
        raise ValueError(
            f"{type(model).__name__} cannot be exported to ONNX ({error}); expected a backbone that can. "
            'Use backend="torch".'
        ) from error


def _export_quantised(model: Any, tokenizer: Any, inputs: Sequence[str], to: Path) -> None:
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = to.with_name("float32.onnx")
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.forward = partial(_linear_by_token, module)
    _export(model, tokenizer, inputs, whole)
    _compare(model, tokenizer, _onnx_session(whole, torch.get_num_threads()), whole)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a preparation that changes nothing here
    try:
        quantize_dynamic(
            whole, to, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
    finally:
        root.setLevel(level)


def _linear_by_token(linear: Any, values: Any) -> Any:
    """A linear layer whose product, which is quantised, sees tokens with 1 as their largest value."""
    import torch

    largest = values.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    product = torch.nn.functional.linear(values / largest, linear.weight) * largest
    return product if linear.bias is None else product + linear.bias


def _onnx_session(path: Path, num_threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(None, arrays)[0]


def _openvino_session(path: Path, num_threads: int) -> Run:
    import openvino

    hints = {"INFERENCE_NUM_THREADS": num_threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(str(path), "CPU", hints).create_infer_request()
    return lambda arrays: request.infer(arrays)[0].copy()


def _compare(model: Any, tokenizer: Any, run: Run, path: Path) -> None:
    import torch

    batch = tokenizer(list(SAMPLE), padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**batch).last_hidden_state.numpy()
    found = run({name: values.numpy() for name, values in batch.items()})
    real = batch["attention_mask"].numpy().astype(bool)
    error = float(np.abs(found - expected)[real].max())
    if not error <= TOLERANCE:
        raise ValueError(
            f"the exported backbone {path} gives vectors that differ by {error:.2g}; expected at most {TOLERANCE:g}. "
            f'Remove {path.parent}, so that it is exported again, or use backend="torch".'
        )


def _module(config: Any, inputs: Sequence[str], run: Run) -> Any:
    """A module that computes what the backbone did, and holds none of its weights."""
    import torch

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = config
            self.kind = torch.nn.Parameter(torch.zeros(0), requires_grad=False)  # says: float32, on the processor

        def forward(self, **features: Any) -> dict[str, Any]:
            arrays = {name: features[name].to(torch.int64).cpu().numpy() for name in inputs}
            return {"last_hidden_state": torch.from_numpy(run(arrays))}

    return Exported()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder of the cache, which is gone with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, make: Callable[[Path], None]) -> None:
    """Lets a file appear when it is complete."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        make(unfinished)
        unfinished.replace(path)
