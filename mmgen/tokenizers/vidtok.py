"""VidTok's discrete video tokenizers, as diffusers has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn.functional import pad

from mmgen.errors import OptionError, SizeError
from mmgen.tokenizers.clips import check_clips, cropped, lengthened, up_to_multiple

_CHUNK = 16
"""Frames that models which look ahead were trained on, and are given multiples of."""


class VidTok(ModelMixin, ConfigMixin):
    """VidTok with discrete codes (Tang et al. 2024, "VidTok: A Versatile and Open-Source Video Tokenizer", 2412.13061).

    The weights lie in `autoencoder`, a diffusers `AutoencoderVidTok`. Its `encode` and `decode` expect frames that
    its `forward` makes up: here they are made up when clips are encoded. Causal models have a first code for the
    first frame, and one for every `frame_stride` frames behind it; the others have one for every `frame_stride`, and
    take multiples of 16 frames.

    Deviation: where a causal model is given a multiple of `frame_stride`, `forward` makes up a step too many; not here.

    Args:
        vidtok_config: what `diffusers.AutoencoderVidTok` takes; its `regularizer` is "fsq".

    Raises:
        OptionError: it is another, whose codes are not discrete.
    """

    @register_to_config
    def __init__(self, vidtok_config: dict[str, Any] | None = None) -> None:
        super().__init__()
        from diffusers import AutoencoderVidTok

        config = {name: value for name, value in (vidtok_config or {}).items() if not name.startswith("_")}
        if config.get("regularizer") != "fsq":
            raise OptionError("regularizer", config.get("regularizer"), "'fsq', whose codes are discrete")
        self.autoencoder = AutoencoderVidTok(**config)

    @property
    def stride(self) -> int:
        """Pixels per code along both sides."""
        return 2 ** len(self.autoencoder.encoder.spatial_ds)

    @property
    def frame_stride(self) -> int:
        """Frames per code."""
        return self.autoencoder.temporal_compression_ratio

    @property
    def codebook(self) -> Tensor:
        """What each code stands for: [V, C]."""
        codes = torch.arange(self.autoencoder.config.codebook_size, device=self.device)
        return self.autoencoder.indices_to_latent(codes.view(1, 1, 1, -1))[0, :, 0, 0].T

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Steps, rows and columns of the codes of a clip; what does not fill a code counts as one."""
        steps = (self._whole(frames) - 1) // self.frame_stride + 1
        return steps, -(-height // self.stride), -(-width // self.stride)

    def encode(self, clips: Tensor) -> Tensor:
        """Clips of any number of frames and any size to codes; what comes last is repeated up to a whole step.

        Args:
            clips: float [B, 3, T, H, W] in [-1, 1].

        Returns:
            int64 [B, 1, t, h, w].

        Raises:
            SizeError: the clips have another shape.
        """
        check_clips(clips)
        frames, height, width = clips.shape[2:]
        _, rows, columns = self.grid(frames, height, width)
        whole = lengthened(clips, (self._whole(frames), rows * self.stride, columns * self.stride)).to(self.dtype)
        if self.autoencoder.is_causal:
            whole = pad(whole, (0, 0, 0, 0, self.frame_stride - 1, 0), mode="replicate")
        _, indices = self.autoencoder.encode(whole)
        return indices.long().unsqueeze(1)

    def decode(self, codes: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Codes to clips.

        Args:
            codes: int64 [B, 1, t, h, w].
            size: frames, height and width of the clips, where they are fewer than the codes make.

        Returns:
            [B, 3, T, H, W] in [-1, 1].

        Raises:
            SizeError: the codes make no clip of that size.
        """
        step = 1 if self.autoencoder.is_causal else _CHUNK // self.frame_stride
        if codes.ndim != 5 or codes.shape[2] % step:
            raise SizeError(f"codes of shape {list(codes.shape)}", f"[B, 1, t, h, w], t a multiple of {step}")
        clips = self.autoencoder.decode(codes[:, 0], decode_from_indices=True)
        return cropped(clips.clamp(-1, 1), size)

    def _whole(self, frames: int) -> int:
        """The fewest frames, of those the model takes, that are not below a number."""
        if self.autoencoder.is_causal:
            return 1 + up_to_multiple(frames - 1, self.frame_stride)
        return up_to_multiple(frames, _CHUNK)
