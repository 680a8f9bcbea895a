"""The configurations of published language models, as arguments of our backbones.

Each function takes the model's `config.json` as a dictionary and returns what its class in `mmgen.backbones` takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmgen.errors import OptionError

Config = Mapping[str, Any]

_TEXT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_parameters",
    "rope_theta",
    "rope_scaling",
    "attention_bias",
    "mlp_bias",
    "swin_norm",
)
"""What a backbone needs to know of a language model; where a file leaves one out, transformers' default counts."""

_CHAMELEON_LETTERS = str.maketrans("ABCDEFGHIJ", "0123456789")


def janus(published: Config) -> dict[str, Any]:
    """`JanusTransformer`'s, from transformers' `config.json` or the authors' own."""
    if "language_config" in published:
        tokenizer = published["gen_vision_config"]["params"]
        return {
            "text_config": _text(published["language_config"]),
            "codes": tokenizer["image_token_size"],
            "code_size": tokenizer["n_embed"],
            "aligner_layers": published["gen_aligner_config"]["params"]["depth"],
        }
    tokenizer = published["vq_config"]
    return {
        "text_config": _text(published["text_config"]),
        "codes": tokenizer.get("num_embeddings", 16384),
        "code_size": tokenizer.get("embed_dim", 8),
        "aligner_layers": tokenizer.get("num_hidden_layers", 2),
    }


def emu3(published: Config) -> dict[str, Any]:
    """`Emu3Transformer`'s, from transformers' `config.json` or the authors' own."""
    text = {"text_config": _text(published.get("text_config", published))}
    words = published.get("vocabulary_map")
    if not words:
        return text | ({"row_end": published["eol_token_id"]} if "eol_token_id" in published else {})
    codes = {int(found[1]): word for name, word in words.items() if (found := re.match(r"<\|visual token (\d+)", name))}
    return text | _codes(codes) | {"row_end": words["<|extra_200|>"]}


def chameleon(published: Config) -> dict[str, Any]:
    """`ChameleonTransformer`'s for Chameleon and Anole, whose rows have no end; from transformers' `config.json`."""
    codes = {
        int(name[len("IMGIMG") : -1].translate(_CHAMELEON_LETTERS)): word
        for name, word in (published.get("vocabulary_map") or {}).items()
        if name.startswith("IMGIMG")
    }
    return {"text_config": _text(published)} | (_codes(codes) if codes else {})


def lumina_mgpt(published: Config) -> dict[str, Any]:
    """`ChameleonTransformer`'s for Lumina-mGPT: Chameleon's vocabulary, and rows that end in "<reserved08799>"."""
    words = published.get("vocabulary_map") or {}
    return chameleon(published) | {"row_end": words.get("<reserved08799>", 8803)}


def lumina_mgpt_2(published: Config) -> dict[str, Any]:
    """`ChameleonTransformer`'s for Lumina-mGPT 2.0, whose words of codes are fixed numbers in the authors' code."""
    return {"text_config": _text(published), "first_code": 155000, "codes": 16384, "row_end": 151670}


def _text(published: Config) -> dict[str, Any]:
    return {name: published[name] for name in _TEXT if published.get(name) is not None}


def _codes(words: Mapping[int, int]) -> dict[str, Any]:
    """Where in a vocabulary the codes stand, from the word of each code."""
    if sorted(words) != list(range(len(words))):
        raise OptionError("vocabulary_map", f"{len(words)} codes", "codes 0, 1, 2 ... without a gap")
    first = min(words.values())
    order = [words[code] - first for code in range(len(words))]
    return {
        "first_code": first,
        "codes": len(words),
        "order": None if order == list(range(len(words))) else order,
    }
