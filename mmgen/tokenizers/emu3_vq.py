"""Emu3's tokenizer of pictures and clips, as transformers has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn import functional as F

from mmgen.tokenizers.clips import check_clips, cropped, lengthened
from mmgen.tokenizers.vqgan import check_pictures


class Emu3VQ(ModelMixin, ConfigMixin):
    """Emu3's tokenizer (Wang et al. 2024, "Emu3: Next-Token Prediction is All You Need") of pictures and of clips.

    The weights lie in `vqvae`, a transformers `Emu3VQVAE`, which takes a picture for as many equal frames as one
    step in time holds (4) and, of the frames it decodes, keeps the first. The codes and pictures here are the same,
    but each picture goes once through the two-dimensional layers: equal frames differ only behind the encoder's
    layers in time, and the decoder's layers in time look back alone, so that the first frame needs no other.

    Clips of any number of frames and any size are made whole steps by repeating what comes last. transformers cuts
    off codes of clips, by taking the height for a number of frames; here all are kept.

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

    @property
    def frame_stride(self) -> int:
        """Frames per code."""
        return self.vqvae.config.temporal_downsample_factor

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Steps, rows and columns of the codes of a clip; what does not fill a code counts as one."""
        return -(-frames // self.frame_stride), -(-height // self.stride), -(-width // self.stride)

    def encode(self, images: Tensor) -> Tensor:
        """Pictures or clips to codes.

        Args:
            images: float [B, 3, H, W] or [B, 3, T, H, W] in [-1, 1].

        Returns:
            int64 [B, 1, h, w] or [B, 1, t, h, w].

        Raises:
            SizeError: the height or width of pictures is no multiple of the stride, or the shape is another.
        """
        if images.ndim == 5:
            return self._encode_clips(images)
        check_pictures(images, self.stride)
        maps = self._encode_frame(images.to(self.codebook.dtype))
        return self._nearest(maps.unsqueeze(2).expand(-1, -1, self.frame_stride, -1, -1))

    def decode(self, codes: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Codes to pictures or clips.

        Args:
            codes: int64 [B, 1, h, w] or [B, 1, t, h, w], of any t, h and w.
            size: frames, height and width of clips, where they are fewer than the codes make.

        Returns:
            [B, 3, H, W] or [B, 3, T, H, W] in [-1, 1].

        Raises:
            SizeError: the codes make no clip of that size.
        """
        if codes.ndim == 4:
            return self._decode(codes).clamp(-1, 1)
        return cropped(self._decode_clips(codes).clamp(-1, 1), size)

    def _encode_clips(self, clips: Tensor) -> Tensor:
        check_clips(clips)
        steps, rows, columns = self.grid(*clips.shape[2:])
        size = (steps * self.frame_stride, rows * self.stride, columns * self.stride)
        whole = lengthened(clips, size).to(self.codebook.dtype)
        maps = [self._encode_frame(frame) for frame in whole.unbind(2)]  # one by one: each fills the memory by itself
        return self._nearest(torch.stack(maps, dim=2)).unsqueeze(1)

    def _nearest(self, maps: Tensor) -> Tensor:
        """Codes int64 [B, t, h, w] of what the encoder says of frames [B, C, T, h, w]."""
        vectors = self.vqvae.quant_conv(self._join_frames(maps))
        return self.vqvae.quantize(vectors.transpose(1, 2))

    def _encode_frame(self, images: Tensor) -> Tensor:
        """The encoder up to its layers in time: [B, 3, H, W] to [B, C, h, w]."""
        encoder = self.vqvae.encoder
        x = encoder.middle_block(encoder.down_block(encoder.conv_in(images)))
        return encoder.conv_out(F.silu(encoder.norm_out(x)))

    def _join_frames(self, x: Tensor) -> Tensor:
        """The encoder's layers in time: [B, C, T, h, w] to [B, C, t, h, w]."""
        for layer in self.vqvae.encoder.time_conv:
            x = F.silu(layer(x))
        for layer in self.vqvae.encoder.time_res_stack:
            x = layer(x)
        return x

    def _decode(self, codes: Tensor) -> Tensor:
        """Pictures, without the bounds that only pictures have."""
        latents, vectors = (maps[:, :, 0] for maps in self._spread_in_time(codes))
        return self._decode_frame(latents, vectors)

    def _decode_clips(self, codes: Tensor) -> Tensor:
        """Clips, likewise without bounds."""
        frames = zip(*(maps.unbind(2) for maps in self._spread_in_time(codes[:, 0])), strict=True)
        return torch.stack([self._decode_frame(latents, vectors) for latents, vectors in frames], dim=2)

    def _spread_in_time(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder's layers in time make of codes [B, t, h, w], and of their vectors: both [B, C, T, h, w]."""
        vectors = self.vqvae.quantize.embedding(codes).permute(0, 4, 1, 2, 3)
        x = torch.cat((self.vqvae.post_quant_conv(vectors), vectors))
        for layer in self.vqvae.decoder.time_res_stack:
            x = layer(x)
        for layer in self.vqvae.decoder.time_conv:
            x = F.silu(layer(x))
        latents, vectors = x.chunk(2)
        return latents, vectors

    def _decode_frame(self, latents: Tensor, vectors: Tensor) -> Tensor:
        """The decoder behind its layers in time: both [B, C, h, w], to [B, 3, H, W]."""
        decoder = self.vqvae.decoder
        x = decoder.middle_block(decoder.conv_in(latents), vectors)
        x = decoder.norm_out(decoder.up_block(x, vectors), vectors)
        return decoder.conv_out(F.silu(x))
