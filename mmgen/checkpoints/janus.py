"""Janus and Janus-Pro as published: by DeepSeek, and in transformers' format.

deepseek-ai/Janus-1.3B, Janus-Pro-1B and Janus-Pro-7B on the Hugging Face Hub are the authors' own (`model_type`
"multi_modality"; those of Janus-Pro are pickles, which are read without running anything); the copies of
deepseek-community are transformers'. The tokenizer of pictures lies in the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.catalog import read_json
from mmgen.checkpoints import language_configs
from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.language_keys import from_janus_official, from_janus_transformers
from mmgen.checkpoints.llamagen import tokenizer_configuration
from mmgen.checkpoints.vqgan_keys import from_janus, from_llamagen
from mmgen.checkpoints.weights import Weights
from mmgen.errors import WeightsError

if TYPE_CHECKING:
    from mmgen.pipelines.janus import JanusPipeline
    from mmgen.tokenizers.vqgan import VQGAN


def recognise(path: Path) -> bool:
    """Whether a folder holds Janus or Janus-Pro, of either format; JanusFlow is another model."""
    try:
        config = read_json(path / "config.json")
    except WeightsError:
        return False
    return config.get("model_type") == "janus" or _is_official(config)


def load(path: Path, dtype: torch.dtype | None = None) -> JanusPipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: has `config.json`, the weights, and `tokenizer.json`.
        dtype: type of the weights; None makes them float32.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen import decoding
    from mmgen.backbones.janus import JanusTransformer
    from mmgen.checkpoints.text_tokenizers import load_text_tokenizer
    from mmgen.pipelines.janus import BEGIN_OF_IMAGE, BEGIN_OF_TEXT, PADDING, JanusPipeline

    config, published = read_json(path / "config.json"), Weights.open(path)
    official = _is_official(config)
    weights = published.renamed(from_janus_official if official else from_janus_transformers)
    with described(path / "config.json", "a Janus"):
        transformer = build(JanusTransformer, language_configs.janus(config), weights)
        tokenizer = _official_tokenizer(published) if official else _tokenizer(config["vq_config"], published)
    return JanusPipeline(
        fill(*tokenizer, dtype),
        fill(transformer, weights, dtype),
        decoding.make("jacobi", window=16),
        load_text_tokenizer(path / "tokenizer.json", (BEGIN_OF_TEXT, PADDING, BEGIN_OF_IMAGE)),
        {"guidance": 5.0},
    )


def _is_official(config: dict[str, Any]) -> bool:
    return config.get("model_type") == "multi_modality" and "gen_vision_config" in config


def _official_tokenizer(published: Weights) -> tuple[VQGAN, Weights]:
    """The VQ-16 of LlamaGen; the authors' configuration says only its name, so that the shapes say its sizes."""
    part = published.renamed(_part("gen_vision_model."))
    return _with_weights(tokenizer_configuration(part), part.renamed(from_llamagen))


def _tokenizer(config: dict[str, Any], published: Weights) -> tuple[VQGAN, Weights]:
    from transformers.models.janus.configuration_janus import JanusVQVAEConfig

    sizes = JanusVQVAEConfig.from_dict(config)
    ours = {
        "codebook_size": sizes.num_embeddings,
        "codebook_channels": sizes.embed_dim,
        "latent_channels": sizes.latent_channels,
        "channels": sizes.base_channels,
        "multipliers": list(sizes.channel_multiplier),
        "blocks": sizes.num_res_blocks,
    }
    return _with_weights(ours, published.renamed(_part("model.vqmodel.")).renamed(from_janus))


def _with_weights(config: dict[str, Any], weights: Weights) -> tuple[VQGAN, Weights]:
    from mmgen.tokenizers.vqgan import VQGAN

    return build(VQGAN, config, weights), weights


def _part(prefix: str) -> Callable[[str], str | None]:
    """Names of what begins with the prefix, without it."""
    return lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None
