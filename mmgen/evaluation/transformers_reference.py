"""Janus and Emu3 drawn by us and by transformers in turn: `python -m mmgen.evaluation.transformers_reference emu3`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.language import LanguageTransformer
from mmgen.checkpoints import language_configs, language_keys
from mmgen.decoding.autoregressive import Autoregressive
from mmgen.errors import OptionError, UnknownNameError
from mmgen.evaluation.contest import Comparison, Contest, parameters, race_of, report
from mmgen.layout import RasterLayout
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

_WORDS = 64
"""Words of text in the vocabulary; the first few mean something."""
_PAD, _FIRST, _LAST, _IMAGE, _ROW_END = range(5)
_HEAD_SIZE = 64
_PROMPT = [_FIRST, *range(10, 26), _IMAGE]
_GUIDANCE = 3.0


def compare(
    family: str,
    repeats: int = 5,
    size: int = 512,
    layers: int = 4,
    side: int = 8,
    codes: int | None = None,
    log: Callable[[str], None] | None = None,
) -> Comparison:
    """Races our autoregressive decoder against transformers' own image generation, on one small model.

    The weights are random and the same for both: they do not change speed. Batch 1 with guidance, float32 on the CPU,
    a prompt of 18 words, sampling at temperature 1 from all codes. Janus has one forward of two rows a token
    in both; Emu3 has one in ours, and in transformers one for each of prompt and negative prompt. After one untimed
    picture each, the two take turns and swap who begins.

    Args:
        family: `janus` or `emu3`.
        repeats: timed pictures of each, at least 1.
        size: channels of the stream, a multiple of 128.
        layers: layers of the model.
        side: rows and columns of the grid.
        codes: codes to choose from; None for as many as the published model has, 16384 or 32768.

    Raises:
        UnknownNameError: there is no such family.
        OptionError: repeats below 1, or a size that is no multiple of 128.
    """
    if family not in FAMILIES:
        raise UnknownNameError("family", family, FAMILIES)
    if size < 128 or size % 128:
        raise OptionError("size", size, "a multiple of 128")
    contest = FAMILIES[family](size, layers, side, codes)
    return race_of(contest, repeats, log=log)


def _janus(size: int, layers: int, side: int, codes: int | None) -> Contest:
    import transformers

    from mmgen.backbones.janus import JanusTransformer

    codes = codes or 16384
    config = transformers.JanusConfig(
        text_config=transformers.LlamaConfig(**_text(size, layers, _WORDS, size // _HEAD_SIZE)),
        vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16 * side}
        | {"num_image_tokens": side * side, "projection_dim": size},
        vq_config={"num_embeddings": codes, "projection_dim": size, "image_token_embed_dim": size}
        | {"base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1, "latent_channels": 32},
    )
    model = _random(transformers.JanusForConditionalGeneration, config)
    model.generation_config.generation_kwargs = {"boi_token_id": _IMAGE}
    made = language_configs.janus(config.to_dict())
    transformer = _filled(JanusTransformer, made, model, language_keys.from_janus_transformers)
    ids = torch.tensor([_PROMPT])

    def theirs(temperature: float, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return model.generate(
            inputs=ids, attention_mask=torch.ones_like(ids), generation_mode="image", do_sample=temperature > 0,
            guidance_scale=_GUIDANCE, bos_token_id=_FIRST, eos_token_id=_LAST, pad_token_id=_PAD,
        )  # fmt: skip

    without = [_FIRST, *[_PAD] * (len(_PROMPT) - 2), _IMAGE]
    ours = _drawn(transformer, RasterLayout(side, side), without)
    return Contest(ours, theirs, (parameters(transformer), parameters(model)), side * side)


def _emu3(size: int, layers: int, side: int, codes: int | None) -> Contest:
    import transformers

    from mmgen.backbones.emu3 import Emu3Transformer

    codes = codes or 32768
    words = {"<image>": _LAST, "<|extra_200|>": _ROW_END}
    words |= {f"<|visual token {code:06d}|>": _WORDS + code for code in range(codes)}
    config = transformers.Emu3Config(
        text_config=_text(size, layers, _WORDS + codes, size // _HEAD_SIZE // 2),
        vq_config={"codebook_size": codes, "base_channels": 32, "channel_multiplier": [1], "hidden_size": 32}
        | {"num_res_blocks": 1, "attn_resolutions": []},
        vocabulary_map=words,
    )
    model = _random(transformers.Emu3ForConditionalGeneration, config)
    made = language_configs.emu3(config.to_dict())
    transformer = _filled(Emu3Transformer, made, model, language_keys.from_emu3)
    layout = RasterLayout(side, side + 1, row_end=codes)
    ids, negative, visual = torch.tensor([_PROMPT]), torch.tensor([[*_PROMPT[:-4], _IMAGE]]), sorted(words.values())[2:]

    def allowed(_: int, line: Tensor) -> list[int]:
        return [_ROW_END] if (len(line) - len(_PROMPT) + 1) % layout.width == 0 else visual

    def theirs(temperature: float, seed: int) -> Tensor:
        torch.manual_seed(seed)
        line = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=temperature > 0, guidance_scale=_GUIDANCE,
            negative_prompt_ids=negative, negative_prompt_attention_mask=torch.ones_like(negative),
            prefix_allowed_tokens_fn=allowed, max_new_tokens=layout.length, min_new_tokens=layout.length,
            pad_token_id=_PAD,
        )[:, len(_PROMPT) :]  # fmt: skip
        return torch.where(line == _ROW_END, codes, line - _WORDS)

    ours = _drawn(transformer, layout, negative[0].tolist())
    return Contest(ours, theirs, (parameters(transformer), parameters(model)), layout.length)


FAMILIES: dict[str, Callable[[int, int, int, int | None], Contest]] = {"janus": _janus, "emu3": _emu3}


def _text(size: int, layers: int, words: int, key_value_heads: int) -> dict[str, Any]:
    return {
        "vocab_size": words,
        "hidden_size": size,
        "intermediate_size": 11 * size // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": size // _HEAD_SIZE,
        "num_key_value_heads": key_value_heads,
        "pad_token_id": _PAD,
        "bos_token_id": _FIRST,
        "eos_token_id": _LAST,
    }


def _random(kind: Any, config: Any) -> Any:
    """A model whose laws are far from flat, so that equal pictures mean something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config).eval().requires_grad_(False)
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.normal_(0, weight.shape[1] ** -0.5)
    return model


def _filled(kind: Any, config: dict[str, Any], model: Any, rename: Callable[[str], str | None]) -> Any:
    with torch.device("meta"):
        transformer = kind(**config)
    state = {name: weight for key, weight in model.state_dict().items() if (name := rename(key)) is not None}
    transformer.load_state_dict(state, assign=True)
    return transformer.eval().requires_grad_(False)


def _drawn(
    transformer: LanguageTransformer, layout: RasterLayout, without: list[int]
) -> Callable[[float, int], Tensor]:
    """How we draw: `without` are the words of "no prompt"."""

    def ours(temperature: float, seed: int) -> Tensor:
        prompt, null = (Prompt.ragged([transformer.embed_text(torch.tensor(ids))]) for ids in (_PROMPT, without))
        sampling = Sampling(guidance=_GUIDANCE, temperature=temperature)
        session = RasterSession(transformer, layout, prompt, null, sampling)
        return Autoregressive().generate(session, Rng([seed])).tokens

    return ours


def main() -> None:
    """Prints the comparison of one family."""
    parser = argparse.ArgumentParser(description=compare.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=sorted(FAMILIES))
    for name, default in (("repeats", 5), ("size", 512), ("layers", 4), ("side", 8), ("codes", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    report(compare(**vars(parser.parse_args()), log=print), "picture")


if __name__ == "__main__":
    main()
