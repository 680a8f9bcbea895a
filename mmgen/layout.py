"""How codes on a grid stand in line, and how drafted tokens branch. Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
    def grid(self) -> tuple[int, ...]:
        """Rows and columns of the codes."""
        return self.height, self.width - (self.row_end is not None)

    @property
    def frame_length(self) -> int:
        """Tokens from a place to the same place of the next frame; a picture is a single one."""
        return self.length

    def flatten(self, codes: Tensor) -> Tensor:
        """Codes [B, 1, *grid] to tokens [B, N]."""
        if self.row_end is not None:
            codes = pad(codes, (0, 1), value=self.row_end)
        return rearrange(codes, "b 1 h w -> b (h w)")

    def unflatten(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N] to codes [B, 1, *grid]."""
        return rearrange(tokens, "b (h w) -> b 1 h w", h=self.height, w=self.width)[..., : self.grid[-1]]

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


@dataclass(frozen=True)
class VideoLayout(RasterLayout):
    """Frames of codes one behind the other, each read row by row: the line of a picture that has all their rows.

    Attributes:
        height: rows of all frames together.
        frames: how many frames they make.

    Raises:
        SizeError: the rows do not share out.
    """

    frames: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1 or self.height % self.frames:
            raise SizeError(f"{self.height} rows in {self.frames} frames", "as many rows in every frame")

    @property
    def grid(self) -> tuple[int, ...]:
        """Frames, rows of a frame and columns of the codes."""
        return self.frames, self.height // self.frames, super().grid[1]

    @property
    def frame_length(self) -> int:
        return self.length // self.frames

    def flatten(self, codes: Tensor) -> Tensor:
        return super().flatten(codes.flatten(2, 3))

    def unflatten(self, tokens: Tensor) -> Tensor:
        return super().unflatten(tokens).unflatten(2, self.grid[:2])

    def coordinates(self) -> Tensor:
        """Frame, row in the frame and column of each token: int64 [N, 3]."""
        rows, columns = super().coordinates().unbind(-1)
        height = self.grid[1]
        return torch.stack((rows // height, rows % height, columns), dim=-1)


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


@dataclass(frozen=True)
class PlaneLayout:
    """A grid of codes of any number of axes, read plane by plane; plane p holds the codes whose indices sum to p.

    There are P planes, and the widest has M codes. The line of N tokens holds one plane behind the other, and a plane's
    tokens in raster order. Folded, it is P planes of M slots each: the first `widths[p]` slots of a plane are used.

    He et al. 2025 ("Neighboring Autoregressive Modeling", arXiv 2503.10696) write pictures and videos in this order.
    The delay pattern of audio (Copet et al. 2023, arXiv 2306.05284) is that of a grid of codebooks and time.

    Attributes:
        sizes: codes along each axis of the grid: rows and columns of a picture; a video has its time in front.

    Raises:
        SizeError: a size is not positive, or there is none.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes or any(type(size) is not int or size < 1 for size in self.sizes):
            raise SizeError(f"a grid of {list(self.sizes)} codes", "a positive whole number for every axis")

    @property
    def grid(self) -> tuple[int, ...]:
        """Codes along each axis."""
        return self.sizes

    @property
    def length(self) -> int:
        """Tokens of one item, N."""
        return len(self.levels)

    @property
    def count(self) -> int:
        """Planes P."""
        return len(self.widths)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Tokens of each plane."""
        return tuple(self.levels.bincount().tolist())

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Tokens up to the end of each plane."""
        return tuple(accumulate(self.widths))

    @cached_property
    def coordinates(self) -> Tensor:
        """Indices of each token of the line along every axis: int64 [N, axes]."""
        raster = torch.cartesian_prod(*(torch.arange(size) for size in self.sizes)).view(-1, len(self.sizes))
        return raster[raster.sum(1).argsort(stable=True)]

    @cached_property
    def levels(self) -> Tensor:
        """The plane of each token of the line: int64 [N]."""
        return self.coordinates.sum(1)

    @cached_property
    def order(self) -> Tensor:
        """Where each token of the line stands in raster order: int64 [N]."""
        return self._raster(self.coordinates)

    @cached_property
    def valid(self) -> Tensor:
        """Which slots of each plane hold a token: bool [P, M]."""
        return torch.arange(max(self.widths)) < torch.tensor(self.widths)[:, None]

    @cached_property
    def folded(self) -> Tensor:
        """Where each token of the line stands among all slots of all planes: int64 [N], 0 to P * M - 1."""
        return self.valid.flatten().nonzero().squeeze(1)

    @cached_property
    def places(self) -> Tensor:
        """Where each slot's token stands in raster order: int64 [P, M]; 0 where there is none."""
        return self.fold(self.order[None])[0]

    @cached_property
    def before(self) -> Tensor:
        """Where on the line the token one step back along each axis stands: int64 [axes, N], -1 outside the grid."""
        line = self.order.argsort()
        steps = torch.eye(len(self.sizes), dtype=torch.long)
        back = self.coordinates - steps[:, None]
        found = line[self._raster(back).clamp(min=0)]
        return torch.where((back >= 0).all(-1), found, -1)

    @cached_property
    def slots_before(self) -> Tensor:
        """In which slot of the plane before that token stands: int64 [axes, P, M], -1 where there is none."""
        starts = torch.tensor([0, *self.ends])[self.levels - 1]
        return self.fold(torch.where(self.before >= 0, self.before - starts, -1), padding=-1)

    def flatten(self, codes: Tensor) -> Tensor:
        """Codes [B, 1, *grid] to tokens [B, N]."""
        return codes.flatten(1)[:, self.order.to(codes.device)]

    def unflatten(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N] to codes [B, 1, *grid]."""
        return tokens[:, self.order.argsort().to(tokens.device)].unflatten(1, (1, *self.sizes))

    def fold(self, tokens: Tensor, padding: int = 0) -> Tensor:
        """Tokens [B, N] to planes [B, P, M], with `padding` in the slots that hold none."""
        planes = tokens.new_full((len(tokens), self.valid.numel()), padding)
        planes[:, self.folded.to(tokens.device)] = tokens
        return planes.unflatten(1, self.valid.shape)

    def unfold(self, planes: Tensor) -> Tensor:
        """Planes [B, P, M] to tokens [B, N]."""
        return planes.flatten(1)[:, self.folded.to(planes.device)]

    def known(self, codes: Tensor | None = None) -> Tensor:
        """The tokens that are certain beforehand, int64 [B, N] with -1 where free.

        Args:
            codes: int64 [B, 1, *grid], codes that are given, -1 where free; None where none are: then B is 1.
        """
        return torch.full((1, self.length), -1) if codes is None else self.flatten(codes.long())

    def _raster(self, coordinates: Tensor) -> Tensor:
        """Indices [..., axes] along the axes as one in raster order."""
        index = torch.zeros_like(coordinates[..., 0])
        for axis, size in enumerate(self.sizes):
            index = index * size + coordinates[..., axis]
        return index
