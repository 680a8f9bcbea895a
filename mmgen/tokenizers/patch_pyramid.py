"""An image tokenizer of patches, with colours on coarser grids before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mmgen.codebook import nearest
from mmgen.errors import SizeError
from mmgen.layout import ScaleLayout
from mmgen.tokenizers.patch_vq import PatchVQ

_SAME = 1 / 255
"""Patches that differ less are one patch: half a step of eight bits."""


class PatchPyramid(ModelMixin, ConfigMixin):
    """The codes of a `PatchVQ`, told beforehand by colours on coarser grids.

    The code of a coarse cell is the nearest of a few colours (k-means, Lloyd 1982) to its mean; those of the last scale
    are the patches. As in FlexVAR (Jiao et al. 2025) a scale holds the picture itself, made small, rather than what
    the scales before it lack, as VAR's does (Tian et al. 2024): so a code depends on its own pixels alone, and a
    background has the same code everywhere. Deviation: nothing is learned between pixels and colours.

    *Features* are pictures, [B, 3, H, W]: after a coarse scale its colours, enlarged; after the last one the patches.
    All scales share a vocabulary: first the colours, then the patches; see `codes_of`.

    Args:
        sizes: codes of a side, for every scale; the last is that of the `PatchVQ`.
        colours: colours that the codes of all scales but the last stand for.
        patches: configuration of the `PatchVQ`.

    Raises:
        SizeError: the last scale has another size than the `PatchVQ`.
    """

    @register_to_config
    def __init__(
        self,
        sizes: Sequence[int] = (1, 2, 4, 8, 16),
        colours: int = 128,
        patches: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.layout = ScaleLayout(tuple(sizes))
        self.palette = nn.Parameter(torch.zeros(colours, 3), requires_grad=False)
        self.patch_vq = PatchVQ(**(patches or {}))
        if self.layout.grid != self.patch_vq.layout.grid:
            raise SizeError(f"a last scale of {sizes[-1]} codes a side", f"{self.patch_vq.layout.height} codes")

    @property
    def stride(self) -> int:
        """Pixels per code of the finest scale, along each axis."""
        return self.patch_vq.stride

    @property
    def codebook(self) -> Tensor:
        """What each code stands for, a patch: [V, 3 * stride**2]. Those of colours are of one colour."""
        return torch.cat((self.palette.repeat(1, self.stride**2), self.patch_vq.codebook))

    def codes_of(self, scale: int) -> range:
        """The codes a scale may have."""
        colours, patches = len(self.palette), len(self.patch_vq.codebook)
        return range(colours, colours + patches) if self._is_last(scale) else range(colours)

    def encode(self, images: Tensor) -> Tensor:
        """Pictures to code lines.

        Args:
            images: float [B, 3, H, W] in [-1, 1], with the height and width the tokenizer was made for.

        Returns:
            int64 [B, N].

        Raises:
            SizeError: the pictures have another shape.
        """
        finest = self.patch_vq.encode(images)[:, 0] + len(self.palette)
        images = images.to(self.palette.dtype)
        coarse = [nearest(self.means(images, size), self.palette) for size in self.layout.sizes[:-1]]
        return self.layout.flatten([*coarse, finest])

    def means(self, images: Tensor, size: int) -> Tensor:
        """The mean colours of pictures [B, 3, H, W] on a grid: [B, size, size, 3]."""
        return rearrange(_resized(images, size), "b c h w -> b h w c")

    def embed(self, codes: Tensor) -> Tensor:
        """Codes int64 [...] to the patches they stand for, [..., 3 * stride**2]."""
        return F.embedding(codes, self.codebook)

    def blank(self, batch: int) -> Tensor:
        """Features before the first scale: float32 [B, 3, H, W], zeros."""
        side = self.patch_vq.config.image_size
        return torch.zeros(batch, 3, side, side, device=self.palette.device)

    def add(self, features: Tensor, vectors: Tensor, scale: int) -> Tensor:
        """Features with one more scale: its own, which take the place of those before.

        Args:
            features: [B, 3, H, W], of the scales before.
            vectors: [B, size * size, 3 * stride**2], of the codes of this scale, or mixtures of them.
            scale: which one it is.
        """
        size, stride = self.layout.sizes[scale], self.stride
        picture = rearrange(vectors.float(), "b (h w) (p q c) -> b c (h p) (w q)", h=size, p=stride, q=stride)
        if self._is_last(scale):
            return picture
        return F.interpolate(_resized(picture, size), size=features.shape[2:], mode="bicubic")

    def features(self, tokens: Tensor) -> Tensor:
        """Code lines int64 [B, N], or their first scales alone, to features float32 [B, 3, H, W]."""
        squares = self.layout.unflatten(tokens)
        return self.add(self.blank(len(tokens)), self.embed(squares[-1].flatten(1)), len(squares) - 1)

    def next_input(self, features: Tensor, scale: int) -> Tensor:
        """What a transformer reads to write a scale: the features so far as one patch for each of its codes.

        Returns:
            float32 [B, size * size, 3 * stride**2].
        """
        return self.patch_vq.to_patches(_resized(features, self.layout.sizes[scale] * self.stride))

    def next_inputs(self, tokens: Tensor) -> Tensor:
        """The same for all scales but the first, from whole code lines int64 [B, N]: float32 [B, N - 1, C]."""
        starts = self.layout.ends[:-1]
        inputs = [self.next_input(self.features(tokens[:, :end]), scale) for scale, end in enumerate(starts, start=1)]
        return torch.cat(inputs, dim=1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Code lines int64 [B, N], or their first scales alone, to pictures [B, 3, H, W] in [-1, 1]."""
        return self.decode_features(self.features(tokens))

    def decode_features(self, features: Tensor) -> Tensor:
        """Features [B, 3, H, W] to pictures [B, 3, H, W] in [-1, 1].

        Where features are patches of the codebook, they are as its decoder makes them; elsewhere, as after coarse
        scales, they are left as they are.
        """
        codes = self.patch_vq.encode(features)
        patches = self.patch_vq.codebook[codes.flatten(1)]
        errors = (self.patch_vq.to_patches(features) - patches).abs().amax(-1)
        refined = (errors < _SAME).view_as(codes)
        for axis in (2, 3):
            refined = refined.repeat_interleave(self.stride, dim=axis)
        return torch.where(refined, self.patch_vq.decode(codes), features.to(patches.dtype)).clamp(-1, 1)

    def _is_last(self, scale: int) -> bool:
        return scale == len(self.layout.sizes) - 1


def _resized(images: Tensor, side: int) -> Tensor:
    """Pictures [B, C, H, W] averaged down to a side of so many pixels."""
    return images if images.shape[-1] == side else F.interpolate(images, size=(side, side), mode="area")
