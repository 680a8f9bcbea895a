"""Clips in files: whole, with what made them, the same bytes again; and frames read back."""

import io
import json
import shlex
import struct

import av
import numpy as np
import pytest
from PIL import Image

from mmgen import media
from mmgen.errors import OptionError, OutputError, SizeError

ABOUT = {
    "prompt": "a cat, 'quoted' – 雪\nmoves", "seed": 2**63 - 1, "pipeline": "clips", "decoder": "jacobi",
    "options": {}, "sampling": {"guidance": 2.0}, "conditions": {"frames": "16"}, "size": [16, 32, 48],
    "format": "gif", "dtype": "float32", "device": "cpu",
}  # fmt: skip


def moving(frames: int = 16) -> list[Image.Image]:
    """A red square that moves every second frame."""
    clip = np.full((frames, 32, 48, 3), (30, 60, 200), np.uint8)
    for frame in range(frames):
        clip[frame, 8:24, 2 * (frame // 2) : 2 * (frame // 2) + 16] = (230, 40, 40)
    return [Image.fromarray(frame) for frame in clip]


def pixels(frames: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(frame) for frame in frames])


@pytest.mark.parametrize("ending", media.CLIP_FORMATS)
def test_a_clip_reads_back_with_what_made_it(tmp_path, ending):
    path, again, bare = (tmp_path / f"{name}.{ending}" for name in ("one", "again", "bare"))
    media.write_clip(path, moving(), 8, ABOUT)
    media.write_clip(again, moving(), 8, ABOUT)
    media.write_clip(bare, moving(), 8, None)
    assert path.read_bytes() == again.read_bytes() != bare.read_bytes()
    assert media.read_metadata(path) == ABOUT
    with pytest.raises(OutputError, match="no metadata of mmgen"):
        media.read_metadata(bare)
    read = media.read_frames(path)
    assert read.shape == (16, 32, 48, 3) and read.dtype == np.uint8
    off = np.abs(read.astype(int) - pixels(moving()))
    assert off.max() == 0 if ending != "mp4" else off.mean() < 3  # halved colours bleed at the edges of a small square
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, again.name, bare.name])


def test_players_find_h264_in_the_usual_colours_at_the_right_speed(tmp_path):
    media.write_clip(tmp_path / "one.mp4", moving(), 12.5, ABOUT)
    with av.open(str(tmp_path / "one.mp4")) as clip:
        stream = clip.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 12.5)
        assert (stream.width, stream.height, stream.frames) == (48, 32, 16)
        assert json.loads(clip.metadata["comment"]) == ABOUT and "creation_time" not in clip.metadata


@pytest.mark.parametrize("ending, unit", [("gif", 120), ("webp", 125), ("png", 125)])
def test_frames_last_as_long_as_they_are_shown(tmp_path, ending, unit):
    media.write_clip(tmp_path / f"one.{ending}", moving(), 8, ABOUT)
    with Image.open(tmp_path / f"one.{ending}") as image:
        durations = []
        for frame in range(image.n_frames):
            image.seek(frame)
            image.load()
            durations.append(image.info["duration"])
        assert durations == [2 * unit] * 8 and image.info["loop"] == 0


def test_without_metadata_the_shortest_frame_counts_once(tmp_path):
    shown = [moving()[0], moving()[2]]
    shown[0].save(tmp_path / "other.gif", save_all=True, append_images=shown[1:], duration=[50, 150])
    assert len(media.read_frames(tmp_path / "other.gif")) == 4


def test_the_command_draws_the_clip_again():
    words = shlex.split(media.command({**ABOUT, "prompt": "a cat"}))
    for flag, value in (("--condition", "frames=16"), ("--height", "32"), ("--width", "48"), ("--format", "gif")):
        assert words[words.index(flag) + 1] == value


def test_what_cannot_be_written(tmp_path):
    odd = [Image.new("RGB", (47, 32))]
    with pytest.raises(SizeError, match="32 x 47 pixels in MP4"):
        media.write_clip(tmp_path / "odd.mp4", odd, 8, None)
    media.write_clip(tmp_path / "odd.gif", odd, 8, None)
    with pytest.raises(OptionError, match="mp4, gif, webp, png"):
        media.write_clip(tmp_path / "one.avi", moving(), 8, None)
    with pytest.raises(OptionError, match="one frame or more"):
        media.write_clip(tmp_path / "none.gif", [], 8, None)
    with pytest.raises(OptionError, match="to 100"):
        media.write_clip(tmp_path / "fast.gif", moving(), 0, None)
    with pytest.raises(SizeError, match="one size"):
        media.write_clip(tmp_path / "two.gif", [*moving(1), *odd], 8, None)
    with pytest.raises(OutputError, match="cannot be written"):
        media.write_clip(tmp_path / "absent" / "one.mp4", moving(2), 8, None)
    assert [file.name for file in tmp_path.iterdir()] == ["odd.gif"]


def test_a_picture_is_one_frame(tmp_path):
    picture = Image.new("RGBA", (6, 4), (0, 0, 255, 0))
    picture.putpixel((0, 0), (0, 0, 255, 255))
    picture.save(tmp_path / "one.png")
    frames = media.read_frames(tmp_path / "one.png")
    assert frames.shape == (1, 4, 6, 3)
    assert frames[0, 0, 0].tolist() == [0, 0, 255] and frames[0, 0, 1].tolist() == [255] * 3
    turned = Image.Exif()
    turned[0x0112] = 6
    moving()[0].save(tmp_path / "turned.jpg", exif=turned)
    assert media.read_frames(tmp_path / "turned.jpg").shape == (1, 48, 32, 3)


def test_a_clip_is_turned_as_its_camera_says(tmp_path):
    media.write_clip(tmp_path / "one.mp4", moving(1), 8, None)
    clip = bytearray((tmp_path / "one.mp4").read_bytes())
    matrix = clip.index(b"tkhd") + 44
    clip[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(clip)
    upright, turned = (media.read_frames(tmp_path / name) for name in ("one.mp4", "turned.mp4"))
    assert turned.shape == (1, 48, 32, 3)
    assert (turned[0] == np.rot90(upright[0], -1)).all()


def sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as recording:
        stream = recording.add_stream("pcm_s16le", 8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        recording.mux(stream.encode(frame))
        recording.mux(stream.encode())
    return file.getvalue()


def test_files_that_hold_no_clip(tmp_path):
    for ending in media.CLIP_FORMATS:
        media.write_clip(tmp_path / f"whole.{ending}", moving(), 8, ABOUT)
        (tmp_path / f"half.{ending}").write_bytes((tmp_path / f"whole.{ending}").read_bytes()[:400])
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1\nhttp://127.0.0.1/one.ts\n")
    (tmp_path / "empty.gif").touch()
    (tmp_path / "sound.mkv").write_bytes(sound())
    (tmp_path / "other.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    words = {
        "half.mp4": "broken", "half.gif": "broken", "half.png": "broken", "half.webp": "not a picture or clip",
        "list.mp4": "not a picture or clip", "empty.gif": "not a picture or clip",
        "sound.mkv": "holds no video", "other.mp4": "holds no video",
        "absent.mp4": "no such file",
    }  # fmt: skip
    for name, reason in words.items():
        with pytest.raises(OutputError, match=reason):
            media.read_frames(tmp_path / name)
    with pytest.raises(OutputError, match="not a picture or clip"):
        media.read_frames(tmp_path)
    with pytest.raises(OutputError, match="no metadata"):
        media.read_metadata(tmp_path / "sound.mkv")


@pytest.mark.parametrize("ending", media.CLIP_FORMATS)
def test_too_much_is_refused(tmp_path, ending):
    media.write_clip(tmp_path / f"one.{ending}", moving(), 8, ABOUT)
    assert len(media.read_frames(tmp_path / f"one.{ending}", 16 * 32 * 48)) == 16
    with pytest.raises(OutputError, match="more than 24575 pixels"):
        media.read_frames(tmp_path / f"one.{ending}", 16 * 32 * 48 - 1)
