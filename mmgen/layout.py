"""How codes on a grid stand in line, and how drafted tokens branch. Integers only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor


@dataclass(frozen=True)
class RasterLayout:
    """A grid of codes read row by row, each row from left to right.

    Attributes:
        height: rows of the grid.
        width: columns of the grid.
    """

    height: int
    width: int

    @property
    def length(self) -> int:
        """Tokens of one picture, N."""
        return self.height * self.width

    def flatten(self, codes: Tensor) -> Tensor:
        """Codes [B, 1, height, width] to tokens [B, N]."""
        return rearrange(codes, "b 1 h w -> b (h w)")

    def unflatten(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N] to codes [B, 1, height, width]."""
        return rearrange(tokens, "b (h w) -> b 1 h w", h=self.height, w=self.width)

    def coordinates(self) -> Tensor:
        """Row and column of each token: int64 [N, 2]."""
        index = torch.arange(self.length)
        return torch.stack((index // self.width, index % self.width), dim=-1)


class Tree:
    """The shape of a window whose tokens branch: each node follows its parent, siblings are alternatives.

    A chain needs no tree. Node 0 is the last committed token; a node's parent has a smaller index.

    Args:
        parents: parent of each node; -1 for node 0.
    """

    def __init__(self, parents: list[int]) -> None:
        self.parents = tuple(parents)
        depths = [0] * len(parents)
        ancestors = torch.eye(len(parents), dtype=torch.bool)
        for node, parent in enumerate(parents[1:], start=1):
            depths[node] = depths[parent] + 1
            ancestors[node] |= ancestors[parent]
        self.depths = torch.tensor(depths)
        """int64 [nodes]: steps from node 0."""
        self.ancestors = ancestors
        """bool [nodes, nodes]: which nodes each node sees, itself among them."""

    def to(self, device: torch.device) -> Tree:
        """The tree with its tensors on a device."""
        if self.depths.device != device:
            self.depths, self.ancestors = self.depths.to(device), self.ancestors.to(device)
        return self

    def __len__(self) -> int:
        return len(self.parents)
