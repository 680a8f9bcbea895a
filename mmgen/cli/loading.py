"""A pipeline as a command wants it: on its device, in its type, and quiet."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

from mmgen import catalog
from mmgen.errors import OptionError


class Dtype(StrEnum):
    """Types of weights a command can choose."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def source(pipeline: str | None) -> str:
    """What `mmgen.load` takes from any folder: a shipped name, a full path, or a name of the Hugging Face Hub.

    Raises:
        UnknownNameError: there is no such pipeline.
    """
    name = pipeline or catalog.default_pipeline()
    if name in catalog.pipelines():
        return name
    if Path(name).exists():
        return str(Path(name).resolve())
    return name if "/" in name else str(catalog.find(name))


def choose_device(device: str | None) -> str:
    """A torch device that is there; a GPU where there is one and nothing is said.

    Raises:
        OptionError: there is no such device.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    present = ["cpu"]
    present += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))] * torch.cuda.is_available()
    present += ["mps"] * torch.backends.mps.is_available()
    if device not in present:
        raise OptionError("device", device, f"one of {', '.join(present)}, which this machine has")
    return device


def load(
    pipeline: str,
    dtype: Dtype = Dtype.float32,
    device: str = "cpu",
    weight_bits: int | None = None,
    cache_bits: int | None = None,
) -> Any:
    """A pipeline with a progress bar on terminals only.

    Raises:
        OptionError: other bits than there are; before anything is read.
    """
    import torch
    from diffusers.utils import logging

    from mmgen.cache import CACHE_BITS
    from mmgen.quantisation import WEIGHT_BITS

    for name, bits, choices in (
        ("weight_bits", weight_bits, (None, *WEIGHT_BITS)),
        ("cache_bits", cache_bits, CACHE_BITS),
    ):
        if bits not in choices:
            raise OptionError(name, bits, f"one of {', '.join(map(str, choices[1:]))}")

    import mmgen

    logging.set_verbosity_error()
    pipe = mmgen.load(pipeline, dtype=getattr(torch, dtype)).to(device)
    if weight_bits is not None:
        pipe.quantise(weight_bits)
    pipe.cache_bits = cache_bits
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty(), leave=False, desc="tokens")
    return pipe
