"""One cell to a picture: all modes, paths, bytes, URLs; and what cannot be used, named."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from tiny_pages import noise

from pyterrier_lir.pages.images import PageError, open_image

PAGE = noise(50, 80)


def png(image):
    data = io.BytesIO()
    image.save(data, format="png")
    return data.getvalue()


def bomb(width, height):
    """A file of a few bytes that says how large a picture it is."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data


BAD = {
    "corrupt": (b"\x89PNG\r\n\x1a\n" + b"no picture" * 9, "cannot be read"),
    "truncated": (png(noise(60, 60))[:-5000], "cannot be read"),
    "no picture": (b"some text", "of 9 bytes cannot be read"),
    "no file": ("nowhere/at/all.png", "cannot be read .FileNotFoundError"),
    "empty": (np.zeros((0, 5, 3), np.uint8), "5 x 0 pixels; expected at least one"),
    "zero size": (Image.new("RGB", (0, 7)), "0 x 7 pixels"),
    "bomb": (bomb(20_000, 20_000), "refused by Pillow .*400000000 pixels.*expected at most 89,478,485 pixels"),
    "16 bits": (Image.fromarray(np.zeros((4, 4), np.uint16)), "mode 'I;16'; expected 8 bits"),
    "floats": (Image.fromarray(np.zeros((4, 4), np.float32)), "mode 'F'"),
    "float array": (np.zeros((4, 4, 3), np.float32), "array of float32 with the shape"),
    "five channels": (np.zeros((4, 4, 5), np.uint8), "expected uint8"),
    "a number": (5, "the image is 5, of the type int"),
    "nothing": (None, "the image is None"),
    "a URL": ("https://example.org/page.png", "fetched only with urls=True"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_images_are_named(kind):
    value, message = BAD[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor does Pillow warn instead
        with pytest.raises(PageError, match=f"docno 'd7': .*{message}"):
            open_image(value, docno="d7")


def test_a_decompression_bomb_is_not_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(PageError, match=r"11000 x 9000 pixels; .*Make it smaller, or raise max_pixels"):
        open_image(bomb(11_000, 9_000))


def test_max_pixels():
    with pytest.raises(PageError, match="5 x 4 pixels; expected at most 19"):
        open_image(Image.new("RGB", (5, 4)), max_pixels=19)
    assert open_image(Image.new("RGB", (5, 4)), max_pixels=20).size == (5, 4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes_become_rgb(mode):
    red = Image.new("RGBA", (2, 2), "white").convert("RGB").convert(mode)
    image = open_image(red)
    assert image.mode == "RGB"
    assert np.asarray(image).min() >= 254


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (1, 1), (255, 0, 0, 0))
    half = Image.new("RGBA", (1, 1), (255, 0, 0, 51))  # a fifth
    assert open_image(clear).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(half).getpixel((0, 0)) == (255, 204, 204)
    palette = Image.new("P", (1, 1))
    palette.info["transparency"] = 0
    assert open_image(palette).getpixel((0, 0)) == (255, 255, 255)


def test_a_photograph_is_turned():
    turned = Image.new("RGB", (2, 1))
    turned.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    data = io.BytesIO()
    turned.save(data, format="png", exif=exif)
    assert np.asarray(open_image(data.getvalue()))[..., 0].tolist() == [[255], [0]]


def test_urls_are_fetched_if_asked(tmp_path):
    """From a server on this machine."""
    import http.server
    import threading
    from functools import partial

    PAGE.save(tmp_path / "page.png")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/page.png"
        assert open_image(url, urls=True).tobytes() == PAGE.tobytes()
        with pytest.raises(PageError, match=r"cannot be read .HTTPError"):
            open_image(url.replace("page", "nopage"), urls=True)
        server.shutdown()
