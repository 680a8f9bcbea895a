"""Emu3's image tokenizer, as transformers has it."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn import functional as F

from mmgen.tokenizers.vqgan import check_pictures


class Emu3VQ(ModelMixin, ConfigMixin):
    """Emu3's video tokenizer (Wang et al. 2024, "Emu3: Next-Token Prediction is All You Need") for single pictures.

    The weights lie in `vqvae`, a transformers `Emu3VQVAE`, which takes a picture for as many equal frames as one
    step in time holds (4) and, of the frames it decodes, keeps the first. The codes and pictures here are the same,
    but each picture goes once through the two-dimensional layers: equal frames differ only behind the encoder's
    layers in time, and the decoder's layers in time look back alone, so that the first frame needs no other.

    Args:
        vq_config: what `transformers.Emu3VQVAEConfig` takes; empty for the published model.
    """

    @register_to_config
    def __init__(self, vq_config: dict[str, Any] | None = None) -> None:
        super().__init__()
        from transformers import Emu3VQVAE, Emu3VQVAEConfig

        self.vqvae = Emu3VQVAE(Emu3VQVAEConfig.from_dict(dict(vq_config or {})))

    @property
    def stride(self) -> int:
        """Pixels per code along each axis."""
        return self.vqvae.spatial_scale_factor

    @property
    def codebook(self) -> Tensor:
        """What each code stands for: [V, C]."""
        return self.vqvae.quantize.embedding.weight

    def encode(self, images: Tensor) -> Tensor:
        """Pictures to codes.

        Args:
            images: float [B, 3, H, W] in [-1, 1].

        Returns:
            int64 [B, 1, H / stride, W / stride].

        Raises:
            SizeError: the height or width is no multiple of the stride, or the pictures have another shape.
        """
        check_pictures(images, self.stride)
        maps = self._encode_frame(images.to(self.codebook.dtype))
        frames = maps.unsqueeze(2).expand(-1, -1, self.vqvae.config.temporal_downsample_factor, -1, -1)
        vectors = self.vqvae.quant_conv(self._join_frames(frames))
        return self.vqvae.quantize(vectors.transpose(1, 2))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, 1, h, w], of any h and w, to pictures [B, 3, H, W] in [-1, 1]."""
        return self._decode(codes).clamp(-1, 1)

    def _encode_frame(self, images: Tensor) -> Tensor:
        """The encoder up to its layers in time: [B, 3, H, W] to [B, C, h, w]."""
        encoder = self.vqvae.encoder
        x = encoder.middle_block(encoder.down_block(encoder.conv_in(images)))
        return encoder.conv_out(F.silu(encoder.norm_out(x)))

    def _join_frames(self, x: Tensor) -> Tensor:
        """The encoder's layers in time: [B, C, frames, h, w] to [B, C, 1, h, w]."""
        for layer in self.vqvae.encoder.time_conv:
            x = F.silu(layer(x))
        for layer in self.vqvae.encoder.time_res_stack:
            x = layer(x)
        return x

    def _decode(self, codes: Tensor) -> Tensor:
        """`decode`, without the bounds that only pictures have."""
        vectors = self.vqvae.quantize.embedding(codes).permute(0, 4, 1, 2, 3)
        latents, vectors = self._first_frame(torch.cat((self.vqvae.post_quant_conv(vectors), vectors))).chunk(2)
        return self._decode_frame(latents, vectors)

    def _first_frame(self, x: Tensor) -> Tensor:
        """The decoder's layers in time: [B, C, 1, h, w] to [B, C, h, w], the first of the frames that come out."""
        for layer in self.vqvae.decoder.time_res_stack:
            x = layer(x)
        for layer in self.vqvae.decoder.time_conv:
            x = F.silu(layer(x))
        return x[:, :, 0]

    def _decode_frame(self, latents: Tensor, vectors: Tensor) -> Tensor:
        """The decoder behind its layers in time: both [B, C, h, w], to [B, 3, H, W]."""
        decoder = self.vqvae.decoder
        x = decoder.middle_block(decoder.conv_in(latents), vectors)
        x = decoder.norm_out(decoder.up_block(x, vectors), vectors)
        return decoder.conv_out(F.silu(x))
