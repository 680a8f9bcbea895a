"""LARP's video tokenizer as published: a configuration and weights in one folder.

hywang66/LARP-L-long-tokenizer on the Hugging Face Hub has `config.json` and safetensors; neighbouring autoregression's
authors hand out a `.pth`, a pickle, which is read without running anything, and a `.json`. The prior LARP was trained
with is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.catalog import read_json
from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.weights import INDEX, Weights
from mmgen.errors import WeightsError

if TYPE_CHECKING:
    from mmgen.tokenizers.larp import LARP

_NAMES = (
    (r"x_embedder\.proj\.", "patch_embedding."),
    (r"encoder_patch_pe$", "patch_positions"),
    (r"encoder_latent_query_embed$", "code_queries"),
    (r"bottleneck\.in_linear\.", "to_codebook."),
    (r"bottleneck\.out_linear\.", "from_codebook."),
    (r"bottleneck\.regularizer\.embedding\.weight$", "vectors"),
    (r"decoder_latent_pe$", "code_positions"),
    (r"decoder_patch_query_embed$", "patch_queries"),
    (r"decoder_patch_query_token_type_embed$", "query_type"),
    (r"final_layer\.norm_final\.", "norm."),
    (r"final_layer\.linear\.", "head."),
    (r"(encoder|decoder)\.blocks\.(\d+)\.norm1\.", r"\1.\2.attention_norm."),
    (r"(encoder|decoder)\.blocks\.(\d+)\.attn\.qkv\.", r"\1.\2.qkv."),
    (r"(encoder|decoder)\.blocks\.(\d+)\.attn\.proj\.", r"\1.\2.attention_out."),
    (r"(encoder|decoder)\.blocks\.(\d+)\.norm2\.", r"\1.\2.feed_forward_norm."),
    (r"(encoder|decoder)\.blocks\.(\d+)\.mlp\.fc1\.", r"\1.\2.up."),
    (r"(encoder|decoder)\.blocks\.(\d+)\.mlp\.fc2\.", r"\1.\2.down."),
)

_EQUAL = (
    ("temporal_patch_size", "decoder_temporal_patch_size"),
    ("patch_size", "decoder_patch_size"),
    ("encoder_hidden_size", "decoder_hidden_size"),
    ("encoder_num_heads", "decoder_num_heads"),
    ("encoder_depth", "decoder_depth"),
)
"""What encoder and decoder have in common in all that is published."""

_CURE = "give LARP's tokenizer as published, such as hywang66/LARP-L-long-tokenizer"


def load_tokenizer(path: Path, dtype: torch.dtype | None = None) -> LARP:
    """The tokenizer from its folder, or from its weight file, which has its configuration beside it.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen.tokenizers.larp import LARP

    weights, file = Weights.open(path), _configuration_file(path if path.is_dir() else path.parent)
    with described(file, "LARP's tokenizer", _CURE):
        config = configuration(read_json(file), file)
        weights = weights.renamed(published_name)
        model = build(LARP, config | {"typed_queries": "query_type" in weights}, weights)
    return fill(model, weights, dtype)


def configuration(published: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Arguments of `LARP`, of those of the authors' class.

    Raises:
        KeyError: one is missing.
        WeightsError: it is of a kind that was never published.
    """
    bottleneck = published["bottleneck"]["args"]
    quantiser = bottleneck["regularizer"]["args"]
    kind = {"norm": bottleneck.get("norm"), "l2_normalized": quantiser["l2_normalized"]}
    kind["transformer_name"] = published.get("transformer_name", "transformer_encoder_parallel")
    needed = {"norm": "none", "l2_normalized": True, "transformer_name": "transformer_encoder_parallel"}
    unequal = [" and ".join(pair) for pair in _EQUAL if published[pair[0]] != published[pair[1]]]
    if kind != needed or unequal:
        reason = f"is of another kind: {kind}" if kind != needed else f"has unequal {', '.join(unequal)}"
        raise WeightsError(file, reason, _CURE)
    return {
        "codebook_size": quantiser["codebook_size"],
        "code_channels": bottleneck["bottleneck_dim"],
        "frames": published["frame_num"],
        "image_size": published["input_size"],
        "frame_stride": published["temporal_patch_size"],
        "stride": published["patch_size"],
        "size": published["encoder_hidden_size"],
        "layers": published["encoder_depth"],
        "heads": published["encoder_num_heads"],
    }


def published_name(key: str) -> str | None:
    """Our name of a published weight; None for the prior's."""
    if key.startswith("prior_model."):
        return None
    for pattern, ours in _NAMES:
        if re.match(pattern, key):
            return re.sub(pattern, ours, key)
    return key


def _configuration_file(folder: Path) -> Path:
    files = [path for path in sorted(folder.glob("*.json")) if not path.name.endswith(INDEX)]
    whole = [path for path in files if path.name == "config.json"] or files
    if len(whole) != 1:
        raise WeightsError(folder, f"holds {len(whole)} configurations (.json)", "keep LARP's two files in one folder")
    return whole[0]
