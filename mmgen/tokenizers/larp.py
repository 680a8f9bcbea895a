"""LARP's video tokenizer, whose codes stand for a clip as a whole."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mmgen.backbones.linear import Linear
from mmgen.errors import SizeError
from mmgen.tokenizers.clips import check_clips

_LAST_EPSILON = 1e-6
"""Of the last norm; the blocks' have torch's own."""


class LARP(ModelMixin, ConfigMixin):
    """LARP (Wang et al. 2025, "LARP: Tokenizing Videos with a Learned Autoregressive Generative Prior", 2410.21264).

    A transformer reads the patches of a clip and as many learned queries; what it says of the queries, in few
    channels and on the unit sphere, becomes the nearest of a codebook. Another reads the codes' vectors and a query for
    every patch, and says the patches. So a code has no place in the clip: the grid is only the order in which
    neighbouring autoregression (He et al. 2025, 2503.10696) writes codes. The prior LARP was trained with is left out.

    Deviation: training drew codes at a temperature; encoding takes the nearest, as the authors' evaluation does.

    Args:
        codebook_size: codes V.
        code_channels: channels of a code's vector.
        frames: frames of a clip.
        image_size: pixels of a side; frames are square.
        frame_stride: frames of a patch.
        stride: pixels of a patch's side.
        size: channels C of both streams.
        layers: blocks of each transformer.
        heads: attention heads H.
        typed_queries: whether the queries of patches have a vector in common.
    """

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 8192,
        code_channels: int = 16,
        frames: int = 16,
        image_size: int = 128,
        frame_stride: int = 4,
        stride: int = 8,
        size: int = 768,
        layers: int = 12,
        heads: int = 12,
        typed_queries: bool = True,
    ) -> None:
        super().__init__()
        if frames % frame_stride or image_size % stride or size % heads:
            raise SizeError(
                f"{frames} frames of {image_size} pixels in patches of {frame_stride} x {stride}, {size} channels",
                f"multiples of a patch's sides, and of {heads} heads",
            )
        self.stride, self.frame_stride = stride, frame_stride
        self.codes_grid = (frames // frame_stride, image_size // stride, image_size // stride)
        patches = self.codes_grid[0] * self.codes_grid[1] * self.codes_grid[2]
        patch = (frame_stride, stride, stride)
        self.patch_embedding = nn.Conv3d(3, size, patch, patch)
        self.patch_positions = nn.Parameter(torch.zeros(1, patches, size))
        self.code_queries = nn.Parameter(torch.zeros(patches, size))
        self.encoder = nn.ModuleList(LARPBlock(size, heads) for _ in range(layers))
        self.to_codebook = Linear(size, code_channels)
        self.vectors = nn.Parameter(torch.randn(codebook_size, code_channels))
        self.from_codebook = Linear(code_channels, size)
        self.code_positions = nn.Parameter(torch.zeros(1, patches, size))
        self.patch_queries = nn.Parameter(torch.zeros(1, patches, size))
        self.query_type = nn.Parameter(torch.zeros(1, 1, size)) if typed_queries else None
        self.decoder = nn.ModuleList(LARPBlock(size, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(size, _LAST_EPSILON)
        self.head = Linear(size, 3 * frame_stride * stride * stride)

    @property
    def codebook(self) -> Tensor:
        """What each code stands for, on the unit sphere: [V, C]."""
        return F.normalize(self.vectors.float(), dim=-1)

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """The grid of the codes of a clip; `encode` takes clips of `codes_grid` alone."""
        strides = (self.frame_stride, self.stride, self.stride)
        steps, rows, columns = (-(-side // step) for side, step in zip((frames, height, width), strides, strict=True))
        return steps, rows, columns

    def encode(self, clips: Tensor) -> Tensor:
        """Clips to codes.

        Args:
            clips: float [B, 3, T, H, W] in [-1, 1], of the model's own size.

        Returns:
            int64 [B, 1, *codes_grid].

        Raises:
            SizeError: clips of another size.
        """
        check_clips(clips)
        own = self.codes_grid[0] * self.frame_stride, self.codes_grid[1] * self.stride, self.codes_grid[2] * self.stride
        if tuple(clips.shape[2:]) != own:
            raise SizeError(f"clips of {list(clips.shape[2:])}", f"{list(own)}: frames, height and width")
        patches = self.patch_embedding((clips / 2 + 0.5).to(self.vectors.dtype)).flatten(2).transpose(1, 2)
        queries = self.code_queries.expand(len(clips), -1, -1)
        said = _answers(self.encoder, patches + self.patch_positions, queries)
        nearest = F.normalize(self.to_codebook(said).float(), dim=-1) @ self.codebook.T
        return nearest.argmax(-1).unflatten(1, (1, *self.codes_grid))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, 1, *codes_grid] to clips [B, 3, T, H, W] in [-1, 1].

        Raises:
            SizeError: codes of another grid.
        """
        return self._decode(codes).clamp(-1, 1)

    def _decode(self, codes: Tensor) -> Tensor:
        """`decode`, without the bounds that only clips have."""
        if tuple(codes.shape[1:]) != (1, *self.codes_grid):
            raise SizeError(f"codes of shape {list(codes.shape)}", f"[B, 1, {', '.join(map(str, self.codes_grid))}]")
        vectors = F.embedding(codes.flatten(1), self.codebook).to(self.vectors.dtype)
        queries = self.patch_queries if self.query_type is None else self.patch_queries + self.query_type
        context = self.from_codebook(vectors) + self.code_positions
        patches = self.head(self.norm(_answers(self.decoder, context, queries.expand(len(codes), -1, -1))))
        frames, height, width = self.codes_grid
        clips = rearrange(
            patches, "b (t h w) (f p q c) -> b c (t f) (h p) (w q)",
            t=frames, h=height, w=width, f=self.frame_stride, p=self.stride, q=self.stride,
        )  # fmt: skip
        return clips * 2 - 1


class LARPBlock(nn.Module):
    """Attention, then a feed-forward of four times the channels, each behind a norm: Vision Transformer's block.

    Dosovitskiy et al. 2021 (2010.11929); queries, keys and values have no bias.

    Args:
        size: channels C.
        heads: attention heads H.
    """

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = Linear(size, 3 * size, bias=False)
        self.attention_out = Linear(size, size)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.up = Linear(size, 4 * size)
        self.down = Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        """A stream [B, N, C]; every token sees all."""
        parts = rearrange(self.qkv(self.attention_norm(x)), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        seen = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        x = x + self.attention_out(rearrange(seen, "b h n d -> b n (h d)"))
        return x + self.down(F.gelu(self.up(self.feed_forward_norm(x))))


def _answers(blocks: nn.ModuleList, context: Tensor, queries: Tensor) -> Tensor:
    """What blocks say of queries [B, M, C] that stand behind a context [B, N, C]: [B, M, C]."""
    x = torch.cat((context, queries), dim=1)
    for block in blocks:
        x = block(x)
    return x[:, -queries.shape[1] :]
