"""An image tokenizer whose codes are patches."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn

from mmgen.backbones.blocks import Block, RMSNorm, grid_angles
from mmgen.codebook import nearest
from mmgen.errors import SizeError
from mmgen.layout import RasterLayout


class PatchVQ(ModelMixin, ConfigMixin):
    """Vector quantisation of image patches, with a decoder that sees all codes.

    A code is the nearest of `codebook_size` patches (k-means, Lloyd 1982), so it depends on its own
    pixels alone: the same object gives the same codes wherever it stands, which is what a small
    autoregressive model learns fastest. A bidirectional transformer then adds to the chosen patches
    what their neighbours tell about them.

    Args:
        codebook_size: number of codes V.
        patch_size: pixels of a patch along each axis: the stride.
        image_size: pixels of a picture along each axis, a multiple of the stride.
        size: channels of the decoder.
        layers: blocks of the decoder.
        heads: attention heads of the decoder.
        hidden_size: channels inside the decoder's feed-forward.
    """

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 1024,
        patch_size: int = 4,
        image_size: int = 64,
        size: int = 128,
        layers: int = 3,
        heads: int = 4,
        hidden_size: int = 384,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise SizeError(f"image_size {image_size}", f"a multiple of the patch size {patch_size}")
        grid = image_size // patch_size
        self.layout = RasterLayout(grid, grid)
        self.codebook = nn.Parameter(torch.zeros(codebook_size, 3 * patch_size**2), requires_grad=False)
        self.embedding = nn.Embedding(codebook_size, size)
        self.blocks = nn.ModuleList(Block(size, heads, hidden_size) for _ in range(layers))
        self.norm = RMSNorm(size)
        self.correction = nn.Linear(size, 3 * patch_size**2)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    @property
    def stride(self) -> int:
        """Pixels per code along each axis."""
        return self.config.patch_size

    def encode(self, images: Tensor) -> Tensor:
        """Pictures to codes.

        Args:
            images: float [B, 3, H, W] in [-1, 1], with the height and width the tokenizer was made for.

        Returns:
            int64 [B, 1, H / stride, W / stride].

        Raises:
            SizeError: the pictures have another shape.
        """
        expected = (3, self.config.image_size, self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise SizeError(f"pictures of shape {tuple(images.shape)}", f"[B, {', '.join(map(str, expected))}]")
        patches = self.to_patches(images.to(self.codebook.dtype))
        return self.layout.unflatten(nearest(patches, self.codebook))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, 1, h, w] to pictures [B, 3, H, W] in [-1, 1]."""
        tokens = self.layout.flatten(codes)
        angles = grid_angles(self.layout.coordinates(), self.config.size // self.config.heads)
        x = self.embedding(tokens)
        angles = angles[:, None, :, None, None].to(x.device, x.dtype)
        for block in self.blocks:
            x = block(x, angles, causal=False)
        return self._to_images(self.codebook[tokens] + self.correction(self.norm(x))).clamp(-1, 1)

    def to_patches(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] to their patches in raster order [B, N, 3 * stride**2]."""
        return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=self.stride, q=self.stride)

    def _to_images(self, patches: Tensor) -> Tensor:
        return rearrange(
            patches, "b (h w) (p q c) -> b c (h p) (w q)", h=self.layout.height, p=self.stride, q=self.stride
        )
