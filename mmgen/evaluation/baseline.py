"""Whether our plain autoregression is an honest baseline: raced against transformers' `generate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding.autoregressive import Autoregressive
from mmgen.errors import OptionError
from mmgen.evaluation.race import Spread, race, ratio
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession


@dataclass(frozen=True)
class Comparison:
    """One line of tokens, written by us and by transformers, again and again in turn.

    Attributes:
        tokens: tokens of the line.
        seconds: ours, for the whole line.
        transformers_seconds: theirs.
        tokens_per_second: ours.
        transformers_tokens_per_second: theirs.
        ratio: their seconds over ours, paired; above 1 ours is faster.
        parameters: numbers of weights, ours and theirs.
        dtype: type of both models' weights.
    """

    tokens: int
    seconds: Spread
    transformers_seconds: Spread
    tokens_per_second: Spread
    transformers_tokens_per_second: Spread
    ratio: Spread
    parameters: tuple[int, int]
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def compare(
    backbone: RasterTransformer,
    repeats: int = 5,
    temperature: float = 1.0,
    seed: int = 0,
    log: Callable[[str], None] | None = None,
) -> Comparison:
    """Races our autoregressive decoder against `generate` on a Llama of the same shape.

    Same size, layers, heads, feed-forward, vocabulary, dtype and device, batch 1, unguided, both with
    their cache, sampling at the same temperature from all tokens, a prompt of the same length, and as
    many new tokens as a picture has. The Llama's weights are random: they do not change its speed.
    One untimed warm-up each, then the two take turns and swap who begins.

    Args:
        repeats: timed lines of each, at least 1.
        temperature: of the sampling, above 0.

    Raises:
        OptionError: repeats below 1, or a temperature out of range.
    """
    if temperature <= 0:
        raise OptionError("temperature", temperature, "a number above 0")
    sampling = Sampling(temperature=temperature)
    llama = llama_like(backbone)
    runs = {
        "ours": lambda: _write(backbone, sampling, seed),
        "transformers": lambda: _generate(llama, backbone, temperature),
    }
    seconds = race(runs, repeats, backbone.device, log)
    ours, theirs, tokens = seconds["ours"], seconds["transformers"], backbone.layout.length
    return Comparison(
        tokens,
        Spread.of(ours),
        Spread.of(theirs),
        Spread.of([tokens / taken for taken in ours]),
        Spread.of([tokens / taken for taken in theirs]),
        ratio(seconds, "transformers", "ours"),
        (_parameters(backbone), _parameters(llama)),
        str(backbone.dtype).removeprefix("torch."),
    )


def llama_like(backbone: RasterTransformer) -> Any:
    """A `transformers.LlamaForCausalLM` of a backbone's shape, dtype and device, with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: Any = backbone.config
    config = LlamaConfig(
        vocab_size=backbone.vocabulary_size + 1,
        hidden_size=shape.size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.hidden_size,
        max_position_embeddings=shape.condition_length + 1 + backbone.layout.length,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).to(backbone.device, backbone.dtype).eval()


@torch.no_grad()
def _write(backbone: RasterTransformer, sampling: Sampling, seed: int) -> int:
    shape: Any = backbone.config
    condition = torch.zeros(1, shape.condition_length, shape.size, dtype=backbone.dtype, device=backbone.device)
    session = RasterSession(backbone, backbone.layout, Prompt(condition), Prompt(condition), sampling)
    return Autoregressive().generate(session, Rng([seed], backbone.device)).tokens.shape[1]


@torch.no_grad()
def _generate(llama: Any, backbone: RasterTransformer, temperature: float) -> int:
    prompt = torch.zeros(1, backbone.condition_length + 1, dtype=torch.long, device=backbone.device)
    count = backbone.layout.length
    line = llama.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=True, temperature=temperature, top_k=0, top_p=1.0,
        use_cache=True, max_new_tokens=count, min_new_tokens=count,
    )  # fmt: skip
    return line.shape[1] - prompt.shape[1]


def _parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
