"""The key/value cache of a backbone: preallocated, with a length of its own for every row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmgen.errors import OptionError
from mmgen.layout import Tree
from mmgen.storage import EightBitSlots, SixteenBitSlots, Slots

_BUCKET = 32
"""Slots are read in multiples of this many, so that few shapes occur."""

CACHE_BITS = (None, 16, 8)
"""What `KVCache` may keep a value in; None is the backbone's own type."""


class KVCache:
    """Keys and values of every layer, for rows of different lengths.

    Rewinding lowers a number. Slots past a row's length hold stale values; they are written again
    before any query may read them, so nothing is cleared, cropped or moved.

    Args:
        layers: attention layers of the backbone.
        rows: rows R of the batch, guidance rows among them.
        capacity: slots S of a row: condition, tokens and one window of slack.
        heads: key/value heads H.
        head_size: channels D of a head.
        dtype: type of the keys and values that attention reads.
        bits: None keeps them in that type; 16 keeps wider ones in float16; 8 keeps each value in 8 bits, and a
            scale per slot and head.

    Raises:
        OptionError: a type that is not floating, or other bits.
    """

    def __init__(
        self,
        layers: int,
        rows: int,
        capacity: int,
        heads: int,
        head_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        bits: int | None = None,
    ) -> None:
        if not dtype.is_floating_point:
            raise OptionError("dtype", dtype, "a floating type")
        if bits not in CACHE_BITS:
            raise OptionError("bits", bits, f"one of {', '.join(map(str, CACHE_BITS))}")
        kind = _kind(bits, dtype)
        shape = (layers, rows, heads, capacity, head_size)
        self.dtype = dtype
        self.capacity = capacity
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.mask: Tensor | None = None
        self._padding: Tensor | None = None
        self._keys, self._values = kind(shape, dtype, device), kind(shape, dtype, device)
        self._heads = heads
        self._slot_index = torch.arange(capacity, device=device)
        self._readable = capacity
        self._bind()

    def _bind(self) -> None:
        """Where each row and head begins in a layer's storage: int64 [R, 1, H]."""
        starts = torch.arange(self.rows * self._heads, device=self.lengths.device) * self.capacity
        self._offsets = starts.view(self.rows, 1, self._heads)
        self._written = self._offsets

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values; in fewer bits, their scales and the one layer being read are counted, too."""
        return self._keys.nbytes + self._values.nbytes

    def hide(self, slots: Tensor) -> None:
        """Lets nothing but themselves read some of the first slots: bool [R, P]."""
        self._padding = torch.nn.functional.pad(slots, (0, self.capacity - slots.shape[1]))

    def open(self, length: int, tree: Tree | None = None) -> Tensor:
        """Prepares one forward of `length` new tokens a row, and advances the lengths by it.

        Returns:
            int64 [R, length]: position of each new token on its row's line.
        """
        slots = self.lengths[:, None] + self._slot_index[:length]
        self._read(self._bound(length))
        if tree is None:
            positions = slots
            hidden = self._slot_index[: self._readable] > slots[..., None]
        else:
            positions = self.lengths[:, None] + tree.to(slots.device).depths
            hidden = ~self._tree_mask(tree)
        self._hide(hidden, slots)
        self._written = self._index(slots)
        self.lengths = self.lengths + length
        return positions

    def open_at(self, slots: Tensor, visible: Tensor) -> None:
        """Prepares one forward of new tokens in slots that may lie anywhere; the lengths stay as they are.

        Args:
            slots: int64 [R, L].
            visible: bool [R, L, S], the slots each token may read: its own among them, none past the last of `slots`.
                Hidden ones stay hidden.
        """
        on_cpu = slots.device.type == "cpu"
        self._read(self._whole_buckets(int(slots.max()) + 1) if on_cpu else self.capacity)
        self._hide(~visible[..., : self._readable], slots)
        self._written = self._index(slots)

    def open_block(self, start: int, length: int, visible: Tensor | None = None) -> None:
        """Prepares one forward of new tokens in the same slots of every row; the rows end behind them.

        What is read ends there, too, so that tokens which see each other and all before them need no mask.

        Args:
            start: the first of their slots.
            length: how many they are.
            visible: bool [length, start + length], the slots each of them may read, its own among them; None
                lets each read all. Hidden ones stay hidden.
        """
        slots = self._slot_index[start : start + length].expand(self.rows, -1)
        self._read(start + length)
        self.mask = None
        if visible is None and self._padding is not None:
            visible = torch.ones(length, start + length, dtype=torch.bool, device=slots.device)
        if visible is not None:
            self._hide(~visible[None], slots)
        self._written = self._index(slots)
        self.lengths = torch.full_like(self.lengths, start + length)

    def _hide(self, hidden: Tensor, slots: Tensor) -> None:
        """Makes the mask of queries in slots [R, L] from what is hidden from them, bool [R or 1, L, S']."""
        if self._padding is not None:
            others = self._slot_index[: self._readable] != slots[..., None]
            hidden = hidden | (self._padding[:, None, : self._readable] & others)
        # Added to the scores: attention would turn a mask of booleans into this in every layer.
        self.mask = torch.zeros(hidden.shape, dtype=self.dtype, device=hidden.device)
        self.mask = self.mask.masked_fill_(hidden, -torch.inf)[:, None]

    def _bound(self, length: int) -> int:
        """How many slots attention reads. Only on a CPU are lengths known without waiting for the device."""
        if self.lengths.device.type != "cpu":
            return self.capacity
        return self._whole_buckets(int(self.lengths.max()) + length)

    def _whole_buckets(self, slots: int) -> int:
        return min(_BUCKET * -(-slots // _BUCKET), self.capacity)

    def _read(self, slots: int) -> None:
        """Lets attention read the first `slots` of every row."""
        if slots != self._readable:
            self._readable = slots
            self._keys.limit(slots)
            self._values.limit(slots)

    def _index(self, slots: Tensor) -> Tensor:
        """Where slots [R, L] of all heads lie in a layer's storage: int64 [R * L * H]."""
        return (self._offsets + slots[..., None]).flatten()

    def _tree_mask(self, tree: Tree) -> Tensor:
        """bool [R, nodes, slots]: the committed line, and each node's ancestors behind it."""
        node = self._slot_index[: self._readable] - self.lengths[:, None]
        within = (node >= 0) & (node < len(tree))
        ancestors = tree.ancestors[:, node.clamp(0, len(tree) - 1)]
        return torch.where(within[None], ancestors, node[None] < 0).transpose(0, 1)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new keys and values [R, L, H, D] of one layer.

        Returns:
            Keys and values of the layer, each [R, H, S', D], where S' slots are all that may be read; `mask`
            says which of them. The new ones are among them as they are kept. Valid until the next `write`.
        """
        return self._keys.write(layer, self._written, keys), self._values.write(layer, self._written, values)

    def rewind(self, lengths: Tensor) -> None:
        """Forgets everything past `lengths` [R] in each row."""
        self.lengths = lengths

    def select(self, rows: Tensor) -> None:
        """Keeps `rows` [R'] alone, in that order."""
        self._keys.select(rows)
        self._values.select(rows)
        self.lengths = self.lengths[rows]
        self._padding = None if self._padding is None else self._padding[rows]
        self._readable = self.capacity
        self._bind()

    def adopt(self, rows: Tensor, other: KVCache, slots: int) -> None:
        """Puts the rows of another cache of this shape in the place of `rows` [R'], with lengths and hidden slots.

        Args:
            slots: how many of them hold something, the first ones.
        """
        kept: Any = other
        self._keys.adopt(rows, kept._keys, slots)
        self._values.adopt(rows, kept._values, slots)
        self.lengths = self.lengths.index_copy(0, rows, other.lengths)
        if self._padding is not None:
            self._padding[rows] = False
            if other._padding is not None:
                self._padding[rows] = other._padding

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copies slots `sources` [R, M] over slots `targets` [R, M] of the same row, in every layer."""
        read, write = self._index(sources), self._index(targets)
        self._keys.move(read, write)
        self._values.move(read, write)


def _kind(bits: int | None, dtype: torch.dtype) -> type[Slots] | type[EightBitSlots]:
    if bits == 8:
        return EightBitSlots
    return SixteenBitSlots if bits == 16 and dtype.itemsize > 2 else Slots


class OneForward:
    """A cache that keeps nothing: what blocks attend to in one forward alone."""

    def __init__(self, mask: Tensor | None) -> None:
        self.mask = mask

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [R, L, H, D] as attention reads them, [R, H, L, D]."""
        return keys.transpose(1, 2), values.transpose(1, 2)
