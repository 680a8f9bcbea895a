"""The transformer block shared by our backbones and tokenizers."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from mmgen.backbones.linear import Linear
from mmgen.cache import KVCache

_EPSILON = 1e-6


class RMSNorm(nn.RMSNorm):
    """Root mean square norm over the last axis (Zhang and Sennrich 2019), summed in float32."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, self.weight)


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
        self.attention_norm = RMSNorm(size)
        self.qkv = Linear(size, 3 * size, bias=False)
        self.query_norm = RMSNorm(size // heads)
        self.key_norm = RMSNorm(size // heads)
        self.attention_out = Linear(size, size, bias=False)
        self.feed_forward_norm = RMSNorm(size)
        self.gate_up = Linear(size, 2 * hidden_size, bias=False)
        self.down = Linear(hidden_size, size, bias=False)
        nn.init.zeros_(self.attention_out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(
        self,
        x: Tensor,
        angles: Tensor | tuple[Tensor, Tensor],
        cache: KVCache | None = None,
        layer: int = 0,
        causal: bool = True,
    ) -> Tensor:
        """One block.

        Args:
            x: stream [R, L, C].
            angles: rotations of queries and keys, of the stream's type, [2, R or 1, L, 2 or 1, 1, D]: from
                `grid_angles`, then queries' and keys' own, or one for both.
            cache: where earlier keys are found and new ones put; None attends to `x` alone.
            layer: index of this block in the cache.
            causal: without a cache, whether a token sees only those before it.

        Returns:
            Stream [R, L, C].
        """
        # Queries and keys go through norm and rotation together: with one token, operations cost more than numbers.
        qkv = self.qkv(normalise(x, self.attention_norm.weight)).unflatten(-1, (3, self.heads, -1))
        weights = torch.cat((self.query_norm.weight, self.key_norm.weight)).view(2, 1, -1)
        query, key = rotate(normalise(qkv[:, :, :2], weights), angles).unbind(2)
        query, value = query.transpose(1, 2), qkv[:, :, 2]
        if cache is None:
            mixed = scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2), is_causal=causal)
        else:
            keys, values = cache.write(layer, key, value)
            mixed = scaled_dot_product_attention(query, keys, values, cache.mask)
        x = x + self.attention_out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(normalise(x, self.feed_forward_norm.weight)).chunk(2, dim=-1)
        return x + self.down(silu(gate) * up)


def normalise(x: Tensor, weight: Tensor, epsilon: float = _EPSILON) -> Tensor:
    """x [..., C] divided by the root mean square of its last axis, times `weight` [C] or broadcastable.

    torch's own is one kernel on accelerators; on a CPU it is eight operations, which take twice as long as these.
    """
    if x.device.type != "cpu":
        return nn.functional.rms_norm(x, x.shape[-1:], eps=epsilon) * weight
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = torch.addcmul(_constant(epsilon), length, length, value=1 / x.shape[-1]).rsqrt()
    normed = x * scale * weight
    return normed if normed.dtype == x.dtype else normed.to(x.dtype)


@functools.cache
def _constant(number: float) -> Tensor:
    return torch.tensor(number)


def rotate(x: Tensor, angles: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (Su et al. 2021): turns x [..., D] by cosines and sines [..., D] that `grid_angles` gives."""
    cos, sin = angles
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def grid_angles(coordinates: Tensor, head_size: int, base: float = 100.0) -> Tensor:
    """Angles of rotary positions on a grid: half of the channels turn by the first axis, the others share the rest.

    Args:
        coordinates: row and column [L, 2], or frame, row and column [L, 3].
        head_size: channels D of a head, a multiple of 4; of 8 with frames.

    Returns:
        Cosines and sines, float32 [2, L, D]. Channel i and i + D/2 turn together: both have the cosine,
        the first has the sine with a minus.
    """
    quarter, others = head_size // 4, coordinates.shape[1] - 1
    counts = [quarter] + [quarter // others] * others
    turned = [
        coordinates[:, axis, None].float() * base ** -(torch.arange(count, dtype=torch.float32) / count)
        for axis, count in enumerate(counts)
    ]
    angles = torch.cat(turned, dim=1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)))
