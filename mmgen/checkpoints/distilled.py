"""Students of Distilled Decoding as published: microsoft/distilled_decoding, VAR-DD/var-d16.pth and its like.

They are pickles, which are read without running anything. What training averaged (`ema_parameters`) is taken, as the
authors' code does, where a file holds it, else the weights themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints import var
from mmgen.checkpoints.stored import Held
from mmgen.checkpoints.var_tokenizer import tokenizer_beside
from mmgen.checkpoints.weights import Weights
from mmgen.errors import MmgenError, WeightsError
from mmgen.layout import ScaleLayout

if TYPE_CHECKING:
    from mmgen.backbones.distilled import DistilledTransformer
    from mmgen.backbones.next_scale import NextScaleTransformer
    from mmgen.pipelines.distilled import DistilledPipeline
    from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ

_STUDENT = {
    "known_embedding.weight": ["n_d_embed.weight"],
    "vector_modulation": ["final_layer_conti.scale_shift_table"],
    "vector_head.weight": ["final_layer_conti.linear.weight"],
    "vector_head.bias": ["final_layer_conti.linear.bias"],
}
"""What a student has once and VAR has not."""

_KIND = {"shared_modulation": False, "normalised": True}
"""What is alike in all published students, of what VAR's differ in."""

_SMALLEST = 16
"""Layers of the published student whose second step starts from scale 5; that of the larger ones starts from 4."""


def recognise(path: Path) -> bool:
    """Whether a file, or the only weights of a folder, are a student."""
    try:
        return {name for (name,) in _STUDENT.values()} <= set(Weights.open(path))
    except MmgenError:
        return False


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | MultiScaleVQ | None = None,
    teacher: Path | str | NextScaleTransformer | None = None,
) -> DistilledPipeline:
    """Makes a pipeline of a published student, of two steps, with its authors' settings.

    Args:
        path: the student's file. Everything about it is read from its tensors.
        dtype: type of the weights; None makes them float32.
        tokenizer: VAR's tokenizer's file, or the model; None looks for `vae_ch160v4096z32.pth` beside the student.
        teacher: the file of the VAR transformer it was distilled from, or the model; it may be absent.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen.decoding import students
    from mmgen.pipelines.distilled import DistilledPipeline

    student = load_student(path, dtype)
    split = 5 if len(student.blocks) <= _SMALLEST else 4
    decoder = students.make("distilled", starts=f"0, {split}", split=split)
    vq = tokenizer_beside(path, tokenizer, student.layout.sizes, dtype)
    if isinstance(teacher, str | Path):
        teacher = var.load_transformer(Path(teacher), dtype)
    return DistilledPipeline(vq, student, decoder, {"guidance": 3.0, "top_k": 900, "top_p": 0.95}, teacher)


def load_student(path: Path, dtype: torch.dtype | None = None) -> DistilledTransformer:
    """A published student from its file.

    Raises:
        WeightsError: the file is damaged or something else.
    """
    from mmgen.backbones.distilled import DistilledTransformer

    weights = with_tables(Weights.open(path))
    config = configuration(weights)
    return var.filled(DistilledTransformer, config, arrangement(config), weights, dtype)


def configuration(weights: Weights) -> dict[str, Any]:
    """What the tensors say of a student, tables included.

    Raises:
        WeightsError: it lacks those that tell, or is of a kind that was never published.
    """
    config = var.configuration(weights)
    slots = config.pop("sizes")
    kind = {"shared_modulation": config.pop("shared_modulation"), "normalised": config.pop("normalised")}
    if kind != _KIND or slots[0] != 1:
        raise WeightsError(weights.path, f"is a student with {kind} and scales {slots}", f"give one with {_KIND}")
    return {**config, "sizes": slots[1:]}


def arrangement(config: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Of which published tensors each of ours consists."""
    shared = var.arrangement({**config, **_KIND})
    names = {name.replace("feature_embedding", "vector_embedding"): parts for name, parts in shared.items()}
    layers = config["layers"]
    places = {f"blocks.{layer}.known_layer": layer for layer in range(layers)} | {"known_layer": layers}
    for ours, layer in places.items():
        for kind in ("weight", "bias"):
            names[f"{ours}.{kind}"] = [f"layerwise_n_d_embed.{layer}.{kind}"]
    return {**names, **_STUDENT}


def with_tables(weights: Weights) -> Weights:
    """The same tensors, and the tables that averages of weights lack: the keys' bias, which is zero, and the levels."""
    entries = dict(weights)
    for name in weights:
        if name.endswith("attn.q_bias"):
            entries.setdefault(name.replace("q_bias", "zero_k_bias"), Held(torch.zeros(weights[name].shape)))
    positions = weights.get("pos_1LC")
    if positions is not None and positions.shape[1] == 1 + var.SCALES.length:
        entries.setdefault("lvl_1L", Held(ScaleLayout((1, *var.SCALES.sizes)).levels()))
    return Weights(weights.path, entries)
