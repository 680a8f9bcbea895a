"""What a session asks of a raster backbone, and what its lines continue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.cache import KVCache
from mmgen.layout import Tree


class Backbone(Protocol):
    """A transformer that reads a prompt and then tokens, one line a row; its only state is the cache it is handed.

    Attributes:
        vocabulary_size: tokens V a line may hold: the codes, then those that structure the line, if any.
        begin_token: the id that stands before the first token.
        blocks: the layers; there is one stream behind each.
        norm: what a stream passes before the head.
        head: logits of the codes [..., codes] from a normed stream; tokens past the codes have none, and are
            only ever known.
    """

    vocabulary_size: int
    begin_token: int
    blocks: Sequence[Any]
    norm: Any
    head: Any

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""

    def prefill(self, embeddings: Tensor, cache: KVCache) -> None:
        """Reads a prompt's embeddings [R, P, C] into an empty cache."""

    def streams(
        self,
        tokens: Tensor,
        cache: KVCache,
        tree: Tree | None = None,
        layers: int | None = None,
        begin: Tensor | None = None,
    ) -> list[Tensor]:
        """The streams [R, L, C] behind every block, for the given tokens, which are added to the cache.

        Args:
            tokens: int64 [R, L], the next of each row's line.
            tree: how they branch; None where each follows the one before.
            layers: blocks to run, the first ones; None runs all. Only their part of the cache is written.
            begin: embeddings [R, C] of the begin token, where the prompt gives them.
        """

    def streams_at(
        self, tokens: Tensor, cache: KVCache, positions: Tensor, visible: Tensor, begin: Tensor | None = None
    ) -> list[Tensor]:
        """The same for tokens that may stand anywhere on the line.

        Args:
            positions: int64 [R, L], where they stand, the prompt counted: their slots of the cache.
            visible: bool [R, L, S], the slots each of them reads, its own among them.
        """


@dataclass(frozen=True)
class Prompt:
    """What lines continue, as embeddings.

    Attributes:
        embeddings: [R, P, C].
        lengths: int64 [R], how many of them count, the first ones; None where all do.
        hidden: bool [R, P], those nothing but themselves may read: padding a model was trained with. None where
            there are none.
        ends_in_begin: whether the last embedding that counts is that of the begin token. Otherwise the backbone has
            one of its own.
    """

    embeddings: Tensor
    lengths: Tensor | None = None
    hidden: Tensor | None = None
    ends_in_begin: bool = False

    @classmethod
    def ragged(cls, rows: Sequence[Tensor]) -> Prompt:
        """Prompts of different lengths, [P, C] each, whose last embeddings stand before the first token."""
        lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
        embeddings = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        return cls(embeddings, lengths, ends_in_begin=True)

    @property
    def prefix(self) -> Tensor:
        """What is read before the begin token: int64 [R]."""
        rows, most = self.embeddings.shape[:2]
        lengths = self.lengths
        if lengths is None:
            lengths = torch.full((rows,), most, device=self.embeddings.device)
        return lengths - int(self.ends_in_begin)

    @property
    def begin(self) -> Tensor | None:
        """Embeddings of the begin token [R, C]; None where the backbone has its own."""
        if not self.ends_in_begin:
            return None
        rows = torch.arange(len(self.embeddings), device=self.embeddings.device)
        return self.embeddings[rows, self.prefix]

    def select(self, rows: Tensor) -> Prompt:
        """The prompts of some rows."""
        chosen = {
            name: value[rows]
            for name in ("embeddings", "lengths", "hidden")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **chosen)

    def __add__(self, other: Prompt) -> Prompt:
        """The rows of both, one after the other."""
        most = max(self.embeddings.shape[1], other.embeddings.shape[1])
        embeddings = [pad(p.embeddings, (0, 0, 0, most - p.embeddings.shape[1])) for p in (self, other)]
        lengths = torch.cat([p.prefix + int(p.ends_in_begin) for p in (self, other)])
        hidden = None
        if self.hidden is not None or other.hidden is not None:
            hidden = torch.cat([_wide(p, most) for p in (self, other)])
        return replace(self, embeddings=torch.cat(embeddings), lengths=lengths, hidden=hidden)


def _wide(prompt: Prompt, length: int) -> Tensor:
    hidden = prompt.hidden
    if hidden is None:
        hidden = torch.zeros(prompt.embeddings.shape[:2], dtype=torch.bool, device=prompt.embeddings.device)
    return pad(hidden, (0, length - hidden.shape[1]))


def place_begin(embedded: Tensor, tokens: Tensor, begin_token: int, begin: Tensor | None) -> Tensor:
    """Embedded tokens [R, L, C], with a prompt's own embedding [R, C] wherever the begin token stands."""
    if begin is None:
        return embedded
    return torch.where((tokens == begin_token)[..., None], begin[:, None].to(embedded.dtype), embedded)
