"""Counter-based noise: every number depends on a seed, a position, a purpose and a draw, on nothing else.

So a picture depends on its own prompt and seed, never on the batch it was drawn in, on the window
or on what was drawn before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from mmgen.errors import OptionError

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB
_TABLE_BYTES = 256 * 2**20
MAXIMUM_SEED = 2**63 - 1


class Purpose(IntEnum):
    """What a number is used for; numbers of different purposes are independent."""

    TOKEN = 1
    """The noise a position keeps for its whole life: seeded sampling."""
    ACCEPT = 2
    CORRECT = 3
    DRAFT = 4
    CARRY = 5


class Rng:
    """The noise of a batch.

    Args:
        seeds: one seed a row, 0 to 2**63 - 1.
        device: where the numbers are wanted.

    Raises:
        OptionError: a seed is out of range.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        for seed in seeds:
            if type(seed) is not int or not 0 <= seed <= MAXIMUM_SEED:
                raise OptionError("seed", seed, f"a whole number from 0 to {MAXIMUM_SEED}")
        self._keys = _mix(torch.tensor(list(seeds), dtype=torch.long, device=device) + _GOLDEN)
        self._table: Tensor | None = None

    def uniform(self, purpose: Purpose, positions: Tensor, draw: Tensor | int = 0) -> Tensor:
        """Uniform numbers.

        Args:
            positions: int64 [B, L].
            draw: which of a position's numbers: an integer or int64 [B, 1].

        Returns:
            float32 [B, L] in [0, 1), multiples of 2**-24.
        """
        return _shift(self._key(purpose, positions, draw), 40).float() * 2.0**-24

    def exponential(self, purpose: Purpose, positions: Tensor, size: int, draw: Tensor | int = 0) -> Tensor:
        """Exponential numbers of rate 1, one for each of `size` tokens: float32 [B, L, size], above 0.

        `race(p, exponential)` draws a token from p; -log of these is Gumbel noise. Small values, which
        decide the race, keep full resolution down to 2**-33.
        """
        lanes = torch.arange(size, device=positions.device) * _GOLDEN
        bits = _shift(_mix(self._key(purpose, positions, draw)[..., None] + lanes), 32)
        uniform = ((bits.float() + 0.5) * 2.0**-32).clamp_(max=1 - 2.0**-24)
        return uniform.neg_().log1p_().neg_()

    def token_noise(self, positions: Tensor, size: int, length: int) -> Tensor:
        """The exponential numbers positions keep for life: float32 [B, L, size].

        Args:
            positions: int64 [B, L]; those past `length` get the numbers of the last.
            length: tokens N of a line; the whole table is made once where it is not too large.
        """
        rows = positions.shape[0]
        positions = positions.clamp(max=length - 1)
        if rows * length * size * 4 > _TABLE_BYTES:
            return self.exponential(Purpose.TOKEN, positions, size)
        if self._table is None or tuple(self._table.shape) != (rows, length, size):
            line = torch.arange(length, device=positions.device).expand(rows, -1)
            self._table = self.exponential(Purpose.TOKEN, line, size)
        row = torch.arange(rows, device=positions.device)[:, None]
        return self._table[row, positions]

    def first(self, rows: int) -> Rng:
        """The noise of the first rows."""
        return self if rows == len(self._keys) else self.select(torch.arange(rows, device=self._keys.device))

    def select(self, rows: Tensor) -> Rng:
        """The noise of `rows` [B'] alone."""
        chosen = Rng([], self._keys.device)
        chosen._keys = self._keys[rows]
        chosen._table = None if self._table is None else self._table[rows]
        return chosen

    def renew(self, rows: Tensor, other: Rng) -> Rng:
        """The noise of the same rows, but for `rows` [B'], which have the other's."""
        chosen = Rng([], self._keys.device)
        chosen._keys = self._keys.index_copy(0, rows, other._keys)
        if self._table is not None:
            _, length, size = self._table.shape
            line = torch.arange(length, device=rows.device).expand(len(rows), -1)
            chosen._table = self._table.index_copy_(0, rows, other.exponential(Purpose.TOKEN, line, size))
        return chosen

    def _key(self, purpose: Purpose, positions: Tensor, draw: Tensor | int) -> Tensor:
        purposes = torch.full_like(self._keys, int(purpose)) * _GOLDEN
        key = _mix(self._keys + purposes)[:, None]
        # A number is multiplied here: as a tensor it would be copied to the device, which waits for it.
        drawn = draw * _GOLDEN if isinstance(draw, Tensor) else _wrapped(draw * _GOLDEN)
        return _mix(_mix(key + positions * _GOLDEN) + drawn)


def race(p: Tensor, exponential: Tensor) -> Tensor:
    """Draws tokens: the argmax of p / E is distributed as p (the exponential race, or Gumbel-max, trick).

    Args:
        p: weights [..., V], at least 0, not necessarily summing to one.
        exponential: numbers of the same shape, from `Rng.exponential`.

    Returns:
        int64 [...].
    """
    return (p / exponential).argmax(-1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014); int64 arithmetic wraps."""
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def _wrapped(number: int) -> int:
    """A whole number as 64 bits hold it, with its sign."""
    return (number + 2**63) % 2**64 - 2**63


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
