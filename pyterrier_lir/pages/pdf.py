"""PDF files to pages: every page a document of its own, which belongs to the PDF by its docno.

A page's docno is the PDF's, ``%p`` and the page's number, as PyTerrier names passages: ``pt.text.max_passage()`` behind
a retriever makes a ranking of PDFs out of one of pages, by the best page of each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.installing import pip_install
from pyterrier_lir.pages.images import MAX_PIXELS, PageError, skipping
from pyterrier_lir.transformer import LirTransformer

if TYPE_CHECKING:
    from PIL.Image import Image

POINTS = 72  # of a PDF to the inch
_lock = threading.Lock()  # PDFium is not for several threads


@dataclass(frozen=True)
class PdfPage:
    """A page that is rendered when it is opened, so that a frame of a thousand pages takes no room.

    Attributes:
        pdf: The file's path, or its bytes.
        number: The page, from 1 on.
        dpi: Pixels to the inch.
        password: Of an encrypted file.
    """

    pdf: str | bytes = field(repr=False)
    number: int
    dpi: float = 144
    password: str | None = field(default=None, repr=False)

    def open(self) -> Image:
        """Renders the page as an RGB image.

        Raises:
            PageError: If the file cannot be opened, has no such page, or one that is too large.
        """
        with _document(self.pdf, self.password) as document:
            if not 1 <= self.number <= len(document):
                raise PageError(f"the PDF has {len(document)} pages; expected a page {self.number}.")
            page, scale = document[self.number - 1], self.dpi / POINTS
            width, height = (round(side * scale) for side in page.get_size())
            if width * height > MAX_PIXELS:
                raise PageError(
                    f"page {self.number} of the PDF has {width} x {height} pixels at {self.dpi:g} dpi; expected at "
                    f"most {MAX_PIXELS:,}. Give a smaller dpi."
                )
            image: Image = page.render(scale=scale).to_pil()
            return image.convert("RGB")


class PdfPages(LirTransformer):
    """Turns each PDF into its pages: one row becomes as many as the PDF has pages.

    Expected columns: ``docno`` and ``pdf``, a path or the bytes of a file. Output: all columns but ``pdf``, with the
    docno ``<docno>%p<page>``; ``page``, from 1 on; ``image``, a `PdfPage`, which the encoder opens when it comes to it.

    ``PdfPages() >> encoder >> index`` indexes pages, ``encoder >> index.plaid() >> pt.text.max_passage()`` finds PDFs.

    Args:
        dpi: Pixels to the inch; 144 makes 1,190 x 1,684 of a page of A4.
        pdf_field: The column with the file.
        password: Opens encrypted files.
        on_error: ``"raise"``, or ``"skip"`` to leave out files that cannot be opened, with a warning in the log.

    Raises:
        PageError: If a file is no PDF, damaged, or encrypted with another password; it names the docno.
        ImportError: If pypdfium2 is not installed.
    """

    LABEL = "PDF Pages"

    def __init__(
        self, *, dpi: float = 144, pdf_field: str = "pdf", password: str | None = None, on_error: str = "raise"
    ) -> None:
        arguments.check_number("dpi", dpi, 1, 2400, "pixels to the inch, from 1 to 2,400")
        arguments.check_choice("on_error", on_error, columns.ON_ERROR)
        self.dpi = dpi
        self.pdf_field = pdf_field
        self.password = password
        self.on_error = on_error

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Counts the pages of every file; none is rendered here."""
        frames.check_columns(inp, self, ["docno", self.pdf_field])
        records = list(self.transform_iter(inp.to_dict(orient="records")))
        names = [*inp.columns.drop([self.pdf_field, "page", "image"], errors="ignore"), "page", "image"]
        out = pd.DataFrame(records, columns=names)
        return out if records else out.astype({"docno": "str", "page": "int64"})

    def transform_iter(self, inp: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """As `transform`, file by file."""
        for record, count in skipping(self._count, inp, self.on_error):
            rest = {name: value for name, value in record.items() if name != self.pdf_field}
            pdf = record[self.pdf_field]
            pdf = bytes(pdf) if isinstance(pdf, (bytes, bytearray, memoryview)) else str(pdf)
            for page in range(1, count + 1):
                image = PdfPage(pdf, page, self.dpi, self.password)
                yield rest | {"docno": f"{record['docno']}%p{page}", "page": page, "image": image}

    def _count(self, record: dict[str, Any]) -> int:
        try:
            with _document(record[self.pdf_field], self.password) as document:
                return len(document)
        except PageError as error:
            raise PageError(f"docno {record['docno']!r}: {error}") from error


@contextmanager
def _document(pdf: Any, password: str | None) -> Iterator[Any]:
    """An open PDF.

    Raises:
        PageError: If it cannot be opened; the docno is the caller's to add.
    """
    source, pdfium = _source(pdf), _pdfium()
    with _lock:
        try:
            document = pdfium.PdfDocument(source, password=password)
        except pdfium.PdfiumError as error:
            raise PageError(_refused(str(error), pdf, password)) from error
        try:
            yield document
        finally:
            document.close()


def _source(pdf: Any) -> Path | bytes:
    if isinstance(pdf, (bytes, bytearray, memoryview)):
        return bytes(pdf)
    if not isinstance(pdf, (str, PathLike)):
        raise PageError(f"the PDF is {pdf!r:.60}, of the type {type(pdf).__name__}; expected a path or bytes.")
    if not Path(pdf).is_file():
        raise PageError(f"there is no file {str(pdf)!r}; expected a PDF. Check the path.")
    return Path(pdf)


def _refused(error: str, pdf: Any, password: str | None) -> str:
    what = repr(str(pdf)) if isinstance(pdf, (str, PathLike)) else f"of {len(pdf):,} bytes"
    if "password" not in error.lower():
        return f"the PDF {what} cannot be opened ({error}); expected an undamaged PDF file."
    found = "with another password" if password else "and no password was given"
    return f"the PDF {what} is encrypted {found}; expected the one it is encrypted with: PdfPages(password=...)."


def _pdfium() -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise ImportError(
            f"PDF files need the package pypdfium2, which is not installed. Run: {pip_install('pypdfium2')}"
        ) from error
    return pypdfium2
