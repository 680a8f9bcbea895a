"""The VQGAN image tokenizers: LlamaGen's, Janus's, Chameleon's and taming's, and MoVQGAN."""

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
from mmgen.tokenizers.vqgan_blocks import Decoder, Encoder


class VQGAN(ModelMixin, ConfigMixin):
    """Vector quantisation between a convolutional encoder and decoder, for pictures of any size.

    VQGAN is by Esser et al. (2021, "Taming Transformers"); its codebook with few channels and vectors of
    length one by Yu et al. (2022, "Vector-quantized Image Modeling with Improved VQGAN"), as LlamaGen (Sun et
    al. 2024) and Janus (Wu et al. 2024) have it; norms modulated by the codes by Zheng et al. (2022, "MoVQ").
    The published models differ in these arguments alone:

    ==================  =============  =================  ===============  ========  ============  =====================
    model               codebook       latent_channels    multipliers      channels  attention     also true
    ==================  =============  =================  ===============  ========  ============  =====================
    LlamaGen 16, Janus  16384 x 8      256                1, 1, 2, 2, 4    128       yes           normalised
    LlamaGen 8          16384 x 8      256                1, 2, 2, 4       128       yes           normalised
    Chameleon           8192 x 256     256                1, 1, 2, 2, 4    128       no
    taming f16          16384 x 256    256                1, 1, 2, 2, 4    128       yes
    MoVQGAN 270M        16384 x 4      4                  1, 2, 2, 4       256       yes           spatial_norm
    ==================  =============  =================  ===============  ========  ============  =====================

    Args:
        codebook_size: number of codes V.
        codebook_channels: channels C of a code's vector.
        latent_channels: channels between the encoder and the codebook, and between the codebook and the decoder.
        channels: channels at the full resolution, a multiple of 32.
        multipliers: channels of each resolution in multiples of `channels`, from the highest; each but the
            first halves the resolution.
        blocks: residual blocks of a resolution in the encoder; the decoder has one more.
        attention: whether the lowest resolution has attention behind every block. The middle always has one.
        normalised: whether vectors have length one, in the codebook and before they are looked up.
        spatial_norm: whether the decoder's norms are modulated by the code vectors.
    """

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 16384,
        codebook_channels: int = 8,
        latent_channels: int = 256,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4),
        blocks: int = 2,
        attention: bool = True,
        normalised: bool = True,
        spatial_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        self.encoder = Encoder([channels, *widths], latent_channels, blocks, attention)
        self.to_codebook = nn.Conv2d(latent_channels, codebook_channels, 1)
        self.vectors = nn.Parameter(torch.randn(codebook_size, codebook_channels))
        self.from_codebook = nn.Conv2d(codebook_channels, latent_channels, 1)
        code_channels = codebook_channels if spatial_norm else 0
        self.decoder = Decoder([widths[-1], *widths[::-1]], latent_channels, blocks + 1, attention, code_channels)

    @property
    def stride(self) -> int:
        """Pixels per code along each axis."""
        return 2 ** (len(self.config.multipliers) - 1)

    @property
    def codebook(self) -> Tensor:
        """What each code stands for: [V, C]."""
        return self._normalise(self.vectors)

    def encode(self, images: Tensor) -> Tensor:
        """Pictures to codes: of each place the code whose vector is nearest (Euclidean, in float32).

        Args:
            images: float [B, 3, H, W] in [-1, 1].

        Returns:
            int64 [B, 1, H / stride, W / stride].

        Raises:
            SizeError: the height or width is no multiple of the stride, or the pictures have another shape.
        """
        check_pictures(images, self.stride)
        vectors = rearrange(self._vectors_of(images), "b c h w -> b h w c")
        vectors = self._normalise(vectors.float())
        return nearest(vectors, self.codebook.float()).unsqueeze(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, 1, h, w], of any h and w, to pictures [B, 3, H, W] in [-1, 1]."""
        return self._decode(codes).clamp(-1, 1)

    def _vectors_of(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] to the vectors [B, C, h, w] that are looked up, before any normalisation."""
        return self.to_codebook(self.encoder(images.to(self.vectors.dtype, memory_format=torch.channels_last)))

    def _decode(self, codes: Tensor) -> Tensor:
        """`decode`, without the bounds that only pictures have."""
        # Channels last in memory, and so through the decoder: a tenth faster on a CPU.
        vectors = self._normalise(F.embedding(codes[:, 0], self.vectors)).permute(0, 3, 1, 2)
        return self.decoder(self.from_codebook(vectors), vectors)

    def _normalise(self, vectors: Tensor) -> Tensor:
        """Vectors [..., C] at length one, where the codebook has that."""
        return F.normalize(vectors, dim=-1) if self.config.normalised else vectors


def check_pictures(images: Tensor, stride: int) -> None:
    """Refuses what a tokenizer of this stride cannot encode.

    Raises:
        SizeError: the pictures are not [B, 3, H, W] with H and W multiples of the stride.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % stride or images.shape[3] % stride:
        raise SizeError(
            f"pictures of shape {tuple(images.shape)}",
            f"[B, 3, H, W] with H and W multiples of {stride}; crop or resize them",
        )
