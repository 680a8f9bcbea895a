"""The transformer block shared by our backbones and tokenizers."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from mmgen.cache import KVCache


class Block(nn.Module):
    """Pre-norm attention and gated feed-forward, both added to the stream.

    RMS norm (Zhang and Sennrich 2019), normalised queries and keys (Henry et al. 2020),
    SwiGLU (Shazeer 2020). Output projections start at zero.

    Args:
        size: channels C of the stream.
        heads: attention heads H; each has size / heads channels.
        hidden_size: channels inside the feed-forward.
    """

    def __init__(self, size: int, heads: int, hidden_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(size, eps=1e-6)
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.query_norm = nn.RMSNorm(size // heads, eps=1e-6)
        self.key_norm = nn.RMSNorm(size // heads, eps=1e-6)
        self.attention_out = nn.Linear(size, size, bias=False)
        self.feed_forward_norm = nn.RMSNorm(size, eps=1e-6)
        self.gate_up = nn.Linear(size, 2 * hidden_size, bias=False)
        self.down = nn.Linear(hidden_size, size, bias=False)
        nn.init.zeros_(self.attention_out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(
        self,
        x: Tensor,
        query_angles: Tensor,
        key_angles: Tensor,
        cache: KVCache | None = None,
        layer: int = 0,
        causal: bool = True,
    ) -> Tensor:
        """One block.

        Args:
            x: stream [R, L, C].
            query_angles: complex rotations [R or 1, L, 1, D/2] of the queries.
            key_angles: the same for the keys.
            cache: where earlier keys are found and new ones put; None attends to `x` alone.
            layer: index of this block in the cache.
            causal: without a cache, whether a token sees only those before it.

        Returns:
            Stream [R, L, C].
        """
        qkv = self.qkv(self.attention_norm(x))
        query, key, value = rearrange(qkv, "r l (three h d) -> three r l h d", three=3, h=self.heads)
        query = rotate(self.query_norm(query), query_angles).transpose(1, 2)
        key = rotate(self.key_norm(key), key_angles)
        if cache is None:
            mixed = scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2), is_causal=causal)
        else:
            keys, values = cache.write(layer, key, value)
            mixed = scaled_dot_product_attention(query, keys.to(query.dtype), values.to(query.dtype), cache.mask)
        x = x + self.attention_out(rearrange(mixed, "r h l d -> r l (h d)"))
        gate, up = self.gate_up(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.down(silu(gate) * up)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): x [R, L, H, D] turned by angles [R or 1, L, 1, D/2] given as (cos, sin) pairs.

    `angles` is a real tensor [2, R or 1, L, 1, D/2]: cosines, then sines.
    """
    cos, sin = angles.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def grid_angles(coordinates: Tensor, head_size: int, base: float = 100.0) -> Tensor:
    """Angles of two-dimensional rotary positions: half of the channels turn by row, half by column.

    Args:
        coordinates: row and column [L, 2].
        head_size: channels D of a head, a multiple of 4.

    Returns:
        Cosines and sines, float32 [2, L, D/2].
    """
    quarter = head_size // 4
    frequencies = base ** -(torch.arange(quarter, dtype=torch.float32) / quarter)
    angles = (coordinates.float()[:, :, None] * frequencies).flatten(1)
    return torch.stack((angles.cos(), angles.sin()))
