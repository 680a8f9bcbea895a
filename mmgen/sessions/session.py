"""What a decoding algorithm sees of a model: a growing line of tokens that is scored and rewound."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mmgen.codebook import Codebook
from mmgen.layout import RasterLayout, Tree


class Session(Protocol):
    """A batch of lines being written under their prompts.

    A row's line is the begin token and the tokens committed so far. The session owns the cache,
    guidance, temperature, truncation and known tokens; the decoder owns none of them.

    Attributes:
        batch: rows B that are written at once.
        waiting: further lines, which `renew` begins when others are finished.
        length: tokens N of a finished line.
        vocabulary_size: ids V a token is chosen from.
        begin_token: the id that stands before the first token.
        layout: where tokens stand on the grid; drafters use it.
        known: int64 [B, N]: the token a position must hold, or -1 where it is free.
        constrained: whether any token is known.
        device: where the tensors live.
        layers: blocks the model has.
        heads: how many tokens further than its own the model's heads can foresee; 0 without heads.
        codebook: what the codes stand for, or None.
        draft: a smaller model under the same prompts, or None.
    """

    batch: int
    waiting: int
    length: int
    vocabulary_size: int
    begin_token: int
    layout: RasterLayout
    known: Tensor
    constrained: bool
    device: torch.device
    layers: int
    heads: int
    codebook: Codebook | None

    @property
    def draft(self) -> Session | None: ...

    def open(self, window: int) -> None:
        """Starts the lines: reads the prompts, and makes room for `window` tokens past the end."""

    def score(self, tokens: Tensor, tree: Tree | None = None, layers: int | None = None) -> Tensor:
        """Evaluates the model once.

        Args:
            tokens: int64 [B, L], continuing each row's line; the first is its last committed token
                (or the begin token).
            tree: how the tokens branch; None where each follows the one before.
            layers: blocks to run, the first ones, with the model's own head behind them; None runs all.
                What was read with fewer blocks must be read again before all may continue it.

        Returns:
            Probabilities of what follows each token: float32 [B, L, V].
        """

    def score_at(self, tokens: Tensor, places: Tensor, present: Tensor) -> Tensor:
        """Evaluates the model once, for tokens anywhere on the line: parts of it are written while others lack.

        Place 0 of a line is its begin token, and place i + 1 the token of position i. A token sees the prompt,
        and of the places up to its own those that are `present` or given in this call.

        Args:
            tokens: int64 [B, M]; what stood at their places before is forgotten.
            places: int64 [B or 1, M], 0 to N. A place given twice must be given the same token.
            present: bool [B or 1, N + 1], places given in earlier calls that may be seen.

        Returns:
            Probabilities of the token at position places[m], which follows the m-th: float32 [B, M, V].
        """

    def early(self, layers: int) -> Tensor:
        """What the last evaluation would have said behind its first `layers` blocks: float32 [B, L, V]."""

    def foresee(self, nodes: Tensor, path: Tensor, positions: Tensor, above: Tensor) -> Tensor:
        """What the heads say of tokens further on, from features of the last evaluation.

        Args:
            nodes: int64 [B], the token of the last evaluation whose feature is used.
            path: int64 [B, M, depth], alternatives of the tokens that follow it; depth is 1 to `heads`.
            positions: int64 [B], of the token to foresee.
            above: int64 [B, M], the token one row above it; the begin token above the first row.

        Returns:
            Probabilities of the token behind each path: float32 [B, M, V].
        """

    def rewind(self, lengths: Tensor) -> None:
        """Keeps only what was read before the last of `lengths` [B] committed tokens: scoring resumes with it."""

    def select(self, rows: Tensor) -> None:
        """Goes on with `rows` [B'] alone: the others are finished. Its draft model's session is not touched."""

    def renew(self, rows: Tensor) -> Tensor:
        """Begins waiting lines in the place of finished `rows`, as many as there are.

        Returns:
            int64 [B'], which lines began, of all the session has, in the order of the first of `rows`.
        """

    def follow(self, nodes: Tensor) -> None:
        """After `score` with a tree: puts the nodes [B, M] of each row's path in line, as if they had been a chain."""
