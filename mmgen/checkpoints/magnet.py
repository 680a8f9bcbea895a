"""MAGNeT as audiocraft exports it.

facebook/magnet-small-10secs, -medium-10secs, -small-30secs, -medium-30secs, and audio-magnet-small and -medium on the
Hugging Face Hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints import audiocraft, musicgen
from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.weights import Weights

if TYPE_CHECKING:
    from mmgen.backbones.musicgen import MusicGenTransformer
    from mmgen.pipelines.magnet import MagnetPipeline
    from mmgen.tokenizers.sound_codec import SoundCodec

SAMPLING = {"guidance": 10.0, "temperature": 3.0, "top_p": 0.9}
"""audiocraft's defaults, of a file that does not say its own."""


def recognise(path: Path) -> bool:
    """Whether a folder, or a file of audiocraft's, holds MAGNeT."""
    return audiocraft.holds(path, "transformer_lm_magnet")


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | SoundCodec | None = None,
    text_encoder: Path | str | None = None,
    companion: Path | str | MusicGenTransformer | None = None,
) -> MagnetPipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: the folder, or its `state_dict.bin`.
        dtype: type of the weights, but for the codec's, which are float32; None makes them float32.
        tokenizer: folder of the EnCodec in transformers' format, or the model; None takes `compression_state_dict.bin`
            where that holds one.
        text_encoder: folder of t5-base (of t5-large, for sounds) in transformers' format.
        companion: folder of a MusicGen of the same codec in transformers' format, or the transformer; may be absent.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
        OptionError: what the files do not hold is not given.
    """
    from mmgen.decoding import spans
    from mmgen.pipelines.magnet import MagnetPipeline

    file = audiocraft.file_of(path)
    config = audiocraft.read_config(file)
    transformer, own = _transformer(file, config)
    texts = audiocraft.texts(config, text_encoder, dtype)
    if isinstance(companion, str | Path):
        companion = musicgen.load_transformer(Path(companion), dtype)
    codec: Any = audiocraft.codec(file, tokenizer)
    decoder, transformer = spans.make("masked-spans"), fill(transformer, own, dtype)
    return MagnetPipeline(codec, transformer, decoder, *texts, sampling(config), companion)


def configuration(config: Mapping[str, Any], text_size: int) -> dict[str, Any]:
    """`MagnetTransformer`'s arguments, from audiocraft's configuration.

    Raises:
        OptionError: a transformer of another kind than the published ones.
    """
    model = config["transformer_lm"]
    frames = round(model["compression_model_framerate"] * config["dataset"]["segment_duration"])
    context = model.get("subcodes_context", 5)
    return {"decoder": audiocraft.decoder(config), "text_size": text_size, "frames": frames, "context": context}


def sampling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a call."""
    said = (config.get("generate") or {}).get("lm") or {}
    given = {"guidance": said.get("max_cfg_coef"), "temperature": said.get("temp"), "top_p": said.get("top_p")}
    return SAMPLING | {name: value for name, value in given.items() if value}


def _transformer(file: Path, config: Mapping[str, Any]) -> tuple[Any, Weights]:
    """A transformer without numbers, and its weights."""
    from mmgen.backbones.magnet import MagnetTransformer

    own = audiocraft.transformer_weights(file)
    with described(file, "a MAGNeT"):
        arguments = configuration(config, own["enc_to_dec_proj.weight"].shape[1])
        return build(MagnetTransformer, arguments, own), own
