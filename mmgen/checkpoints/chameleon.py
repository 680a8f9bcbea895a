"""Published Chameleons: Chameleon and Anole in transformers' format and in Meta's own, and Lumina-mGPT.

Files of transformers' format lie in one folder, as in facebook/chameleon-7b, leloy/Anole-7b-v0.1-hf and
Alpha-VLLM/Lumina-mGPT-7B-768 of the Hugging Face Hub. But for the second they lack what turns codes into pictures: it
is in Meta's `tokenizer/vqgan.ckpt`. Meta's own format, as in GAIR/Anole-7b-v0.1, is a folder of `models/7b` and
`tokenizer`; transformers' `convert_chameleon_weights_to_hf.py` says how it is to be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgen.catalog import read_json
from mmgen.checkpoints.changed import changed
from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.language_configs import chameleon, lumina_mgpt
from mmgen.checkpoints.language_keys import from_chameleon, from_chameleon_official, from_interleaved, norms_per_head
from mmgen.checkpoints.vqgan_keys import from_taming
from mmgen.checkpoints.weights import Weights
from mmgen.errors import MmgenError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from mmgen.backbones.chameleon import ChameleonTransformer
    from mmgen.pipelines.chameleon import ChameleonPipeline
    from mmgen.tokenizers.vqgan import VQGAN

WORDS = 65536
"""Words of Chameleon's vocabulary, which all of its descendants but Lumina-mGPT 2.0 share; those have more."""

_OFFICIAL = Path("models", "7b")
_VQ = "model.vqmodel."
_NO_TEXT = re.compile(r"<racm3:break>|<eoss>|<reserved\d+>|IMGIMG[A-J]+Z")

SAMPLING = {"guidance": 3.0, "temperature": 0.7, "top_p": 0.9}
"""Of Meta's code and Anole's."""
LUMINA_SAMPLING = {"guidance": 4.0, "top_k": 2000}


def recognise(path: Path) -> bool:
    """Whether a folder holds a Chameleon, an Anole or a Lumina-mGPT (not 2.0)."""
    config = published_config(path)
    return (path / _OFFICIAL / "params.json").is_file() or (bool(config) and vocabulary_size(config) <= WORDS)


def published_config(path: Path) -> dict[str, Any]:
    """The configuration in a folder of transformers' format; empty where that is not a Chameleon's."""
    try:
        config = read_json(path / "config.json", missing={})
    except MmgenError:
        return {}
    return config if config.get("model_type") == "chameleon" else {}


def vocabulary_size(config: Mapping[str, Any]) -> int:
    """The words that a configuration says there are; Chameleon's where it says no number."""
    size = config.get("vocab_size")
    return size if isinstance(size, int) else WORDS


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | VQGAN | None = None,
    lumina: bool | None = None,
) -> ChameleonPipeline:
    """Makes a pipeline of a published folder.

    Args:
        path: the folder.
        dtype: type of the weights; None makes them float32.
        tokenizer: file of the VQ tokenizer, Meta's `vqgan.ckpt`, or the model; needed where the folder has no decoder.
        lumina: whether it is a Lumina-mGPT, whose prompts say the size and whose rows have an end; None reads from the
            configuration whether its authors' training code wrote it.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen import decoding
    from mmgen.pipelines.chameleon import ChameleonPipeline

    given = None if tokenizer is None else _tokenizer(tokenizer, dtype)
    if (path / _OFFICIAL / "params.json").is_file():
        transformer, words = _official(path, dtype)
        vqgan = given or load_tokenizer(path / "tokenizer" / "vqgan.ckpt", dtype)
        return ChameleonPipeline(vqgan, transformer, words, decoding.make("jacobi", window=16), SAMPLING)
    config, weights = read_json(path / "config.json"), Weights.open(path)
    with described(path / "config.json", "a Chameleon"):
        lumina = _is_lumina(config) if lumina is None else lumina
        arguments = lumina_mgpt(config) if lumina else chameleon(config)
        unfilled = with_weights(weights.renamed(from_chameleon), arguments)
    vqgan = given or load_tokenizer(weights, dtype)
    return ChameleonPipeline(
        vqgan,
        fill(*unfilled, dtype),
        load_words(path),
        decoding.make("jacobi", window=16),
        LUMINA_SAMPLING if lumina else SAMPLING,
    )


def with_weights(
    weights: Weights,
    arguments: Mapping[str, Any],
    change: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> tuple[ChameleonTransformer, Weights]:
    """The transformer of a published folder, and what `fill` gives it.

    Args:
        weights: under our names.
        arguments: of `ChameleonTransformer`.
        change: what is done to a weight, by its name, before its norms are given one for each head.
    """
    from transformers import ChameleonConfig

    from mmgen.backbones.chameleon import ChameleonTransformer

    model = build(ChameleonTransformer, arguments, weights)
    text = ChameleonConfig(**arguments["text_config"])
    heads = (text.num_attention_heads, text.num_key_value_heads)
    return model, changed(weights, lambda name, tensor: norms_per_head(name, change(name, tensor), *heads))


def load_tokenizer(source: Weights | Path, dtype: torch.dtype | None = None) -> VQGAN:
    """The VQ tokenizer of a file, or of the weights of a folder in transformers' format.

    Args:
        source: Meta's `vqgan.ckpt`, the file of a MoVQGAN, or the weights of which those of the tokenizer are a part.
        dtype: type of the weights; None makes them float32.

    Raises:
        WeightsError: it cannot be read, is something else, or has no decoder.
    """
    from mmgen.tokenizers.vqgan import VQGAN

    weights = source
    if isinstance(weights, Weights):
        weights = weights.renamed(lambda name: name.removeprefix(_VQ) if name.startswith(_VQ) else None)
    else:
        weights = Weights.open(weights)
    if not any(name.startswith("decoder.") for name in weights):
        cure = "give a file that has it: tokenizer=.../tokenizer/vqgan.ckpt of Meta's Chameleon"
        raise WeightsError(weights.path, "has no decoder, which turns codes into pictures", cure)
    with described(weights.path, "a VQ tokenizer", "give one such as vqgan.ckpt"):
        config = tokenizer_configuration(weights)
        weights = weights.renamed(lambda name: from_taming(name, len(config["multipliers"])))
        model = build(VQGAN, config, weights)
    return fill(model, weights, dtype)


def tokenizer_configuration(weights: Weights) -> dict[str, Any]:
    """What names and shapes say of a tokenizer under taming-transformers' names; for use inside `described`."""
    codes, codebook_channels = weights["quantize.embedding.weight"].shape
    channels = weights["encoder.conv_in.weight"].shape[0]
    places = [re.match(r"encoder\.down\.(\d+)\.block\.(\d+)\.conv2\.weight", name) for name in weights]
    numbers = [(int(place[1]), int(place[2])) for place in places if place]
    levels, blocks = (1 + max(column) for column in zip(*numbers, strict=True))
    outputs = [weights[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels)]
    latent_channels = weights["encoder.conv_out.weight"].shape[0]
    return {
        "codebook_size": codes,
        "codebook_channels": codebook_channels,
        "latent_channels": latent_channels,
        "channels": channels,
        "multipliers": [output // channels for output in outputs],
        "blocks": blocks,
        "attention": any(name.startswith("encoder.down.") and ".attn." in name for name in weights),
        "normalised": False,
        "spatial_norm": any(".conv_y." in name for name in weights),
    }


def load_words(folder: Path) -> PreTrainedTokenizerFast:
    """The text tokenizer of a folder in transformers' format.

    Raises:
        WeightsError: the folder does not hold one.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        words = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise WeightsError(folder, f"holds no text tokenizer ({error})", "fetch its tokenizer.json") from error
    return _marked(words)


def _marked(words: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same text tokenizer, which knows that the words of codes and structure are no text."""
    from mmgen.checkpoints.text_tokenizers import mark_special

    mark_special(words.backend_tokenizer, list(filter(_NO_TEXT.fullmatch, words.get_added_vocab())))
    return words


def _tokenizer(given: Path | str | VQGAN, dtype: torch.dtype | None) -> VQGAN:
    return load_tokenizer(Path(given), dtype) if isinstance(given, str | Path) else given


def _is_lumina(config: Mapping[str, Any]) -> bool:
    """Whether the training code of Lumina-mGPT wrote a configuration."""
    return "z_loss_weight" in config or any("XLLMX" in name for name in config.get("architectures") or ())


def _official(path: Path, dtype: torch.dtype | None) -> tuple[ChameleonTransformer, PreTrainedTokenizerFast]:
    """Transformer and text tokenizer of a folder in Meta's format."""
    from transformers import PreTrainedTokenizerFast

    text_file, params = path / "tokenizer" / "text_tokenizer.json", path / _OFFICIAL / "params.json"
    weights = Weights.open(_consolidated(path / _OFFICIAL)).renamed(from_chameleon_official)
    with described(text_file, "a text tokenizer"):
        vocabulary = read_json(text_file)["model"]["vocab"]
        words = PreTrainedTokenizerFast(tokenizer_file=str(text_file), bos_token="<s>", eos_token="</s>")
    with described(params, "a Chameleon"):
        text = _official_config(read_json(params), weights)
        size = text["hidden_size"] // text["num_attention_heads"]
        arguments = chameleon(text | {"vocabulary_map": vocabulary})
        transformer = with_weights(weights, arguments, lambda name, tensor: from_interleaved(name, tensor, size))
    return fill(*transformer, dtype), _marked(words)


def _consolidated(folder: Path) -> Path:
    """The weights of a model in Meta's format.

    Raises:
        WeightsError: there are none, or they are in several parts.
    """
    for name in ("consolidated.pth", "consolidated.00.pth"):
        if (folder / name).is_file() and not (folder / "consolidated.01.pth").is_file():
            return folder / name
    cure = "give the model of 7B, or larger ones in transformers' format"
    raise WeightsError(folder, "does not hold its weights in one consolidated.pth", cure)


def _official_config(params: dict[str, Any], weights: Weights) -> dict[str, Any]:
    """What `transformers.ChameleonConfig` takes, from Meta's `params.json` and the shapes of the weights."""
    params = params | params.get("model", {})
    vocabulary, size = weights["model.embed_tokens.weight"].shape
    return {
        "vocab_size": vocabulary,
        "hidden_size": size,
        "intermediate_size": weights["model.layers.0.mlp.gate_proj.weight"].shape[0],
        "num_hidden_layers": params["n_layers"],
        "num_attention_heads": params["n_heads"],
        "num_key_value_heads": params.get("n_kv_heads") or params["n_heads"],
        "rms_norm_eps": params["norm_eps"],
        "rope_theta": params.get("rope_theta", 10000.0),
        "swin_norm": params["swin_norm"],
        "max_position_embeddings": 4096,
    }
