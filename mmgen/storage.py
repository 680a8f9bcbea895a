"""Where a cache keeps the keys or the values of all layers: as they are, in float16, or in 8 bits each."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST = 127
"""Largest magnitude of a value kept in 8 bits; -128 is not used, so that both signs are alike."""
_LARGEST_HALF = torch.finfo(torch.float16).max


class Slots:
    """Keys or values of every layer, as they are: [layers, R, H, S, D]."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> None:
        self.stored = torch.zeros(shape, dtype=dtype, device=device)
        self._bind()

    def _bind(self) -> None:
        """Makes the views of the storage that every forward uses."""
        self._flat = [layer.flatten(0, 2) for layer in self.stored]
        self.limit(self.stored.shape[3])

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes

    def limit(self, slots: int) -> None:
        """Lets `write` return the first `slots` of every row."""
        self._readable = [layer[:, :, :slots] for layer in self.stored]

    def write(self, layer: int, index: Tensor, new: Tensor) -> Tensor:
        """Puts new [R, L, H, D] at `index` [R * L * H]; returns what may be read, [R, H, S', D]."""
        self._flat[layer].index_copy_(0, index, new.flatten(0, 2).to(self.stored.dtype))
        return self._readable[layer]

    def select(self, rows: Tensor) -> None:
        """Keeps `rows` [R'] alone, in that order."""
        self.stored = self.stored[:, rows]
        self._bind()

    def adopt(self, rows: Tensor, other: Slots, slots: int) -> None:
        """Puts the first `slots` of all rows of another in the place of those of `rows` [R']."""
        self.stored[:, rows, :, :slots] = other.stored[:, :, :, :slots]

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copies what lies at one index over what lies at another, in every layer."""
        flat = self.stored.flatten(1, 3)
        flat.index_copy_(1, targets, flat.index_select(1, sources))


class SixteenBitSlots(Slots):
    """Keys or values in float16, read in the type that attention computes in; what is larger than 65,504 becomes that.

    A value is off by 1/2048 of itself at most.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> None:
        self._dtype = dtype
        super().__init__(shape, torch.float16, device)

    def _bind(self) -> None:
        self._one_layer = torch.empty(self.stored.shape[1:], dtype=self._dtype, device=self.stored.device)
        super()._bind()

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes + self._one_layer.nbytes

    def limit(self, slots: int) -> None:
        super().limit(slots)
        self._widened = self._one_layer[:, :, :slots]

    def write(self, layer: int, index: Tensor, new: Tensor) -> Tensor:
        super().write(layer, index, new.clamp(-_LARGEST_HALF, _LARGEST_HALF))
        return self._widened.copy_(self._readable[layer])


class EightBitSlots:
    """Keys or values in 8 bits each, and one scale for every slot and head.

    A vector x of D channels is kept as round(x / scale) with scale = max |x| / 127, so that no value is
    off by more than half a scale: 1/254 of the largest in its vector. A vector whose scale would lie below
    the smallest normal number of its type gets that number as its scale.

    KIVI (Liu et al. 2024) gives values a scale per token, as here, but keys a scale per channel, over groups
    of tokens; the latest tokens stay as they are until their group is full, and both have a zero point. That is
    for 2 bits, and makes what is read depend on which tokens came together. Here a token is kept the same way
    whatever was written around it, which is what rewinding, trees and equal pictures from unequal windows need.
    Equal up to rounding: where unequal windows compute a value a last bit apart, it may fall on either side
    of a step, so that laws differ by more than they do without quantisation.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> None:
        self._steps = Slots(shape, torch.int8, device)
        self._scales = Slots((*shape[:-1], 1), dtype, device)
        self._bind()

    def _bind(self) -> None:
        # One layer's worth, shared by all: on a CPU, making it anew for every layer takes longer than filling it.
        scales = self._scales.stored
        self._one_layer = torch.empty(self._steps.stored.shape[1:], dtype=scales.dtype, device=scales.device)
        self.limit(scales.shape[3])

    @property
    def nbytes(self) -> int:
        return self._steps.nbytes + self._scales.nbytes + self._one_layer.nbytes

    def limit(self, slots: int) -> None:
        self._steps.limit(slots)
        self._scales.limit(slots)
        self._readable = self._one_layer[:, :, :slots]

    def write(self, layer: int, index: Tensor, new: Tensor) -> Tensor:
        new = new.float()
        scales = (new.abs().amax(-1, keepdim=True) / _LARGEST).to(self._scales.stored.dtype)
        # Divided by the scale as it is kept; zeros have a scale of their own, or they would be 0 / 0.
        scales.clamp_(min=torch.finfo(scales.dtype).tiny)
        steps = (new / scales).round_()
        scales = self._scales.write(layer, index, scales)
        return self._readable.copy_(self._steps.write(layer, index, steps)).mul_(scales)

    def select(self, rows: Tensor) -> None:
        self._steps.select(rows)
        self._scales.select(rows)
        self._bind()

    def adopt(self, rows: Tensor, other: EightBitSlots, slots: int) -> None:
        self._steps.adopt(rows, other._steps, slots)
        self._scales.adopt(rows, other._scales, slots)

    def move(self, sources: Tensor, targets: Tensor) -> None:
        self._steps.move(sources, targets)
        self._scales.move(sources, targets)
