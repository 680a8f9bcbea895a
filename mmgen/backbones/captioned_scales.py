"""A transformer that writes a picture scale by scale, from a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen.backbones.blocks import Block, RMSNorm, grid_angles
from mmgen.backbones.linear import Linear
from mmgen.cache import KVCache, OneForward
from mmgen.layout import ScaleLayout


@dataclass(frozen=True)
class Caption:
    """What a transformer makes of captions, once for all scales of a picture: [R, P, C], R rows."""

    embeddings: Tensor

    @property
    def rows(self) -> int:
        """Rows R."""
        return len(self.embeddings)

    def until(self, rows: int) -> Caption:
        """The first rows alone."""
        return Caption(self.embeddings[:rows])


class CaptionedScaleTransformer(ModelMixin, ConfigMixin):
    """Writes the codes of a scale at once, from a caption and the features of all smaller scales.

    As in VAR (Tian et al. 2024) tokens see those of their own scale and of all smaller ones. As in STAR (Ma et al.
    2024) positions are rotary, and common to all scales: each token stands at the centre of its cell of one square.
    Deviations: the caption is a prefix of the line, so it passes the same blocks as the picture, where STAR attends to
    it apart; nothing is modulated; each token has a learned embedding, too.

    The codes of coarse scales may be shown to the transformer while it writes the others of their scale: so a scale can
    be drawn in several evaluations, and is more of one piece than codes that are drawn independently.

    Args:
        vocabulary_size: codes V.
        coarse_codes: how many of them, the first ones, all scales but the last have.
        code_channels: channels of the tokenizer's `next_input`.
        sizes: codes of a side, for every scale.
        condition_length: embeddings P of a caption.
        size: channels C of the stream.
        layers: number of blocks.
        heads: attention heads H.
        hidden_size: channels inside the feed-forward.
        condition_size: channels of the caption's embeddings, where they are not the stream's: a draft model reads
            those made for a larger one.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 1088,
        coarse_codes: int = 64,
        code_channels: int = 48,
        sizes: Sequence[int] = (1, 2, 4, 8, 16),
        condition_length: int = 7,
        size: int = 320,
        layers: int = 4,
        heads: int = 5,
        hidden_size: int = 896,
        condition_size: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = ScaleLayout(tuple(sizes))
        self.vocabulary_size = vocabulary_size
        self.stepwise_scales = len(sizes) - 1
        """How many scales, the first ones, may be shown in part."""
        self.condition_projection: nn.Module = nn.Identity()
        if condition_size is not None:
            self.condition_projection = Linear(condition_size, size, bias=False)
        self.begin = nn.Parameter(torch.zeros(1, self.layout.ends[0], size))
        self.feature_embedding = Linear(code_channels, size)
        self.shown_embedding = nn.Embedding(coarse_codes, size)
        self.target_embedding = nn.Embedding(self.layout.length, size)
        self.blocks = nn.ModuleList(Block(size, heads, hidden_size) for _ in range(layers))
        self.norm = RMSNorm(size)
        self.head = Linear(size, vocabulary_size, bias=False)
        nn.init.normal_(self.shown_embedding.weight, std=0.5)
        nn.init.normal_(self.target_embedding.weight, std=0.2)
        nn.init.zeros_(self.head.weight)
        levels = torch.cat((torch.full((condition_length,), -1), self.layout.levels()))
        self.levels = nn.Buffer(levels, persistent=False)
        angles = grid_angles(_coordinates(self.layout, condition_length), size // heads)
        self.angles = nn.Buffer(angles[:, None, :, None, None], persistent=False)

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of a caption and `capacity` slots a row; `bits` as in `KVCache`."""
        config: Any = self.config
        slots, head_size = config.condition_length + capacity, config.size // config.heads
        return KVCache(len(self.blocks), rows, slots, config.heads, head_size, self.dtype, self.device, bits)

    def condition(self, embeddings: Tensor) -> Caption:
        """What captions' embeddings [R, P, condition size] make of the transformer."""
        return Caption(self.condition_projection(embeddings))

    def forward(
        self,
        inputs: Tensor | None,
        condition: Caption,
        scales: range,
        cache: KVCache | None = None,
        shown: Tensor | None = None,
    ) -> Tensor:
        """The stream [R, L, C] behind the last block, for the tokens of some scales.

        Args:
            inputs: what the tokenizer's `next_input` gives for each of these scales, [B, L', code channels], scale 0
                left out: L' is L, or less by it. R is B or a multiple: rows are repeated. None for scale 0 alone.
            condition: of R rows.
            scales: consecutive scales. Larger ones do not change what is said of smaller ones.
            cache: holds the caption and all smaller scales, and takes these; None where there are none, and none
                will follow.
            shown: codes of the last tokens int64 [B, L''], -1 where they are hidden; None where all are.
        """
        span = self.layout.span(scales)
        prefix = condition.embeddings.shape[1]
        start, stop = (span.start + prefix if span.start else 0), span.stop + prefix
        visible = None
        if span.start == 0 or len(scales) > 1:
            visible = self.levels[start:stop, None] >= self.levels[:stop]
        held: Any = cache
        if cache is None:
            held = OneForward(visible)
        else:
            cache.open_block(start, stop - start, visible)
        x = self._embed(inputs, condition, span, shown)
        angles = self.angles[:, :, start:stop].to(x.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, angles, held, layer)
        return x[:, prefix:] if span.start == 0 else x

    def logits(self, stream: Tensor, condition: Caption) -> Tensor:
        """Logits [R, L, V] of the tokens themselves, from their stream [R, L, C] behind the last block."""
        return self.head(self.norm(stream))

    def teacher_forced(self, embeddings: Tensor, next_inputs: Tensor, shown: Tensor | None = None) -> Tensor:
        """Logits [B, N, V] of whole pictures at once, for training.

        Args:
            embeddings: captions [B, P, condition size].
            next_inputs: [B, N - 1, code channels], from the tokenizer's `next_inputs`.
            shown: codes int64 [B, N], -1 where they are hidden; None where all are.
        """
        condition = self.condition(embeddings)
        return self.logits(self(next_inputs, condition, range(len(self.layout.sizes)), shown=shown), condition)

    def _embed(self, inputs: Tensor | None, condition: Caption, span: slice, shown: Tensor | None) -> Tensor:
        """The tokens [R, L, C] of a span of the line, behind the caption where it begins."""
        rows, parts = condition.rows, []
        if span.start == 0:
            parts.append(self.begin.expand(rows, -1, -1))
        if inputs is not None:
            embedded = self.feature_embedding(inputs.to(self.begin.dtype))
            parts.append(embedded.repeat(rows // len(embedded), 1, 1))
        x = torch.cat(parts, dim=1) + self.target_embedding.weight[span]
        if shown is not None:
            codes = self.shown_embedding(shown.clamp(min=0)) * (shown >= 0)[..., None]
            codes = codes.repeat(rows // len(codes), 1, 1)
            x = x + nn.functional.pad(codes, (0, 0, x.shape[1] - codes.shape[1], 0))
        return torch.cat((condition.embeddings, x), dim=1) if span.start == 0 else x


def _coordinates(layout: ScaleLayout, before: int) -> Tensor:
    """Row and column [P + N, 2] on the finest grid: of nothing on it for a caption, then of every cell's centre."""
    finest, places = layout.sizes[-1], [torch.arange(-before, 0.0)[:, None].expand(-1, 2)]
    for size in layout.sizes:
        centres = (torch.arange(size) + 0.5) * (finest / size) - 0.5
        places.append(torch.cartesian_prod(centres, centres))
    return torch.cat(places)
