"""Pictures, clips and sound in files, each with what made it: written whole or not at all, read back, made again.

No torch here.
"""

from mmgen.media.clip import CLIP_FORMATS, write_clip
from mmgen.media.command import command, json_word
from mmgen.media.files import check_folder, file_name, make_folder, written_whole
from mmgen.media.frames import read_frames
from mmgen.media.metadata import KEY, describe, read_metadata
from mmgen.media.picture import write_png
from mmgen.media.sound import SOUND_FORMATS, read_sound, write_sound
from mmgen.media.spectrogram import spectrogram

FORMATS = {"image": ("png",), "video": CLIP_FORMATS, "audio": SOUND_FORMATS}
"""Endings of the files of each medium; the first is written where nothing is said."""

__all__ = [
    "CLIP_FORMATS",
    "FORMATS",
    "KEY",
    "SOUND_FORMATS",
    "check_folder",
    "command",
    "describe",
    "file_name",
    "json_word",
    "make_folder",
    "read_frames",
    "read_metadata",
    "read_sound",
    "spectrogram",
    "write_clip",
    "write_png",
    "write_sound",
    "written_whole",
]
