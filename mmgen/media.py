"""Pictures in files, each with what made it: written whole or not at all, read back, made again. No torch here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mmgen import __version__
from mmgen.errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

KEY = "parameters"
"""Key of the PNG text that holds the metadata, as JSON."""

_FROM_STATISTICS = (
    "prompt", "seed", "decoder", "law", "options", "sampling", "conditions", "size", "revision",
    "tokens", "evaluations", "draft_evaluations", "tokens_per_evaluation", "complete",
)  # fmt: skip
_TYPES = {
    "prompt": str,
    "seed": int,
    "pipeline": str,
    "decoder": str,
    "options": dict,
    "sampling": dict,
    "conditions": dict,
    "size": list,
}
_OPTIONAL = ("conditions", "size")
"""What files of earlier versions do not say."""
_FLAGS = ("dtype", "device", "weight_bits", "cache_bits")
_SLUG_LENGTH = 80


def describe(
    statistics: Mapping[str, Any],
    pipeline: str,
    dtype: str = "float32",
    device: str = "cpu",
    weight_bits: int | None = None,
    cache_bits: int | None = None,
) -> dict:
    """What a picture's file says of it.

    Seconds are left out, so that the same picture is the same file.

    Args:
        statistics: of the picture, as pipelines return them.
        pipeline: what `mmgen.load` takes: a shipped name or a folder.
        dtype: type of the weights, such as `float32`.
        device: where it was drawn, such as `cpu`.
        weight_bits: bits of a quantised weight; None where none is.
        cache_bits: bits of a quantised key or value; None where none is.
    """
    fields = {key: statistics[key] for key in _FROM_STATISTICS}
    bits = {"weight_bits": weight_bits, "cache_bits": cache_bits}
    quantised = {name: value for name, value in bits.items() if value is not None}
    return fields | {"pipeline": pipeline, "dtype": dtype, "device": device, **quantised, "mmgen": __version__}


def write_png(path: Path, image: Image.Image, metadata: Mapping[str, Any] | None) -> None:
    """Writes a picture atomically, with its metadata as PNG text (iTXt, UTF-8) under `KEY`.

    Args:
        path: of the file; its folder exists.
        metadata: JSON values by name, as `describe` makes them; None writes the pixels alone.

    Raises:
        OutputError: the file cannot be written; nothing is left of it, and an older one is untouched.
    """
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if metadata is not None:
        text.add_itxt(KEY, json.dumps(metadata, ensure_ascii=False))
    with written_whole(path) as file:
        image.save(file, format="PNG", pnginfo=text)


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name once it is complete; on any error or interruption it never does.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            path, f"cannot be written ({_reason(error)})", "free space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, Any]:
    """What a picture's file says of it; see `describe`.

    Raises:
        OutputError: there is no such file, it is not a picture, or it carries no metadata of mmgen.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            text = image.info.get(KEY)
    except FileNotFoundError as error:
        raise OutputError(path, "there is no such file", "give a PNG that mmgen wrote") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OutputError(path, "is not a picture that can be read", "give a PNG that mmgen wrote") from error
    try:
        metadata = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or not all(
        isinstance(metadata.get(key, kind()), kind) and (key in metadata or key in _OPTIONAL)
        for key, kind in _TYPES.items()
    ):
        raise OutputError(path, "carries no metadata of mmgen", "give a PNG that `mmgen generate` wrote with metadata")
    return metadata


def command(metadata: Mapping[str, Any]) -> str:
    """The command, one line quoted for a shell, that draws the picture of this metadata again.

    Args:
        metadata: from `describe` or `read_metadata`.
    """
    prompt = metadata["prompt"]
    flags: list[tuple[str, Any]] = [("pipeline", metadata["pipeline"]), ("seed", metadata["seed"]), ("count", 1)]
    flags.append(("decoder", metadata["decoder"]))
    flags += [("option", f"{name}={json_word(value)}") for name, value in metadata["options"].items()]
    flags += [(name.replace("_", "-"), value) for name, value in metadata["sampling"].items()]
    flags += [("condition", f"{name}={value}") for name, value in metadata.get("conditions", {}).items()]
    flags += zip(("height", "width"), metadata.get("size", ()), strict=False)
    flags += [(name.replace("_", "-"), metadata[name]) for name in _FLAGS if name in metadata]
    flags.append(("out", "."))
    words = [word for name, value in flags for word in (f"--{name}", str(value))]
    # A word that starts with a hyphen is a prompt only behind a double hyphen.
    words = [*words, "--", prompt] if prompt.startswith("-") else [prompt, *words]
    return " ".join(map(_quoted, ["mmgen", "generate", *words]))


def _quoted(word: str) -> str:
    """A word for a shell, on one line: with control characters in the form $'...', which bash, zsh and ksh read."""
    if word.isprintable():
        return shlex.quote(word)
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    plain = (escapes.get(c, c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode())) for c in word)
    return f"$'{''.join(plain)}'"


def json_word(value: Any) -> str:
    """An option's value as `--option NAME=VALUE` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def file_name(prompt: str, seed: int, line: int | None = None) -> str:
    """A readable name that depends on its arguments only, such as `a-cat-on-a-red-background-7.png`.

    A prompt without Latin letters and digits is told apart by part of a hash.

    Args:
        line: number of the prompt in its file, put in front.
    """
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    slug = slug or f"picture-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
    return f"{slug}-{seed}.png" if line is None else f"{line:04d}-{slug}-{seed}.png"


def check_folder(folder: Path) -> None:
    """Makes sure that files could be written to a folder, which need not exist yet; creates nothing.

    Raises:
        OutputError: they could not.
    """
    existing = folder.absolute()
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(existing, "is a file, and a folder is needed", "give another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(existing, "is a folder that cannot be written to", "give another, or change its permissions")


def make_folder(folder: Path) -> None:
    """Creates a folder where it is missing, and makes sure that files can be written to it.

    Raises:
        OutputError: they cannot.
    """
    check_folder(folder)
    probe = folder / f".mmgen.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(folder, f"cannot be written to ({_reason(error)})", "give another folder") from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
