"""mmgen: autoregressive image, audio and video generation made fast.

import mmgen

pipe = mmgen.load("emoji-64")
pipe("a red apple to the left of a cat on a blue background", seed=7).images[0]
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "list_decoders", "list_pipelines", "load"]

# diffusers warns of any torchao newer than it knows, though nothing here goes through its quantisers.
logging.getLogger("diffusers.quantizers.torchao").setLevel(logging.ERROR)

if TYPE_CHECKING:
    import torch

    from mmgen.catalog import Entry
    from mmgen.decoding.decoder import Decoder


def load(name: str, dtype: torch.dtype | None = None, **components: Any) -> Any:
    """Loads a pipeline or tokenizer: ready-made, converted, or as its authors published it.

    Args:
        name: a name that `mmgen list` shows; a folder that mmgen wrote; a file or folder as published; or
            `owner/name` of the Hugging Face Hub, with `@revision`, or `:file` for one of its files.
        dtype: type of the weights, such as `torch.bfloat16`; None makes them float32.
        components: components to use instead of the folder's, such as `decoder=...`; of published files what they
            do not say, such as `tokenizer="vq_ds16_c2i.pt"`.

    Returns:
        A pipeline (`diffusers.DiffusionPipeline`), or a tokenizer.

    Raises:
        UnknownNameError: there is no such pipeline.
        WeightsError: its files are missing or damaged, or of no family that is known.
    """
    from mmgen.pipelines.loading import load as load_pipeline

    return load_pipeline(name, dtype, **components)


def list_pipelines() -> dict[str, Entry]:
    """The shipped pipelines by name, with medium and family."""
    from mmgen import catalog

    return catalog.pipelines()


def list_decoders() -> dict[str, type[Decoder]]:
    """The decoders by name."""
    from mmgen import decoding

    return decoding.decoders()
