"""A toy that sees: patches by a random projection of their pixels, queries as pictures of their words.

No package of the registries brings a trained model that puts text and images into one space, so this stands in for one
in tests, documentation and notebooks. It is no model: it finds a word only where it is drawn exactly as it draws it
itself, which pages of `pyterrier_lir.pages.render` do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyterrier_lir import arguments
from pyterrier_lir.columns import Floats, Ints, patch_ids, patch_numbers
from pyterrier_lir.encode.base import Encoded, checked_texts
from pyterrier_lir.encode.page_model import EncodedPage, PageModel
from pyterrier_lir.encode.toy import word_id
from pyterrier_lir.pages.images import MAX_PIXELS
from pyterrier_lir.pages.render import CELL, COLUMNS, LINES, draw_lines

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOW, STEP = 4, 2  # characters that a patch shows, and from one patch to the next
PAPER = 0.5  # of a blank patch, which would otherwise have no direction; a printed one has a length of 3 to 8
_WORD = re.compile(r"\S\S+")

Ink = npt.NDArray[np.float32]


class ToyPageEncoder(PageModel):
    """Cuts a page into 32 x 32 overlapping patches, each four characters wide, and projects their pixels at random.

    A word of a query is drawn, and each four characters of it, a blank before and behind it included, become a row: of
    ``pears`` these are blank and ``pea``, ``pear``, ``ears``, ``ars`` and blank. Where a page has the same word, every
    other of them is the same picture, with the similarity 1. An untrained toy: words must be drawn as
    `pyterrier_lir.pages.render` draws them, in the same case, and a picture without text has nothing to say to it.

    Expected columns, and what it adds: see `PageModel`.

    Args:
        dim: Dimensions of a vector.
        seed: Another seed gives another projection.
        batch_size: Images that are open at once.
        image_field: The column with a page's image.
        urls: Whether images may be fetched from the network.
        max_pixels: Larger images are refused.
        on_error: ``"raise"``, or ``"skip"`` to leave out a page whose image cannot be used.

    Example:
        >>> from pyterrier_lir.pages.render import TextPage
        >>> encoder = ToyPageEncoder()
        >>> page, query = encoder.encode_docs([TextPage("green pears")])[0], encoder.encode_queries(["pears"])[0]
        >>> page.embs.shape, query.embs.shape
        ((1024, 128), (4, 128))
    """

    LABEL = "Toy Page Encoder"

    def __init__(
        self,
        *,
        dim: int = 128,
        seed: int = 0,
        batch_size: int = 32,
        image_field: str = "image",
        urls: bool = False,
        max_pixels: int = MAX_PIXELS,
        on_error: str = "raise",
    ) -> None:
        arguments.check_counts(dim=dim)
        arguments.check_seed(seed)
        self.dim = dim
        self.seed = seed
        self.batch_size = batch_size
        self.image_field = image_field
        self.urls = urls
        self.max_pixels = max_pixels
        self.on_error = on_error
        self._check_page_arguments()
        self._windows: dict[int, str] = {}
        pixels = CELL[0] * WINDOW * CELL[1] + 1  # and the paper
        self._projection = np.random.default_rng(seed).standard_normal((pixels, dim)).astype(np.float32)

    @property
    def fingerprint(self) -> str:
        """Names the dimension and the seed, on which alone the vectors depend."""
        return f"toy-pages-{self.dim}-{self.seed}"

    def encode_queries(self, texts: Sequence[str]) -> list[Encoded]:
        """One row for each four characters of each word, blanks around the word included; words have two at least."""
        texts = checked_texts(texts)
        return [self._query(text) for text in texts]

    def encode_pages(self, images: Sequence[Image]) -> list[EncodedPage]:
        """Encodes images, in their order, after scaling them to the size that pages are drawn in."""
        grid = LINES, COLUMNS // STEP
        ids = patch_ids(np.arange(grid[0] * grid[1]))
        return [EncodedPage(self._project(_ink(image, COLUMNS, LINES)), ids, grid) for image in images]

    def tokens(self, ids: Ints) -> list[str]:
        """The characters of a query's rows, a patch's number; of others the id."""
        numbers = patch_numbers(ids)
        return [
            f"patch {number}" if number >= 0 else self._windows.get(int(i), f"#{i}")
            for i, number in zip(ids, numbers, strict=True)
        ]

    def facts(self) -> dict[str, object]:
        """Dimensions and fingerprint, and that it is a toy."""
        return {"dimensions": self.dim, "fingerprint": self.fingerprint, "trained": "no: a toy"}

    def _query(self, text: str) -> Encoded:
        padded = [f" {word} "[:COLUMNS] for word in _WORD.findall(text)]
        windows = [word[i : i + WINDOW] for word in padded for i in range(len(word) - WINDOW + 1)]
        if not windows:
            return Encoded(np.zeros((0, self.dim), np.float32), np.zeros(0, np.int32))
        self._windows |= {word_id(window): window for window in windows}
        image = draw_lines(windows, columns=WINDOW, height=len(windows))
        rows = np.asarray(image, dtype=np.float32).reshape(len(windows), -1)
        return Encoded(
            self._unit((1 - rows / 255).astype(np.float32)),
            np.array([word_id(window) for window in windows], dtype=np.int32),
        )

    def _project(self, ink: Ink) -> Floats:
        width = CELL[0] * WINDOW
        padded = np.pad(ink, ((0, 0), (0, width - CELL[0] * STEP)))
        views = np.lib.stride_tricks.sliding_window_view(padded, (CELL[1], width))
        return self._unit(views[:: CELL[1], :: CELL[0] * STEP].reshape(-1, CELL[1] * width))

    def _unit(self, ink: Ink) -> Floats:
        """Ink without its mean, and the paper; projected, at unit length."""
        seen = np.column_stack([ink - ink.mean(axis=1, keepdims=True), np.full(len(ink), PAPER, np.float32)])
        rows = seen @ self._projection
        unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit


def _ink(image: Any, columns: int, lines: int) -> Ink:
    """How black each pixel is, from 0 to 1, float32 ``(height, width)``."""
    grey = image.convert("L")
    size = columns * CELL[0], lines * CELL[1]
    if grey.size != size:
        grey = grey.resize(size)
    ink: Ink = (1 - np.asarray(grey, dtype=np.float32) / 255).astype(np.float32)
    return ink
