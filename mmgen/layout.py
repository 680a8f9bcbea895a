"""How codes on a grid stand in line, and how drafted tokens branch. Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from mmgen.errors import SizeError


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


@dataclass(frozen=True)
class ScaleLayout:
    """Squares of codes from coarse to fine, one behind the other, each read row by row.

    Attributes:
        sizes: codes of a side, for every scale.

    Raises:
        SizeError: a size is not positive, or there are fewer than two.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or any(type(size) is not int or size < 1 for size in self.sizes):
            raise SizeError(f"scales of {list(self.sizes)} codes a side", "two or more positive whole numbers")

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens up to the end of each scale."""
        return tuple(accumulate(size * size for size in self.sizes))

    @property
    def length(self) -> int:
        """Tokens of one picture, N."""
        return self.ends[-1]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the finest scale."""
        return self.sizes[-1], self.sizes[-1]

    def span(self, scales: range) -> slice:
        """Where consecutive scales stand on the line."""
        ends = (0, *self.ends)
        return slice(ends[scales.start], ends[scales.stop])

    def levels(self) -> Tensor:
        """The scale of each token: int64 [N]."""
        areas = torch.tensor([size * size for size in self.sizes])
        return torch.arange(len(self.sizes)).repeat_interleave(areas)

    def flatten(self, codes: Sequence[Tensor]) -> Tensor:
        """The squares [B, size, size] of all scales to tokens [B, N]."""
        return torch.cat([square.flatten(1) for square in codes], dim=1)

    def unflatten(self, tokens: Tensor) -> list[Tensor]:
        """Tokens [B, N], or those of the first scales alone, to the squares [B, size, size] of their scales."""
        areas = [size * size for size, end in zip(self.sizes, self.ends, strict=True) if end <= tokens.shape[1]]
        squares = zip(tokens.split(areas, dim=1), self.sizes, strict=False)
        return [square.unflatten(1, (size, size)) for square, size in squares]
