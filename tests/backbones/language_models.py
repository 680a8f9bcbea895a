"""Tiny language models of transformers with random weights, and ours with the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.chameleon import ChameleonTransformer
from mmgen.backbones.emu3 import Emu3Transformer
from mmgen.backbones.janus import JanusTransformer
from mmgen.backbones.language import LanguageTransformer
from mmgen.checkpoints import language_configs, language_keys
from mmgen.layout import RasterLayout

CODES = 16
WORDS = 12
"""Words of text, before those of codes."""
PAD, BEGIN, END, IMAGE, ROW_END = 0, 1, 2, 3, 4
TEXT = {
    "vocab_size": WORDS + CODES + 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "pad_token_id": PAD,
    "bos_token_id": BEGIN,
    "eos_token_id": END,
}
FAMILIES = ("janus", "emu3", "chameleon", "swin")


class Pair(NamedTuple):
    """One model twice.

    Attributes:
        theirs: of transformers.
        ours: with its weights.
        language: the part of theirs that reads embeddings.
        score: logits of the codes from what that part returns.
        layout: a small grid, with row ends where the family has them.
    """

    theirs: Any
    ours: LanguageTransformer
    language: Any
    score: Callable[[Tensor], Tensor]
    layout: RasterLayout


@functools.cache
def pair(family: str) -> Pair:
    return {"janus": _janus, "emu3": _emu3, "chameleon": _chameleon, "swin": _swin}[family]()


def _janus() -> Pair:
    config = transformers.JanusConfig(
        text_config=transformers.LlamaConfig(**TEXT),
        vision_config={
            "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 48, "patch_size": 12,
            "num_image_tokens": 16, "projection_dim": 32,
        },
        vq_config={
            "embed_dim": 8, "num_embeddings": CODES, "projection_dim": 32, "image_token_embed_dim": 32,
            "base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1, "latent_channels": 32,
        },
    )  # fmt: skip
    theirs = _random(transformers.JanusForConditionalGeneration, config)
    theirs.generation_config.generation_kwargs = {"boi_token_id": IMAGE}
    made = language_configs.janus(theirs.config.to_dict())
    ours = filled(JanusTransformer, made, theirs, language_keys.from_janus_transformers)
    return Pair(theirs, ours, theirs.model.language_model, theirs.model.generation_head, RasterLayout(4, 4))


def _emu3() -> Pair:
    words = {"<image>": IMAGE, "<|extra_200|>": ROW_END} | {
        f"<|visual token {code:06d}|>": WORDS + code for code in range(CODES)
    }
    config = transformers.Emu3Config(
        text_config=TEXT | {"num_key_value_heads": 2},
        vq_config={
            "codebook_size": CODES, "base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1,
            "attn_resolutions": [], "hidden_size": 32,
        },
        vocabulary_map=words,
    )  # fmt: skip
    theirs = _random(transformers.Emu3ForConditionalGeneration, config)
    made = language_configs.emu3(theirs.config.to_dict())
    ours = filled(Emu3Transformer, made, theirs, language_keys.from_emu3)
    layout = RasterLayout(3, 5, row_end=CODES)
    return Pair(theirs, ours, theirs.model.text_model, _codes_of(theirs, range(WORDS, WORDS + CODES)), layout)


def _chameleon(swin_norm: bool = False, keys: int = 4) -> Pair:
    """The codes do not stand in their order, as in Meta's vocabulary they need not."""
    places = [WORDS + (7 * code + 3) % CODES for code in range(CODES)]
    letters = str.maketrans("0123456789", "ABCDEFGHIJ")
    words = {"<image>": IMAGE} | {f"IMGIMG{code}".translate(letters) + "Z": place for code, place in enumerate(places)}
    config = transformers.ChameleonConfig(
        **TEXT | {"num_key_value_heads": keys},
        swin_norm=swin_norm,
        vq_config={
            "num_embeddings": CODES, "embed_dim": 8, "latent_channels": 32, "resolution": 16, "base_channels": 32,
            "channel_multiplier": [1], "num_res_blocks": 1,
        },
        vocabulary_map=words,
    )  # fmt: skip
    theirs = _random(transformers.ChameleonForConditionalGeneration, config)
    made = language_configs.chameleon(theirs.config.to_dict())
    ours = filled(ChameleonTransformer, made, theirs, language_keys.from_chameleon)
    return Pair(theirs, ours, theirs.model, _codes_of(theirs, places), RasterLayout(3, 4))


def _swin() -> Pair:
    return _chameleon(swin_norm=True, keys=2)


def _random(kind: Any, config: Any) -> Any:
    """A model whose laws are far from flat, norms and biases included."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind(config).eval().requires_grad_(False)
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.35)
            else:
                weight.add_(torch.randn_like(weight) * 0.2)
    return model


def _codes_of(theirs: Any, words: Any) -> Callable[[Tensor], Tensor]:
    return lambda hidden: theirs.lm_head(hidden)[..., list(words)]


def filled(kind: Any, config: dict, theirs: Any, rename: Callable[[str], str | None]) -> Any:
    """Ours, made without memory from a configuration that has been a file, then given their weights strictly."""
    with torch.device("meta"):
        ours = kind.from_config(json.loads(json.dumps(config)))
    state = {name: weight for key, weight in theirs.state_dict().items() if (name := rename(key)) is not None}
    ours.load_state_dict(state, assign=True, strict=True)
    return ours.eval().requires_grad_(False)


def prompts(ours: LanguageTransformer, lengths: tuple[int, ...], seed: int = 0) -> Prompt:
    """Random texts of these many words each."""
    generator = torch.Generator().manual_seed(seed)
    return Prompt.ragged([ours.embed_text(torch.randint(WORDS, (length,), generator=generator)) for length in lengths])
