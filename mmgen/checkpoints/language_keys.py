"""The names that published language models give their weights, in those of our backbones.

They are the names of `mmgen.backbones.janus`, `emu3` and `chameleon`. Each function takes the name of one weight and
returns ours, or None for what drawing needs not: understanding, tokenizers, heads for text. A name that is none of
theirs comes back as it is, so that a strict loader reports it. Shapes stay, but for the two functions that say so.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

Table = tuple[tuple[str, str], ...]

_ROTARY = r"|.*\.rotary_emb\.inv_freq$"
"""Older files hold the frequencies of rotary positions, which follow from the configuration."""

_JANUS_DROPPED = re.compile(r"lm_head\.|model\.(vision_model|aligner|vqmodel)\." + _ROTARY)
_JANUS: Table = ((r"^model\.language_model\.", "model."), (r"^model\.generation_", "generation_"))

_JANUS_OFFICIAL_DROPPED = re.compile(r"language_model\.lm_head\.|(vision_model|aligner|gen_vision_model)\." + _ROTARY)
_JANUS_OFFICIAL: Table = (
    (r"^language_model\.model\.", "model."),
    (r"^gen_embed\.", "generation_embeddings."),
    (r"^gen_aligner\.layers\.0\.", "generation_aligner.fc1."),
    (r"^gen_head\.output_mlp_projector\.", "generation_head.proj_out."),
    (r"^gen_head\.vision_head\.", "generation_head.vision_head."),
)

_EMU3_DROPPED = re.compile(r"(model\.)?vqmodel\." + _ROTARY)
_EMU3: Table = (
    (r"^text_model\.lm_head\.", "lm_head."),
    (r"^text_model\.model\.", "model."),
    (r"^model\.text_model\.", "model."),
)

_CHAMELEON_DROPPED = re.compile(r"model\.vqmodel\." + _ROTARY)

_META_DROPPED = re.compile(r"rope\.freqs$")
_META: Table = (
    (r"^tok_embeddings\.", "model.embed_tokens."),
    (r"^norm\.", "model.norm."),
    (r"^output\.", "lm_head."),
    (r"^layers\.", "model.layers."),
    (r"\.attention\.w([qkvo])\.", r".self_attn.\1_proj."),
    (r"\.attention\.([qk])_normalization\.", r".self_attn.\1_norm."),
    (r"\.feed_forward\.w1\.", ".mlp.gate_proj."),
    (r"\.feed_forward\.w2\.", ".mlp.down_proj."),
    (r"\.feed_forward\.w3\.", ".mlp.up_proj."),
    (r"\.attention_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
)

_HEAD_NORM = re.compile(r"\.self_attn\.[qk]_norm\.(weight|bias)$")
_TURNED = re.compile(r"\.self_attn\.[qk]_proj\.(weight|bias)$")


def from_janus_transformers(key: str) -> str | None:
    """A name of `JanusForConditionalGeneration`."""
    return _rename(key, _JANUS, _JANUS_DROPPED)


def from_janus_official(key: str) -> str | None:
    """A name of the authors' Janus and Janus-Pro files."""
    later = re.match(r"gen_aligner\.layers\.([2468])\.(.*)", key)
    if later:  # an activation stands between every two layers
        return f"generation_aligner.hidden_layers.{int(later[1]) // 2 - 1}.{later[2]}"
    return _rename(key, _JANUS_OFFICIAL, _JANUS_OFFICIAL_DROPPED)


def from_emu3(key: str) -> str | None:
    """A name of the authors' Emu3, or of `Emu3ForConditionalGeneration` as it saves now and as it did at first."""
    return _rename(key, _EMU3, _EMU3_DROPPED)


def from_chameleon(key: str) -> str | None:
    """A name of `ChameleonForConditionalGeneration`, Lumina-mGPT's and Lumina-mGPT 2.0's among them.

    Norms of queries and keys may need `norms_per_head`.
    """
    return _rename(key, (), _CHAMELEON_DROPPED)


def from_chameleon_official(key: str) -> str | None:
    """A name of Meta's `consolidated.pth`, and of Anole's, which is one file (7B): a shard of several is refused.

    Weights need `from_interleaved` and then `norms_per_head`.
    """
    return _rename(key, _META, _META_DROPPED)


def norms_per_head(key: str, tensor: Tensor, heads: int, key_value_heads: int) -> Tensor:
    """A weight of a Chameleon, whose norms of queries and keys are given one for each head.

    Lumina-mGPT's files have one for each part the model was trained in, for the heads of that part; Meta's one alone.

    Args:
        key: our name of it.
        tensor: norms are [parts, D] or [D]; all others come back as they are.
        heads: queries a token has.
        key_value_heads: keys it has.
    """
    if not _HEAD_NORM.search(key):
        return tensor
    parts = tensor.reshape(-1, tensor.shape[-1])
    wanted = heads if ".q_norm." in key else key_value_heads
    return parts.repeat_interleave(wanted // len(parts), dim=0)


def from_interleaved(key: str, tensor: Tensor, head_size: int) -> Tensor:
    """A weight of Meta's, whose rotary channels come in pairs (0, 1), (2, 3) ...; ours are i and i + D/2.

    Args:
        key: our name of it.
        tensor: projections of queries and keys [heads * D, ...] and their norms [..., D] are reordered; all others
            come back as they are.
        head_size: channels D of a head.
    """
    order = torch.arange(head_size).view(-1, 2).T.flatten()
    if _HEAD_NORM.search(key):
        return tensor[..., order]
    if _TURNED.search(key):
        return tensor.unflatten(0, (-1, head_size))[:, order].flatten(0, 1)
    return tensor


def _rename(key: str, table: Table, dropped: re.Pattern[str]) -> str | None:
    if dropped.match(key):
        return None
    for pattern, replacement in table:
        key = re.sub(pattern, replacement, key)
    return key
