"""The key/value cache of a backbone: preallocated, with a length of its own for every row."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.layout import Tree


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
        shape = (layers, rows, capacity, heads, head_size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self._slot_index = torch.arange(capacity, device=device)
        self._row_offsets = torch.arange(rows, device=device)[:, None] * capacity
        self._slots = self._row_offsets
        self.mask: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.keys.shape[1]

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def open(self, length: int, tree: Tree | None = None) -> Tensor:
        """Prepares one forward of `length` new tokens a row, and advances the lengths by it.

        Returns:
            int64 [R, length]: position of each new token on its row's line.
        """
        offsets = torch.arange(length, device=self.lengths.device)
        slots = self.lengths[:, None] + offsets
        if tree is None:
            positions = slots
            visible = self._slot_index <= slots[..., None]
        else:
            positions = self.lengths[:, None] + torch.tensor(tree.depths, device=slots.device)
            visible = self._tree_mask(tree)
        self.mask = visible[:, None]
        self._slots = (self._row_offsets + slots).flatten()
        self.lengths = self.lengths + length
        return positions

    def _tree_mask(self, tree: Tree) -> Tensor:
        """bool [R, nodes, S]: the committed line, and each node's ancestors behind it."""
        node = self._slot_index - self.lengths[:, None]
        within = (node >= 0) & (node < len(tree))
        ancestors = tree.ancestors.to(node.device)[:, node.clamp(0, len(tree) - 1)]
        return torch.where(within[None], ancestors, node[None] < 0).transpose(0, 1)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new keys and values [R, L, H, D] of one layer.

        Returns:
            All keys and values of the layer, each [R, H, S, D]; `mask` says what may be read.
        """
        for store, new in ((self.keys, keys), (self.values, values)):
            store[layer].flatten(0, 1).index_copy_(0, self._slots, new.flatten(0, 1).to(store.dtype))
        return self.keys[layer].transpose(1, 2), self.values[layer].transpose(1, 2)

    def rewind(self, lengths: Tensor) -> None:
        """Forgets everything past `lengths` [R] in each row."""
        self.lengths = lengths

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copies slots `sources` [R, M] over slots `targets` [R, M] of the same row, in every layer."""
        read, write = ((self._row_offsets + slots).flatten() for slots in (sources, targets))
        for store in (self.keys, self.values):
            flat = store.flatten(1, 2)
            flat.index_copy_(1, write, flat.index_select(1, read))
