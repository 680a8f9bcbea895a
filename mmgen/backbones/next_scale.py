"""The transformer of VAR, which writes a picture scale by scale (Tian et al. 2024, arXiv 2404.02905)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, normalize, scaled_dot_product_attention, silu

from mmgen.backbones.linear import Linear
from mmgen.cache import KVCache
from mmgen.layout import ScaleLayout

_EPSILON = 1e-6
_SHARPEST = math.log(100)
"""Largest logarithm of what normalised queries are multiplied by."""


@dataclass(frozen=True)
class Condition:
    """What a condition makes of a transformer, once for all scales of a picture.

    Attributes:
        first: the token of scale 0, [R, 1, C].
        blocks: for every block its modulation, six tensors [R, 1, C]: gates, factors and shifts, each of the attention
            and of the feed-forward.
        head: factor and shift before the head, [R, 1, C] each.
    """

    first: Tensor
    blocks: list[tuple[Tensor, ...]]
    head: tuple[Tensor, ...]

    @property
    def rows(self) -> int:
        """Rows R."""
        return len(self.first)

    def until(self, rows: int) -> Condition:
        """The first rows alone."""
        blocks = [tuple(part[:rows] for part in block) for block in self.blocks]
        return replace(self, first=self.first[:rows], blocks=blocks, head=tuple(part[:rows] for part in self.head))


class NextScaleTransformer(ModelMixin, ConfigMixin):
    """Writes the codes of a scale at once, from a class and the features of all smaller scales.

    Tokens see those of their own scale and of all smaller ones. Positions and scales have learned embeddings; the class
    is the token of scale 0 and, through every block's gates, factors and shifts (adaptive layer norm), in all others.

    Args:
        vocabulary_size: codes V.
        code_channels: channels of the features.
        sizes: codes of a side, for every scale.
        size: channels C of the stream.
        layers: number of blocks.
        heads: attention heads H.
        hidden_size: channels inside the feed-forward.
        classes: number of classes; row `classes` of their table is "no class".
        shared_modulation: whether one layer makes the modulation of all blocks, and each adds its own constants.
        normalised: whether queries and keys have length one. Without it scores are divided by 4 sqrt(D), as published.
    """

    stepwise_scales = 0
    """It has learned to write every scale in one evaluation."""

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 4096,
        code_channels: int = 32,
        sizes: Sequence[int] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
        size: int = 1024,
        layers: int = 16,
        heads: int = 16,
        hidden_size: int = 4096,
        classes: int = 1000,
        shared_modulation: bool = False,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        self.layout = ScaleLayout(tuple(sizes))
        self.vocabulary_size = vocabulary_size
        self.class_embedding = nn.Embedding(classes + 1, size)
        self.feature_embedding = Linear(code_channels, size)
        self.begin = nn.Parameter(torch.zeros(1, self.layout.sizes[0] ** 2, size))
        self.positions = nn.Parameter(torch.zeros(1, self.layout.length, size))
        self.level_embedding = nn.Embedding(len(self.layout.sizes), size)
        self.modulation = Linear(size, 6 * size) if shared_modulation else None
        self.blocks = nn.ModuleList(
            NextScaleBlock(size, heads, hidden_size, shared_modulation, normalised) for _ in range(layers)
        )
        self.head_modulation = Linear(size, 2 * size)
        self.head = Linear(size, vocabulary_size)
        self.levels = nn.Buffer(self.layout.levels(), persistent=False)

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""
        config: Any = self.config
        head_size = config.size // config.heads
        return KVCache(len(self.blocks), rows, capacity, config.heads, head_size, self.dtype, self.device, bits)

    def condition(self, labels: Tensor) -> Condition:
        """What classes int64 [R] make of the transformer; `config.classes` itself is "no class"."""
        embedded = self.class_embedding(labels)
        activated = silu(embedded)
        shared = None if self.modulation is None else self.modulation(activated)
        factor, shift = self.head_modulation(activated)[:, None].chunk(2, dim=-1)
        blocks: Any = self.blocks
        modulations = [block.modulate(activated, shared) for block in blocks]
        return Condition(embedded[:, None], modulations, (factor + 1, shift))

    def forward(
        self, inputs: Tensor | None, condition: Condition, scales: range, cache: KVCache | None = None
    ) -> Tensor:
        """The stream [R, L, C] behind the last block, for the tokens of some scales.

        Args:
            inputs: features [B, L', code channels] made as small as each of these scales (`next_input`), those of scale
                0 left out: L' is L, or less by it. R is B or a multiple: the rows are repeated. None for scale 0 alone.
            condition: of R rows.
            scales: consecutive scales. Larger ones do not change what is said of smaller ones.
            cache: holds all smaller scales, and takes these; None where there are none, and none will follow.
        """
        span = self.layout.span(scales)
        visible = None
        if len(scales) > 1:
            levels = self.levels[: span.stop]
            visible = levels[span, None] >= levels
        if cache is not None:
            cache.open_block(span.start, span.stop - span.start, visible)
            visible = cache.mask
        x = self._embed(inputs, condition, span)
        for layer, (block, modulation) in enumerate(zip(self.blocks, condition.blocks, strict=True)):
            x = block(x, modulation, visible, cache, layer)
        return x

    def logits(self, stream: Tensor, condition: Condition) -> Tensor:
        """Logits [R, L, V] of the tokens themselves, from their stream [R, L, C] behind the last block."""
        return self.head(modulated(stream.float(), *condition.head).to(stream.dtype))

    def teacher_forced(self, labels: Tensor, next_inputs: Tensor) -> Tensor:
        """Logits [B, N, V] of whole pictures at once, for training.

        Args:
            labels: classes int64 [B].
            next_inputs: [B, N - 1, code channels], from the tokenizer's `next_inputs`.
        """
        condition = self.condition(labels)
        return self.logits(self(next_inputs, condition, range(len(self.layout.sizes))), condition)

    def _embed(self, inputs: Tensor | None, condition: Condition, span: slice) -> Tensor:
        """The tokens [R, L, C] of a span of the line."""
        places = self.positions[:, span] + self.level_embedding(self.levels[span])
        parts = []
        if span.start == 0:
            begin = self.begin.shape[1]
            parts.append(condition.first + self.begin + places[:, :begin])
            places = places[:, begin:]
        if inputs is not None:
            embedded = self.feature_embedding(inputs.to(places.dtype)) + places
            parts.append(embedded.repeat(condition.rows // len(embedded), 1, 1))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class NextScaleBlock(nn.Module):
    """Attention and feed-forward behind modulated layer norms, each through a gate, both added to the stream.

    The bias of the keys is zero in published weights.
    """

    def __init__(self, size: int, heads: int, hidden_size: int, shared_modulation: bool, normalised: bool) -> None:
        super().__init__()
        self.heads = heads
        self.modulation: nn.Module | None = None
        if shared_modulation:
            self.modulation_offset = nn.Parameter(torch.randn(1, 1, 6, size) / size**0.5)
        else:
            self.modulation = Linear(size, 6 * size)
        self.sharpness: nn.Parameter | None = None
        if normalised:
            self.sharpness = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4)))
        self.qkv = Linear(size, 3 * size)
        self.attention_out = Linear(size, size)
        self.up = Linear(size, hidden_size)
        self.down = Linear(hidden_size, size)

    def modulate(self, activated: Tensor, shared: Tensor | None) -> tuple[Tensor, ...]:
        """Gates, factors and shifts, two of each, [R, 1, C].

        Args:
            activated: SiLU of the condition [R, C].
            shared: modulation [R, 6 C] for all blocks, where they share it.
        """
        if self.modulation is not None:
            parts = self.modulation(activated).unflatten(-1, (6, -1))
        else:
            assert shared is not None
            parts = shared.unflatten(-1, (6, -1)) + self.modulation_offset[0]
        gate1, gate2, factor1, factor2, shift1, shift2 = parts[:, None].unbind(2)
        return gate1, gate2, factor1 + 1, factor2 + 1, shift1, shift2

    def forward(
        self, x: Tensor, modulation: tuple[Tensor, ...], mask: Tensor | None, cache: KVCache | None, layer: int
    ) -> Tensor:
        """One block: stream [R, L, C] to stream [R, L, C].

        Args:
            modulation: of this block, from `modulate`.
            mask: which keys each query sees, as attention takes it; None where all.
            cache: where earlier keys are found and new ones put; None attends to `x` alone.
            layer: index of this block in the cache.
        """
        gate1, gate2, factor1, factor2, shift1, shift2 = modulation
        x = torch.addcmul(x, self._attend(modulated(x, factor1, shift1), mask, cache, layer), gate1)
        hidden = gelu(self.up(modulated(x, factor2, shift2)), approximate="tanh")
        return torch.addcmul(x, self.down(hidden), gate2)

    def _attend(self, x: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        scale = 0.25 / query.shape[-1] ** 0.5
        if self.sharpness is not None:
            query, key, scale = *self._normalise(query, key), 1.0
        if cache is None:
            keys, values = key.transpose(1, 2), value.transpose(1, 2)
        else:
            keys, values = cache.write(layer, key, value)
        mixed = scaled_dot_product_attention(query.transpose(1, 2), keys, values, mask, scale=scale)
        return self.attention_out(mixed.transpose(1, 2).flatten(2))

    def _normalise(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys [R, L, H, D] at length one, computed in float32; queries times the head's sharpness."""
        assert self.sharpness is not None
        sharpness = self.sharpness.float().clamp(max=_SHARPEST).exp().view(-1, 1)
        sharpened = normalize(query.float(), dim=-1) * sharpness
        return sharpened.to(query.dtype), normalize(key.float(), dim=-1).to(key.dtype)


def modulated(x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """Layer norm of x [R, L, C] without weights of its own, times `factor` plus `shift`, [R, 1, C] each."""
    return torch.addcmul(shift, layer_norm(x, x.shape[-1:], eps=_EPSILON), factor)
