"""One cell of an ``image`` column to a picture that an encoder takes, or an error that says what is wrong with it.

An image is a path, bytes of a file, a Pillow image, an array ``(height, width, 3)`` of uint8, or anything with a method
``open()`` that gives a Pillow image, as `pyterrier_lir.pages.PdfPage` has it. What comes out is RGB: transparency lies
on white, as paper does, and a photograph is turned as its camera noted.
"""

from __future__ import annotations

import io
import logging
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 89_478_485  # where Pillow begins to warn of decompression bombs: a quarter of a gigabyte in RGB
TIMEOUT = 30  # seconds for a URL
# Modes with 8 bits or fewer for a colour. The others (16 bits, floats) have no agreed white.
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class PageError(ValueError):
    """A picture, PDF or video that cannot be used; the message names its docno."""


def open_image(value: Any, *, docno: str = "", urls: bool = False, max_pixels: int = MAX_PIXELS) -> Image:
    """Opens and checks one image.

    Args:
        value: The image; see the module.
        docno: Whose it is, for the error.
        urls: Whether ``http://`` and ``https://`` may be fetched.
        max_pixels: A larger image is refused before it is decoded.

    Returns:
        A Pillow image, loaded, of mode RGB.

    Raises:
        PageError: If it is no image, damaged, empty, too large, of a mode that has no agreed white, or a URL while
            ``urls`` is off.

    Example:
        >>> open_image(np.zeros((2, 3, 3), dtype=np.uint8)).size
        (3, 2)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which are refused below
            image = _opened(value, urls)
        _check(image, max_pixels)
        return _rgb(image)
    except PageError as error:
        raise PageError(f"{_whose(docno)}: {error}") from error
    except _bomb() as error:
        raise PageError(
            f"{_whose(docno)}: the image {_shown(value)} is refused by Pillow ({_reason(error)}); expected at most "
            f"{max_pixels:,} pixels. Make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS as well as max_pixels."
        ) from error
    except Exception as error:  # what decoders raise is as manifold as what they meet
        raise PageError(
            f"{_whose(docno)}: the image {_shown(value)} cannot be read ({_reason(error)}); expected a file that "
            "Pillow "
            'decodes. Repair or leave out the document, or give on_error="skip".'
        ) from error


def skipping(function: Callable[[Item], Result], items: Iterable[Item], on_error: str) -> Iterator[tuple[Item, Result]]:
    """Each item with what the function makes of it; those with a `PageError` are left out, or end it.

    Args:
        function: Opens one item.
        items: The items.
        on_error: ``"raise"``, or ``"skip"``: the error is logged as a warning and the item is left out.
    """
    for item in items:
        try:
            yield item, function(item)
        except PageError as error:
            if on_error == "raise":
                raise
            _log.warning("left out: %s", error)


def _opened(value: Any, urls: bool) -> Image:
    from PIL import Image

    if isinstance(value, Image.Image):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Image.open(io.BytesIO(value))
    if isinstance(value, np.ndarray):
        return Image.fromarray(_checked_array(value))
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return Image.open(_fetched(value, urls))
    if isinstance(value, (str, PathLike)):
        return Image.open(Path(value))
    if isinstance(value, dict) and value.get("bytes"):  # a cell of a parquet file, as the datasets library writes it
        return Image.open(io.BytesIO(value["bytes"]))
    if callable(getattr(value, "open", None)):
        return value.open()
    raise PageError(
        f"the image is {value!r:.60}, of the type {type(value).__name__}; expected a path, bytes, a Pillow image or an "
        "array of uint8."
    )


def _checked_array(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise PageError(
            f"the image is an array of {pixels.dtype} with the shape {pixels.shape}; expected uint8 (height, width, 3)."
        )
    if not pixels.size:
        raise PageError(f"the image has {pixels.shape[1]} x {pixels.shape[0]} pixels; expected at least one.")
    return pixels


def _fetched(url: str, urls: bool) -> io.BytesIO:
    if not urls:
        raise PageError(f"the image is the URL {url}; URLs are fetched only with urls=True. Give it, or download it.")
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        return io.BytesIO(response.read())


def _check(image: Image, max_pixels: int) -> None:
    width, height = image.size
    if not width or not height:
        raise PageError(f"the image has {width} x {height} pixels; expected at least one.")
    if width * height > max_pixels:
        raise PageError(
            f"the image has {width} x {height} pixels; expected at most {max_pixels:,}, as decoding takes 3 bytes for "
            "each. Make it smaller, or raise max_pixels."
        )
    if image.mode not in MODES:
        raise PageError(
            f"the image has the mode {image.mode!r}; expected 8 bits for a colour ({', '.join(MODES[:8])} ...). Scale "
            "its values to 0 ... 255 first."
        )


def _rgb(image: Image) -> Image:
    from PIL import Image, ImageOps

    image.load()
    image = ImageOps.exif_transpose(image) or image
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent)
    return image.convert("RGB")


def _bomb() -> type[Exception]:
    from PIL import Image

    return Image.DecompressionBombError


def _whose(docno: str) -> str:
    return f"docno {docno!r}" if docno else "an image"


def _shown(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"of {len(value):,} bytes"
    return f"{value!r:.120}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
