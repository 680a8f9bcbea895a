"""MusicGen melody as published in transformers' format.

facebook/musicgen-melody, -melody-large, and musicgen-stereo-melody, -stereo-melody-large on the Hugging Face Hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints import musicgen
from mmgen.checkpoints.folder import model_type

if TYPE_CHECKING:
    from mmgen.pipelines.musicgen_melody import MusicGenMelodyPipeline


def recognise(path: Path) -> bool:
    """Whether a folder holds MusicGen melody."""
    return model_type(path) == "musicgen_melody"


def load(path: Path, dtype: torch.dtype | None = None) -> MusicGenMelodyPipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: has `config.json`, the weights, and `tokenizer.json`.
        dtype: type of the weights, but for the codec's, which are float32; None makes them float32.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen.backbones.musicgen import MusicGenMelodyTransformer
    from mmgen.pipelines.musicgen_melody import MusicGenMelodyPipeline

    return musicgen.assembled(path, dtype, MusicGenMelodyPipeline, MusicGenMelodyTransformer, configuration)


def configuration(published: dict[str, Any]) -> dict[str, Any]:
    """`MusicGenMelodyTransformer`'s arguments, from transformers' `config.json`."""
    own = {"chroma": published.get("num_chroma", 12), "chroma_length": published.get("chroma_length", 235)}
    return musicgen.configuration(published) | own
