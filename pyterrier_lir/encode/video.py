"""Videos to token vectors: every patch of every frame, by an encoder of pages.

Video-ColBERT scores a video twice, by its frames and by its spatio-temporal tokens, each time with the mean over the
query's tokens of the best similarity, and adds both:

    score(q, v) = mean_i max_f <q_i, f>  +  mean_i max_t <q_i, t>

Here that is a sum of two pipelines. The tokens are those of this encoder; a frame is the mean of its tokens, which
`pyterrier_lir.reduce.GridPooling` makes; `pyterrier_lir.feedback.MeanWeighting` makes sums over query tokens means:

    tokens = VideoFrames() >> encoder.video_encoder() >> token_index
    frames = VideoFrames() >> encoder.video_encoder() >> GridPooling("rows") >> frame_index
    query = encoder.query_encoder() >> MeanWeighting()
    both = query >> frame_index.exhaustive() >> (frame_index.maxsim() + token_index.maxsim())

The paper trains its model for this, with a frame's [CLS] and layers over time; here nothing is trained.

Reddy, Martin, Yang, Yates, Sanders, Murray, Kriz, de Melo, Van Durme, Chellappa: Video-ColBERT: Contextualized Late
Interaction for Text-to-Video Retrieval. CVPR 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_lir import columns, frames
from pyterrier_lir.encode.base import Encoded
from pyterrier_lir.pages.images import PageError, skipping
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from pyterrier_lir.encode.page_model import PageModel

FRAMES = "frames"


class VideoEncoder(LirTransformer):
    """Adds the embeddings of all frames to every row, patch by patch.

    Expected columns: ``docno`` and ``frames``, a list of images as `pyterrier_lir.pages.VideoFrames` makes it, or of
    any that `pyterrier_lir.pages.open_image` opens. Adds ``doc_embs``, float32 ``(frames * patches, dim)``: the patches
    of the first frame, then of the second, without rows of a prompt; ``doc_tok_ids``; ``doc_grid``: the number of
    frames, and of patches of each; ``doc_encoder``.

    Args:
        encoder: Encodes pages; its ``on_error`` says what becomes of a video with a frame that cannot be used.
    """

    LABEL = "Video Encoder"

    def __init__(self, encoder: PageModel) -> None:
        self.encoder = encoder

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes the frames of each row."""
        frames.check_columns(inp, self, ["docno", FRAMES])
        videos = enumerate(zip(inp["docno"], inp[FRAMES], strict=True))
        done = list(skipping(self._encode, videos, self.encoder.on_error))
        grids = [np.array(grid, dtype=np.int32) for _, (_, grid) in done]
        return inp.iloc[[row for (row, _), _ in done]].reset_index(drop=True).assign(**{
            columns.DOC_EMBS: columns.object_column([video.embs for _, (video, _) in done]),
            columns.DOC_TOK_IDS: columns.object_column([video.tok_ids for _, (video, _) in done]),
            columns.DOC_GRID: columns.object_column(grids),
            columns.DOC_ENCODER: self.encoder.fingerprint if done else "",
        })  # fmt: skip

    def transform_iter(self, inp: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """As `transform`, video by video."""
        for record in inp:
            yield from self.transform(pd.DataFrame([record])).to_dict(orient="records")

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer | None:
        """Rows are encoded one by one: cut first, encode what is left; unless rows may be left out."""
        return pt.RankCutoff(k) >> self if self.encoder.on_error == "raise" else None

    def _encode(self, row: tuple[int, tuple[Any, Any]]) -> tuple[Encoded, tuple[int, int]]:
        docno, pictures = row[1]
        if not len(pictures):
            raise PageError(f"docno {docno!r}: the video has no frames; expected one at least.")
        images = [self.encoder.open(picture, f"{docno} (frame {i})") for i, picture in enumerate(pictures)]
        pages = self.encoder.encode_pages(images)
        if len({page.grid for page in pages}) > 1:
            raise PageError(
                f"docno {docno!r}: the frames have patches in {pages[0].grid} and other grids; expected one size."
            )
        embs = np.concatenate([page.embs[page.tok_ids <= -2] for page in pages])
        return Encoded(embs, columns.patch_ids(np.arange(len(embs)))), (len(pages), len(embs) // len(pages))
