"""An image tokenizer of patches, with colours on coarser grids before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mmgen.errors import OptionError, SizeError
from mmgen.layout import ScaleLayout
from mmgen.tokenizers.patch_vq import PatchVQ


class PatchPyramid(ModelMixin, ConfigMixin):
    """The codes of a `PatchVQ`, told beforehand by colours on coarser grids.

    After VAR's tokenizer (Tian et al. 2024, algorithms 1 and 2): each coarse scale holds what the sum of those before it
    lacks, made small, as the nearest of a few colours (k-means, Lloyd 1982), and is enlarged bicubically. Deviations:
    nothing is learned between pixels and colours; each scale has colours of its own; and the last scale replaces the
    sum. So its codes are the patches of the `PatchVQ`, whatever the coarse scales missed: the same object has the
    same codes wherever it stands.

    *Features* are pictures, [B, 3, H, W]: after a coarse scale a blurred one, after the last one of patches.
    All scales share a vocabulary: first the colours of each coarse scale, then the patches; see `codes_of`.

    Args:
        sizes: codes of a side, for every scale; the last is that of the `PatchVQ`.
        colours: colours of each scale but the last.
        patches: configuration of the `PatchVQ`.

    Raises:
        OptionError: `colours` are not one number for every scale but the last.
        SizeError: the last scale has another size than the `PatchVQ`.
    """

    @register_to_config
    def __init__(
        self,
        sizes: Sequence[int] = (1, 2, 4, 8, 16),
        colours: Sequence[int] = (64, 64, 128, 256),
        patches: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.layout = ScaleLayout(tuple(sizes))
        self.patch_vq = PatchVQ(**(patches or {}))
        if len(colours) != len(sizes) - 1:
            raise OptionError("colours", list(colours), f"{len(sizes) - 1} numbers, one for every scale but the last")
        if self.layout.grid != self.patch_vq.layout.grid:
            raise SizeError(f"a last scale of {sizes[-1]} codes a side", f"{self.patch_vq.layout.height}")
        self.palettes = nn.ParameterList(
            nn.Parameter(torch.zeros(count, 3), requires_grad=False) for count in colours
        )

    @property
    def stride(self) -> int:
        """Pixels per code of the finest scale, along each axis."""
        return self.patch_vq.stride

    @property
    def codebook(self) -> Tensor:
        """What each code stands for, a patch: [V, 3 * stride**2]. Those of colours are of one colour."""
        flat = [colours.repeat(1, self.stride**2) for colours in self.palettes]
        return torch.cat([*flat, self.patch_vq.codebook])

    def codes_of(self, scale: int) -> range:
        """The codes a scale may have."""
        counts = [*(len(colours) for colours in self.palettes), len(self.patch_vq.codebook)]
        ends = list(accumulate(counts))
        return range(ends[scale] - counts[scale], ends[scale])

    def encode(self, images: Tensor) -> Tensor:
        """Pictures to code lines.

        Args:
            images: float [B, 3, H, W] in [-1, 1], with the height and width the tokenizer was made for.

        Returns:
            int64 [B, N].

        Raises:
            SizeError: the pictures have another shape.
        """
        finest = self.patch_vq.encode(images)[:, 0] + self.codes_of(len(self.palettes)).start
        rest, squares = images.to(self.patch_vq.codebook.dtype), []
        for scale in range(len(self.palettes)):
            squares.append(self._nearest(self.averages(rest, scale), scale))
            rest = rest - self._enlarged(self._colour(squares[-1], scale))
        return self.layout.flatten([*squares, finest])

    def averages(self, images: Tensor, scale: int) -> Tensor:
        """The mean colours of pictures [B, 3, H, W] in the cells of a scale: [B, size, size, 3]."""
        return rearrange(_resized(images, self.layout.sizes[scale]), "b c h w -> b h w c")

    def embed(self, codes: Tensor) -> Tensor:
        """Codes int64 [...] to the patches they stand for, [..., 3 * stride**2]."""
        return F.embedding(codes, self.codebook)

    def blank(self, batch: int) -> Tensor:
        """Features before the first scale: float32 [B, 3, H, W], zeros."""
        side = self.patch_vq.config.image_size
        return torch.zeros(batch, 3, side, side, device=self.patch_vq.codebook.device)

    def add(self, features: Tensor, vectors: Tensor, scale: int) -> Tensor:
        """Features with one more scale.

        Args:
            features: [B, 3, H, W], of the scales before.
            vectors: [B, size * size, 3 * stride**2], of the codes of this scale, or mixtures of them.
            scale: which one it is.
        """
        size = self.layout.sizes[scale]
        if scale == len(self.palettes):
            return self._picture(vectors, size).float()
        colours = rearrange(vectors, "b (h w) (p c) -> b h w p c", h=size, c=3).mean(3)
        return features + self._enlarged(colours).float()

    def features(self, tokens: Tensor) -> Tensor:
        """Code lines int64 [B, N], or their first scales alone, to features float32 [B, 3, H, W]."""
        features = self.blank(len(tokens))
        for scale, codes in enumerate(self.layout.unflatten(tokens)):
            features = self.add(features, self.embed(codes.flatten(1)), scale)
        return features

    def next_input(self, features: Tensor, scale: int) -> Tensor:
        """What a transformer reads to write a scale: the features so far as one patch for each of its codes.

        Returns:
            float32 [B, size * size, 3 * stride**2].
        """
        return self.patch_vq.to_patches(_resized(features, self.layout.sizes[scale] * self.stride))

    def next_inputs(self, tokens: Tensor) -> Tensor:
        """The same for all scales but the first, from whole code lines int64 [B, N]: float32 [B, N - 1, C]."""
        features, inputs = self.blank(len(tokens)), []
        for scale, codes in enumerate(self.layout.unflatten(tokens)[:-1]):
            features = self.add(features, self.embed(codes.flatten(1)), scale)
            inputs.append(self.next_input(features, scale + 1))
        return torch.cat(inputs, dim=1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Code lines int64 [B, N], or their first scales alone, to pictures [B, 3, H, W] in [-1, 1]."""
        return self.decode_features(self.features(tokens))

    def decode_features(self, features: Tensor) -> Tensor:
        """Features [B, 3, H, W] to pictures [B, 3, H, W] in [-1, 1]: what the decoder makes of the nearest patches."""
        return self.patch_vq.decode(self.patch_vq.encode(features))

    def _nearest(self, colours: Tensor, scale: int) -> Tensor:
        """The codes of a scale nearest to colours [..., 3]: int64 [...]."""
        own = self.palettes[scale]
        return (own.square().sum(-1) - 2 * colours @ own.T).argmin(-1) + self.codes_of(scale).start

    def _colour(self, codes: Tensor, scale: int) -> Tensor:
        return self.palettes[scale][codes - self.codes_of(scale).start]

    def _enlarged(self, colours: Tensor) -> Tensor:
        """Colours [B, size, size, 3] as pictures [B, 3, H, W]."""
        side = self.patch_vq.config.image_size
        return F.interpolate(rearrange(colours, "b h w c -> b c h w"), size=(side, side), mode="bicubic")

    def _picture(self, patches: Tensor, size: int) -> Tensor:
        return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=size, p=self.stride, q=self.stride)


def _resized(images: Tensor, side: int) -> Tensor:
    """Pictures [B, C, H, W] averaged down to a side of so many pixels."""
    return images if images.shape[-1] == side else F.interpolate(images, size=(side, side), mode="area")
