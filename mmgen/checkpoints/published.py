"""Published checkpoints: of which family a file or folder is, and the pipeline it makes."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mmgen.checkpoints import hub
from mmgen.checkpoints.weights import INDEX, PICKLES, Weights
from mmgen.errors import OptionError, WeightsError

FAMILIES = (
    "nar", "nar_video", "llamagen", "janus", "emu3", "chameleon",
    "lumina_mgpt2", "distilled", "var", "musicgen", "musicgen_melody", "magnet", "audiogen",
    "sound_codecs",
)  # fmt: skip
"""Modules here that read a family; each has `recognise` and `load`. NAR's tensors have LlamaGen's among them."""


def load(path: Path, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """Makes a pipeline of published files.

    Args:
        path: a file or folder as published.
        dtype: type of the weights; None makes them float32.
        options: what the files do not say; the `load` of each family lists its own. Those that are files or folders
            may be on the Hugging Face Hub, too.

    Raises:
        WeightsError: no family is recognised, or the files are damaged.
        OptionError: an option that the family has not.
    """
    family = recognise(path)
    known = [name for name, kind in inspect.signature(family.load).parameters.items() if kind.kind is kind.KEYWORD_ONLY]
    for name, value in options.items():
        if name not in known:
            raise OptionError(name, value, f"one of {', '.join(known) or 'none'}, for {family.__name__.split('.')[-1]}")
    located = {name: hub.locate(value) if isinstance(value, str) else value for name, value in options.items()}
    return family.load(path, dtype, **located)


def recognise(path: Path) -> ModuleType:
    """The module that reads a file or folder.

    Raises:
        WeightsError: none does, or the file cannot be read.
    """
    if path.is_file() and path.name.endswith((".safetensors", INDEX, *PICKLES)):
        Weights.open(path)  # says what is wrong with a damaged or dangerous file, before families merely pass it by
    for name in FAMILIES:
        family = importlib.import_module(f"mmgen.checkpoints.{name}")
        if family.recognise(path):
            return family
    cure = f"give a file or folder as published by one of {', '.join(FAMILIES)}, or a folder that mmgen wrote"
    files = sorted(file.name for file in path.glob("*") if file.suffix in (".safetensors", *PICKLES))
    if len(files) > 1:
        raise WeightsError(path, f"holds {len(files)} weight files", f"give the transformer's: {', '.join(files[:8])}")
    if path.is_dir() and not files:
        cure = "give one that does; of a Hub repository of several pickles, name one of its files: owner/name:file"
        raise WeightsError(path, "holds no weights", cure)
    raise WeightsError(path, "is no checkpoint that mmgen knows", cure)
