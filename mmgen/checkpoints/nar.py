"""The published files of neighbouring autoregression: transformers of pictures, and of videos.

Of the collection chenfeng1271/nar on the Hugging Face Hub, and yefly/NAR-XL-t2i-stage2; all are pickles, which are read
without running anything. Safetensors of the same names are read as well. Pictures are those of LlamaGen's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints import llamagen
from mmgen.checkpoints.folder import Weightless, fill
from mmgen.checkpoints.weights import Weights
from mmgen.errors import MmgenError, OptionError, WeightsError

if TYPE_CHECKING:
    from mmgen.backbones.neighbour import NeighbourTransformer
    from mmgen.pipelines.neighbour import NeighbourPipeline
    from mmgen.tokenizers.vqgan import VQGAN

HEADS = {384: 6, 1024: 16, 1280: 20} | {size: heads for _, size, heads in llamagen.SIZES.values()}
"""Attention heads of published sizes, by channels."""

_PICTURE = (("medusa_norm", "medusa_output"), ("norm", "output"))
_VIDEO = (("norm_B", "output_B"), ("norm_D", "output_D"), ("norm_R", "output_R"))
"""Norm and head of every axis, the first axis first: below and right; back in time, down and right."""

_CLIP = (4, 16, 16)
"""Codes of a published clip; the file says their number alone."""


def recognise(path: Path) -> bool:
    """Whether a file, or the only weights of a folder, are a transformer of pictures."""
    return _recognised(path) is _PICTURE


def recognise_video(path: Path) -> bool:
    """Whether a file, or the only weights of a folder, are a transformer of videos."""
    return _recognised(path) is _VIDEO


def _recognised(path: Path) -> Sequence[tuple[str, str]] | None:
    try:
        return _axes(Weights.open(path))
    except MmgenError:
        return None


def _axes(weights: Weights) -> Sequence[tuple[str, str]] | None:
    """The norms and heads of a transformer; None where it is something else."""
    if "tok_embeddings.weight" not in weights:
        return None
    return next((axes for axes in (_PICTURE, _VIDEO) if f"{axes[0][1]}.weight" in weights), None)


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | VQGAN | None = None,
    text_encoder: Path | str | None = None,
    image_size: int | None = None,
    heads: int | None = None,
) -> NeighbourPipeline:
    """Makes a pipeline of a published transformer of pictures.

    Args:
        path: the transformer's file.
        dtype: type of the weights; None makes them float32.
        tokenizer: the file of LlamaGen's VQ tokenizer, or the model; None looks for `vq_ds16_c2i.pt` or
            `vq_ds16_t2i.pt` beside the transformer.
        text_encoder: folder of flan-t5-xl in transformers' format, for text-conditional transformers.
        image_size: pixels of a side; None reads it from a name such as `t2i_XL_stage1_256.pt`, and where that says
            nothing takes what was published last: 256 by class, 512 by caption.
        heads: attention heads, of a transformer that has none of the published sizes.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
        OptionError: what the file does not say is not given.
    """
    from mmgen.decoding import planes
    from mmgen.pipelines.neighbour import NeighbourPipeline

    by_class = "cls_embedding.embedding_table.weight" in Weights.open(path)
    vqgan = llamagen._tokenizer(path, tokenizer, "c2i" if by_class else "t2i", dtype)
    if image_size is None and not re.search(r"_(256|384|512)(?!\d)", path.stem):
        image_size = 256 if by_class else 512
    side = llamagen._grid(path, image_size, vqgan.stride)
    components: dict[str, Any] = {} if by_class else llamagen._text_components(text_encoder, dtype)
    return NeighbourPipeline(
        vqgan,
        load_transformer(path, dtype, heads, (side, side)),
        planes.make("plane-wise"),
        {"guidance": 4.0, "top_k": 2000} if by_class else {"guidance": 7.5},
        **components,
    )


def load_transformer(
    path: Path, dtype: torch.dtype | None = None, heads: int | None = None, sizes: Sequence[int] | None = None
) -> NeighbourTransformer:
    """A published transformer, of pictures or of videos, from its file.

    Args:
        path: its file.
        dtype: type of the weights; None makes them float32.
        heads: attention heads, of a transformer that has none of the published sizes.
        sizes: codes along each axis; None takes those of published clips, and 16 x 16 of a picture.

    Raises:
        WeightsError: the file is damaged or something else.
        OptionError: what the file does not say is not given.
    """
    from mmgen.backbones.neighbour import NeighbourTransformer

    weights = llamagen.published(path)
    config = configuration(weights, heads, sizes)
    with Weightless():
        model = NeighbourTransformer(**config)
    return fill(model, weights.arranged(arrangement(config)), dtype)


def configuration(weights: Weights, heads: int | None = None, sizes: Sequence[int] | None = None) -> dict[str, Any]:
    """What the tensors say of a transformer, and what of the grid and the heads is given or was published.

    Raises:
        OptionError: it has none of the published sizes or clips, and `heads` or `sizes` are not given.
        WeightsError: it lacks the tensors that tell.
    """
    axes = _axes(weights)
    if axes is None:
        raise WeightsError(weights.path, f"lacks {_PICTURE[0][1]} or {_VIDEO[0][1]}", "give a transformer of NAR")
    heads = HEADS.get(weights["tok_embeddings.weight"].shape[-1]) if heads is None else heads
    config = llamagen.configuration(weights, heads)
    config["layers"] -= len(axes) - 1
    if axes is _PICTURE:
        return config | {"sizes": tuple(sizes or (16, 16)), "positions": "rotary"}
    if "abs_pe" not in weights:
        raise WeightsError(weights.path, "lacks 'abs_pe'", "give a transformer of NAR")
    length = weights["abs_pe"].shape[-2] - config["condition_length"]
    return config | {"sizes": _clip(length, sizes), "positions": "learned"}


def _clip(length: int, sizes: Sequence[int] | None) -> tuple[int, ...]:
    sizes = tuple(sizes or _CLIP)
    if torch.Size(sizes).numel() != length:
        raise OptionError("sizes", sizes, f"codes along time, rows and columns of a clip: {length} together")
    return sizes


def arrangement(config: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Of which published tensors each of ours consists."""
    axes = _PICTURE if len(config["sizes"]) == 2 else _VIDEO
    names = llamagen.arrangement({**config, "layers": config["layers"] + len(axes) - 1})
    del names["norm.weight"], names["head.weight"]
    for axis, (norm, head) in enumerate(axes):
        names[f"axis_norms.{axis}.weight"] = [f"{norm}.weight"]
        names[f"axis_heads.{axis}.weight"] = [f"{head}.weight"]
    if config["positions"] == "learned":
        names["place_embedding"] = ["abs_pe"]
    return names
