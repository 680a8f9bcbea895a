"""A transformer that writes the tokens of a picture or a clip in raster order."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen.backbones.backbone import place_begin
from mmgen.backbones.blocks import Block, RMSNorm, grid_angles
from mmgen.backbones.linear import Linear
from mmgen.cache import KVCache
from mmgen.layout import RasterLayout, Tree, VideoLayout


class RasterTransformer(ModelMixin, ConfigMixin):
    """Predicts each token of a grid from a condition and all tokens before it.

    The line a row reads is: condition (P embeddings), the begin token, then the picture's tokens.
    Queries are rotated by the coordinate of the token they predict and keys by that of the token
    they hold, so "the token above" is one relative offset everywhere, row starts included.

    Args:
        vocabulary_size: codes V a token is chosen from; id V is the begin token.
        height: rows of the grid; of a clip, of one frame's.
        width: columns of the grid.
        condition_length: embeddings P of the condition.
        size: channels C of the stream.
        layers: number of blocks.
        heads: attention heads H.
        hidden_size: channels inside the feed-forward.
        condition_size: channels of the condition, where they are not the stream's: a draft model reads
            the embeddings made for a larger one.
        frames: frames of a clip's grid, written one behind the other; None is a picture.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 1024,
        height: int = 16,
        width: int = 16,
        condition_length: int = 7,
        size: int = 256,
        layers: int = 5,
        heads: int = 4,
        hidden_size: int = 768,
        condition_size: int | None = None,
        frames: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = RasterLayout(height, width)
        if frames is not None:
            self.layout = VideoLayout(frames * height, width, frames=frames)
        self.vocabulary_size = vocabulary_size
        self.condition_length = condition_length
        self.token_embedding = nn.Embedding(vocabulary_size + 1, size)
        self.target_embedding = nn.Embedding(self.layout.length, size)
        self.condition_projection: nn.Module = nn.Identity()
        if condition_size is not None:
            self.condition_projection = Linear(condition_size, size, bias=False)
        self.blocks = nn.ModuleList(Block(size, heads, hidden_size) for _ in range(layers))
        self.norm = RMSNorm(size)
        self.head = Linear(size, vocabulary_size, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.5)
        nn.init.normal_(self.target_embedding.weight, std=0.2)
        nn.init.zeros_(self.head.weight)
        self._angles: Tensor | None = None

    @property
    def begin_token(self) -> int:
        """The id fed before the first token of a picture."""
        return self.vocabulary_size

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""
        config: Any = self.config
        heads, size = config.heads, config.size
        return KVCache(len(self.blocks), rows, capacity, heads, size // heads, self.dtype, self.device, bits)

    def prefill(self, embeddings: Tensor, cache: KVCache) -> None:
        """Reads a condition [R, P, C] into an empty cache."""
        self._run(self.condition_projection(embeddings), cache.open(embeddings.shape[1]), cache)

    def forward(self, tokens: Tensor, cache: KVCache, tree: Tree | None = None) -> Tensor:
        """Logits of what follows each of the given tokens, which are added to the cache.

        Args:
            tokens: int64 [R, L], the next tokens of each row's line: the begin token, then codes.
            cache: holds the condition and the tokens before.
            tree: how the tokens branch; None where each follows the one before.

        Returns:
            Logits [R, L, V].
        """
        return self.head(self.norm(self.streams(tokens, cache, tree)[-1]))

    def streams(
        self,
        tokens: Tensor,
        cache: KVCache,
        tree: Tree | None = None,
        layers: int | None = None,
        begin: Tensor | None = None,
    ) -> list[Tensor]:
        """The streams [R, L, C] behind every block, for the given tokens, which are added to the cache.

        `head(norm(stream))` are logits; those behind the last block are the model's.

        Args:
            layers: blocks to run, the first ones; None runs all. Only their part of the cache is written.
            begin: embeddings [R, C] to put in place of the begin token's; it has its own.
        """
        positions = cache.open(tokens.shape[1], tree)
        embedded = place_begin(self._embed(tokens, positions), tokens, self.begin_token, begin)
        return self._run(embedded, positions, cache, layers)

    def streams_at(
        self, tokens: Tensor, cache: KVCache, positions: Tensor, visible: Tensor, begin: Tensor | None = None
    ) -> list[Tensor]:
        """The same for tokens that may stand anywhere on the line.

        Args:
            tokens: int64 [R, L].
            positions: int64 [R, L], where they stand on the line, the condition counted: their slots of the cache.
            visible: bool [R, L, S], the slots each of them reads, its own among them.
        """
        cache.open_at(positions, visible)
        embedded = place_begin(self._embed(tokens, positions), tokens, self.begin_token, begin)
        return self._run(embedded, positions, cache)

    def teacher_forced(self, condition: Tensor, tokens: Tensor) -> Tensor:
        """Logits [R, N, V] of whole pictures at once, for training.

        Args:
            condition: embeddings [R, P, C].
            tokens: int64 [R, N].
        """
        return self.head(self.teacher_forced_features(condition, tokens))

    def teacher_forced_features(self, condition: Tensor, tokens: Tensor) -> Tensor:
        """What `head` turns into the logits of `teacher_forced`: [R, N, C]."""
        begin = torch.full_like(tokens[:, :1], self.begin_token)
        line = torch.arange(condition.shape[1] + tokens.shape[1], device=tokens.device)[None]
        embedded = self._embed(torch.cat((begin, tokens[:, :-1]), dim=1), line[:, condition.shape[1] :])
        hidden = self._run(torch.cat((self.condition_projection(condition), embedded), dim=1), line, None)[-1]
        return self.norm(hidden[:, condition.shape[1] :])

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        target = (positions - self.condition_length).clamp(max=self.layout.length - 1)
        return self.token_embedding(tokens) + self.target_embedding(target)

    def _run(self, x: Tensor, positions: Tensor, cache: KVCache | None, layers: int | None = None) -> list[Tensor]:
        """The streams behind every block."""
        if self._angles is None or self._angles.device != x.device or self._angles.dtype != x.dtype:
            self._angles = self._line_angles().to(x.device, x.dtype)
        cos, sin = self._angles[:, positions.clamp(max=self._angles.shape[1] - 1)]
        streams = []
        for layer, block in enumerate(self.blocks[:layers]):
            x = block(x, (cos, sin), cache, layer)
            streams.append(x)
        return streams

    def _line_angles(self) -> Tensor:
        """float32 [2, P + 1 + N, 2, 1, D]: angles of queries (of what is predicted) and keys (of what is held)."""
        grid = self.layout.coordinates()
        before = torch.arange(-self.condition_length - 1, 0)[:, None].expand(-1, grid.shape[1])
        held = torch.cat((before, grid))
        predicted = torch.cat((before[:-1], grid, grid[-1:]))
        config: Any = self.config
        head_size = config.size // config.heads
        tables = [grid_angles(coordinates, head_size) for coordinates in (predicted, held)]
        return torch.stack(tables, dim=2).unsqueeze(-2)
