"""Emu3-Gen as published: in transformers' format, and by BAAI.

BAAI/Emu3-Gen-hf on the Hugging Face Hub is transformers' (`model_type` "emu3"). The authors' own are two folders,
BAAI/Emu3-Gen and BAAI/Emu3-VisionTokenizer, whose code is not run: the names of their weights are translated, and
the text tokenizer is made of `emu3.tiktoken` and `emu3_vision_tokens.txt`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgen.catalog import read_json
from mmgen.checkpoints import language_configs
from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.language_keys import from_emu3
from mmgen.checkpoints.stored import Entry
from mmgen.checkpoints.weights import Weights
from mmgen.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from mmgen.pipelines.emu3 import Emu3Pipeline
    from mmgen.tokenizers.emu3_vq import Emu3VQ

_FIRST_CODE, _ROW_END = "<|visual token 000000|>", "<|extra_200|>"

_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What the authors' tokenizer cuts a text into before it joins bytes."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))
"""Its special words; those of `emu3_vision_tokens.txt` follow."""

_TOKENIZER_SIZES = {
    "codebook_size": "codebook_size",
    "embed_dim": "embed_dim",
    "z_channels": "latent_channels",
    "double_z": "double_latent",
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "temporal_downsample_factor": "temporal_downsample_factor",
    "ch": "base_channels",
    "ch_mult": "channel_multiplier",
    "num_res_blocks": "num_res_blocks",
    "attn_resolutions": "attn_resolutions",
}
"""The authors' names of the tokenizer's sizes, and those of transformers."""

_TOKENIZER_NAMES = (
    (r"\.(down|up)\.(\d+)\.attn\.(\d+)\.norm\.", r".\1_block.\1.\2.attn_norms.\3."),
    (r"\.mid\.attn_1\.norm\.", ".middle_block.attn_norm."),
    (r"\.mid\.", ".middle_block."),
    (r"\.(down|up)\.(\d+)\.(block|attn|downsample|upsample)\.", r".\1_block.\1.\2.\3."),
    (r"(\.attn(?:_1|\.\d+)\.[qkv])\.", r"\1_proj."),
    (r"(\.attn(?:_1|\.\d+))\.proj_out\.", r"\1.out_proj."),
)


def recognise(path: Path) -> bool:
    """Whether a folder holds the language model of Emu3, of either format."""
    try:
        return read_json(path / "config.json").get("model_type") in ("emu3", "Emu3")
    except WeightsError:
        return False


def load(path: Path, dtype: torch.dtype | None = None, *, tokenizer: Path | str | None = None) -> Emu3Pipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: has `config.json`, the weights, and the files of the text tokenizer.
        dtype: type of the weights; None makes them float32.
        tokenizer: folder of BAAI/Emu3-VisionTokenizer, which the authors' folders need; in transformers' format the
            tokenizer of pictures lies among the weights, and is taken from there where nothing is given.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
        OptionError: the folder needs a tokenizer, and none is given.
    """
    from mmgen import decoding
    from mmgen.backbones.emu3 import Emu3Transformer
    from mmgen.pipelines.emu3 import Emu3Pipeline

    config, weights = read_json(path / "config.json"), Weights.open(path)
    official = config.get("model_type") == "Emu3"
    if official and tokenizer is None:
        raise OptionError("tokenizer", None, "the folder of BAAI/Emu3-VisionTokenizer, which is not part of this one")
    text_tokenizer = _text_tokenizer(path, official)
    with described(path / "config.json", "an Emu3"):
        vq, of_vq = _own_tokenizer(config, weights) if tokenizer is None else _other_tokenizer(Path(tokenizer))
        weights = weights.renamed(from_emu3)
        transformer = build(Emu3Transformer, _arguments(config, text_tokenizer, len(vq.codebook)), weights)
    return Emu3Pipeline(
        fill(vq, of_vq, dtype),
        fill(transformer, weights, dtype),
        decoding.make("jacobi", window=16),
        text_tokenizer,
        {"guidance": 3.0, "top_k": 2048},
    )


def _other_tokenizer(path: Path) -> tuple[Emu3VQ, Weights]:
    """The tokenizer of pictures from the authors' folder, BAAI/Emu3-VisionTokenizer."""
    from mmgen.tokenizers.emu3_vq import Emu3VQ

    published = read_json(path / "config.json")
    if published.get("model_type") != "Emu3VisionVQ":
        raise WeightsError(path, "is not Emu3's tokenizer of pictures", "give BAAI/Emu3-VisionTokenizer")
    renamed = Weights.open(path).renamed(tokenizer_name)
    weights = Weights(renamed.path, {name: _as_linear(name, renamed[name]) for name in renamed})
    with described(path / "config.json", "Emu3's tokenizer of pictures"):
        config = {ours: published[theirs] for theirs, ours in _TOKENIZER_SIZES.items() if theirs in published}
        if "ch" in published and "ch_mult" in published:
            config["hidden_size"] = published["ch"] * published["ch_mult"][-1]
        return build(Emu3VQ, {"vq_config": config}, weights), weights


def tokenizer_name(key: str) -> str:
    """The authors' name of one of the tokenizer's weights, in those of `mmgen.tokenizers.emu3_vq.Emu3VQ`."""
    for pattern, replacement in _TOKENIZER_NAMES:
        key = re.sub(pattern, replacement, key)
    return f"vqvae.{key}"


@dataclass(frozen=True)
class _Squeezed:
    """The weight of a 1 x 1 convolution, [C', C, 1, 1], as that of the linear layer it is: [C', C]."""

    convolution: Entry

    @property
    def shape(self) -> tuple[int, ...]:
        return self.convolution.shape[:2]

    @property
    def dtype(self) -> torch.dtype:
        return self.convolution.dtype

    def copy_to(self, target: Tensor) -> None:
        self.convolution.copy_to(target[..., None, None])


def _as_linear(name: str, entry: Entry) -> Entry:
    return _Squeezed(entry) if name.endswith("_proj.weight") and entry.shape[2:] == (1, 1) else entry


def _own_tokenizer(config: dict[str, Any], weights: Weights) -> tuple[Emu3VQ, Weights]:
    """The tokenizer among the weights of transformers' format."""
    from mmgen.tokenizers.emu3_vq import Emu3VQ

    part = weights.renamed(
        lambda name: f"vqvae.{name.split('vqmodel.', 1)[1]}" if re.match(r"(model\.)?vqmodel\.", name) else None
    )
    return build(Emu3VQ, {"vq_config": config.get("vq_config") or {}}, part), part


def _arguments(config: dict[str, Any], words: PreTrainedTokenizerFast, codes: int) -> dict[str, Any]:
    """Those of `Emu3Transformer`; what the configuration does not say, the text tokenizer does."""
    first_code, row_end = words.convert_tokens_to_ids([_FIRST_CODE, _ROW_END])
    return {"first_code": first_code, "codes": codes, "row_end": row_end} | language_configs.emu3(config)


def _text_tokenizer(path: Path, official: bool) -> PreTrainedTokenizerFast:
    from mmgen.checkpoints.text_tokenizers import checked, from_tiktoken, load_text_tokenizer
    from mmgen.pipelines.emu3 import BEGIN_OF_CODES, BEGIN_OF_IMAGE, BEGIN_OF_TEXT

    needed = (BEGIN_OF_TEXT, BEGIN_OF_IMAGE, BEGIN_OF_CODES, _FIRST_CODE, _ROW_END)
    if not official:
        return load_text_tokenizer(path / "tokenizer.json", needed)
    file = path / "emu3_vision_tokens.txt"
    try:
        vision = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise WeightsError(file, f"cannot be read ({error})", "fetch the whole folder of BAAI/Emu3-Gen") from error
    return checked(file, from_tiktoken(path / "emu3.tiktoken", _PIECES, (*_SPECIAL, *vision)), needed)
