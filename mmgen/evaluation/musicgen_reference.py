"""MusicGen written by us and by transformers in turn: `python -m mmgen.evaluation.musicgen_reference`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor
from transformers.models.musicgen.modeling_musicgen import MusicgenSinusoidalPositionalEmbedding

from mmgen.backbones.musicgen import MusicGenTransformer
from mmgen.decoding import planes
from mmgen.errors import OptionError, UnknownNameError
from mmgen.evaluation.contest import Comparison, Contest, parameters, race_of, report
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.codebooks import CodebookSession

SIZES = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 128},
    "small": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "ffn_dim": 4096},
    "medium": {"hidden_size": 1536, "num_hidden_layers": 48, "num_attention_heads": 24, "ffn_dim": 6144},
}
"""Shapes of the published models, and one for a try."""

_SAMPLING = Sampling(guidance=3.0, top_k=250)
_WORDS = 64
_TEXT = [*range(3, 14), 1]
"""As many words as a short caption has."""


def compare(
    transformer: MusicGenTransformer,
    text_encoder: transformers.T5EncoderModel,
    words: list[int],
    frames: int,
    sampling: Sampling = _SAMPLING,
    repeats: int = 5,
    log: Callable[[str], None] | None = None,
) -> Comparison:
    """Races our plane-wise decoder against transformers' `MusicgenForConditionalGeneration.generate`.

    Both have the same weights, in the same memory, the same text, batch 1, and guidance as rows of one forward. A call
    is from words to codes: the text encoder is run once, the codec never. After one untimed call each, the two take
    turns and swap who begins.

    Args:
        words: of the text, as the text encoder's ids.
        frames: of the recording; transformers evaluates as many steps for them as we do.
        repeats: timed recordings of each, at least 1.

    Raises:
        OptionError: repeats or frames out of range.
    """
    if type(frames) is not int or frames < transformer.codebooks:
        raise OptionError("frames", frames, f"a whole number, {transformer.codebooks} or more")
    contest = contest_of(transformer, text_encoder, words, frames, sampling)
    return race_of(contest, repeats, transformer.dtype, transformer.device, log)


def contest_of(
    transformer: MusicGenTransformer,
    text_encoder: transformers.T5EncoderModel,
    words: list[int],
    frames: int,
    sampling: Sampling = _SAMPLING,
) -> Contest:
    """A recording of a text, written both ways."""
    model, layout = in_transformers(transformer, text_encoder), transformer.layout(frames)
    ids = torch.tensor([words], device=transformer.device)

    @torch.no_grad()
    def ours(temperature: float, seed: int) -> Tensor:
        features = text_encoder(input_ids=ids)[0].to(transformer.dtype)
        told = dataclasses.replace(sampling, temperature=temperature)
        session = CodebookSession(transformer, layout, features, torch.ones_like(ids).bool(), told)
        return layout.unflatten(planes.make("plane-wise").generate(session, Rng([seed], transformer.device)).tokens)

    def theirs(temperature: float, seed: int) -> Tensor:
        torch.manual_seed(seed)
        chances = {"temperature": temperature, "top_k": sampling.top_k, "top_p": sampling.top_p} if temperature else {}
        return model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=temperature > 0,
            guidance_scale=sampling.guidance, max_new_tokens=layout.count, **chances,
        )  # fmt: skip

    sizes = parameters(transformer), parameters(model.decoder) + parameters(model.enc_to_dec_proj)
    return Contest(ours, theirs, sizes, layout.length)


def in_transformers(transformer: MusicGenTransformer, text_encoder: transformers.T5EncoderModel) -> Any:
    """transformers' model with a transformer's own weights, not copied, whose codec hands codes [B, K, T] back.

    (In stereo those of the left side come first.)
    """
    given: dict[str, Any] = {"text_encoder": text_encoder.config.to_dict(), "decoder": dict(transformer.config.decoder)}
    config = transformers.MusicgenConfig(**given, audio_encoder=transformers.EncodecConfig(num_filters=2).to_dict())
    with torch.device("meta"):
        model = transformers.MusicgenForConditionalGeneration(config).eval()
    # Put in afterwards: making a model initialises what it is made of.
    model.text_encoder = text_encoder
    if isinstance(transformer.enc_to_dec_proj, torch.nn.Linear):
        model.enc_to_dec_proj = transformer.enc_to_dec_proj
    else:
        model.enc_to_dec_proj = torch.nn.Identity()
    model.decoder.load_state_dict(_their_names(transformer.state_dict()), assign=True)
    positions = MusicgenSinusoidalPositionalEmbedding(
        config.decoder.max_position_embeddings, config.decoder.hidden_size
    )
    model.decoder.model.decoder.embed_positions = positions.to(transformer.device, transformer.dtype)
    model.audio_encoder.decode = lambda codes, **_: SimpleNamespace(audio_values=codes[0])
    return model


def _their_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = {name: weight for name, weight in state.items() if not name.startswith("enc_to_dec_proj.")}
    return {name if name.startswith("lm_heads.") else f"model.decoder.{name}": weight for name, weight in own.items()}


def random_model(size: str, dtype: torch.dtype = torch.float32) -> tuple[MusicGenTransformer, Any]:
    """A transformer of a published shape and a small text encoder, with random weights: they do not change speed.

    Raises:
        UnknownNameError: there is no such size.
    """
    if size not in SIZES:
        raise UnknownNameError("size", size, SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = MusicGenTransformer(dict(SIZES[size]))
        text = transformers.T5Config(vocab_size=_WORDS, d_model=768, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        text_encoder = transformers.T5EncoderModel(text)
    return tuple(model.to(dtype).eval().requires_grad_(False) for model in (transformer, text_encoder))  # type: ignore[return-value]


def main() -> None:
    """Prints the comparison of one size."""
    parser = argparse.ArgumentParser(description=compare.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    given = parser.parse_args()
    diffusers.utils.logging.set_verbosity_error()  # both warn of what is meant to be so
    transformers.utils.logging.set_verbosity_error()
    models = random_model(given.size, getattr(torch, given.dtype))
    report(compare(*models, _TEXT, given.frames, repeats=given.repeats, log=print), "recording")


if __name__ == "__main__":
    main()
