"""VAR's image tokenizer, whose codes stand on grids from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mmgen.codebook import nearest
from mmgen.errors import SizeError
from mmgen.layout import ScaleLayout
from mmgen.tokenizers.vqgan import check_pictures
from mmgen.tokenizers.vqgan_blocks import Decoder, Encoder

PHIS = 4
"""Convolutions that the scales share."""


class MultiScaleVQ(ModelMixin, ConfigMixin):
    """Residual vector quantisation over scales, between a convolutional encoder and decoder.

    By Tian et al. (2024, "Visual Autoregressive Modeling", algorithms 1 and 2). A picture is a sum of maps of one
    size, its *features* [B, C, h, w]. Each scale holds what the sum of those before it lacks, made small, as the
    nearest vectors of one codebook; enlarged and smoothed by a convolution (phi) they are added to the sum.

    The code line of a picture has all scales one behind the other; see `mmgen.layout.ScaleLayout`.

    Args:
        codebook_size: number of codes V.
        codebook_channels: channels C of a code's vector, and of the features.
        channels: channels of the encoder and decoder at the full resolution, a multiple of 32.
        multipliers: channels of each resolution in multiples of `channels`, from the highest; each but the first
            halves the resolution.
        blocks: residual blocks of a resolution in the encoder; the decoder has one more.
        sizes: codes of a side, for every scale; the last is that of the features. The published weights serve any.
    """

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 4096,
        codebook_channels: int = 32,
        channels: int = 160,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4),
        blocks: int = 2,
        sizes: Sequence[int] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        self.layout = ScaleLayout(tuple(sizes))
        self.encoder = Encoder([channels, *widths], codebook_channels, blocks, attention=True)
        self.to_codebook = nn.Conv2d(codebook_channels, codebook_channels, 3, padding=1)
        self.vectors = nn.Parameter(torch.randn(codebook_size, codebook_channels))
        self.phis = nn.ModuleList(nn.Conv2d(codebook_channels, codebook_channels, 3, padding=1) for _ in range(PHIS))
        self.from_codebook = nn.Conv2d(codebook_channels, codebook_channels, 3, padding=1)
        self.decoder = Decoder([widths[-1], *widths[::-1]], codebook_channels, blocks + 1, True, 0)

    @property
    def stride(self) -> int:
        """Pixels per code of the finest scale, along each axis."""
        return 2 ** (len(self.config.multipliers) - 1)

    @property
    def codebook(self) -> Tensor:
        """What each code stands for: [V, C]."""
        return self.vectors

    def codes_of(self, scale: int) -> range:
        """The codes a scale may have: here all of them."""
        return range(len(self.vectors))

    def encode(self, images: Tensor) -> Tensor:
        """Pictures to code lines.

        Args:
            images: float [B, 3, H, W] in [-1, 1], of the finest scale's size times the stride.

        Returns:
            int64 [B, N].

        Raises:
            SizeError: the pictures have another shape.
        """
        check_pictures(images, self.stride)
        side = self.layout.sizes[-1] * self.stride
        if tuple(images.shape[2:]) != (side, side):
            raise SizeError(f"pictures of shape {tuple(images.shape)}", f"[B, 3, {side}, {side}]")
        return self.quantise(self.latents(images))

    def latents(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] to the features that the codes approach, float32 [B, C, h, w]."""
        images = images.to(self.vectors.dtype, memory_format=torch.channels_last)
        return self.to_codebook(self.encoder(images)).float()

    def quantise(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] to code lines int64 [B, N]: of each place the nearest code, scale after scale."""
        rest, squares = latents, []
        for scale, size in enumerate(self.layout.sizes):
            squares.append(nearest(_small(rest, size), self.vectors.float()))
            rest = rest - self._contribution(self.embed(squares[-1]), scale)
        return self.layout.flatten(squares)

    def embed(self, codes: Tensor) -> Tensor:
        """Codes int64 [...] to their vectors [..., C]."""
        return F.embedding(codes, self.vectors)

    def blank(self, batch: int) -> Tensor:
        """Features before the first scale: float32 [B, C, h, w], zeros."""
        return torch.zeros(batch, self.vectors.shape[1], *self.layout.grid, device=self.vectors.device)

    def add(self, features: Tensor, vectors: Tensor, scale: int) -> Tensor:
        """Features with one more scale.

        Args:
            features: [B, C, h, w], of the scales before.
            vectors: [B, size * size, C], of the codes of this scale, or mixtures of them.
            scale: which one it is.
        """
        size = self.layout.sizes[scale]
        return features + self._contribution(vectors.unflatten(1, (size, size)), scale)

    def features(self, tokens: Tensor) -> Tensor:
        """Code lines int64 [B, N], or their first scales alone, to features float32 [B, C, h, w]."""
        features = self.blank(len(tokens))
        for scale, codes in enumerate(self.layout.unflatten(tokens)):
            features = features + self._contribution(self.embed(codes), scale)
        return features

    def next_input(self, features: Tensor, scale: int) -> Tensor:
        """What a transformer reads to write a scale: float32 [B, size * size, C], the features so far made as small."""
        return _small(features, self.layout.sizes[scale]).flatten(1, 2)

    def next_inputs(self, tokens: Tensor) -> Tensor:
        """The same for all scales but the first, from whole code lines int64 [B, N]: float32 [B, N - 1, C]."""
        features, inputs = self.blank(len(tokens)), []
        for scale, codes in enumerate(self.layout.unflatten(tokens)[:-1]):
            features = features + self._contribution(self.embed(codes), scale)
            inputs.append(self.next_input(features, scale + 1))
        return torch.cat(inputs, dim=1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Code lines int64 [B, N], or their first scales alone, to pictures [B, 3, H, W] in [-1, 1]."""
        return self.decode_features(self.features(tokens))

    def decode_features(self, features: Tensor) -> Tensor:
        """Features [B, C, h, w] to pictures [B, 3, H, W] in [-1, 1]."""
        features = features.to(self.vectors.dtype, memory_format=torch.channels_last)
        return self.decoder(self.from_codebook(features), features).clamp(-1, 1)

    def _contribution(self, vectors: Tensor, scale: int) -> Tensor:
        """What the vectors [B, size, size, C] of a scale add to the features: float32 [B, C, h, w]."""
        maps = rearrange(vectors, "b h w c -> b c h w")
        if scale < len(self.layout.sizes) - 1:
            maps = F.interpolate(maps.float(), size=self.layout.grid, mode="bicubic").to(vectors.dtype)
        phi = self.phis[phi_of(scale, len(self.layout.sizes))]
        return (0.5 * maps + 0.5 * phi(maps)).float()


def phi_of(scale: int, scales: int) -> int:
    """Which of the four convolutions smooths a scale: the nearest of 1/12, 13/36, 23/36 and 11/12 to its place.

    The place is scale / (scales - 1), from 0 to 1. Of two equally near the later one, in whole numbers: the published
    code leaves such ties, which the published schedules have, to the rounding of its floats, with this outcome.
    """
    last = scales - 1
    return (9 * scale >= 2 * last) + (2 * scale >= last) + (9 * scale >= 7 * last)


def _small(maps: Tensor, size: int) -> Tensor:
    """Maps [B, C, h, w] averaged down to [B, size, size, C]."""
    if maps.shape[-1] != size:
        maps = F.interpolate(maps, size=(size, size), mode="area")
    return rearrange(maps, "b c h w -> b h w c")
