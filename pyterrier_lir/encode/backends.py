"""Backbones run by ONNX Runtime or OpenVINO instead of torch: exported once into a cache, from there for every process.

What follows the backbone (projection, mask, normalisation) stays in torch. An exported backbone is compared with the
original, and refused where a vector differs by more than `TOLERANCE`. It takes the texts of a batch one by one, each
without its padding, and several at once where there are several threads: the numbers of one text stay in the
processor's caches, and how they are rounded depends on no other text and on no number of threads.

The quantised one differs by design, and its encoder has another fingerprint. Its weights have 7 bits, in steps of their
own for each output channel: with 8, sums of two products would overflow the 16 bits that processors without VNNI have
for them. What they are multiplied with has 8 bits, in steps of its own for each token: a few tokens have values ten
times those of others, which common steps would round away.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import importlib.util
import io
import json
import logging
import mmap
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyterrier as pt

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
EXPANSION = "query_expansion_positions"  # the name that sentence-transformers has for the rows of a query's [MASK]
SAMPLE = ("What does late interaction compare?", "token vectors", "a")  # of several lengths, so that some are padded

KEPT = 10  # exports in the cache at most: those that were used last
LARGEST = 2**31 - 1  # bytes of a file of ONNX

Arrays = dict[str, npt.NDArray[np.int64]]
Run = Callable[[Arrays], npt.NDArray[np.float32]]
Session = Callable[[int, int], Run]  # of texts at once, and threads


def check(backend: str | None, quantized: bool) -> None:
    """Refuses a backend that does not exist or is not installed.

    Raises:
        ImportError: If a package is missing.
        ValueError: If there is no such backend, or if torch is to be quantised.
    """
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}; expected one of {', '.join(map(repr, BACKENDS))}, or None.")
    if quantized and backend == "torch":
        raise ValueError("quantized=True with backend='torch'; expected 'onnx' or 'openvino', which are exact enough.")
    needed = PACKAGES.get(asked(backend, quantized) or "", ())
    for package in needed:
        try:
            importlib.import_module(package)
        except ImportError as error:
            cause = f"backend={backend!r}" if backend else "quantized=True"
            raise ImportError(
                f"{cause} needs the package {package}, which is not installed. Run: {pip_install(*needed)}"
            ) from error


def asked(backend: str | None, quantized: bool) -> str | None:
    """The backend that the arguments of an encoder name, if they do: what is quantised is ONNX Runtime's at least."""
    return backend or ("onnx" if quantized else None)


def elsewhere(encoder: LateInteractionEncoder) -> bool:
    """Whether the arguments of an encoder name another backend than torch."""
    return asked(encoder.backend, encoder.quantized) not in (None, "torch")


def choose(model: MultiVectorEncoder, encoder: LateInteractionEncoder, dtype: str, devices: Sequence[str]) -> None:
    """Puts the backend that an encoder asks for in the place of torch; where it asks for none, the quickest exact one.

    Args:
        model: What is changed in place.
        encoder: Whose model it is.
        dtype: What the model computes in.
        devices: Where it runs; a list of one in ``encoder.device`` is a process of its own, and stays torch's.
    """
    backend = asked(encoder.backend, encoder.quantized)
    if elsewhere(encoder):
        replace(model, encoder, str(backend))
    elif backend is None and dtype == "float32" and devices == ["cpu"] != encoder.device:
        _hasten(model, encoder)


def _hasten(model: MultiVectorEncoder, encoder: LateInteractionEncoder) -> None:
    """Puts ONNX Runtime in the place of torch, where it is installed and can run the backbone of a model.

    A backbone that cannot be exported, or a cache that cannot be written, is a warning.
    """
    if any(importlib.util.find_spec(package) is None for package in PACKAGES["onnx"]):
        return
    try:
        replace(model, encoder, "onnx")
    except Exception as error:  # whatever exporter, file system and engine meet; torch needs none of them
        LOGGER.warning(
            '%s is run by torch, as backend="torch" would say without this warning: %s', encoder.model, error
        )


def replace(model: MultiVectorEncoder, encoder: LateInteractionEncoder, backend: str) -> None:
    """Puts an exported backbone in the place of a model's own, in place.

    Args:
        model: In float32, on the processor.
        encoder: Whose checkpoint it is, and whether it is quantised.
        backend: ``"onnx"`` or ``"openvino"``.

    Raises:
        ValueError: If the backbone cannot be exported, or gives other vectors than it did.
    """
    import torch

    original, tokenizer = model[0].model, model[0].tokenizer
    inputs = list(tokenizer(SAMPLE[0]).keys())
    # All that the backbone depends on; lengths, prompts and projection come after it or before.
    facts = [encoder.checkpoint_id, encoder.model_kwargs, encoder.language]
    identity = json.dumps(facts, sort_keys=True, default=str)
    path = exported(original, tokenizer, inputs, quantized=encoder.quantized, identity=identity)
    # Mapped, and so there for sessions that are opened later, even if the file is tidied away by then.
    with path.open("rb") as file:
        session = cache(partial(SESSIONS[backend], mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    if not encoder.quantized:
        _compare(original, tokenizer, session(1, torch.get_num_threads()), path)
    model[0].model = _module(backend, original.config, inputs, session)
    model[0].model_forward_params = {*inputs, EXPANSION}


def running(model: MultiVectorEncoder) -> str:
    """The backend that runs a model's backbone; but for ``"torch"``, its weights are not there."""
    return getattr(model[0].model, "engine", "torch")


def exported(model: Any, tokenizer: Any, inputs: Sequence[str], *, quantized: bool, identity: str) -> Path:
    """The file of an exported backbone in the cache, made now if it is not there; one process makes it, others wait."""
    facts = [identity, str(OPSET), ",".join(inputs), "eager", ROUNDING if quantized else "float32"]
    path = cache_folder() / hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16] / "model.onnx"
    if not path.exists():
        make = _export_quantised if quantized else _export
        with _locked(path.parent):
            if not path.exists():
                _write(path, lambda to: make(model, tokenizer, inputs, to))
        _tidy()
    with suppress(OSError):  # a cache that may only be read
        os.utime(path)  # it was used now
    return path


def cache_folder() -> Path:
    """Where exports are kept: a folder of PyTerrier's home."""
    return Path(pt.io.pyterrier_home()) / "pyterrier_lir" / "onnx"


def _tidy() -> None:
    """Removes the exports that were not used for longest; a session that runs one has read it."""
    used = {}
    for path in cache_folder().glob("*/model.onnx"):
        with suppress(FileNotFoundError):  # another process tidies, too
            used[path] = path.stat().st_mtime
    for path in sorted(used, key=used.__getitem__)[:-KEPT]:
        shutil.rmtree(path.parent, ignore_errors=True)


def _export(model: Any, tokenizer: Any, inputs: Sequence[str], to: Path) -> None:
    import torch

    class LastHidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            return self.model(**dict(zip(inputs, values, strict=True))).last_hidden_state

    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > LARGEST:
        raise ValueError(
            f"{type(model).__name__} has {size:,} bytes of weights; expected at most {LARGEST:,}, which a file of ONNX "
            'holds. Use backend="torch".'
        )
    batch = tokenizer(list(SAMPLE), padding=True, return_tensors="pt")
    axes = {name: {0: "batch", 1: "length"} for name in [*inputs, "token_embeddings"]}
    attention = model.config._attn_implementation
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
    finally:
        model.set_attn_implementation(attention)


def _export_quantised(model: Any, tokenizer: Any, inputs: Sequence[str], to: Path) -> None:
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = to.with_name("float32.onnx")
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.forward = partial(_linear_by_token, module)
    _export(model, tokenizer, inputs, whole)
    _compare(model, tokenizer, _onnx_session(whole.read_bytes(), 1, 1), whole)
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


def _onnx_session(model: bytes | mmap.mmap, at_once: int, num_threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads // at_once, 1
    session = onnxruntime.InferenceSession(model[:], options, providers=["CPUExecutionProvider"])
    taken = [each.name for each in session.get_inputs()]  # what the backbone does not look at is no input
    return lambda arrays: session.run(None, {name: arrays[name] for name in taken})[0]


def _openvino_session(model: bytes | mmap.mmap, at_once: int, num_threads: int) -> Run:
    import openvino

    hints = {"INFERENCE_NUM_THREADS": num_threads, "NUM_STREAMS": at_once, "INFERENCE_PRECISION_HINT": "f32"}
    core, own = openvino.Core(), threading.local()
    compiled = core.compile_model(core.read_model(io.BytesIO(model[:])), "CPU", hints)
    taken = [each.get_any_name() for each in compiled.inputs]

    def run(arrays: Arrays) -> npt.NDArray[np.float32]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return own.request.infer({name: arrays[name] for name in taken})[0].copy()

    return run


SESSIONS = {"onnx": _onnx_session, "openvino": _openvino_session}


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


def _module(engine: str, config: Any, inputs: Sequence[str], session: Session) -> Any:
    """A module that computes what the backbone did, and holds none of its weights.

    Args:
        engine: The backend's name.
        config: The backbone's.
        inputs: The names of what it takes.
        session: Gives what runs so many texts at once on so many threads, the same one each time.
    """
    import torch

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.engine, self.config = engine, config
            self.kind = torch.nn.Parameter(torch.zeros(0), requires_grad=False)  # says: float32, on the processor

        def forward(self, **features: Any) -> dict[str, Any]:
            arrays = {name: features[name].to(torch.int64).cpu().numpy() for name in inputs}
            real = arrays["attention_mask"] != 0
            if EXPANSION in features:  # they have vectors, attended or not
                real |= features[EXPANSION].cpu().numpy().astype(bool)
            ends = real.shape[1] - real[:, ::-1].argmax(axis=1)
            texts = [{name: rows[i : i + 1, :end] for name, rows in arrays.items()} for i, end in enumerate(ends)]
            hidden = torch.zeros((*real.shape, config.hidden_size))
            for i, found in enumerate(_each(session, texts, torch.get_num_threads())):
                hidden[i, : ends[i]] = torch.from_numpy(found[0])
            return {"last_hidden_state": hidden}

    return Exported()


def _each(session: Session, texts: Sequence[Arrays], num_threads: int) -> Iterator[npt.NDArray[np.float32]]:
    """Runs one text on all threads, several on one each."""
    if len(texts) == 1 or num_threads == 1:
        yield from map(session(1, num_threads), texts)
    else:
        with ThreadPoolExecutor(num_threads) as threads:
            yield from threads.map(session(num_threads, num_threads), texts)


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
