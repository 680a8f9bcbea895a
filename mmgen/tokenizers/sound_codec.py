"""What every codec of sound is: waveforms to codes of several codebooks and back, all at once or piece by piece."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

import torch
from diffusers import ConfigMixin, ModelMixin
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from mmgen.errors import OptionError, SizeError
from mmgen.tokenizers.overlapped_stream import OverlappedStream


class SoundStream(Protocol):
    """Codes to sound, piece by piece, each sample once and in order.

    Attributes:
        behind: frames that what is heard is behind the codes, until the last of them come.
    """

    behind: int

    def push(self, codes: Tensor, last: bool = False) -> Tensor:
        """The sound that can be heard now, and could not yet.

        Args:
            codes: int64 [B, K, T], of the next frames of the same recordings in every call.
            last: whether there are no more to come; then all that is left can be heard.

        Returns:
            float32 [B, channels, samples], about in [-1, 1]; maybe no samples.

        Raises:
            SizeError: another number of codebooks or recordings, or no frames.
            OptionError: a code out of range.
        """


class SoundCodec(ModelMixin, ConfigMixin):
    """Sound to a grid of codes and back: T frames of `hop` samples, each of one code from every one of K codebooks.

    A codec of one channel reads the channels of a recording apart; their codes stand side by side, channels of the
    first codebook, then of the second, and so on, as in MusicGen's stereo models (1 left, 1 right, 2 left, ...).

    A family says how waveforms become codes (`_encode`) and codes waveforms (`_decode`), what codes stand for where
    that is known (`_code_vectors`), and how codes are heard as they come, if it can do better than `streaming` here.

    Attributes:
        sampling_rate: samples of a second.
        hop: samples of a frame.
        channels: of the waveforms.
        codebooks: codes of a frame, K; those of all channels are counted.
        codebook_size: codes of each codebook.

    Args:
        sampling_rate: as above.
        hop: likewise.
        codebooks: of a side; the first ones, where `_encode` gives more.
        codebook_size: as above.
        channels: likewise.
        sides: parts of as many channels each, that are coded apart.
    """

    def __init__(
        self, sampling_rate: int, hop: int, codebooks: int, codebook_size: int, channels: int = 1, sides: int = 1
    ) -> None:
        super().__init__()
        self.sampling_rate, self.hop, self.channels = sampling_rate, hop, channels
        self.codebooks, self.codebook_size = sides * codebooks, codebook_size
        self._sides, self._books = sides, codebooks

    @abstractmethod
    def _encode(self, waveform: Tensor) -> Tensor:
        """Codes [B, all of the codec's codebooks, T] of waveforms [B, channels of a side, samples]."""

    @abstractmethod
    def _decode(self, codes: Tensor) -> Tensor:
        """Waveforms [B, channels of a side, about T * hop] of codes [B, codebooks of a side, T]."""

    def _code_vectors(self) -> list[Tensor | None]:
        """What `code_vectors` says, of one side and all of the codec's codebooks."""
        return [None] * self._books

    def streaming(self) -> SoundStream:
        """Decodes codes as they come; see `OverlappedStream`."""
        return OverlappedStream(self)

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
        self.check(codes)
        sides = rearrange(codes.to(self.device), "b (k s) t -> (b s) k t", s=self._sides)
        length = codes.shape[2] * self.hop
        sound = self._decode(sides)[..., :length]
        sound = pad(sound, (0, length - sound.shape[-1]))
        return rearrange(sound.float(), "(b s) c n -> b (s c) n", s=self._sides)

    def check(self, codes: Tensor, batch: int | None = None) -> None:
        """Refuses what are no codes of this codec; with `batch`, what are not those of as many recordings.

        Raises:
            SizeError: another number of codebooks or recordings, or no frames.
            OptionError: a code out of range.
        """
        fits = codes.ndim == 3 and codes.shape[1] == self.codebooks and codes.shape[2] > 0
        if not fits or batch not in (None, len(codes)):
            needed = f"[{'B' if batch is None else batch}, {self.codebooks}, frames]"
            raise SizeError(f"codes of shape {list(codes.shape)}", needed)
        if bool((codes < 0).any()) or bool((codes >= self.codebook_size).any()):
            raise OptionError("codes", "codes out of range", f"0 to {self.codebook_size - 1}")
