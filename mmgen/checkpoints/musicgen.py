"""MusicGen as published in transformers' format: transformer, text encoder and codec lie in the same files.

facebook/musicgen-small, -medium and -large, and musicgen-stereo-small, -medium and -large on the Hugging Face Hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.catalog import read_json
from mmgen.checkpoints import sound_codecs
from mmgen.checkpoints.folder import build, described, fill, model_type
from mmgen.checkpoints.text_encoders import t5
from mmgen.checkpoints.weights import Weights
from mmgen.errors import WeightsError

if TYPE_CHECKING:
    from mmgen.backbones.musicgen import MusicGenTransformer
    from mmgen.pipelines.musicgen import MusicGenPipeline

_DROPPED = re.compile(r"(text_encoder|audio_encoder)\.|decoder\.model\.decoder\.embed_positions\.weights$")
"""Other parts, and the table of positions that older files hold, which follows from its length."""

SAMPLING = {"guidance": 3.0, "top_k": 250}
"""audiocraft's defaults."""


def recognise(path: Path) -> bool:
    """Whether a folder holds MusicGen; the melody models are others."""
    return model_type(path) == "musicgen"


def load(path: Path, dtype: torch.dtype | None = None) -> MusicGenPipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: has `config.json`, the weights, and `tokenizer.json`.
        dtype: type of the weights, but for the codec's, which are float32; None makes them float32.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen.backbones.musicgen import MusicGenTransformer
    from mmgen.pipelines.musicgen import MusicGenPipeline

    return assembled(path, dtype, MusicGenPipeline, MusicGenTransformer, configuration)


def load_transformer(path: Path, dtype: torch.dtype | None = None) -> MusicGenTransformer:
    """The transformer of a published folder alone.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen.backbones.musicgen import MusicGenTransformer

    if not recognise(path):
        raise WeightsError(path, "holds no MusicGen", "give a folder of transformers' MusicGen, not a melody model")
    own = Weights.open(path).renamed(_ours)
    with described(path / "config.json", "a MusicGen"):
        transformer = build(MusicGenTransformer, configuration(read_json(path / "config.json")), own)
    return fill(transformer, own, dtype)


def assembled(
    path: Path,
    dtype: torch.dtype | None,
    pipeline: Any,
    model: Any,
    arguments: Callable[[dict[str, Any]], dict[str, Any]],
) -> Any:
    """A pipeline of a published folder.

    Args:
        path: as in `load`.
        dtype: likewise.
        pipeline: its class.
        model: that of its transformer.
        arguments: gives those of the transformer, from `config.json`.
    """
    from mmgen.checkpoints.text_tokenizers import load_text_tokenizer
    from mmgen.decoding import planes
    from mmgen.pipelines.musicgen import END_OF_TEXT

    config, published = read_json(path / "config.json"), Weights.open(path)
    own = published.renamed(_ours)
    with described(path / "config.json", "a MusicGen"):
        transformer = build(model, arguments(config), own)
        channels = transformer.channels
        each = transformer.codebooks // channels
        part = published.renamed(_part("audio_encoder."))
        codec = sound_codecs.built(config["audio_encoder"], part, channels=channels, codebooks=each)
        text_encoder = t5(config["text_encoder"], published.renamed(_part("text_encoder.")), dtype)
    return pipeline(
        fill(*codec, torch.float32),
        fill(transformer, own, dtype),
        planes.make("jacobi"),
        text_encoder,
        load_text_tokenizer(path / "tokenizer.json", (END_OF_TEXT,)),
        SAMPLING,
    )


def configuration(published: dict[str, Any]) -> dict[str, Any]:
    """`MusicGenTransformer`'s arguments, from transformers' `config.json`."""
    return {"decoder": published["decoder"], "text_size": published["text_encoder"].get("d_model", 512)}


def _ours(name: str) -> str | None:
    if _DROPPED.match(name):
        return None
    return name.removeprefix("decoder.").removeprefix("model.decoder.")


def _part(prefix: str) -> Callable[[str], str | None]:
    """Names of what begins with the prefix, without it."""
    return lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None
