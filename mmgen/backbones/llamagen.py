"""The transformer of LlamaGen (Sun et al. 2024, "Autoregressive Model Beats Diffusion", arXiv 2406.06525)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from mmgen.backbones.backbone import Prompt, place_begin
from mmgen.backbones.blocks import normalise
from mmgen.backbones.linear import Linear
from mmgen.cache import KVCache
from mmgen.errors import OptionError
from mmgen.layout import RasterLayout, Tree

_EPSILON = 1e-5


class LlamaGenTransformer(ModelMixin, ConfigMixin):
    """Writes the codes of a square picture from a class or a caption; the condition's last embedding comes first.

    Pre-norm blocks with two-dimensional rotary positions: of each head's channels, neighbours turn together, the
    first half of the pairs by the token's row, the second by its column. Queries and keys of the condition are
    multiplied by zero, as the published weights were trained, so that all of it is attended alike.

    Args:
        vocabulary_size: codes V.
        height: rows of the grid.
        width: columns of the grid.
        size: channels C of the stream.
        layers: number of blocks.
        heads: attention heads.
        hidden_size: channels inside the feed-forward.
        classes: number of classes, of a class-conditional model; row `classes` of their table is "no class".
        caption_size: channels of a caption's features, of a text-conditional model.
        condition_length: embeddings of the condition: 1 for a class, 120 for a caption.

    Raises:
        OptionError: neither or both of `classes` and `caption_size`.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 16384,
        height: int = 16,
        width: int = 16,
        size: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden_size: int = 2048,
        classes: int | None = 1000,
        caption_size: int | None = None,
        condition_length: int = 1,
    ) -> None:
        super().__init__()
        if (classes is None) == (caption_size is None):
            raise OptionError("caption_size", caption_size, "a size where classes is None, and None elsewhere")
        self.layout = RasterLayout(height, width)
        self.vocabulary_size = self.begin_token = vocabulary_size
        self.token_embedding = nn.Embedding(vocabulary_size, size)
        if classes is not None:
            self.class_embedding = nn.Embedding(classes + 1, size)
        if caption_size is not None:
            self.caption_up = Linear(caption_size, size, bias=False)
            self.caption_down = Linear(size, size, bias=False)
            self.null_caption = nn.Buffer(torch.empty(condition_length, caption_size))
        self.blocks = nn.ModuleList(LlamaGenBlock(size, heads, hidden_size) for _ in range(layers))
        self.norm = LlamaGenNorm(size)
        self.head = Linear(size, vocabulary_size, bias=False)
        self._angles: Tensor | None = None

    def class_prompt(self, labels: Tensor) -> Prompt:
        """Prompts of classes int64 [B]; `config.classes` itself is "no class"."""
        return Prompt(self.class_embedding(labels)[:, None], ends_in_begin=True)

    def caption_prompt(self, features: Tensor, mask: Tensor | None = None) -> Prompt:
        """Prompts of captions.

        Args:
            features: a text encoder's features [B, P, F].
            mask: bool [B, P], those that are of the caption; the others are hidden. None hides nothing.
        """
        embeddings = self.caption_down(gelu(self.caption_up(features), approximate="tanh"))
        return Prompt(embeddings, hidden=None if mask is None else ~mask.bool(), ends_in_begin=True)

    def null_caption_prompt(self, batch: int, mask: Tensor | None = None) -> Prompt:
        """Prompts of no caption, hidden where the captions they stand beside are: as at the authors'."""
        return self.caption_prompt(self.null_caption.expand(batch, -1, -1), mask)

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""
        config: Any = self.config
        head_size = config.size // config.heads
        return KVCache(len(self.blocks), rows, capacity, config.heads, head_size, self.dtype, self.device, bits)

    def prefill(self, embeddings: Tensor, cache: KVCache) -> None:
        """Reads a condition's embeddings [R, P, C] into an empty cache."""
        self._run(embeddings, cache.open(embeddings.shape[1]), cache)

    def streams(
        self,
        tokens: Tensor,
        cache: KVCache,
        tree: Tree | None = None,
        layers: int | None = None,
        begin: Tensor | None = None,
    ) -> list[Tensor]:
        """The streams behind every block; see `mmgen.backbones.backbone.Backbone`."""
        positions = cache.open(tokens.shape[1], tree)
        return self._run(self._embed(tokens, begin), positions, cache, layers)

    def streams_at(
        self, tokens: Tensor, cache: KVCache, positions: Tensor, visible: Tensor, begin: Tensor | None = None
    ) -> list[Tensor]:
        """The same for tokens that may stand anywhere on the line."""
        cache.open_at(positions, visible)
        return self._run(self._embed(tokens, begin), positions, cache)

    def _embed(self, tokens: Tensor, begin: Tensor | None) -> Tensor:
        embedded = self.token_embedding(tokens.clamp(max=self.vocabulary_size - 1))
        return place_begin(embedded, tokens, self.begin_token, begin)

    def _run(self, x: Tensor, positions: Tensor, cache: KVCache, layers: int | None = None) -> list[Tensor]:
        if self._angles is None or self._angles.device != x.device or self._angles.dtype != x.dtype:
            self._angles = self._line_angles().to(x.device, x.dtype)
        angles = self._angles[:, positions.clamp(max=self._angles.shape[1] - 1)]
        streams = []
        for layer, block in enumerate(self.blocks[:layers]):
            x = block(x, angles, cache, layer)
            streams.append(x)
        return streams

    def _line_angles(self) -> Tensor:
        """Cosines and sines of every position, zeros for the condition's: float32 [2, P + N, 1, 1, D]."""
        config: Any = self.config
        angles = pair_angles(self.layout.coordinates(), config.size // config.heads)
        angles = nn.functional.pad(angles, (0, 0, config.condition_length, 0))
        return angles[:, :, None, None]


class LlamaGenNorm(nn.Module):
    """Root mean square norm over the last axis, in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, self.weight, _EPSILON)


class LlamaGenBlock(nn.Module):
    """Pre-norm attention and gated feed-forward, without biases."""

    def __init__(self, size: int, heads: int, hidden_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = LlamaGenNorm(size)
        self.qkv = Linear(size, 3 * size, bias=False)
        self.attention_out = Linear(size, size, bias=False)
        self.feed_forward_norm = LlamaGenNorm(size)
        self.gate_up = Linear(size, 2 * hidden_size, bias=False)
        self.down = Linear(hidden_size, size, bias=False)

    def forward(self, x: Tensor, angles: Tensor, cache: KVCache, layer: int) -> Tensor:
        """One block: stream [R, L, C] to stream [R, L, C].

        Args:
            angles: cosines and sines [2, R, L, 1, 1, D].
            cache: where earlier keys are found and new ones put.
            layer: index of this block in the cache.
        """
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key = turn_pairs(qkv[:, :, :2], angles).unbind(2)
        keys, values = cache.write(layer, key, qkv[:, :, 2])
        mixed = scaled_dot_product_attention(query.transpose(1, 2), keys, values, cache.mask)
        x = x + self.attention_out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.down(silu(gate) * up)


def pair_angles(coordinates: Tensor, head_size: int, base: float = 10000.0) -> Tensor:
    """Angles of rotary positions on a grid, for heads of D channels whose neighbours turn together.

    Args:
        coordinates: row and column [L, 2].

    Returns:
        Cosines, and sines with the sign they have in each channel: float32 [2, L, D].
    """
    frequencies = base ** -(torch.arange(0, head_size // 2, 2, dtype=torch.float32) / (head_size // 2))
    angles = (coordinates.float()[:, :, None] * frequencies).flatten(1).repeat_interleave(2, -1)
    signs = torch.tensor([-1.0, 1.0]).repeat(head_size // 2)
    return torch.stack((angles.cos(), angles.sin() * signs))


def turn_pairs(x: Tensor, angles: Tensor) -> Tensor:
    """Turns neighbouring channels of x [..., D] by cosines and sines [2, ..., D]."""
    cos, sin = angles
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)
