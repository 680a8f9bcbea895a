"""Names, folders and repositories to pipelines and tokenizers."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from mmgen import catalog
from mmgen.checkpoints import hub, published
from mmgen.checkpoints.folder import load_model
from mmgen.errors import UnknownNameError
from mmgen.pipelines.pipeline import Pipeline

PIPELINES = {
    "TextToImagePipeline": "mmgen.pipelines.text_to_image",
    "LlamaGenPipeline": "mmgen.pipelines.llamagen",
    "NeighbourPipeline": "mmgen.pipelines.neighbour",
    "NeighbourVideoPipeline": "mmgen.pipelines.nar_video",
    "JanusPipeline": "mmgen.pipelines.janus",
    "Emu3Pipeline": "mmgen.pipelines.emu3",
    "ChameleonPipeline": "mmgen.pipelines.chameleon",
    "LuminaMGPT2Pipeline": "mmgen.pipelines.lumina_mgpt2",
    "VARPipeline": "mmgen.pipelines.var",
    "DistilledPipeline": "mmgen.pipelines.distilled",
    "MusicGenPipeline": "mmgen.pipelines.musicgen",
    "MusicGenMelodyPipeline": "mmgen.pipelines.musicgen_melody",
    "MagnetPipeline": "mmgen.pipelines.magnet",
    "AudioGenPipeline": "mmgen.pipelines.audiogen",
    "TextToImageDistilledPipeline": "mmgen.pipelines.text_to_image_distilled",
    "TextToImageScalesPipeline": "mmgen.pipelines.text_to_image_scales",
    "TextToVideoPipeline": "mmgen.pipelines.text_to_video",
    "TextToVideoNeighbourPipeline": "mmgen.pipelines.text_to_video",
    "TextToVideoFramesPipeline": "mmgen.pipelines.text_to_video_frames",
    "TextToSoundPipeline": "mmgen.pipelines.text_to_sound",
    "TextToSoundMaskedPipeline": "mmgen.pipelines.text_to_sound",
}
"""Modules of the pipeline classes that a `model_index.json` may name."""

TOKENIZERS = {
    "PatchVQ": "mmgen.tokenizers.patch_vq",
    "PatchPyramid": "mmgen.tokenizers.patch_pyramid",
    "CausalPatchVQ": "mmgen.tokenizers.causal_patches",
    "SoundVQ": "mmgen.tokenizers.sound_vq",
}
"""Modules of the classes of shipped tokenizers."""


def load(name: str, dtype: torch.dtype | None = None, **components: Any) -> Any:
    """Loads a pipeline or tokenizer; see `mmgen.load`."""
    if name in catalog.tokenizers():
        return _load_tokenizer(catalog.tokenizers()[name], dtype)
    path = locate(name)
    if not (path / "model_index.json").is_file():
        return published.load(path, dtype, **components)
    return pipeline_class(path).from_pretrained(path, dtype, **components)


def pipeline_class(folder: Path) -> type[Pipeline]:
    """The class a folder of ours names.

    Raises:
        UnknownNameError: it names none of ours.
        WeightsError: its index cannot be read.
    """
    kind = catalog.read_json(folder / "model_index.json").get("_class_name")
    if kind not in PIPELINES:
        raise UnknownNameError("pipeline class", kind, PIPELINES)
    return getattr(importlib.import_module(PIPELINES[kind]), kind)


def _load_tokenizer(folder: Path, dtype: torch.dtype | None) -> Any:
    kind = catalog.read_json(folder / "config.json").get("_class_name")
    if kind not in TOKENIZERS:
        raise UnknownNameError("tokenizer class", kind, TOKENIZERS)
    return load_model(getattr(importlib.import_module(TOKENIZERS[kind]), kind), folder, dtype)


def locate(name: str | Path) -> Path:
    """Where a pipeline lies: a shipped name, a path of this machine, or a repository of the Hugging Face Hub.

    Raises:
        UnknownNameError: a plain name that is not shipped.
        WeightsError: the repository cannot be had.
    """
    name = str(name)
    if name in catalog.pipelines() or not ("/" in name or Path(name).exists()):
        return catalog.find(name)
    return hub.locate(name)
