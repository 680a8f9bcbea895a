"""How codes on a grid stand in line, and how drafted tokens branch. Integers only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class RasterLayout:
    """A grid of codes read row by row, each row from left to right.

    Attributes:
        height: rows of the grid.
        width: tokens of a row, its end among them.
        row_end: the token that ends every row, where a model has one; it stands for no code.
    """

    height: int
    width: int
    row_end: int | None = None

    @property
    def length(self) -> int:
        """Tokens of one picture, N."""
        return self.height * self.width

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the codes."""
        return self.height, self.width - (self.row_end is not None)

    def flatten(self, codes: Tensor) -> Tensor:
        """Codes [B, 1, *grid] to tokens [B, N]."""
        if self.row_end is not None:
            codes = pad(codes, (0, 1), value=self.row_end)
        return rearrange(codes, "b 1 h w -> b (h w)")

    def unflatten(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N] to codes [B, 1, *grid]."""
        return rearrange(tokens, "b (h w) -> b 1 h w", h=self.height, w=self.width)[..., : self.grid[1]]

    def known(self, codes: Tensor | None = None) -> Tensor:
        """The tokens that are certain beforehand, int64 [B, N] with -1 where free.

        Args:
            codes: int64 [B, 1, *grid], codes that are given, -1 where free; None where none are: then B is 1.
        """
        return self.flatten(torch.full((1, 1, *self.grid), -1) if codes is None else codes.long())

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
