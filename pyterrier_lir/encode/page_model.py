"""What encoders of pages share: dispatch on columns, opening images in batches, leaving out what cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.columns import Floats, Ints
from pyterrier_lir.encode.base import Encoded, Encoder
from pyterrier_lir.pages.images import open_image, skipping
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from PIL.Image import Image

    from pyterrier_lir.encode.video import VideoEncoder


class EncodedPage(NamedTuple):
    """One encoded page.

    Attributes:
        embs: float32 ``(m, dim)``, unit rows.
        tok_ids: int32 ``(m,)``; see `pyterrier_lir.encode.patches.Layout`.
        grid: Rows and columns of patches.
    """

    embs: Floats
    tok_ids: Ints
    grid: tuple[int, int]


class PageModel(Encoder):
    """Base of the encoders of pages: a subclass says how images become matrices.

    ============================== =============================================================
    input columns                  output
    ============================== =============================================================
    ``qid, query``                 adds ``query_embs, query_tok_ids, query_encoder``
    ``docno, image``               adds ``doc_embs, doc_tok_ids, doc_grid, doc_encoder``
    ``qid, query, docno, image``   ``score`` and ``rank``, by MaxSim
    ============================== =============================================================

    Attributes:
        image_field: The column with a page's image.
        urls: Whether images may be fetched from the network.
        max_pixels: Larger images are refused.
        on_error: ``"raise"`` or ``"skip"``.
    """

    image_field: str
    urls: bool
    max_pixels: int
    on_error: str

    def encode_pages(self, images: Sequence[Image]) -> list[EncodedPage]:
        """Encodes images as `open_image` gives them, in their order."""
        raise NotImplementedError

    def encode_docs(self, texts: Sequence[Any]) -> list[Encoded]:
        """As `encode_pages`, from whatever `open_image` opens, without the grids."""
        return [Encoded(page.embs, page.tok_ids) for page in self.encode_pages([self.open(value) for value in texts])]

    def open(self, value: Any, docno: str = "") -> Image:
        """Opens one image under this encoder's settings; see `pyterrier_lir.pages.open_image`."""
        return open_image(value, docno=docno, urls=self.urls, max_pixels=self.max_pixels)

    def patch_grid(self, image: Any) -> tuple[int, int]:
        """Rows and columns of the patches that an image is cut into."""
        return self.encode_pages([self.open(image)])[0].grid

    def text_fields(self) -> tuple[str, ...]:
        """The column of a page's image, where encoders of texts have those of the text."""
        return (self.image_field,)

    def doc_encoder(self) -> PageDocEncoder:  # type: ignore[override]
        """Adds ``doc_embs``, ``doc_tok_ids``, ``doc_grid`` and ``doc_encoder`` to rows with an image."""
        return PageDocEncoder(self)

    def text_scorer(self, *, num_threads: int | None = None) -> pt.Transformer:
        """Re-ranks ``qid, query, docno, image`` by MaxSim of freshly encoded ones. See `rerank.pages.PageScorer`."""
        from pyterrier_lir.rerank.pages import PageScorer

        return PageScorer(self, num_threads=num_threads)

    def explain(self) -> pt.Transformer:
        """Which patch of each page matched which query token. See `pyterrier_lir.explain.alignment.PageExplain`."""
        from pyterrier_lir.explain.alignment import PageExplain

        return PageExplain(self)

    def video_encoder(self) -> VideoEncoder:
        """Adds ``doc_embs`` to rows with ``frames``. See `pyterrier_lir.encode.video.VideoEncoder`."""
        from pyterrier_lir.encode.video import VideoEncoder

        return VideoEncoder(self)

    def _check_page_arguments(self) -> None:
        arguments.check_counts(batch_size=self.batch_size, max_pixels=self.max_pixels)
        arguments.check_choice("on_error", self.on_error, columns.ON_ERROR)


class PageDocEncoder(LirTransformer):
    """Adds the embeddings of its image to every row.

    Expected columns: ``docno`` and the encoder's image field. Adds ``doc_embs``, ``doc_tok_ids``, ``doc_grid`` (int32,
    rows and columns of patches) and ``doc_encoder``. Records pass in batches, so that no more images than
    ``encoder.batch_size`` are open at once.

    Args:
        encoder: Encodes pages; its ``on_error`` says what becomes of a row whose image cannot be used.
    """

    LABEL = "Page Encoder"

    def __init__(self, encoder: PageModel) -> None:
        self.encoder = encoder

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the image of each row."""
        frames.check_columns(inp, self, ["docno", self.encoder.image_field])
        kept: list[int] = []
        pages: list[EncodedPage] = []
        rows = skipping(self._open, enumerate(zip(inp["docno"], inp[self.encoder.image_field], strict=True)),
                        self.encoder.on_error)  # fmt: skip
        while batch := list(islice(rows, self.encoder.batch_size)):
            kept += [row for (row, _), _ in batch]
            pages += self.encoder.encode_pages([image for _, image in batch])
        grids = [np.array(page.grid, dtype=np.int32) for page in pages]
        return inp.iloc[kept].reset_index(drop=True).assign(**{
            columns.DOC_EMBS: columns.object_column([page.embs for page in pages]),
            columns.DOC_TOK_IDS: columns.object_column([page.tok_ids for page in pages]),
            columns.DOC_GRID: columns.object_column(grids),
            columns.DOC_ENCODER: self.encoder.fingerprint if pages else "",
        })  # fmt: skip

    def transform_iter(self, inp: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """As `transform`, batch by batch."""
        records = iter(inp)
        while batch := list(islice(records, self.encoder.batch_size)):
            yield from self.transform(pd.DataFrame(batch)).to_dict(orient="records")

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Rows are encoded one by one: cut first, encode what is left; unless rows may be left out."""
        return pt.RankCutoff(k) >> self if self.encoder.on_error == "raise" else None

    def _open(self, row: tuple[int, tuple[str, Any]]) -> Image:
        docno, value = row[1]
        return self.encoder.open(value, str(docno))
