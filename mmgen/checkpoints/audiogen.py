"""AudioGen as audiocraft exports it, and MusicGen of the same format: models that somebody trained with audiocraft.

facebook/audiogen-medium on the Hugging Face Hub. The published MusicGens are there in transformers' format, too, which
`musicgen` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints import audiocraft
from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.musicgen import SAMPLING
from mmgen.errors import OptionError

if TYPE_CHECKING:
    from mmgen.pipelines.musicgen import MusicGenPipeline
    from mmgen.tokenizers.sound_codec import SoundCodec

_AT_ONCE = {"flatten_first": 0, "empty_initial": 0}
"""All codebooks from the first step on."""


def recognise(path: Path) -> bool:
    """Whether a folder, or a file of audiocraft's, holds AudioGen or MusicGen."""
    return audiocraft.holds(path, "transformer_lm")


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | SoundCodec | None = None,
    text_encoder: Path | str | None = None,
) -> MusicGenPipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: the folder, or its `state_dict.bin`.
        dtype: type of the weights, but for the codec's, which are float32; None makes them float32.
        tokenizer: folder of the EnCodec in transformers' format, or the model; None takes `compression_state_dict.bin`
            where that holds one.
        text_encoder: folder of t5-large (of t5-base, for music) in transformers' format.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
        OptionError: what the files do not hold is not given.
    """
    from mmgen.backbones.musicgen import MusicGenTransformer
    from mmgen.decoding import planes

    file = audiocraft.file_of(path)
    config = audiocraft.read_config(file)
    own = audiocraft.transformer_weights(file)
    with described(file, "an AudioGen or a MusicGen"):
        kind = pipeline(config)
        arguments = configuration(config, own["enc_to_dec_proj.weight"].shape[1])
        transformer = build(MusicGenTransformer, arguments, own)
    texts = audiocraft.texts(config, text_encoder, dtype)
    codec: Any = audiocraft.codec(file, tokenizer)
    return kind(codec, fill(transformer, own, dtype), planes.make("jacobi"), *texts, SAMPLING)


def configuration(config: Mapping[str, Any], text_size: int) -> dict[str, Any]:
    """`MusicGenTransformer`'s arguments, from audiocraft's configuration.

    Raises:
        OptionError: a transformer of another kind than the published ones, or codes in another order.
    """
    decoder, pattern = audiocraft.decoder(config), config["codebooks_pattern"]
    kind = pattern.get("modeling") or config["transformer_lm"].get("q_modeling")  # the older name
    order, needed = pattern.get("delay") or {}, {"delays": [*range(decoder["num_codebooks"])], **_AT_ONCE}
    if kind != "delay" or any(order.get(name, value) != value for name, value in needed.items()):
        raise OptionError("codebooks_pattern", dict(pattern), "a delay of one frame a codebook, of mono sound")
    return {"decoder": decoder, "text_size": text_size}


def pipeline(config: Mapping[str, Any]) -> type[MusicGenPipeline]:
    """The class whose windows are as long as what a model was trained on.

    Raises:
        OptionError: it was trained on other lengths than the published ones.
    """
    from mmgen.pipelines.audiogen import AudioGenPipeline
    from mmgen.pipelines.musicgen import MusicGenPipeline

    seconds = config["dataset"]["segment_duration"]
    for kind in (AudioGenPipeline, MusicGenPipeline):
        if kind.window == seconds:
            return kind
    raise OptionError("segment_duration", seconds, "10 seconds, as AudioGen, or 30, as MusicGen")
