"""The frames of pictures and clips in files, for pipelines that go on from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import OutputError
from mmgen.media.container import opened_clip, opened_picture
from mmgen.media.metadata import read_metadata

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MOST_PIXELS = 2**27
"""Of all frames together: 400 MB in memory; 65 seconds of 256 x 256 pixels at 30 frames a second are below it."""

_CURE = "give a file that plays elsewhere"


def read_frames(path: Path, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """The frames of an MP4, WebM, MKV or AVI clip, of a moving or still PNG, GIF or WebP, or of a JPEG or BMP.

    A frame of a moving picture comes as often as it lasts, counted by the shortest one, or by the number of frames that
    metadata of mmgen says. Transparent pixels are laid on white, and what a camera recorded is turned as it says.

    Args:
        path: of the file.
        most_pixels: of all frames together; more are refused before they are all read.

    Returns:
        uint8 [T, H, W, 3].

    Raises:
        OutputError: there is no such file, it is none of these, it is broken, it shows nothing, or it is too large.
    """
    import numpy as np

    clip = opened_clip(path)
    frames: list[np.ndarray] = []
    for frame in _of_picture(path, most_pixels) if clip is None else _of_clip(path, clip, most_pixels):
        _check_size(path, len(frames) + 1, frame.shape[1], frame.shape[0], most_pixels)
        if frames and frame.shape != frames[0].shape:
            raise OutputError(path, "has frames of several sizes", "scale them to one size")
        frames.append(frame)
    if not frames:
        raise OutputError(path, "holds no frames", "give a file that shows something")
    return np.stack(frames)


def _check_size(path: Path, frames: int, width: int, height: int, most_pixels: int) -> None:
    if frames * width * height > most_pixels:
        raise OutputError(path, f"has more than {most_pixels} pixels in all", "give a shorter or a smaller one")


def _of_clip(path: Path, clip: Any, most_pixels: int) -> Iterator[np.ndarray]:
    import av
    import numpy as np

    with clip:
        if not clip.streams.video or clip.streams.video[0].codec_context is None:
            raise OutputError(path, "holds no video that can be read", "give a file that shows something")
        stream = clip.streams.video[0]
        _check_size(path, max(1, stream.frames), stream.width, stream.height, most_pixels)
        try:
            for frame in clip.decode(stream):
                yield np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        except av.FFmpegError as error:
            raise OutputError(path, "is broken", _CURE) from error


def _of_picture(path: Path, most_pixels: int) -> Iterator[np.ndarray]:
    with opened_picture(path) as image:
        try:
            count = getattr(image, "n_frames", 1)
            _check_size(path, count, image.width, image.height, most_pixels)
            yield from _repeated(list(_shown(image)), _frames_said(path))
        except OutputError:
            raise
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise OutputError(path, "is broken", _CURE) from error


def _shown(image: Image.Image) -> Iterator[tuple[np.ndarray, float]]:
    """Frames of a picture, and how long each of them lasts."""
    import numpy as np
    from PIL import Image, ImageOps, ImageSequence

    for frame in ImageSequence.Iterator(image):
        own = ImageOps.exif_transpose(frame).convert("RGBA")
        opaque = Image.alpha_composite(Image.new("RGBA", own.size, "white"), own)
        yield np.asarray(opaque.convert("RGB")), frame.info.get("duration", 0)


def _repeated(shown: Sequence[tuple[np.ndarray, float]], count: int | None) -> Iterator[np.ndarray]:
    """Frames as often as they last."""
    durations = [duration for _, duration in shown if duration > 0]
    unit = sum(durations) / count if count else min(durations, default=1)
    for frame, duration in shown:
        for _ in range(max(1, round(duration / (unit or 1)))):
            yield frame


def _frames_said(path: Path) -> int | None:
    """How many frames the file is said to have by its metadata, where it has some."""
    try:
        size = read_metadata(path).get("size", ())
    except OutputError:
        return None
    return size[0] if len(size) == 3 and type(size[0]) is int and size[0] > 0 else None
