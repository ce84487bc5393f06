"""Files -> pictures: one cell of a frame to an image, PDFs to pages, videos to frames."""

from pyterrier_lir.pages.images import open_image
from pyterrier_lir.pages.pdf import PdfPage, PdfPages
from pyterrier_lir.pages.video import VideoFrames

__all__ = ["PdfPage", "PdfPages", "VideoFrames", "open_image"]
