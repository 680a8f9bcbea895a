"""Captions of moving scenes to the embeddings a backbone is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen.layout import PlaneLayout
from mmgen.scenes.encoder import FieldEncoder
from mmgen.scenes.grammar import BACKGROUNDS
from mmgen.scenes.motion import DIRECTIONS, MOVING_OBJECTS, SPEEDS, VERBS, MotionGrammar, MovingScene, StagedScene
from mmgen.scenes.motion_render import CELL, MOVING_PIXELS, paths

_STEP = 4
"""Frames of a step, as the shipped tokenizer's."""
_OPEN = 2 * (MOVING_PIXELS // CELL) ** 2 + 1
"""What a storyboard says of a place where it says nothing."""


class MovingSceneEncoder(FieldEncoder):
    """Embeds what a caption of a moving scene says.

    The fields are object, verb, direction and speed of the first and of the second object, and background.

    Args:
        objects: names of the objects that captions may use.
        size: channels C of an embedding.
    """

    @register_to_config
    def __init__(self, objects: Sequence[str] = MOVING_OBJECTS, size: int = 256) -> None:
        super().__init__()
        self.grammar = MotionGrammar(objects)
        motion = ((None, *VERBS), (None, *DIRECTIONS), (None, *SPEEDS))
        self._embed_fields((tuple(objects), *motion, (None, *objects), *motion, tuple(BACKGROUNDS)), size)

    def values(self, scene: MovingScene) -> tuple:
        """What a scene has in each field."""
        one, two = scene.motion, scene.second_motion
        first = (scene.first, one.verb, one.direction, one.speed)
        second = (scene.second, two.verb, two.direction, two.speed) if two is not None else (None,) * 4
        return (*first, *second, scene.background)


class StoryboardEncoder(MovingSceneEncoder):
    """Embeds what a caption of a moving scene says, and draws a storyboard of where things are.

    To the fields of `MovingSceneEncoder` come embeddings for the places of a line that is written plane by plane: each
    is told, along every axis, which part of which object stands at the next place. Those of a scene whose starts are
    not said, and of no caption, are told that it is open.

    Args:
        objects: names of the objects that captions may use.
        size: channels C of an embedding.
        sizes: steps, rows and columns of the line's grid: four frames and 8x8 pixels each, but for the first frame,
            which is a step by itself.
    """

    @register_to_config
    def __init__(
        self, objects: Sequence[str] = MOVING_OBJECTS, size: int = 256, sizes: Sequence[int] = (5, 8, 8)
    ) -> None:
        super().__init__(objects, size)
        layout = PlaneLayout(tuple(sizes))
        axes = torch.eye(len(layout.sizes), dtype=torch.long)
        ahead = layout.coordinates[:, None] + axes
        self._outside = (ahead >= torch.tensor(layout.sizes)).any(-1)
        self._ahead = ahead.remainder(torch.tensor(layout.sizes))
        self.board_embedding = nn.Embedding(len(axes) * (_OPEN + 1), size)
        nn.init.normal_(self.board_embedding.weight, std=0.6)

    def ids(self, scenes: Sequence[MovingScene | StagedScene]) -> Tensor:
        """Fields of the captions, then what the places of the line are told: int64 [B, P + 3 * (N + 1)]."""
        staged = [scene if isinstance(scene, StagedScene) else StagedScene(scene) for scene in scenes]
        fields = super().ids([own.scene for own in staged])
        return torch.cat((fields, torch.stack([self._told(self.board(own)) for own in staged])), dim=1)

    def null_ids(self, batch: int) -> Tensor:
        """The same of "no caption", for guidance."""
        board = torch.full(self._board_sizes, _OPEN)
        return torch.cat((super().null_ids(batch), self._told(board).expand(batch, -1)), dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [B, P + N + 1, C]: those of the caption, that of the place before the line, those of the line."""
        board = self.board_embedding(ids[:, self.length :].to(self.board_embedding.weight.device))
        return torch.cat((super().forward(ids[:, : self.length]), board.unflatten(1, (-1, 3)).sum(2)), dim=1)

    def board(self, staged: StagedScene) -> Tensor:
        """What stands at every place at the end of each step, int64 [steps, rows, columns].

        0 is nothing; the parts of an object, four rows of four, are 1 to 16 of the first and 17 to 32 of the second;
        33 is not said.
        """
        steps, *_ = sizes = self._board_sizes
        if staged.starts is None:
            return torch.full(sizes, _OPEN)
        board, side = torch.zeros(sizes, dtype=torch.long), MOVING_PIXELS // CELL
        parts = torch.arange(1, 1 + side * side).view(side, side)
        for index, corners in enumerate(paths(staged, _STEP * (steps - 1) + 1)[:, ::_STEP] // CELL):
            for step, (row, column) in enumerate(corners.tolist()):
                area = board[step, row : row + side, column : column + side]
                area.copy_(parts[: area.shape[0], : area.shape[1]] + index * side * side)
        return board

    @property
    def _board_sizes(self) -> tuple[int, ...]:
        return tuple(self.config.sizes)  # type: ignore[attr-defined]

    def _told(self, board: Tensor) -> Tensor:
        """Rows of the table, int64 [3 * (N + 1)]: of the place before the line, which the first follows, then of it."""
        line = board[tuple(self._ahead.unbind(-1))].masked_fill(self._outside, 0)
        told = torch.cat((board[0, 0, 0].expand(1, 3), line))
        return (told + torch.arange(3) * (_OPEN + 1)).flatten()
