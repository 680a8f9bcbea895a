"""Tiny Chameleons in published formats, with random weights, and what transformers and diffusers make of them."""

from __future__ import annotations

import json
import re

import torch
from diffusers import VQModel
from safetensors.torch import save_file
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import ChameleonConfig, ChameleonForConditionalGeneration

from tokenizers import AddedToken, Tokenizer

CODES = 32
_STRUCTURE = re.compile(r"<racm3:break>|<reserved")
HEADS = 4
BEGIN_OF_IMAGE, END_OF_TURN, ROW_END = "<racm3:break>", "<reserved08706>", "<reserved08799>"
TEXT = re.findall(
    r"\S+",
    """a red cat two stars Generate an image of according to the following prompt 64x32 32x32 32x64 : dual panel where
    < > upper lower half displays depth map while retains original for direct visual comparison - >, canny edge""",
)

_TAMING = (
    (r"encoder\.down_blocks\.(\d+)\.", r"encoder.down.\1."),
    (r"decoder\.up_blocks\.(\d+)\.", lambda found: f"decoder.up.{2 - int(found[1])}."),
    (r"(down|up)samplers\.0\.", r"\1sample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"group_norm|spatial_norm", "norm"),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0\.", "proj_out."),
)
"""diffusers' names of a VQGAN, and those of taming-transformers, which Chameleon and MoVQGAN use."""


def chameleon_vocabulary() -> dict[str, int]:
    """Words as Chameleon's vocabulary has them: codes from 4 on, then words that are no text."""
    letters = str.maketrans("0123456789", "ABCDEFGHIJ")
    names = ["<s>", "<pad>", "</s>", "<unk>", *(f"IMGIMG{str(code).translate(letters)}Z" for code in range(CODES))]
    names += [BEGIN_OF_IMAGE, "<eoss>", END_OF_TURN, "<image>", ROW_END]
    names += [f"<reserved{8800 + count:05d}>" for count in (1, 2)] + TEXT
    return {name: number for number, name in enumerate(names)}


def tiny_model(vocabulary_size: int, vocabulary_map: dict[str, int], parts: int = 1, swin_norm: bool = False):
    """A Chameleon of transformers whose laws are far from flat; `parts` groups of heads share their norms."""
    config = ChameleonConfig(
        vocab_size=vocabulary_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=256,
        swin_norm=swin_norm,
        vocabulary_map=vocabulary_map,
        vq_config={
            "embed_dim": 8, "num_embeddings": CODES, "latent_channels": 8, "base_channels": 32,
            "channel_multiplier": [1, 1, 2], "num_res_blocks": 1, "resolution": 16,
        },
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ChameleonForConditionalGeneration(config)
        for name, weight in model.named_parameters():
            if re.search(r"[qk]_norm\.", name):
                rows = torch.randn(parts, weight.shape[-1]) * 0.4 + float(name.endswith("weight"))
                weight.data = rows.repeat_interleave(HEADS // parts, dim=0)
            elif weight.ndim == 2 and "vqmodel" not in name:
                weight.data.normal_(0, 0.3)
    return model.eval().requires_grad_(False)


def tiny_tokenizer(codes: int = CODES, channels: int = 8, spatial_norm: bool = False, latents: int = 8) -> VQModel:
    """A VQGAN of diffusers whose codes stand for 4 x 4 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = VQModel(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(32, 32, 64),
            latent_channels=latents,
            vq_embed_dim=channels,
            num_vq_embeddings=codes,
            norm_type="spatial" if spatial_norm else "group",
        )
        model.quantize.embedding.weight.data.normal_(0, 2)
    return model.eval().requires_grad_(False)


def tiny_tokenizer_weights(model: VQModel) -> dict[str, torch.Tensor]:
    """Its weights as published."""
    weights = {}
    for name, tensor in model.state_dict().items():
        for pattern, replacement in _TAMING:
            name = re.sub(pattern, replacement, name)
        matrix = re.search(r"attn.*\.(q|k|v|proj_out)\.weight", name)
        weights[name] = tensor[..., None, None].clone() if matrix else tensor.clone()
    return weights


@torch.no_grad()
def their_pixels(model: VQModel, codes: torch.Tensor) -> torch.Tensor:
    """What diffusers decodes codes [B, 1, h, w] to, as pictures [B, 3, H, W] in [0, 1]."""
    vectors = model.quantize.embedding(codes[:, 0]).permute(0, 3, 1, 2)
    return model.decode(vectors, force_not_quantize=True).sample.clamp(-1, 1) / 2 + 0.5


@torch.no_grad()
def their_codes(
    model, prompt: list[int], null: list[int], first: int, rows: int, columns: int, row_end=None, codes: int = CODES
):
    """Greedy codes under guidance 3, from transformers' whole forward; its mask of image tokens is not used."""
    words: list[int] = []
    for place in range(rows * (columns + (row_end is not None))):
        if row_end is not None and place % (columns + 1) == columns:
            words.append(row_end)
            continue
        with_, without = (
            model.lm_head(model.model(input_ids=torch.tensor([ids + words])).last_hidden_state[0, -1])
            for ids in (prompt, null)
        )
        mixed = without + 3 * (with_ - without)
        words.append(first + int(mixed[first : first + codes].argmax()))
    return torch.tensor(words).view(1, 1, rows, -1)[..., :columns] - first


def write_words(folder, vocabulary: dict[str, int], **special: str) -> None:
    """Writes a text tokenizer that knows whole words; it does not say that those of structure are no text."""
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in vocabulary if _STRUCTURE.match(word)])
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def write_folder(folder, model, vocabulary, weights=None, config=None, **special: str) -> None:
    """A folder in transformers' format, with other weights and additions to the configuration where they are given."""
    model.save_pretrained(folder)
    if weights is not None:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    if config:
        written = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(written | config))
    write_words(folder, vocabulary, **special)
