"""Models as audiocraft exports them: two pickles, read without running anything.

`state_dict.bin` holds the transformer, `compression_state_dict.bin` the codec or the name of one; the text encoder lies
elsewhere. Beside the tensors of each stands its configuration, a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from mmgen.checkpoints import encodec, sound_codecs
from mmgen.checkpoints.pickles import read_texts
from mmgen.checkpoints.stored import Entry, Held, Stored
from mmgen.checkpoints.text_encoders import load_t5
from mmgen.checkpoints.weights import Weights
from mmgen.errors import MmgenError, OptionError, WeightsError

if TYPE_CHECKING:
    from mmgen.tokenizers.sound_codec import SoundCodec

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

_LAYERS: tuple[tuple[str, Any], ...] = (("norm_first", True), ("positional_embedding", "sin"), ("past_context", None))
"""What the layers of all published models have."""

_TEXTS: Mapping[str, Any] = {"cross": ["description"], "prepend": [], "sum": [], "input_interpolate": []}
"""How published models hear texts, and nothing else."""


def file_of(path: Path) -> Path:
    """The transformer's file of a folder, or the file itself."""
    return path / FILE if path.is_dir() else path


def holds(path: Path, kind: str) -> bool:
    """Whether a folder, or a file, is audiocraft's and holds a model of a kind, its `lm_model`."""
    file = file_of(path)
    if file.name != FILE or not file.is_file():
        return False
    try:
        return read_config(file).get("lm_model") == kind
    except (MmgenError, OSError):
        return False


def read_config(file: Path) -> dict[str, Any]:
    """The configuration that a file holds beside its tensors.

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


def transformer_weights(file: Path) -> Weights:
    """The weights of a transformer under our names."""
    published = Weights.open(file).renamed(_ours)
    return Weights(file, dict(_parts(published)))


def decoder(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `transformers.MusicgenDecoderConfig` takes, from audiocraft's configuration.

    Raises:
        OptionError: a transformer of another kind than the published ones.
    """
    model, fuser = config["transformer_lm"], config.get("fuser") or {}
    for name, needed in _LAYERS:
        if model.get(name, needed) != needed:
            raise OptionError(name, model[name], f"{needed}, as all published models have")
    for name, needed in _TEXTS.items():
        if (heard := fuser.get(name, needed) or []) != needed:
            raise OptionError(name, heard, f"{needed}: a model that hears texts alone")
    if fuser.get("cross_attention_pos_emb"):
        raise OptionError("cross_attention_pos_emb", True, "False, as all published models have")
    return {
        "vocab_size": model["card"], "hidden_size": model["dim"], "num_hidden_layers": model["num_layers"],
        "num_attention_heads": model["num_heads"], "ffn_dim": int(model.get("hidden_scale", 4) * model["dim"]),
        "num_codebooks": model["n_q"], "audio_channels": 1, "pad_token_id": model["card"],
        "bos_token_id": model["card"],
    }  # fmt: skip


def codec(file: Path, given: Path | str | SoundCodec | None) -> SoundCodec:
    """The codec that is given, or else that beside the transformer.

    Args:
        file: the transformer's.
        given: a folder of transformers' format, or the codec.

    Raises:
        WeightsError: a file is damaged, or not what it should be.
        OptionError: none is given, and none lies there.
    """
    if isinstance(given, str | Path):
        if not sound_codecs.recognise(Path(given)):
            raise WeightsError(given, "holds no codec", "give a folder of EnCodec in transformers' format")
        return sound_codecs.load(Path(given), torch.float32)
    if given is not None:
        return given
    beside = file.with_name(CODEC_FILE)
    if not beside.is_file():
        needed = f"a folder of its codec in transformers' format, or {CODEC_FILE} beside it"
        raise OptionError("tokenizer", None, needed)
    named = read_texts(beside).get("pretrained")
    if named is not None:
        raise OptionError("tokenizer", None, f"a folder of {named} in transformers' format")
    return encodec.load_codec(beside, read_config(beside))


def texts(config: Mapping[str, Any], folder: Path | str | None, dtype: torch.dtype | None) -> tuple[Any, Any]:
    """The text encoder and its tokenizer.

    Args:
        config: of the model, which says its name.
        folder: of it, in transformers' format.
        dtype: type of its weights; None makes them float32.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
        OptionError: no folder is given.
    """
    from mmgen.checkpoints.text_tokenizers import load_text_tokenizer
    from mmgen.pipelines.musicgen import END_OF_TEXT

    if folder is None:
        raise OptionError("text_encoder", None, f"a folder of {_text_encoder(config)}, which reads the texts")
    tokenizer = load_text_tokenizer(Path(folder) / "tokenizer.json", (END_OF_TEXT,))
    return load_t5(Path(folder), dtype), tokenizer


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


def _text_encoder(config: Mapping[str, Any]) -> str:
    """Name of the text encoder that a model was trained with."""
    try:
        return str(config["conditioners"]["description"]["t5"]["name"])
    except (KeyError, TypeError):
        return "t5-base"
