"""Clips as files: MP4 for players, GIF for everywhere, WebP and PNG for every pixel as it is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import OptionError, SizeError
from mmgen.media.files import written_whole
from mmgen.media.metadata import EXIF_CODE, EXIF_COMMENT, EXIF_PART, as_text
from mmgen.media.picture import png_text

if TYPE_CHECKING:
    from PIL import Image

Metadata = Mapping[str, Any] | None

CLIP_FORMATS = ("mp4", "gif", "webp", "png")
"""Endings of the files that clips can be written to."""

_QUALITY = "12"
"""The constant rate factor of H.264: what is lost is lost to the halved resolution of its colours, not to this."""

_BT709 = 1
"""Number of the colour space BT.709, its primaries and its transfer, and of limited range, in H.264."""


def write_clip(path: Path, frames: Sequence[Image.Image], frames_per_second: float, metadata: Metadata) -> None:
    """Writes a clip atomically, in the format of its ending, with its metadata; the same clip is the same file.

    MP4 is H.264 with its colours at half the resolution, as players want it, and the metadata as the file's comment.
    GIF has 256 colours for the whole clip, shows each frame for whole hundredths of a second, two or more, and holds
    the metadata as its comment. WebP and PNG lose nothing, and count in milliseconds; the metadata is Exif's comment,
    or text as in `write_png`.
    In the last three, a frame like the one before it is not written; that one lasts longer.

    Args:
        path: of the file, with an ending of `CLIP_FORMATS`; its folder exists.
        frames: of one size; for MP4 an even one.
        frames_per_second: how fast they follow each other, 0.01 to 100.
        metadata: JSON values by name, as `describe` makes them; None writes the frames alone.

    Raises:
        OptionError: the ending is none of the formats, there are no frames, or they are too fast.
        SizeError: the frames differ in size, or MP4 cannot hold it.
        OutputError: the file cannot be written; nothing is left of it, and an older one is untouched.
    """
    ending = path.suffix.removeprefix(".").lower()
    if ending not in _WRITERS:
        raise OptionError("format", ending, f"one of {', '.join(CLIP_FORMATS)}")
    if not 0.01 <= frames_per_second <= 100:
        raise OptionError("frames_per_second", frames_per_second, "a number from 0.01 to 100")
    _check_frames(frames)
    encoded = io.BytesIO()
    _WRITERS[ending](encoded, [frame.convert("RGB") for frame in frames], frames_per_second, metadata)
    with written_whole(path) as file:
        file.write(encoded.getbuffer())


def check_even(height: int, width: int) -> None:
    """Makes sure that MP4 can hold a size.

    Raises:
        SizeError: it cannot.
    """
    if height % 2 or width % 2:
        raise SizeError(f"a clip of {height} x {width} pixels in MP4", "even numbers, or GIF, WebP or PNG")


def _check_frames(frames: Sequence[Image.Image]) -> None:
    sizes = {frame.size for frame in frames}
    if not sizes:
        raise OptionError("frames", [], "one frame or more")
    if len(sizes) > 1:
        raise SizeError(f"a clip of frames of {len(sizes)} sizes", "frames of one size")


def _write_mp4(file: io.BytesIO, frames: list[Image.Image], frames_per_second: float, metadata: Metadata) -> None:
    import av

    width, height = frames[0].size
    check_even(height, width)
    with av.open(file, "w", format="mp4") as container:
        if metadata is not None:
            container.metadata["comment"] = as_text(metadata)
        stream = container.add_stream("libx264", Fraction(frames_per_second).limit_denominator(1001))
        stream.options = {"crf": _QUALITY}
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # with more, the bytes depend on how many the machine has
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = _BT709
        for frame in frames:
            picture = av.VideoFrame.from_image(frame)
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1)))
        container.mux(stream.encode())


def _write_gif(file: io.BytesIO, frames: list[Image.Image], frames_per_second: float, metadata: Metadata) -> None:
    comment = {} if metadata is None else {"comment": as_text(metadata).encode()}
    hundredths = max(2, round(100 / frames_per_second))  # browsers play shorter frames far too slowly
    _save(file, _with_shared_colours(frames), "GIF", duration=10 * hundredths, **comment)


def _write_webp(file: io.BytesIO, frames: list[Image.Image], frames_per_second: float, metadata: Metadata) -> None:
    from PIL import Image

    exif = Image.Exif()
    if metadata is not None:
        exif.get_ifd(EXIF_PART)[EXIF_COMMENT] = EXIF_CODE + json.dumps(metadata).encode("ascii")
    _save(file, frames, "WEBP", duration=round(1000 / frames_per_second), lossless=True, exif=exif)


def _write_png(file: io.BytesIO, frames: list[Image.Image], frames_per_second: float, metadata: Metadata) -> None:
    _save(file, frames, "PNG", duration=round(1000 / frames_per_second), pnginfo=png_text(metadata))


def _save(file: io.BytesIO, frames: list[Image.Image], format: str, **options: Any) -> None:
    frames[0].save(file, format=format, save_all=True, append_images=frames[1:], loop=0, **options)


def _with_shared_colours(frames: list[Image.Image]) -> list[Image.Image]:
    """Frames in 256 colours that all of them share: with its own for each, what stands still would flicker."""
    from PIL import Image

    width, height = frames[0].size
    strip = Image.new("RGB", (width, height * len(frames)))
    for index, frame in enumerate(frames):
        strip.paste(frame, (0, height * index))
    colours = strip.quantize(256)
    return [frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames]


_WRITERS: dict[str, Callable[[io.BytesIO, list[Image.Image], float, Metadata], None]] = {
    "mp4": _write_mp4,
    "gif": _write_gif,
    "webp": _write_webp,
    "png": _write_png,
}
