"""Where a checkpoint lies: a path of this machine, or a repository of the Hugging Face Hub. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mmgen.errors import WeightsError

_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken"]
"""What is fetched of a repository: configurations, safetensors, and tokenizers of text."""

_PICKLES = ["*.bin", "models/7b/*.pth", "tokenizer/*.ckpt"]
"""And where it has no safetensors; they are read without running what is in them."""

_NAME = re.compile(
    r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?(?::(?P<file>\w[\w./-]*))?", re.ASCII
)


class _Reference(NamedTuple):
    repository: str
    revision: str | None
    file: str | None


def locate(name: str | Path) -> Path:
    """Where a checkpoint lies on this machine, fetching it where it has to be.

    Args:
        name: an existing file or folder; or `owner/name` of the Hugging Face Hub, with `@revision` (a branch, a
            tag or a commit) where it is not the newest. Of a repository the configurations, safetensors and text
            tokenizers are fetched; where it has no safetensors, its `.bin` files, or those of Meta's layout.
            `owner/name:file` fetches one file, which may be a pickle, and the shards of an index. What is in the
            cache is not fetched again, and is used without a network.

    Returns:
        The path given; else the folder of the repository, or the file.

    Raises:
        WeightsError: there is no such path or repository, or it cannot be had.
    """
    if str(name) and Path(name).exists():
        return Path(name)
    reference = _parse(str(name))
    with _explained(str(name), reference):
        return _fetch_file(reference, reference.file) if reference.file else _fetch_folder(reference)


def _parse(name: str) -> _Reference:
    match = _NAME.fullmatch(name)
    if match is None or ".." in name:
        cure = "give a path that exists, or owner/name, owner/name@revision or owner/name:file of the Hugging Face Hub"
        raise WeightsError(name, "is neither here nor the name of a repository", cure)
    return _Reference(**match.groupdict())


def _fetch_folder(reference: _Reference) -> Path:
    folder = _fetch(reference, _PATTERNS)
    if not any(folder.rglob("*.safetensors")):
        _fetch(reference, _PICKLES)
    return folder


def _fetch(reference: _Reference, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(reference.repository, revision=reference.revision, allow_patterns=patterns))


def _fetch_file(reference: _Reference, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(reference.repository, file, revision=reference.revision))
    if path.name.endswith(".index.json"):
        from mmgen.checkpoints.weights import shards_of

        folder = file.rpartition("/")[0]
        _fetch(reference, [f"{folder}/{shard}".lstrip("/") for shard in shards_of(path)])
    return path


@contextmanager
def _explained(name: str, reference: _Reference) -> Iterator[None]:
    """Turns what the Hub's library raises into one sentence."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{reference.repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        cure = f"accept its terms at {page} and run `hf auth login`"
        raise WeightsError(name, "is a gated repository, which this account may not read", cure) from error
    except errors.RepositoryNotFoundError as error:
        cure = "check the name, or run `hf auth login` where it is private"
        raise WeightsError(name, "is neither a path here nor on the Hugging Face Hub", cure) from error
    except errors.RevisionNotFoundError as error:
        cure = f"choose from those at {page}/refs"
        raise WeightsError(name, f"has no revision {reference.revision}", cure) from error
    except errors.LocalEntryNotFoundError as error:
        reason = "is neither here nor in the cache, and the Hugging Face Hub cannot be reached"
        cure = "connect to the network (and unset HF_HUB_OFFLINE) once, or give the folder it was fetched to"
        raise WeightsError(name, reason, cure) from error
    except errors.EntryNotFoundError as error:
        cure = f"choose from the files at {page}/tree/{reference.revision or 'main'}"
        raise WeightsError(name, f"has no file {reference.file}", cure) from error
    except WeightsError:
        raise
    except Exception as error:  # Each release of its libraries has network errors of its own.
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        cure = "check the network and the disk, and try again"
        raise WeightsError(name, f"cannot be fetched ({first_line})", cure) from error
