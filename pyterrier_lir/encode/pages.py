"""The encoder of pages: pictures to one vector a patch, queries from text, by models such as ColPali and ColQwen2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_lir import arguments, columns
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.encode import checkpoint, patches
from pyterrier_lir.encode.base import Encoded, checked_texts
from pyterrier_lir.encode.late_interaction import NUMERICS
from pyterrier_lir.encode.page_model import EncodedPage, PageModel
from pyterrier_lir.pages.images import MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image
    from sentence_transformers import MultiVectorEncoder


class PageEncoder(PageModel):
    """Encodes pictures of pages into one unit vector per patch, and queries into one per token, without reading a word.

    Reads what sentence-transformers' ``MultiVectorEncoder`` reads of this kind: transformers' own
    ``ColPaliForRetrieval``, ``ColQwen2ForRetrieval`` and ``ColModernVBertForRetrieval``, whose processors bring
    prompts, patches and the augmentation of queries, and sentence-transformers' own checkpoints with images, such as
    those of ColIdefics3. Behind it every index and every method of this package works as with text.

    Expected columns, and what it adds: see `PageModel`. ``image`` holds paths, bytes, Pillow images, arrays,
    `pyterrier_lir.pages.PdfPage`, or URLs if asked for.

    Constructing it loads nothing; the model is loaded when the first text or image is encoded, or by `load`.

    Args:
        model: A folder, or a name on the Hugging Face hub, such as ``"vidore/colqwen2-v1.0-hf"``.
        patches_only: Whether the rows of the prompt around the image are left out. The models are trained with them.
        dtype: What the model computes in: ``"auto"`` (bfloat16 where the device computes in it, else float32),
            ``"float32"``, ``"bfloat16"`` or ``"float16"`` (GPU only). Embeddings are float32 in any case.
        batch_size: Images, or queries, in one forward pass.
        device: Such as ``"cpu"`` or ``"cuda:1"``; None takes a GPU where there is one.
        image_field: The column with a page's image.
        urls: Whether images may be fetched from the network, where the column holds URLs.
        max_pixels: Larger images are refused before they are decoded.
        on_error: What becomes of a page whose image cannot be used: ``"raise"``, or ``"skip"`` to leave the page out
            with a warning in the log, so that a build goes on.
        revision: Branch, tag or commit of a checkpoint on the hub.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        model_kwargs: Arguments of the model's ``from_pretrained``, such as ``attn_implementation``.
        processor_kwargs: Arguments of the processor's ``from_pretrained``: for ColQwen2 ``{"max_pixels": 768 * 28 *
            28}`` allows 768 patches a page.

    Raises:
        ValueError: If an argument has no meaning, or the checkpoint takes no images.
        PageError: If an image cannot be used; it names the docno.

    Example:
        >>> encoder = PageEncoder("vidore/colpali-v1.3-hf")  # doctest: +SKIP
        >>> encoder.encode_docs(["page.png"])[0].embs.shape  # doctest: +SKIP
        (1030, 128)

    .. cite.dblp:: journals/corr/abs-2407-01449
    """

    LABEL = "Page Encoder"

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        patches_only: bool = False,
        dtype: str = "auto",
        batch_size: int = 4,
        device: str | None = None,
        image_field: str = "image",
        urls: bool = False,
        max_pixels: int = MAX_PIXELS,
        on_error: str = "raise",
        revision: str | None = None,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(model, (str, PathLike)):
            raise ValueError(f"model is {model!r}; expected the name of a checkpoint, or its folder.")
        arguments.check_choice("dtype", dtype, checkpoint.DTYPES)
        if not isinstance(device, str | None):
            raise ValueError(f"device is {device!r}; expected one, such as 'cuda:0', or None.")
        self.model = str(model)
        self.patches_only = patches_only
        self.dtype = dtype
        self.batch_size = batch_size
        self.device = device
        self.image_field = image_field
        self.urls = urls
        self.max_pixels = max_pixels
        self.on_error = on_error
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.model_kwargs = model_kwargs
        self.processor_kwargs = processor_kwargs
        self._check_page_arguments()
        self._loaded: MultiVectorEncoder | None = None
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """The model, its dimensions, and a hash of all that the embeddings depend on. Loads the model."""
        if self._fingerprint is None:
            options = {key: value for key, value in (self.model_kwargs or {}).items() if key not in NUMERICS}
            facts = [
                checkpoint.identity(self.model, self.revision),
                self.patches_only,
                options,
                self.processor_kwargs or {},
            ]
            self._fingerprint = checkpoint.fingerprint(self.model, self.load(), facts)
        return self._fingerprint

    @property
    def embedding_dim(self) -> int:
        """The dimensions of the vectors. Loads the model."""
        return int(self.load().get_embedding_dimension())

    def load(self) -> MultiVectorEncoder:
        """Loads the model, unless it is loaded, and gives it.

        Raises:
            OSError: If there is no such checkpoint, or the hub cannot be reached.
            ValueError: If it takes no images, if there is no such device, or if it cannot compute in ``dtype``.
        """
        if self._loaded is None:
            model = checkpoint.load(
                self.model,
                prompts=None,
                device=self.device,
                revision=self.revision,
                trust_remote_code=self.trust_remote_code,
                model_kwargs=dict(self.model_kwargs) if self.model_kwargs else None,
                processor_kwargs=dict(self.processor_kwargs) if self.processor_kwargs else None,
            )
            self._placeholders = patches.placeholders(model.processor)
            checkpoint.set_dtype(model, checkpoint.dtype_on(self.dtype, [str(model.device)]))
            self._loaded = model
        return self._loaded

    def encode_queries(self, texts: Sequence[str]) -> list[Encoded]:
        """Encodes queries, in their order, with the processor's prefix and augmentation; a blank text has no rows."""
        texts = checked_texts(texts)
        model = self.load()
        none = Encoded(np.zeros((0, self.embedding_dim), np.float32), np.zeros(0, np.int32))
        encoded = [none] * len(texts)
        asked = [i for i, text in enumerate(texts) if text.strip()]
        for start in range(0, len(asked), self.batch_size):
            batch = asked[start : start + self.batch_size]
            wanted = [texts[i] for i in batch]
            if hasattr(model.processor, "process_queries"):
                features = {**model.processor.process_queries(wanted, return_tensors="pt"), "modality": "text"}
            else:
                features = model.preprocess(wanted, prompt=model.prompts.get("query"), task="query")
            for i, (embs, tok_ids, _) in zip(batch, _forward(model, features, "query"), strict=True):
                encoded[i] = Encoded(embs, tok_ids)
        return encoded

    def encode_pages(self, images: Sequence[Image]) -> list[EncodedPage]:
        """Encodes images, in their order, with the processor's prompt; `batch_size` at a time."""
        pages: list[EncodedPage] = []
        for start in range(0, len(images), self.batch_size):
            batch = list(images[start : start + self.batch_size])
            for embs, tok_ids, grid_thw in _forward(self.load(), self._features(batch), "document"):
                placed = patches.layout(tok_ids, self._placeholders, grid_thw)
                keep = placed.tok_ids <= -2 if self.patches_only else slice(None)
                pages.append(EncodedPage(embs[keep], placed.tok_ids[keep], placed.grid))
        return pages

    def patch_grid(self, image: Any) -> tuple[int, int]:
        """Rows and columns of the patches that an image is cut into; runs the processor, not the model."""
        self.load()
        features = self._features([self.open(image)])
        grid_thw = features["image_grid_thw"][0] if "image_grid_thw" in features else None
        tok_ids = np.asarray(features["input_ids"])[0].astype(np.int32)
        return patches.layout(tok_ids, self._placeholders, grid_thw).grid

    def tokens(self, ids: Ints) -> list[str]:
        """The vocabulary's token of each id; of a patch its number, ``""`` for other ids below 0. Loads the model."""
        tokenizer = self.load().tokenizer
        numbers = columns.patch_numbers(ids)
        return [
            f"patch {number}" if number >= 0 else tokenizer.convert_ids_to_tokens(int(i)) if i >= 0 else ""
            for i, number in zip(ids, numbers, strict=True)
        ]

    def facts(self) -> dict[str, object]:
        """Model, dimensions, device and fingerprint; before the model is loaded, its name."""
        if self._loaded is None:
            return {"model": self.model, "not loaded": "until the first page is encoded, or by encoder.load()"}
        return {
            "model": self.model,
            "dimensions": self.embedding_dim,
            "device": str(self._loaded.device),
            "fingerprint": self.fingerprint,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}  # another process loads its own

    def _features(self, images: list[Image]) -> dict[str, Any]:
        """What the model takes; transformers' retrieval processors know the prompt for a page themselves."""
        model = self.load()
        if hasattr(model.processor, "process_images"):
            return {**model.processor.process_images(images, return_tensors="pt"), "modality": "image"}
        return dict(model.preprocess(images, prompt=model.prompts.get("document"), task="document"))


def _forward(
    model: MultiVectorEncoder, features: dict[str, Any], task: str
) -> Iterator[tuple[Floats, Ints, Ints | None]]:
    """The rows of real tokens of each input, at unit length in float32, their token ids, and the processor's grid."""
    import torch
    from sentence_transformers.util import batch_to_device

    with torch.inference_mode():
        output = model(batch_to_device(features, model.device), task=task)
    mask = output["attention_mask"].bool()
    grids = output.get("image_grid_thw")
    for i, keep in enumerate(mask):
        rows = torch.nn.functional.normalize(output["token_embeddings"][i][keep].float(), dim=-1)
        tok_ids = output["input_ids"][i][keep].cpu().numpy().astype(np.int32)
        yield rows.cpu().numpy(), tok_ids, None if grids is None else grids[i].cpu().numpy()
