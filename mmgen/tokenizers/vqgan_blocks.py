"""The convolutional encoder and decoder of a VQGAN, for maps of any height and width."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS, _EPSILON = 32, 1e-6


class Norm(nn.Module):
    """Group normalisation; with `code_channels`, modulated by the map of code vectors (Zheng et al. 2022, MoVQ).

    Args:
        channels: channels C of the maps, a multiple of 32.
        code_channels: channels of the code vectors; 0 is plain group normalisation.
    """

    def __init__(self, channels: int, code_channels: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = nn.Conv2d(code_channels, channels, 1) if code_channels else None
        self.shift = nn.Conv2d(code_channels, channels, 1) if code_channels else None

    def forward(self, x: Tensor, vectors: Tensor | None) -> Tensor:
        """Maps [B, C, H, W], and code vectors [B, code channels, h, w] whose grid divides them."""
        x = F.group_norm(x, _GROUPS, self.weight, self.bias, _EPSILON)
        if self.scale is not None and self.shift is not None:
            _modulate(x, self.scale(vectors), self.shift(vectors))
        return x


def _modulate(x: Tensor, scale: Tensor, shift: Tensor) -> None:
    """Multiplies x [B, C, H, W] by scale [B, C, h, w] and adds shift, in place: each code's for all its pixels.

    A 1x1 convolution commutes with nearest-neighbour enlargement, so neither is ever made at the size of x.
    """
    height, width = scale.shape[-2:]
    cells = x.unflatten(3, (width, -1)).unflatten(2, (height, -1))
    cells.mul_(scale[:, :, :, None, :, None]).add_(shift[:, :, :, None, :, None])


class ResidualBlock(nn.Module):
    """Two convolutions, each behind a norm and SiLU, added to their input."""

    def __init__(self, channels: int, out_channels: int, code_channels: int = 0) -> None:
        super().__init__()
        self.norm1 = Norm(channels, code_channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = Norm(out_channels, code_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, vectors: Tensor | None) -> Tensor:
        hidden = self.conv1(_silu(self.norm1(x, vectors)))
        hidden = self.conv2(_silu(self.norm2(hidden, vectors)))
        return self.shortcut(x) + hidden


class Attention(nn.Module):
    """One head of attention among all places of a map, added to its input."""

    def __init__(self, channels: int, code_channels: int = 0) -> None:
        super().__init__()
        self.norm = Norm(channels, code_channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, vectors: Tensor | None) -> Tensor:
        hidden = self.norm(x, vectors)
        query, key, value = (
            rearrange(project(hidden), "b c h w -> b 1 (h w) c") for project in (self.query, self.key, self.value)
        )
        hidden = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(rearrange(hidden, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Conv2d):
    """Halves a map; a row of zeros goes below it and a column to its right, none above or to the left."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Conv2d):
    """Doubles a map by repeating its pixels and smooths it by a 3x3 convolution, in one 2x2 convolution.

    A 3x3 window of the doubled map lies on 2x2 pixels of the map itself. What becomes of the even and odd rows
    and columns are thus four 2x2 convolutions with sums of the 3x3 weights: 16 products instead of 36.
    """

    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        size, channels, height, width = x.shape
        quarters = F.conv2d(x, self._folded(), self.bias.repeat(4), padding=1)
        doubled = quarters.new_empty(size, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
        for index, quarter in enumerate(quarters.chunk(4, dim=1)):
            row, column = divmod(index, 2)
            doubled[..., row::2, column::2] = quarter[..., row : row + height, column : column + width]
        return doubled

    def _folded(self) -> Tensor:
        """The weights [4 C, C, 2, 2] of even and odd rows and, within each, of even and odd columns."""
        summed_in = torch.promote_types(self.weight.dtype, torch.float32)
        folded = _fold(_fold(self.weight.to(summed_in), 2), 4)
        return rearrange(folded, "odd_x x odd_y y o i -> (odd_y odd_x o) i y x").to(self.weight.dtype)


def _fold(weight: Tensor, dim: int) -> Tensor:
    """Three taps of an axis on repeated pixels to two on the pixels: [even or odd, 2, ...]."""
    first, second, third = weight.unbind(dim)
    return torch.stack((torch.stack((first, second + third)), torch.stack((first + second, third))))


class Level(nn.Module):
    """The blocks of one resolution, with attention behind each or none, and the step to the next resolution."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        blocks: int,
        attention: bool,
        resample: type[Downsample] | type[Upsample] | None,
        code_channels: int = 0,
    ) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * blocks
        self.blocks = nn.ModuleList(ResidualBlock(*pair, code_channels) for pair in pairwise(widths))
        self.attentions = nn.ModuleList(Attention(out_channels, code_channels) for _ in range(blocks * attention))
        self.resample = resample(out_channels) if resample else nn.Identity()

    def forward(self, x: Tensor, vectors: Tensor | None) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, vectors)
            if self.attentions:
                x = self.attentions[index](x, vectors)
        return self.resample(x)


class Encoder(nn.Module):
    """Pictures to maps of latent channels; level 0 has the highest resolution.

    Args:
        widths: channels before the first level and of each level.
        latent_channels: channels of what comes out.
        blocks: residual blocks of a level.
        attention: whether the last level has attention.
    """

    def __init__(self, widths: Sequence[int], latent_channels: int, blocks: int, attention: bool) -> None:
        super().__init__()
        last = len(widths) - 2
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            Level(*pair, blocks, attention and index == last, Downsample if index < last else None)
            for index, pair in enumerate(pairwise(widths))
        )
        self.middle = _middle(widths[-1])
        self.norm_out = Norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] to latents [B, latent channels, h, w]."""
        x = self.conv_in(images)
        for part in (*self.levels, *self.middle):
            x = part(x, None)
        return self.conv_out(_silu(self.norm_out(x, None)))


class Decoder(nn.Module):
    """Maps of latent channels to pictures; level 0 has the lowest resolution.

    Args:
        widths: channels before the first level and of each level.
        latent_channels: channels of what goes in.
        blocks: residual blocks of a level.
        attention: whether the first level has attention.
        code_channels: channels of the code vectors that modulate the norms; 0 for none.
    """

    def __init__(
        self, widths: Sequence[int], latent_channels: int, blocks: int, attention: bool, code_channels: int
    ) -> None:
        super().__init__()
        last = len(widths) - 2
        self.conv_in = nn.Conv2d(latent_channels, widths[0], 3, padding=1)
        self.middle = _middle(widths[0], code_channels)
        self.levels = nn.ModuleList(
            Level(*pair, blocks, attention and index == 0, Upsample if index < last else None, code_channels)
            for index, pair in enumerate(pairwise(widths))
        )
        self.norm_out = Norm(widths[-1], code_channels)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor, vectors: Tensor) -> Tensor:
        """Latents [B, latent channels, h, w] and the code vectors [B, code channels, h, w] to pictures [B, 3, H, W]."""
        x = self.conv_in(latents)
        for part in (*self.middle, *self.levels):
            x = part(x, vectors)
        return self.conv_out(_silu(self.norm_out(x, vectors)))


def _middle(channels: int, code_channels: int = 0) -> nn.ModuleList:
    return nn.ModuleList(
        (
            ResidualBlock(channels, channels, code_channels),
            Attention(channels, code_channels),
            ResidualBlock(channels, channels, code_channels),
        )
    )


def _silu(x: Tensor) -> Tensor:
    """In place: what a norm returns is nobody else's."""
    return F.silu(x, inplace=True)
