"""The transformer of neighbouring autoregression (He et al. 2025, arXiv 2503.10696)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.functional import pad

from mmgen.backbones.linear import Linear
from mmgen.backbones.llamagen import LlamaGenBlock, LlamaGenNorm, LlamaGenTransformer, pair_angles
from mmgen.cache import KVCache, OneForward
from mmgen.errors import OptionError
from mmgen.layout import PlaneLayout

POSITIONS = ("rotary", "learned")
"""How a transformer knows where a token stands."""


class NeighbourTransformer(ModelMixin, ConfigMixin):
    """Writes the codes of a grid plane by plane: a token is foretold by its neighbours one step back along each axis.

    LlamaGen's blocks, and behind them one more for every axis but the last. The last axis' head reads the stream
    behind the first `layers` blocks, the head of the axis before it reads one block later, and so on. Logits of a
    token are the mean of what its neighbours' heads say, each along its axis; those of the first token are the mean of
    all heads on the last embedding of the condition. A token sees the condition and all planes up to its own.

    Rotary positions are LlamaGen's on two axes. On three, which are ours, half of a head's channels turn by the first
    and second, half by the first and third: a video's time has half of them.

    Args:
        vocabulary_size: codes V.
        sizes: codes along each axis, two or more: rows and columns; a video has its time in front.
        size: channels C of the stream.
        layers: number of blocks before the first head.
        heads: attention heads.
        hidden_size: channels inside the feed-forward.
        classes: number of classes, of a class-conditional model; row `classes` of their table is "no class".
        caption_size: channels of a caption's features, of a text-conditional model. Without it and without classes,
            prompts are embeddings of `size` channels.
        condition_length: embeddings P of the condition, 1 or more.
        positions: `rotary`, or `learned`: an embedding for every place, the condition's among them.
        blind: with rotary positions, whether queries and keys of the condition are multiplied by zero, so that all of
            it is attended alike: as published weights were trained.
        told: whether prompts go on, behind the condition's embeddings, with one for the place before the line and one
            for each of its tokens, which are added to the stream there; ours.

    Raises:
        OptionError: both `classes` and `caption_size`, other positions, fewer than two axes, or heads of so many
            channels that the axes cannot share them.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 16384,
        sizes: Sequence[int] = (16, 16),
        size: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden_size: int = 2048,
        classes: int | None = 1000,
        caption_size: int | None = None,
        condition_length: int = 1,
        positions: str = "rotary",
        blind: bool = True,
        told: bool = False,
    ) -> None:
        super().__init__()
        _check(classes, caption_size, positions, sizes, size // heads)
        self.layout = PlaneLayout(tuple(sizes))
        self.vocabulary_size = vocabulary_size
        self.condition_length = condition_length
        self.prompt_length = condition_length + (self.layout.length + 1 if told else 0)
        self.token_embedding = nn.Embedding(vocabulary_size, size)
        if classes is not None:
            self.class_embedding = nn.Embedding(classes + 1, size)
        if caption_size is not None:
            self.caption_up = Linear(caption_size, size, bias=False)
            self.caption_down = Linear(size, size, bias=False)
            self.null_caption = nn.Buffer(torch.empty(condition_length, caption_size))
        self.place_embedding: nn.Parameter | None = None
        if positions == "learned":
            self.place_embedding = nn.Parameter(torch.zeros(1, condition_length + self.layout.length, size))
        axes = len(self.layout.sizes)
        self.blocks = nn.ModuleList(LlamaGenBlock(size, heads, hidden_size) for _ in range(layers + axes - 1))
        self.axis_norms = nn.ModuleList(LlamaGenNorm(size) for _ in range(axes))
        self.axis_heads = nn.ModuleList(Linear(size, vocabulary_size, bias=False) for _ in range(axes))
        for head in self.axis_heads:
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
        angles = _angles(self.layout, condition_length, size // heads, positions, blind)
        self._angles = nn.Buffer(angles[:, :, None, None], persistent=False)
        places = torch.cat((torch.arange(condition_length), condition_length + self.layout.order))
        self._places = nn.Buffer(pad(places, (0, 1)), persistent=False)
        self._before = nn.Buffer(self.layout.before, persistent=False)
        neighbours = (self.layout.before >= 0).sum(0)
        self._neighbours = nn.Buffer(torch.where(neighbours > 0, neighbours, axes), persistent=False)

    class_prompt = LlamaGenTransformer.class_prompt
    caption_prompt = LlamaGenTransformer.caption_prompt
    null_caption_prompt = LlamaGenTransformer.null_caption_prompt

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""
        config: Any = self.config
        head_size = config.size // config.heads
        return KVCache(len(self.blocks), rows, capacity, config.heads, head_size, self.dtype, self.device, bits)

    def split(self, prompt: Tensor) -> tuple[Tensor, Tensor | None]:
        """A prompt's embeddings: those of the condition [R, P, C], and what places are told [R, N + 1, C] or None."""
        condition, told = prompt.split((self.condition_length, self.prompt_length - self.condition_length), dim=1)
        return condition, told if self.prompt_length > self.condition_length else None

    def features(
        self, tokens: Tensor, line: Tensor, cache: Any, condition: Tensor | None = None, told: Tensor | None = None
    ) -> list[Tensor]:
        """What the heads read: for every axis [R, n, C], normed.

        Args:
            tokens: int64 [R, n].
            line: int64 [R or 1, n], where they stand on the layout's line.
            cache: prepared for as many tokens, and those of the condition.
            condition: embeddings [R, P, C], read in front of the tokens: its last one is the first of n + 1 features.
            told: embeddings [R, N + 1, C] that are added to the condition's last and to the tokens, by their places.
        """
        x, index = self.token_embedding(tokens), self.condition_length + line
        if told is not None:
            places = (line + 1).clamp(max=self.layout.length)[..., None].expand(len(x), -1, x.shape[2])
            x = x + told.to(x.dtype).gather(1, places)
        if condition is not None:
            if told is not None:
                condition = torch.cat((condition[:, :-1], condition[:, -1:] + told[:, :1]), dim=1)
            x = torch.cat((condition.to(x.dtype), x), dim=1)
            before = torch.arange(self.condition_length, device=index.device)
            index = torch.cat((before.expand(len(index), -1), index), dim=1)
        if self.place_embedding is not None:
            x = x + self.place_embedding[0, self._places[index]]
        first = 0 if condition is None else self.condition_length - 1
        return self._run(x, self._angles[:, index].to(x.dtype), cache, first)

    def logits(self, features: Sequence[Tensor], first: Tensor, targets: Tensor) -> Tensor:
        """Logits of tokens whose neighbours have been read: float32 [R, m, V], those of different heads averaged.

        Args:
            features: those of a stretch of each row's line.
            first: int64 [R or 1], where on the line the stretch begins; -1 is the last embedding of the condition.
            targets: int64 [R or 1, m], tokens of the line, all of whose neighbours lie in the stretch.
        """
        total, rows = None, len(features[0])
        for axis, (head, feature) in enumerate(zip(self.axis_heads, features, strict=True)):
            sources = self._before[axis][targets]
            index = (sources - first[:, None]).clamp(0, feature.shape[1] - 1)[..., None]
            read = feature.gather(1, index.expand(rows, -1, feature.shape[2]))
            own = torch.where(((sources >= 0) | (targets == 0))[..., None], head(read).float(), 0)
            total = own if total is None else total + own
        assert total is not None
        return total / self._neighbours[targets][..., None]

    def teacher_forced(self, condition: Tensor, tokens: Tensor) -> Tensor:
        """Logits [B, N, V] of whole grids at once, for training.

        Args:
            condition: a prompt's embeddings [B, P, C], with what places are told behind them, if they are.
            tokens: int64 [B, N], as `layout.flatten` gives them.
        """
        condition, told = self.split(condition)
        line = torch.arange(self.layout.length, device=tokens.device)[None]
        before = torch.arange(-self.condition_length, 0)
        levels = torch.cat((before, self.layout.levels)).to(tokens.device)
        cache = OneForward(levels[:, None] >= levels)
        features = self.features(tokens, line, cache, condition, told)
        return self.logits(features, line[:, 0] - 1, line)

    def _run(self, x: Tensor, angles: Tensor, cache: Any, first: int) -> list[Tensor]:
        """What the heads read, of the stream from `first` on."""
        axes, features = len(self.axis_heads), []
        for layer, block in enumerate(self.blocks):
            x = block(x, angles, cache, layer)
            axis = len(self.blocks) - 1 - layer
            if axis < axes:
                features.append(self.axis_norms[axis](x[:, first:]))
        return features[::-1]


def _angles(layout: PlaneLayout, before: int, head_size: int, positions: str, blind: bool) -> Tensor:
    """Cosines and sines of the condition, the line and one place behind it: float32 [2, P + N + 1, D]."""
    still = torch.ones(2, before + layout.length + 1, head_size)
    still[1] = 0
    if positions == "learned":
        return still
    axes = layout.coordinates.shape[1]
    turned = [pair_angles(layout.coordinates[:, [0, axis]], head_size // (axes - 1)) for axis in range(1, axes)]
    still[:, before:-1] = torch.cat(turned, dim=-1)
    if blind:
        still[:, :before] = 0
    return still


def _check(classes: int | None, caption_size: int | None, positions: str, sizes: Sequence[int], head_size: int) -> None:
    if classes is not None and caption_size is not None:
        raise OptionError("caption_size", caption_size, "None where there are classes")
    if positions not in POSITIONS:
        raise OptionError("positions", positions, f"one of {', '.join(POSITIONS)}")
    if len(sizes) < 2:
        raise OptionError("sizes", list(sizes), "two axes or more")
    if positions == "rotary" and head_size % (4 * (len(sizes) - 1)):
        needed = f"a multiple of {4 * (len(sizes) - 1)} channels in each head, which the axes share"
        raise OptionError("heads", f"{head_size} channels in each", needed)
