"""Codecs of sound: waveforms to codes of several codebooks, and back. The networks are those of transformers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad
from transformers import DacConfig, EncodecConfig, MimiConfig
from transformers.models.dac.modeling_dac import DacModel
from transformers.models.encodec.modeling_encodec import EncodecModel
from transformers.models.mimi.modeling_mimi import MimiModel

from mmgen.errors import OptionError, SizeError


class SoundCodec(ModelMixin, ConfigMixin):
    """Sound to a grid of codes and back: T frames of `hop` samples, each of one code from every one of K codebooks.

    A codec of one channel reads the channels of a recording apart; their codes stand side by side, channels of the
    first codebook, then of the second, and so on, as in MusicGen's stereo models (1 left, 1 right, 2 left, ...).

    Attributes:
        sampling_rate: samples of a second.
        hop: samples of a frame.
        channels: of the waveforms.
        codebooks: codes of a frame, K; those of all channels are counted.
        codebook_size: codes of each codebook.

    Args:
        model: transformers' codec.
        hop: samples of a frame.
        own_channels: channels that `model` reads together.
        own_codebooks: codebooks that `model` has.
        channels: of the waveforms, a multiple of the codec's own.
        codebooks: how many of the codec's own codebooks are used for each channel, the first ones; None for all.

    Raises:
        OptionError: no such number of channels or codebooks.
    """

    def __init__(
        self, model: Any, hop: int, own_channels: int, own_codebooks: int, channels: int, codebooks: int | None
    ) -> None:
        super().__init__()
        if channels not in (own_channels, 2 * own_channels):
            raise OptionError("channels", channels, f"{own_channels} or {2 * own_channels}")
        if codebooks is not None and not 1 <= codebooks <= own_codebooks:
            raise OptionError("codebooks", codebooks, f"a number from 1 to {own_codebooks}, those of the codec")
        self.model = model
        self.hop, self.channels = hop, channels
        self.sampling_rate: int = model.config.sampling_rate
        self.codebook_size: int = model.config.codebook_size
        self._sides = channels // own_channels
        self._books = codebooks or own_codebooks
        self.codebooks = self._sides * self._books

    @abstractmethod
    def _encode(self, waveform: Tensor) -> Tensor:
        """Codes [B, all of the codec's codebooks, T] of waveforms [B, the codec's own channels, samples]."""

    @abstractmethod
    def _decode(self, codes: Tensor) -> Tensor:
        """Waveforms [B, the codec's own channels, about T * hop] of codes [B, K, T]."""

    def _code_vectors(self) -> list[Tensor | None]:
        """What `code_vectors` says, of one channel and all of the codec's codebooks."""
        return [None] * self._books

    @torch.no_grad()
    def code_vectors(self) -> list[Tensor | None]:
        """What the codes of each codebook stand for: vectors [V, C], of which the decoder reads the sum.

        None where that is a meaning rather than a sound, or is not known: then near vectors do not sound alike.
        """
        return [vectors for vectors in self._code_vectors()[: self._books] for _ in range(self._sides)]

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Sound to codes.

        Args:
            waveform: float [B, channels, samples] in [-1, 1], at the codec's sampling rate. A last frame that is not
                full is filled up, as the codec does it.

        Returns:
            int64 [B, K, T], where T is samples / hop, rounded up.

        Raises:
            SizeError: another number of channels, or no samples.
        """
        if waveform.ndim != 3 or waveform.shape[1] != self.channels or not waveform.shape[2]:
            raise SizeError(f"a waveform of shape {list(waveform.shape)}", f"[B, {self.channels}, samples]")
        sides = rearrange(waveform, "b (s c) n -> (b s) c n", s=self._sides)
        codes = self._encode(sides.to(self.device, self.dtype))[:, : self._books]
        return rearrange(codes, "(b s) k t -> b (k s) t", s=self._sides)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes to sound.

        Args:
            codes: int64 [B, K, T].

        Returns:
            float32 [B, channels, T * hop], about in [-1, 1]; whoever encoded less cuts the end off.

        Raises:
            SizeError: another number of codebooks, or no frames.
            OptionError: a code out of range.
        """
        if codes.ndim != 3 or codes.shape[1] != self.codebooks or not codes.shape[2]:
            raise SizeError(f"codes of shape {list(codes.shape)}", f"[B, {self.codebooks}, frames]")
        if bool((codes < 0).any()) or bool((codes >= self.codebook_size).any()):
            raise OptionError("codes", "codes out of range", f"0 to {self.codebook_size - 1}")
        sides = rearrange(codes.to(self.device), "b (k s) t -> (b s) k t", s=self._sides)
        length = codes.shape[2] * self.hop
        sound = self._decode(sides)[..., :length]
        sound = pad(sound, (0, length - sound.shape[-1]))
        return rearrange(sound.float(), "(b s) c n -> b (s c) n", s=self._sides)


class EnCodec(SoundCodec):
    """EnCodec (Défossez et al. 2022, arXiv 2210.13438), and the ones of MusicGen and AudioGen.

    The 48 kHz model, which codes a second at a time, each with a loudness beside its codes, is not supported.

    Args:
        codec: what `transformers.EncodecConfig` takes; what is left out has its defaults.
        channels: of the waveforms; twice the codec's own where it reads both sides apart.
        codebooks: how many are used for each channel, the first ones; None for all.

    Raises:
        OptionError: the 48 kHz model, or no such number of channels or codebooks.
    """

    @register_to_config
    def __init__(self, codec: dict[str, Any], channels: int = 1, codebooks: int | None = None) -> None:
        config = EncodecConfig.from_dict(codec)
        if config.normalize or config.chunk_length is not None:
            needed = "one without loudness and chunks, such as those of 24 and 32 kHz"
            raise OptionError("codec", f"an EnCodec of {config.sampling_rate} Hz with loudness or in chunks", needed)
        model = EncodecModel(config)
        super().__init__(model, config.hop_length, config.audio_channels, config.num_quantizers, channels, codebooks)

    def _encode(self, waveform: Tensor) -> Tensor:
        return self.model.quantizer.encode(self.model.encoder(waveform)).transpose(0, 1)

    def _decode(self, codes: Tensor) -> Tensor:
        return self.model.decoder(self.model.quantizer.decode(codes.transpose(0, 1)))

    def _code_vectors(self) -> list[Tensor | None]:
        return [layer.codebook.embed for layer in self.model.quantizer.layers]


class DAC(SoundCodec):
    """The Descript audio codec (Kumar et al. 2023, arXiv 2306.06546).

    Where a stride is odd (the 16 and 24 kHz models), transformers' decoder ends a few samples before the last frame
    does; they are silent here.

    Args:
        codec: what `transformers.DacConfig` takes; what is left out has its defaults.
        channels: of the waveforms; 2 where both sides are read apart.
        codebooks: how many are used for each channel, the first ones; None for all.

    Raises:
        OptionError: no such number of channels or codebooks.
    """

    @register_to_config
    def __init__(self, codec: dict[str, Any], channels: int = 1, codebooks: int | None = None) -> None:
        config = DacConfig.from_dict(codec)
        super().__init__(DacModel(config), config.hop_length, 1, config.n_codebooks, channels, codebooks)

    def _encode(self, waveform: Tensor) -> Tensor:
        whole = pad(waveform, (0, -waveform.shape[-1] % self.hop))
        return self.model.encode(whole).audio_codes

    def _decode(self, codes: Tensor) -> Tensor:
        return self.model.decode(audio_codes=codes).audio_values[:, None]

    def _code_vectors(self) -> list[Tensor | None]:
        return [layer.codebook.weight @ layer.out_proj.weight[..., 0].T for layer in self.model.quantizer.quantizers]


class Mimi(SoundCodec):
    """Mimi (Défossez et al. 2024, arXiv 2410.00037): a first codebook for meaning, and others for the rest of sound.

    Args:
        codec: what `transformers.MimiConfig` takes; what is left out has its defaults.
        channels: of the waveforms; twice the codec's own where it reads both sides apart.
        codebooks: how many are used for each channel, the first ones; None for all.

    Raises:
        OptionError: no such number of channels or codebooks.
    """

    @register_to_config
    def __init__(self, codec: dict[str, Any], channels: int = 1, codebooks: int | None = None) -> None:
        config = MimiConfig.from_dict(codec)
        hop = round(config.sampling_rate / config.frame_rate)
        super().__init__(MimiModel(config), hop, config.audio_channels, config.num_quantizers, channels, codebooks)

    def _encode(self, waveform: Tensor) -> Tensor:
        return self.model.encode(waveform).audio_codes

    def _decode(self, codes: Tensor) -> Tensor:
        return self.model.decode(codes).audio_values

    def _code_vectors(self) -> list[Tensor | None]:
        quantizer = self.model.quantizer
        acoustic = quantizer.acoustic_residual_vector_quantizer
        vectors = [layer.codebook.embed for layer in acoustic.layers]
        if acoustic.output_proj is not None:
            vectors = [own @ acoustic.output_proj.weight[..., 0].T for own in vectors]
        return [*[None] * quantizer.num_semantic_quantizers, *vectors]
