"""The files that `mmgen generate` writes: of which format, where, and how each medium is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen import media
from mmgen.cli.report import UsageError
from mmgen.media.clip import check_even

NOUNS = {"image": "pictures", "audio": "recordings", "video": "clips"}
"""What results of each medium are called."""
MOST_FILES = 100_000
"""That one command writes."""
_OTHER_ENDINGS = ("jpg", "jpeg", "bmp", "tiff", "avif", "mp3", "m4a", "aac", "opus", "avi", "mov", "mkv", "webm")
"""Of files of media that are not written."""


@dataclass(frozen=True)
class Files:
    """Where results go.

    Attributes:
        folder: of the files.
        name: of the one file there is; None makes names of prompts and seeds.
        format: ending of the files.
        usual: whether files of the medium have that ending where nothing is said.
    """

    folder: Path
    name: str | None
    format: str
    usual: bool

    def path(self, prompt: str, seed: int, line: int | None) -> Path:
        """The file of one result."""
        return self.folder / (self.name or media.file_name(prompt, seed, line, self.format))

    def check_size(self, size: Sequence[int]) -> None:
        """Makes sure that a file of the format can hold a result of a size: before it is drawn, not after.

        Raises:
            SizeError: it cannot.
        """
        if self.format == "mp4":
            check_even(*size[-2:])

    def check_count(self, count: int) -> None:
        """Makes sure that so many results do not share one name.

        Raises:
            UsageError: they would.
        """
        if count > MOST_FILES:
            raise UsageError(f"{count} files are to be written, {MOST_FILES} at most; `mmgen batch` makes more")
        if self.name is not None and count > 1:
            raise UsageError(f"--out {self.folder / self.name}: {count} files are to be written, give a folder")


def split_out(out: Path) -> tuple[Path, str | None]:
    """The folder that `--out` says, and the name of a file in it where it ends as files do and is no folder."""
    endings = {ending for formats in media.FORMATS.values() for ending in formats}
    if out.suffix.removeprefix(".").lower() in endings and not out.is_dir():
        return out.parent, out.name
    return out, None


def choose(out: Path, format: str | None, medium: str) -> Files:
    """Where results of a medium go.

    Args:
        out: what `--out` says.
        format: what `--format` says; None takes the ending of the file, else the medium's first.

    Raises:
        UsageError: the medium has no such format, or the file's ending is another.
    """
    folder, name = split_out(out)
    formats, suffix = media.FORMATS[medium], out.suffix.removeprefix(".").lower()
    if suffix in _OTHER_ENDINGS and not out.is_dir():
        raise UsageError(f"--out {out}: files of {NOUNS[medium]} end in {', '.join(formats)}")
    ending = None if name is None else suffix
    chosen = format or ending or formats[0]
    if chosen not in formats:
        given = f"--format {chosen}" if format else f"--out {out}"
        raise UsageError(f"{given}: files of {NOUNS[medium]} end in {', '.join(formats)}")
    if ending not in (None, chosen):
        raise UsageError(f"--out {out}: ends in {ending}, and --format is {chosen}")
    return Files(folder, name, chosen, chosen == formats[0])


def results(output: Any, medium: str) -> Sequence[Any]:
    """What a call of a pipeline returned of a medium, one for each request."""
    return getattr(output, {"image": "images", "audio": "audios", "video": "frames"}[medium])


def write(path: Path, result: Any, output: Any, metadata: Mapping[str, Any] | None) -> None:
    """Writes one of the results of a call to its file.

    Raises:
        OutputError: it cannot be written.
    """
    if path.suffix.lower().removeprefix(".") in media.SOUND_FORMATS:
        media.write_sound(path, result, output.sampling_rate, metadata)
    elif path.suffix.lower() == ".png" and not isinstance(result, list):
        media.write_png(path, result, metadata)
    else:
        media.write_clip(path, result, output.frames_per_second, metadata)
