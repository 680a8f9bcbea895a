"""Writes the folders of what was trained."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import ModelMixin
from safetensors.torch import save_file

from mmgen import catalog
from mmgen.pipelines.pipeline import Pipeline


def write_model(model: ModelMixin, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes a model's folder: its configuration, and its weights in a type of choice."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_config(folder)
    state = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in model.state_dict().items()}
    path = folder / "model.safetensors"
    save_file(state, path)
    path.chmod(0o644)  # safetensors keeps files to their owner, which breaks shared folders


def write_pipeline(pipe: Pipeline, folder: Path, shared: dict[str, str], dtype: torch.dtype = torch.float32) -> None:
    """Writes a pipeline's folder with the components it has; those in `shared` are stored under `tokenizers/`."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe.save_config(folder)
    for name in pipe.component_types:
        if name not in shared and getattr(pipe, name) is not None:
            write_model(getattr(pipe, name), folder / name, dtype)
    pipe.decoder.save_pretrained(folder / "decoder")
    about = {"medium": pipe.medium, "family": pipe.family, "shared": shared}
    (folder / catalog.DESCRIPTION).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
