"""The command that makes a file again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

_FLAGS = ("format", "dtype", "device", "weight_bits", "cache_bits")


def command(metadata: Mapping[str, Any]) -> str:
    """The command, one line quoted for a shell, that draws the picture or clip of this metadata again.

    Args:
        metadata: from `describe` or `read_metadata`.
    """
    prompt = metadata["prompt"]
    flags: list[tuple[str, Any]] = [("pipeline", metadata["pipeline"]), ("seed", metadata["seed"]), ("count", 1)]
    flags.append(("decoder", metadata["decoder"]))
    flags += [("option", f"{name}={json_word(value)}") for name, value in metadata["options"].items()]
    flags += [(name.replace("_", "-"), value) for name, value in metadata["sampling"].items()]
    flags += [("condition", f"{name}={value}") for name, value in metadata.get("conditions", {}).items()]
    flags += zip(("height", "width"), metadata.get("size", ())[-2:], strict=False)
    flags += [(name.replace("_", "-"), metadata[name]) for name in _FLAGS if name in metadata]
    flags.append(("out", "."))
    words = [word for name, value in flags for word in (f"--{name}", str(value))]
    # A word that starts with a hyphen is a prompt only behind a double hyphen.
    words = [*words, "--", prompt] if prompt.startswith("-") else [prompt, *words]
    return " ".join(map(_quoted, ["mmgen", "generate", *words]))


def json_word(value: Any) -> str:
    """An option's value as `--option NAME=VALUE` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(word: str) -> str:
    """A word for a shell, on one line: with control characters in the form $'...', which bash, zsh and ksh read."""
    if word.isprintable():
        return shlex.quote(word)
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    plain = (escapes.get(c, c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode())) for c in word)
    return f"$'{''.join(plain)}'"
