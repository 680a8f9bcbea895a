"""A small codec of sound: spectra as codes of a few codebooks, and phases that follow from them."""

from __future__ import annotations

import math

import torch
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from mmgen.codebook import nearest
from mmgen.tokenizers.sound_codec import SoundCodec

_OVERLAP = 4
"""Frames that a window is long."""
_BEFORE, _BEHIND = 2, 1
"""Frames that a window begins before its own, and ends behind it."""
_FLOOR = 3e-3
"""Magnitudes of so little are silence; 1 is that of a sine of root mean square 0.1."""


class SoundVQ(SoundCodec):
    """Sound to codes of its spectra, and back with phases that follow from the magnitudes.

    The logarithmic spectrum of a frame is projected onto the directions in which spectra differ most (principal
    components), and quantised residually (Zeghidour et al. 2021, "SoundStream", section III.C), with codebooks that are
    found by k-means (Lloyd 1982). Codes depend on their own spectrum alone: a note that sounds on has the same codes
    again, which is what a small autoregressive model learns fastest.

    Phases are those of tones that go on, one at each peak of the spectrum (Beauregard et al. 2015, "Single pass
    spectrogram inversion"): each frame's follow from those of the frame before, so that there is nothing to iterate.
    Deviations: bins belong to the nearest peak, and all of them have its phase in the middle of the window.

    A window is four frames long: its own, two before and one behind. So the sound of a frame is final once the codes of
    the next two are known; the last two frames of a recording fade out.

    Attributes are those of `SoundCodec`.

    Args:
        sampling_rate: samples of a second.
        hop: samples of a frame.
        codebooks: K.
        codebook_size: codes of each.
        code_size: channels D of what is quantised.
    """

    @register_to_config
    def __init__(
        self,
        sampling_rate: int = 16_000,
        hop: int = 320,
        codebooks: int = 4,
        codebook_size: int = 1024,
        code_size: int = 128,
    ) -> None:
        super().__init__(sampling_rate, hop, codebooks, codebook_size)
        bins = _OVERLAP * hop // 2 + 1
        self.mean = nn.Parameter(torch.zeros(bins), requires_grad=False)
        """Of logarithmic spectra, [F]."""
        self.basis = nn.Parameter(torch.zeros(code_size, bins), requires_grad=False)
        """The directions that spectra are projected onto, [D, F], orthonormal."""
        self.vectors = nn.Parameter(torch.zeros(codebooks, codebook_size, code_size), requires_grad=False)
        """Of the codes, [K, V, D]: a projected spectrum is the sum of one of each."""

    def spectra(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, 1, T * hop] to logarithmic spectra [B, T, F], 0 where they are silent."""
        sides = (_BEFORE * self.hop, _BEHIND * self.hop)
        windows = pad(waveform[:, 0], sides).unfold(-1, _OVERLAP * self.hop, self.hop)
        magnitudes = torch.fft.rfft(windows.float() * self._window(windows.device)).abs() / self._loudness
        return (magnitudes / _FLOOR).log1p()

    def quantise(self, spectra: Tensor) -> Tensor:
        """Codes int64 [B, T, K] of spectra [B, T, F]: each codebook's nearest vector to what those before leave."""
        rest, codes = (spectra - self.mean) @ self.basis.T, []
        for vectors in self.vectors:
            codes.append(nearest(rest, vectors))
            rest = rest - vectors[codes[-1]]
        return torch.stack(codes, dim=-1)

    def vectors_of(self, codes: Tensor) -> Tensor:
        """Projected spectra [..., D]: the sum of the vectors of codes int64 [..., K]."""
        return sum(vectors[own] for vectors, own in zip(self.vectors, codes.unbind(-1), strict=True))  # type: ignore[return-value]

    def magnitudes(self, spectra: Tensor) -> Tensor:
        """The magnitudes of logarithmic spectra [..., F] without their mean."""
        return (spectra + self.mean).float().expm1().clamp(min=0) * (_FLOOR * self._loudness)

    def streaming(self) -> SoundVQStream:
        """Decodes codes as they come; see `SoundVQStream`."""
        return SoundVQStream(self)

    def _encode(self, waveform: Tensor) -> Tensor:
        whole = pad(waveform, (0, -waveform.shape[-1] % self.hop))
        return rearrange(self.quantise(self.spectra(whole).to(self.dtype)), "b t k -> b k t")

    def _decode(self, codes: Tensor) -> Tensor:
        return self.streaming().push(codes, last=True)

    def _code_vectors(self) -> list[Tensor | None]:
        return list(self.vectors)

    def _window(self, device: torch.device) -> Tensor:
        return torch.hann_window(_OVERLAP * self.hop, device=device)

    @property
    def _loudness(self) -> float:
        """The magnitude of a sine of root mean square 0.1."""
        return 0.1 * 2**0.5 * _OVERLAP * self.hop / 4


class SoundVQStream:
    """A `SoundStream`: all pieces together are, to the last bit, what the codec makes of all codes at once.

    No frame is decoded twice.

    Args:
        codec: codes to sound.
    """

    behind = _BEFORE

    def __init__(self, codec: SoundVQ) -> None:
        self.codec = codec
        self._phases: Tensor | None = None
        self._windows: Tensor
        """The last windows that reach behind their own frame: [B, 3, samples of a window]."""
        self._early = _BEFORE
        """Blocks to drop: the windows of the first frames begin before the recording does."""

    @torch.no_grad()
    def push(self, codes: Tensor, last: bool = False) -> Tensor:
        """See `SoundStream`."""
        codec, reach = self.codec, _OVERLAP - 1
        codec.check(codes, None if self._phases is None else len(self._phases))
        if self._phases is None:
            self._phases = torch.zeros(len(codes), codec.basis.shape[1], device=codec.device)
            self._windows = torch.zeros(len(codes), reach, _OVERLAP * codec.hop, device=codec.device)
        windows = torch.cat((self._windows, self._next(codes.to(codec.device))), dim=1)
        if last:
            windows = pad(windows, (0, 0, 0, _BEFORE))
        self._windows = windows[:, -reach:]
        parts, count = windows.unflatten(-1, (_OVERLAP, -1)), windows.shape[1] - reach
        blocks = parts[:, :count, reach]
        for later in range(1, _OVERLAP):
            blocks = blocks + parts[:, later : later + count, reach - later]
        early = min(self._early, count)
        self._early -= early
        return blocks[:, early:].flatten(1)[:, None]

    def _next(self, codes: Tensor) -> Tensor:
        """The windows [B, T, samples of a window] of the next frames, whose phases go on from those before."""
        codec = self.codec
        # Products and transforms are frame by frame: with more of them at once, sums come in another order, and so do
        # their last bits.
        frames = [own @ codec.basis for own in codec.vectors_of(codes.mT).unbind(1)]
        magnitudes = codec.magnitudes(torch.stack(frames, dim=1))
        phases = []
        for advance, peak in zip(*(part.unbind(1) for part in _tones(magnitudes, codec.hop)), strict=True):
            self._phases = (self._phases + advance).gather(-1, peak).remainder(2 * math.pi)
            phases.append(self._phases)
        spectra = torch.polar(magnitudes, torch.stack(phases, dim=1))
        size = _OVERLAP * codec.hop
        middles = torch.stack([torch.fft.irfft(own, size) for own in spectra.unbind(1)], dim=1)
        return middles.roll(size // 2, -1) * (codec._window(codes.device) / 1.5)  # four squared windows are 1.5


def _tones(magnitudes: Tensor, hop: int) -> tuple[Tensor, Tensor]:
    """How far phases turn from frame to frame, and the peak whose phase each bin has: of magnitudes, all [..., F]."""
    size = 2 * (magnitudes.shape[-1] - 1)
    level = magnitudes.clamp(min=1e-9).log()
    edges = pad(level, (1, 1), value=-30.0)
    left, right = edges[..., :-2], edges[..., 2:]
    peaks = (level > left) & (level >= right)
    # A parabola through a peak and its neighbours has its top so many bins beside it.
    aside = (0.5 * (left - right) / (left - 2 * level + right).clamp(max=-1e-6)).clamp(-0.5, 0.5)
    bins = torch.arange(magnitudes.shape[-1], device=magnitudes.device)
    return 2 * math.pi * hop / size * (bins + aside), _nearest_peak(peaks, bins)


def _nearest_peak(peaks: Tensor, bins: Tensor) -> Tensor:
    """The bin of the peak that each bin is nearest to: int64 [..., F]; where there is none, its own."""
    far = 4 * len(bins)
    before = torch.where(peaks, bins, -far).cummax(-1).values
    behind = torch.where(peaks, bins, far).flip(-1).cummin(-1).values.flip(-1)
    near = torch.where(bins - before <= behind - bins, before, behind)
    return torch.where(peaks.any(-1, keepdim=True), near, bins).clamp(0, len(bins) - 1)
