"""The names that published VQGAN checkpoints give their weights, in those of `mmgen.tokenizers.vqgan.VQGAN`.

Each function takes the name of one weight, without what stands before it where the tokenizer is part of a
larger model (`model.vqmodel.`, `gen_vision_model.`). It returns our name, or None for what drawing needs not:
losses, averages, counts of use. What is none of their names comes back as one the model does not have
either, so that a strict loader reports it. Shapes never change.
"""

from __future__ import annotations

import re

_DROPPED = re.compile(r"(loss|ema\w*|model_ema|colorize|quantize\.codebook_used)(\.|$)")

_SHARED = (
    (r"^quantize\.embedding\.weight$", "vectors"),
    (r"^quant_conv\.", "to_codebook."),
    (r"^post_quant_conv\.", "from_codebook."),
    (r"\.(down|up)sample\.conv\.", ".resample."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"\.q\.", ".query."),
    (r"\.k\.", ".key."),
    (r"\.v\.", ".value."),
    (r"\.proj_out\.", ".out."),
)

_LLAMAGEN = (
    (r"\.conv_blocks\.(\d+)\.res\.", r".levels.\1.blocks."),
    (r"\.conv_blocks\.(\d+)\.attn\.", r".levels.\1.attentions."),
    (r"\.conv_blocks\.", ".levels."),
    (r"\.mid\.", ".middle."),
    *_SHARED,
)

_JANUS = (
    (r"\.(?:down|up)\.(\d+)\.block\.", r".levels.\1.blocks."),
    (r"\.(?:down|up)\.(\d+)\.attn\.", r".levels.\1.attentions."),
    (r"\.(?:down|up)\.", ".levels."),
    (r"\.mid\.block_1\.", ".middle.0."),
    (r"\.mid\.attn_1\.", ".middle.1."),
    (r"\.mid\.block_2\.", ".middle.2."),
    (r"\.norm_layer\.", "."),
    (r"\.conv_y\.", ".scale."),
    (r"\.conv_b\.", ".shift."),
    *_SHARED,
)


def from_llamagen(key: str) -> str | None:
    """A name of LlamaGen's VQ-8 and VQ-16, and of the tokenizer in the official Janus and Janus-Pro files."""
    return _rename(key, _LLAMAGEN)


def from_janus(key: str) -> str | None:
    """A name of the Janus tokenizer in transformers (`JanusVQVAE`), whose decoder counts levels as ours does."""
    return _rename(key, _JANUS)


def from_taming(key: str, levels: int) -> str | None:
    """A name of taming-transformers' `VQModel`, of Chameleon's `vqgan.ckpt`, of MoVQGAN, and of `ChameleonVQVAE`.

    The last, of transformers, is an encoder alone; copies with a decoder, such as Anole's, kept taming's order of
    levels.

    Args:
        key: the name; level 0 of their decoder has the highest resolution, of ours the lowest.
        levels: how many resolutions the model has.
    """
    key = re.sub(r"^decoder\.up\.(\d+)", lambda level: f"decoder.up.{levels - 1 - int(level[1])}", key)
    return _rename(key, _JANUS)


def _rename(key: str, table: tuple[tuple[str, str], ...]) -> str | None:
    if _DROPPED.match(key):
        return None
    for pattern, replacement in table:
        key = re.sub(pattern, replacement, key)
    return key
