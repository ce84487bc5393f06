"""Video files to frames: pictures at equal distances in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyterrier_lir import arguments, columns, frames
from pyterrier_lir.installing import pip_install
from pyterrier_lir.pages.images import PageError, skipping
from pyterrier_lir.transformer import LirTransformer

Frame = npt.NDArray[np.uint8]


class VideoFrames(LirTransformer):
    """Samples frames of each video: of ``num_frames`` equally long parts the frame in the middle.

    Expected columns: ``docno`` and ``video``, the path of a file. Adds ``frames``: a list of arrays ``(height, width,
    3)``, uint8 RGB, and ``frame_times``: float64, the second at which each is shown. A video with fewer frames than
    ``num_frames`` gives each once.

    ``VideoFrames() >> encoder.video_encoder("tokens") >> index``.

    Args:
        num_frames: Frames of a video at most; Video-ColBERT takes 12.
        size: Pixels of the longer side at most; a larger frame is made smaller.
        video_field: The column with the path.
        on_error: ``"raise"``, or ``"skip"`` to leave out videos that cannot be read, with a warning in the log.

    Raises:
        PageError: If a file is no video, or has no frames; it names the docno.
        ImportError: If PyAV is not installed.
    """

    LABEL = "Video Frames"

    def __init__(
        self, *, num_frames: int = 12, size: int = 448, video_field: str = "video", on_error: str = "raise"
    ) -> None:
        arguments.check_counts(num_frames=num_frames, size=size)
        arguments.check_choice("on_error", on_error, columns.ON_ERROR)
        self.num_frames = num_frames
        self.size = size
        self.video_field = video_field
        self.on_error = on_error

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Reads every video."""
        frames.check_columns(inp, self, ["docno", self.video_field])
        records = list(self.transform_iter(inp.to_dict(orient="records")))
        return pd.DataFrame(records, columns=[*inp.columns.drop(["frames", "frame_times"], errors="ignore"), "frames",
                                              "frame_times"])  # fmt: skip

    def transform_iter(self, inp: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """As `transform`, video by video."""
        for record, (pictures, times) in skipping(self._read, inp, self.on_error):
            yield record | {"frames": pictures, "frame_times": times}

    def _read(self, record: dict[str, Any]) -> tuple[list[Frame], npt.NDArray[np.float64]]:
        path = record[self.video_field]
        try:
            return sample_frames(path, self.num_frames, self.size)
        except PageError as error:
            raise PageError(f"docno {record['docno']!r}: {error}") from error


def sample_frames(path: str | PathLike[str], num_frames: int, size: int) -> tuple[list[Frame], npt.NDArray[np.float64]]:
    """Frames of a video and the second of each; see `VideoFrames`. All are decoded in order: seeking misses some.

    Raises:
        PageError: If there is no such file, or it is no video.
    """
    if not Path(path).is_file():
        raise PageError(f"there is no file {str(path)!r}; expected a video. Check the path.")
    av = _av()
    try:
        wanted = chosen(_count(av, path), num_frames)
        with av.open(str(path)) as container:
            shown = ((i, frame) for i, frame in enumerate(container.decode(video=0)) if i in wanted)
            read = [(_array(frame, size), float(frame.time or 0)) for _, frame in shown]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise PageError(
            f"the video {str(path)!r} cannot be read ({type(error).__name__}: {error}); expected one that "
            "FFmpeg decodes."
        ) from error
    if not read:
        raise PageError(f"the video {str(path)!r} has no frames; expected one at least.")
    return [pixels for pixels, _ in read], np.array([time for _, time in read])


def chosen(count: int, num_frames: int) -> frozenset[int]:
    """The middle frames of ``num_frames`` equal parts of ``count`` frames: ``floor((2 i + 1) count / (2 num_frames))``.

    Example:
        >>> sorted(chosen(8, 2))
        [2, 6]
    """
    return frozenset((2 * i + 1) * count // (2 * num_frames) for i in range(num_frames))


def _count(av: Any, path: str | PathLike[str]) -> int:
    """The container's word is not to be trusted, so frames are counted."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def _array(frame: Any, size: int) -> Frame:
    scale = min(1.0, size / max(frame.width, frame.height))
    width, height = (max(1, round(scale * side)) for side in (frame.width, frame.height))
    pixels: Frame = frame.to_ndarray(format="rgb24", width=width, height=height)
    return pixels


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError(
            f"Video files need the package av, which is not installed. Run: {pip_install('av')}"
        ) from error
    return av
