"""The key/value cache of a backbone: preallocated, with a length of its own for every row."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.layout import Tree

_BUCKET = 32
"""Slots are read in multiples of this many, so that few shapes occur."""


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
    ) -> None:
        shape = (layers, rows, heads, capacity, head_size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self._slot_index = torch.arange(capacity, device=device)
        self.mask: Tensor | None = None
        self._bind()

    def _bind(self) -> None:
        """Makes the views of the storage that every forward uses."""
        layers, rows, heads, capacity, _ = self.keys.shape
        self._offsets = torch.arange(rows * heads, device=self.keys.device).view(rows, 1, heads) * capacity
        self._written = self._offsets
        self._flat_keys = [self.keys[layer].flatten(0, 2) for layer in range(layers)]
        self._flat_values = [self.values[layer].flatten(0, 2) for layer in range(layers)]
        self._readable = 0
        self._read(capacity)

    @property
    def rows(self) -> int:
        return self.keys.shape[1]

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

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
        # Added to the scores: attention would turn a mask of booleans into this in every layer.
        self.mask = torch.zeros(hidden.shape, dtype=self.keys.dtype, device=slots.device)
        self.mask = self.mask.masked_fill_(hidden, -torch.inf)[:, None]
        self._written = self._index(slots)
        self.lengths = self.lengths + length
        return positions

    def _bound(self, length: int) -> int:
        """How many slots attention reads. Only on a CPU are lengths known without waiting for the device."""
        if self.lengths.device.type != "cpu":
            return self.capacity
        return min(_BUCKET * -(-(int(self.lengths.max()) + length) // _BUCKET), self.capacity)

    def _read(self, slots: int) -> None:
        """Lets attention read the first `slots` of every row."""
        if slots != self._readable:
            self._readable = slots
            self._read_keys = [self.keys[layer, :, :, :slots] for layer in range(len(self.keys))]
            self._read_values = [self.values[layer, :, :, :slots] for layer in range(len(self.values))]

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
            says which of them.
        """
        self._flat_keys[layer].index_copy_(0, self._written, keys.flatten(0, 2).to(self.keys.dtype))
        self._flat_values[layer].index_copy_(0, self._written, values.flatten(0, 2).to(self.values.dtype))
        return self._read_keys[layer], self._read_values[layer]

    def rewind(self, lengths: Tensor) -> None:
        """Forgets everything past `lengths` [R] in each row."""
        self.lengths = lengths

    def select(self, rows: Tensor) -> None:
        """Keeps `rows` [R'] alone, in that order."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths = self.lengths[rows]
        self._bind()

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copies slots `sources` [R, M] over slots `targets` [R, M] of the same row, in every layer."""
        read, write = self._index(sources), self._index(targets)
        for store in (self.keys, self.values):
            flat = store.flatten(1, 3)
            flat.index_copy_(1, write, flat.index_select(1, read))
