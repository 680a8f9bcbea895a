"""MAGNeT as published: two pickles of audiocraft's, read without running anything.

facebook/magnet-small-10secs, -medium-10secs, -small-30secs, -medium-30secs, and audio-magnet-small and -medium on the
Hugging Face Hub. `state_dict.bin` holds the transformer, `compression_state_dict.bin` the codec or the name of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from mmgen.checkpoints import encodec, musicgen, sound_codecs
from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.pickles import read_texts
from mmgen.checkpoints.stored import Entry, Held, Stored
from mmgen.checkpoints.text_encoders import load_t5
from mmgen.checkpoints.weights import Weights
from mmgen.errors import MmgenError, OptionError, WeightsError

if TYPE_CHECKING:
    from mmgen.backbones.musicgen import MusicGenTransformer
    from mmgen.pipelines.magnet import MagnetPipeline
    from mmgen.tokenizers.sound_codecs import SoundCodec

FILE, CODEC_FILE, CONFIG = "state_dict.bin", "compression_state_dict.bin", "xp.cfg"

_NAMES = (
    (r"^emb\.", "embed_tokens."),
    (r"^transformer\.layers\.", "layers."),
    (r"\.cross_attention\.", ".encoder_attn."),
    (r"\.linear([12])\.", r".fc\1."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.norm_cross\.", ".encoder_attn_layer_norm."),
    (r"\.norm2\.", ".final_layer_norm."),
    (r"^out_norm\.", "layer_norm."),
    (r"^linears\.", "lm_heads."),
    (r"^condition_provider\.conditioners\.description\.output_proj\.", "enc_to_dec_proj."),
)
"""audiocraft's names, and those of transformers' MusicGen, which ours are."""

_JOINED = "in_proj_weight"
"""What queries, keys and values are called together."""

SAMPLING = {"guidance": 10.0, "temperature": 3.0, "top_p": 0.9}
"""audiocraft's defaults, of a file that does not say its own."""


def recognise(path: Path) -> bool:
    """Whether a folder, or a file of audiocraft's, holds MAGNeT."""
    file = _file(path)
    if file.name != FILE or not file.is_file():
        return False
    try:
        return read_config(file).get("lm_model") == "transformer_lm_magnet"
    except (MmgenError, OSError):
        return False


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
    from mmgen.checkpoints.text_tokenizers import load_text_tokenizer
    from mmgen.decoding import spans
    from mmgen.pipelines.magnet import MagnetPipeline
    from mmgen.pipelines.musicgen import END_OF_TEXT

    file = _file(path)
    config = read_config(file)
    if text_encoder is None:
        raise OptionError("text_encoder", None, f"a folder of {_text_encoder(config)}, which reads the texts")
    transformer = fill(*_transformer(file, config), dtype)
    if isinstance(companion, str | Path):
        companion = musicgen.load_transformer(Path(companion), dtype)
    if tokenizer is None or isinstance(tokenizer, str | Path):
        tokenizer = _codec(file.with_name(CODEC_FILE), tokenizer)
    return MagnetPipeline(
        tokenizer,
        transformer,
        spans.make("masked-spans"),
        load_t5(Path(text_encoder), dtype),
        load_text_tokenizer(Path(text_encoder) / "tokenizer.json", (END_OF_TEXT,)),
        sampling(config),
        companion,
    )


def read_config(file: Path) -> dict[str, Any]:
    """The configuration that a file of audiocraft's holds beside its tensors.

    Raises:
        WeightsError: it holds none, or is damaged.
    """
    words = read_texts(file).get(CONFIG)
    if words is None:
        raise WeightsError(file, f"has no text {CONFIG!r}", "give a file as audiocraft exports it")
    try:
        config = yaml.safe_load(words)
    except yaml.YAMLError as error:
        raise WeightsError(file, f"has an {CONFIG!r} that is no YAML", "fetch it again") from error
    if not isinstance(config, dict):
        raise WeightsError(file, f"has an {CONFIG!r} of another kind", "fetch it again")
    return config


def configuration(config: Mapping[str, Any], text_size: int) -> dict[str, Any]:
    """`MagnetTransformer`'s arguments, from audiocraft's configuration.

    Raises:
        OptionError: a transformer of another kind than the published ones.
    """
    model = config["transformer_lm"]
    for name, needed in (("norm_first", True), ("positional_embedding", "sin")):
        if model.get(name, needed) != needed:
            raise OptionError(name, model[name], f"{needed}, as all published MAGNeTs have")
    decoder = {
        "vocab_size": model["card"], "hidden_size": model["dim"], "num_hidden_layers": model["num_layers"],
        "num_attention_heads": model["num_heads"], "ffn_dim": int(model.get("hidden_scale", 4) * model["dim"]),
        "num_codebooks": model["n_q"], "audio_channels": 1, "pad_token_id": model["card"],
        "bos_token_id": model["card"],
    }  # fmt: skip
    frames = round(model["compression_model_framerate"] * config["dataset"]["segment_duration"])
    return {"decoder": decoder, "text_size": text_size, "frames": frames, "context": model.get("subcodes_context", 5)}


def sampling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a call."""
    said = (config.get("generate") or {}).get("lm") or {}
    given = {"guidance": said.get("max_cfg_coef"), "temperature": said.get("temp"), "top_p": said.get("top_p")}
    return SAMPLING | {name: value for name, value in given.items() if value}


def _transformer(file: Path, config: Mapping[str, Any]) -> tuple[Any, Weights]:
    """A transformer without numbers, and its weights."""
    from mmgen.backbones.magnet import MagnetTransformer

    published = Weights.open(file).renamed(_ours)
    own = Weights(file, dict(_parts(published)))
    with described(file, "a MAGNeT"):
        arguments = configuration(config, own["enc_to_dec_proj.weight"].shape[1])
        return build(MagnetTransformer, arguments, own), own


def _ours(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _parts(weights: Weights) -> Iterator[tuple[str, Entry]]:
    """The tensors by name; queries, keys and values apart."""
    for name, entry in weights.items():
        if not name.endswith(_JOINED):
            yield name, entry
            continue
        size = entry.shape[0] // 3
        for number, part in enumerate("qkv"):
            yield name.replace(_JOINED, f"{part}_proj.weight"), _rows(entry, number * size, size)


def _rows(entry: Entry, first: int, count: int) -> Entry:
    """Some rows of a tensor."""
    if isinstance(entry, Stored):
        offset = entry.offset + first * entry.strides[0] * entry.dtype.itemsize
        return replace(entry, offset=offset, shape=(count, *entry.shape[1:]))
    assert isinstance(entry, Held)
    return Held(entry.tensor[first : first + count])


def _codec(beside: Path, given: Path | str | None) -> SoundCodec:
    """The codec that is given, or else that beside the transformer."""
    if given is not None:
        if not sound_codecs.recognise(Path(given)):
            raise WeightsError(given, "holds no codec", "give a folder of EnCodec in transformers' format")
        return sound_codecs.load(Path(given), torch.float32)
    named = read_texts(beside).get("pretrained") if beside.is_file() else "facebook/encodec_32khz"
    if named is not None:
        raise OptionError("tokenizer", None, f"a folder of {named} in transformers' format")
    return encodec.load_codec(beside, read_config(beside))


def _text_encoder(config: Mapping[str, Any]) -> str:
    """Name of the text encoder that a model was trained with."""
    try:
        return str(config["conditioners"]["description"]["t5"]["name"])
    except (KeyError, TypeError):
        return "t5-base"


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path
