"""Whether our plain autoregression is an honest baseline: raced against transformers' `generate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding.autoregressive import Autoregressive
from mmgen.evaluation.contest import Comparison, Contest, parameters, race_of
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession


def compare(backbone: RasterTransformer, repeats: int = 5, log: Callable[[str], None] | None = None) -> Comparison:
    """Races our autoregressive decoder against `generate` on a Llama of the same shape.

    Same size, layers, heads, feed-forward, vocabulary, dtype and device, batch 1, unguided, both with
    their cache, sampling at the same temperature from all tokens, a prompt of the same length, and as
    many new tokens as a picture has. The Llama's weights are random: they do not change its speed.
    One untimed warm-up each, then the two take turns and swap who begins.

    Args:
        repeats: timed lines of each, at least 1.

    Raises:
        OptionError: repeats below 1.
    """
    return race_of(contest_of(backbone), repeats, backbone.dtype, backbone.device, log)


def contest_of(backbone: RasterTransformer) -> Contest:
    """A line of as many tokens as a picture has, by a backbone and by a Llama of its shape."""
    llama, count = llama_like(backbone), backbone.layout.length

    @torch.no_grad()
    def ours(temperature: float, seed: int) -> Tensor:
        shape: Any = backbone.config
        condition = torch.zeros(1, shape.condition_length, shape.size, dtype=backbone.dtype, device=backbone.device)
        sampling = Sampling(temperature=temperature)
        session = RasterSession(backbone, backbone.layout, Prompt(condition), Prompt(condition), sampling)
        return Autoregressive().generate(session, Rng([seed], backbone.device)).tokens

    @torch.no_grad()
    def theirs(temperature: float, seed: int) -> Tensor:
        torch.manual_seed(seed)
        prompt = torch.zeros(1, backbone.condition_length + 1, dtype=torch.long, device=backbone.device)
        line = llama.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=True, temperature=temperature, top_k=0,
            top_p=1.0, use_cache=True, max_new_tokens=count, min_new_tokens=count,
        )  # fmt: skip
        return line[:, prompt.shape[1] :]

    return Contest(ours, theirs, (parameters(backbone), parameters(llama)), count)


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
