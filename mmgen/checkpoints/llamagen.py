"""LlamaGen's published files: a transformer, and the tokenizer that lies beside it.

Of FoundationVision/LlamaGen and peizesun/llamagen_t2i on the Hugging Face Hub; all are pickles, which are read
without running anything. Safetensors of the same names are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints.folder import Weightless, fill
from mmgen.checkpoints.text_encoders import load_t5
from mmgen.checkpoints.vqgan_keys import from_llamagen
from mmgen.checkpoints.weights import Weights, file_beside
from mmgen.errors import MmgenError, OptionError, WeightsError

if TYPE_CHECKING:
    from mmgen.pipelines.llamagen import LlamaGenPipeline
    from mmgen.tokenizers.vqgan import VQGAN

SIZES = {
    "B": (12, 768, 12),
    "L": (24, 1024, 16),
    "XL": (36, 1280, 20),
    "XXL": (48, 1536, 24),
    "XXXL": (48, 2560, 40),
    "1B": (22, 2048, 32),
    "3B": (24, 3200, 32),
    "7B": (32, 4096, 32),
}
"""Published sizes: layers, channels and heads."""

_DROPPED = re.compile(r"freqs_cis|layers\.\d+\.attention\.kv_cache\..*")
"""Tables and caches that old files hold, which are made anew."""

_LARGEST_SIDE = 4096
"""Pixels; four times what was published leaves room, and a slip of the keyboard does not fill the memory."""

_BLOCK = {
    "attention_norm.weight": ["attention_norm.weight"],
    "qkv.weight": ["attention.wqkv.weight"],
    "attention_out.weight": ["attention.wo.weight"],
    "feed_forward_norm.weight": ["ffn_norm.weight"],
    "gate_up.weight": ["feed_forward.w1.weight", "feed_forward.w3.weight"],
    "down.weight": ["feed_forward.w2.weight"],
}


def recognise(path: Path) -> bool:
    """Whether a file, or the only weights of a folder, are a LlamaGen transformer."""
    try:
        weights = Weights.open(path)
        return "tok_embeddings.weight" in weights and any(name.startswith("cls_embedding.") for name in weights)
    except MmgenError:
        return False


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | VQGAN | None = None,
    text_encoder: Path | str | None = None,
    image_size: int | None = None,
    heads: int | None = None,
) -> LlamaGenPipeline:
    """Makes a pipeline of a published transformer.

    Args:
        path: the transformer's file.
        dtype: type of the weights; None makes them float32.
        tokenizer: the file of the VQ tokenizer, or the model; None looks for `vq_ds16_c2i.pt` or `vq_ds16_t2i.pt`
            beside the transformer.
        text_encoder: folder of flan-t5-xl in transformers' format, for text-conditional transformers.
        image_size: pixels of a side: the file does not say; None reads it from a name such as `c2i_B_384.pt`.
        heads: attention heads, of a transformer that has none of the published sizes.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
        OptionError: what the file does not say is not given.
    """
    from mmgen import decoding
    from mmgen.backbones.llamagen import LlamaGenTransformer
    from mmgen.pipelines.llamagen import LlamaGenPipeline

    weights = published(path)
    by_class = "cls_embedding.embedding_table.weight" in weights
    vqgan = _tokenizer(path, tokenizer, "c2i" if by_class else "t2i", dtype)
    side = _grid(path, image_size, vqgan.stride)
    config = configuration(weights, heads) | {"height": side, "width": side}
    with Weightless():
        transformer = LlamaGenTransformer(**config)
    components: dict[str, Any] = {} if by_class else _text_components(text_encoder, dtype)
    return LlamaGenPipeline(
        vqgan,
        fill(transformer, weights.arranged(arrangement(config)), dtype),
        decoding.make("jacobi", window=16),
        {"guidance": 4.0, "top_k": 2000} if by_class else {"guidance": 7.5, "top_k": 1000},
        **components,
    )


def published(path: Path) -> Weights:
    """The tensors of a published transformer that are weights."""
    return Weights.open(path).renamed(lambda name: None if _DROPPED.fullmatch(name) else name)


def configuration(weights: Weights, heads: int | None = None) -> dict[str, Any]:
    """What the shapes say of a transformer; the grid is not among it.

    Raises:
        OptionError: it has none of the published sizes, and `heads` is not given.
        WeightsError: it lacks the tensors that tell.
    """
    try:
        vocabulary, size = weights["tok_embeddings.weight"].shape
        hidden_size = weights["layers.0.feed_forward.w1.weight"].shape[0]
        layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
        condition = _condition(weights)
    except (KeyError, ValueError) as error:
        raise WeightsError(weights.path, f"lacks {error}", "give a LlamaGen transformer") from error
    known = {(depth, width): count for depth, width, count in SIZES.values()}
    heads = known.get((layers, size)) if heads is None else heads
    if heads is None or heads < 1 or size % (4 * heads):
        raise OptionError("heads", heads, f"the number of attention heads: {size} channels are shared by them in fours")
    sizes = {"size": size, "layers": layers, "heads": heads, "hidden_size": hidden_size}
    return {"vocabulary_size": vocabulary, **sizes, **condition}


def _condition(weights: Weights) -> dict[str, Any]:
    if "cls_embedding.embedding_table.weight" in weights:
        return {"classes": weights["cls_embedding.embedding_table.weight"].shape[0] - 1, "condition_length": 1}
    length, features = weights["cls_embedding.uncond_embedding"].shape
    return {"classes": None, "caption_size": features, "condition_length": length}


def arrangement(config: dict[str, Any]) -> dict[str, Sequence[str]]:
    """Of which published tensors each of ours consists."""
    names: dict[str, Sequence[str]] = {
        "token_embedding.weight": ["tok_embeddings.weight"],
        "norm.weight": ["norm.weight"],
        "head.weight": ["output.weight"],
    }
    if config["classes"] is not None:
        names["class_embedding.weight"] = ["cls_embedding.embedding_table.weight"]
    else:
        names["caption_up.weight"] = ["cls_embedding.cap_proj.fc1.weight"]
        names["caption_down.weight"] = ["cls_embedding.cap_proj.fc2.weight"]
        names["null_caption"] = ["cls_embedding.uncond_embedding"]
    for layer in range(config["layers"]):
        for ours, theirs in _BLOCK.items():
            names[f"blocks.{layer}.{ours}"] = [f"layers.{layer}.{name}" for name in theirs]
    return names


def load_tokenizer(path: Path, dtype: torch.dtype | None = None) -> VQGAN:
    """LlamaGen's VQ-8 or VQ-16 from its file.

    Raises:
        WeightsError: the file is damaged or something else.
    """
    from mmgen.tokenizers.vqgan import VQGAN

    weights = Weights.open(path)
    with Weightless():
        model = VQGAN(**tokenizer_configuration(weights))
    return fill(model, weights.renamed(from_llamagen), dtype)


def tokenizer_configuration(weights: Weights) -> dict[str, Any]:
    """What the shapes say of a VQ tokenizer.

    Raises:
        WeightsError: it lacks the tensors that tell.
    """
    try:
        codes, codebook_channels = weights["quantize.embedding.weight"].shape
        channels = weights["encoder.conv_in.weight"].shape[0]
        latent_channels = weights["encoder.conv_out.weight"].shape[0]
        levels = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.conv_blocks."))
        outputs = [weights[f"encoder.conv_blocks.{level}.res.1.conv2.weight"].shape[0] for level in range(levels)]
    except (KeyError, ValueError) as error:
        raise WeightsError(weights.path, f"lacks {error}", "give a VQ tokenizer of LlamaGen") from error
    return {
        "codebook_size": codes,
        "codebook_channels": codebook_channels,
        "latent_channels": latent_channels,
        "channels": channels,
        "multipliers": [output // channels for output in outputs],
    }


def _tokenizer(path: Path, given: Any, kind: str, dtype: torch.dtype | None) -> VQGAN:
    if given is not None:
        return load_tokenizer(Path(given), dtype) if isinstance(given, str | Path) else given
    file = file_beside(path, [f"vq_ds16_{kind}", "vq_ds16"])
    if file is not None:
        return load_tokenizer(file, dtype)
    raise WeightsError(path, "has no tokenizer beside it", f"give one: tokenizer=.../vq_ds16_{kind}.pt")


def _grid(path: Path, image_size: int | None, stride: int) -> int:
    """Codes of a side."""
    named = re.search(r"_(256|384|512)(?!\d)", path.stem)
    if image_size is None and named is None:
        raise OptionError("image_size", None, "the pixels of a side, which the file does not say: 256, 384 or 512")
    pixels = image_size or int(named.group(1))  # type: ignore[union-attr]
    if pixels % stride or not 0 < pixels <= _LARGEST_SIDE:
        raise OptionError("image_size", pixels, f"a multiple of the tokenizer's stride {stride} up to {_LARGEST_SIDE}")
    return pixels // stride


def _text_components(folder: Path | str | None, dtype: torch.dtype | None) -> dict[str, Any]:
    from transformers import AutoTokenizer

    if folder is None:
        raise OptionError("text_encoder", None, "a folder of flan-t5-xl, which reads the captions")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # its libraries raise of all kinds
        raise WeightsError(folder, f"holds no text tokenizer ({error})", "give all files of flan-t5-xl") from error
    return {"text_encoder": load_t5(Path(folder), dtype), "text_tokenizer": tokenizer}
