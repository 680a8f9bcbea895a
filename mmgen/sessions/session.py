"""What a decoding algorithm sees of a model: a growing line of tokens that is scored and rewound."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mmgen.layout import RasterLayout, Tree


class Session(Protocol):
    """A batch of lines being written under their prompts.

    A row's line is the begin token and the tokens committed so far. The session owns the cache,
    guidance, temperature, truncation and known tokens; the decoder owns none of them.

    Attributes:
        batch: rows B.
        length: tokens N of a finished line.
        vocabulary_size: ids V a token is chosen from.
        begin_token: the id that stands before the first token.
        layout: where tokens stand on the grid; drafters use it.
        known: int64 [B, N]: the token a position must hold, or -1 where it is free.
        constrained: whether any token is known.
        device: where the tensors live.
    """

    batch: int
    length: int
    vocabulary_size: int
    begin_token: int
    layout: RasterLayout
    known: Tensor
    constrained: bool
    device: torch.device

    def open(self, window: int) -> None:
        """Starts the lines: reads the prompts, and makes room for `window` tokens past the end."""

    def score(self, tokens: Tensor, tree: Tree | None = None) -> Tensor:
        """Evaluates the model once.

        Args:
            tokens: int64 [B, L], continuing each row's line; the first is its last committed token
                (or the begin token).
            tree: how the tokens branch; None where each follows the one before.

        Returns:
            Probabilities of what follows each token: float32 [B, L, V].
        """

    def rewind(self, lengths: Tensor) -> None:
        """Keeps only what was read before the last of `lengths` [B] committed tokens: scoring resumes with it."""

    def select(self, rows: Tensor) -> None:
        """Goes on with `rows` [B'] alone: the others are finished."""

    def follow(self, nodes: Tensor) -> None:
        """After `score` with a tree: puts the nodes [B, M] of each row's path in line, as if they had been a chain."""
