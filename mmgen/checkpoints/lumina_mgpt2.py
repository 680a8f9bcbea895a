"""Lumina-mGPT 2.0: Alpha-VLLM/Lumina-mGPT-2.0 and Lumina-mGPT-2.0-Omni of the Hugging Face Hub, and its tokenizer.

The tokenizer is `movqgan_270M.ckpt` of ai-forever/MoVQGAN.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mmgen.catalog import read_json
from mmgen.checkpoints.chameleon import (
    WORDS,
    load_tokenizer,
    load_words,
    published_config,
    vocabulary_size,
    with_weights,
)
from mmgen.checkpoints.folder import described, fill
from mmgen.checkpoints.language_configs import lumina_mgpt_2
from mmgen.checkpoints.language_keys import from_chameleon
from mmgen.checkpoints.weights import Weights

if TYPE_CHECKING:
    from mmgen.pipelines.lumina_mgpt2 import LuminaMGPT2Pipeline
    from mmgen.tokenizers.vqgan import VQGAN

TOKENIZER = "movqgan_270M.ckpt"

SAMPLING = {"guidance": 4.0, "top_k": 4096}
"""Of the authors' examples."""


def recognise(path: Path) -> bool:
    """Whether a folder holds a Lumina-mGPT 2.0: the architecture of Chameleon with a larger vocabulary."""
    return vocabulary_size(published_config(path)) > WORDS


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | VQGAN | None = None,
) -> LuminaMGPT2Pipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: the folder.
        dtype: type of the weights; None makes them float32.
        tokenizer: file of the VQ tokenizer, or the model; None looks for `movqgan_270M.ckpt` in the folder.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen import decoding
    from mmgen.pipelines.lumina_mgpt2 import LuminaMGPT2Pipeline

    config, weights = read_json(path / "config.json"), Weights.open(path)
    with described(path / "config.json", "a Lumina-mGPT 2.0"):
        transformer = with_weights(weights.renamed(from_chameleon), lumina_mgpt_2(config))
    if tokenizer is None or isinstance(tokenizer, str | Path):
        tokenizer = load_tokenizer(path / TOKENIZER if tokenizer is None else Path(tokenizer), dtype)
    return LuminaMGPT2Pipeline(
        tokenizer,
        fill(*transformer, dtype),
        load_words(path),
        decoding.make("jacobi", window=16),
        SAMPLING,
    )
