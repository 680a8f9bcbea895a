"""The student of Distilled Decoding, which writes all scales from noise at once (Liu et al. 2024, arXiv 2412.17153)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from mmgen.backbones.linear import Linear
from mmgen.backbones.next_scale import Condition, NextScaleBlock, modulated
from mmgen.layout import ScaleLayout


class DistilledTransformer(ModelMixin, ConfigMixin):
    """Says of every token what noise becomes, given the class and the vectors of some of the first scales.

    A VAR transformer (`NextScaleTransformer`) with these changes, as in the authors' code:

    - It reads the class and then one slot for every token: the vector of its code where it is known, else noise. VAR
      reads the features so far, made small.
    - A slot sees itself and those of smaller scales, but none of its own scale. The class is a scale of its own.
    - What is known and what is noise have two embeddings, added to the input, through a layer of its own to the stream
      between attention and feed-forward of every block, and to the stream behind the last.
    - There are two heads: logits of codes, and a vector.

    So what is said of small scales does not depend on larger ones, which need not be read for it.

    Args:
        vocabulary_size: codes V.
        code_channels: channels of a code's vector.
        sizes: codes of a side, for every scale; the class is not among them.
        size: channels C of the stream.
        layers: number of blocks.
        heads: attention heads H.
        hidden_size: channels inside the feed-forward.
        classes: number of classes; row `classes` of their table is "no class", which no student is asked for.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 4096,
        code_channels: int = 32,
        sizes: Sequence[int] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
        size: int = 1024,
        layers: int = 16,
        heads: int = 16,
        hidden_size: int = 4096,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.layout = ScaleLayout(tuple(sizes))
        self.vocabulary_size = vocabulary_size
        slots = ScaleLayout((1, *sizes))
        self.class_embedding = nn.Embedding(classes + 1, size)
        self.vector_embedding = Linear(code_channels, size)
        self.begin = nn.Parameter(torch.zeros(1, 1, size))
        self.positions = nn.Parameter(torch.zeros(1, slots.length, size))
        self.level_embedding = nn.Embedding(len(slots.sizes), size)
        self.known_embedding = nn.Embedding(2, size)
        self.blocks = nn.ModuleList(DistilledBlock(size, heads, hidden_size) for _ in range(layers))
        self.known_layer = Linear(size, size)
        self.head_modulation = Linear(size, 2 * size)
        self.head = Linear(size, vocabulary_size)
        self.vector_modulation = nn.Parameter(torch.zeros(2, size))
        self.vector_head = Linear(size, code_channels)
        levels = slots.levels()
        visible = (levels[:, None] > levels) | torch.eye(len(levels), dtype=torch.bool)
        self.levels, self.visible = nn.Buffer(levels, persistent=False), nn.Buffer(visible, persistent=False)

    def condition(self, labels: Tensor) -> Condition:
        """What classes int64 [B] make of the transformer."""
        embedded = self.class_embedding(labels)
        activated = silu(embedded)
        factor, shift = self.head_modulation(activated)[:, None].chunk(2, dim=-1)
        blocks: Any = self.blocks
        return Condition(embedded[:, None], [block.modulate(activated, None) for block in blocks], (factor + 1, shift))

    def forward(self, vectors: Tensor, known: int, condition: Condition) -> Tensor:
        """The stream [B, L, C] behind the last block, for the tokens of the first scales.

        Args:
            vectors: [B, L, code channels]: of the codes of the known scales, noise for the others.
            known: how many of these scales are known, the first ones.
            condition: of B rows.
        """
        length = 1 + vectors.shape[1]
        ends = (0, *self.layout.ends)
        # Row 1 is for what is known, the class among it.
        rows = (torch.arange(length, device=vectors.device) <= ends[known]).long()
        x = torch.cat((condition.first + self.begin, self.vector_embedding(vectors.to(self.dtype))), dim=1)
        x = x + self.level_embedding(self.levels[:length]) + self.positions[:, :length] + self.known_embedding(rows)
        blocks: Any = self.blocks
        for block, modulation in zip(blocks, condition.blocks, strict=True):
            known_here = block.known_layer(self.known_embedding.weight)[rows]
            x = block(x, modulation, self.visible[:length, :length], known_here)
        return (x + self.known_layer(self.known_embedding.weight)[rows])[:, 1:]

    def logits(self, stream: Tensor, condition: Condition) -> Tensor:
        """Logits [B, L, V] of the tokens' codes, from their stream [B, L, C]."""
        return self.head(modulated(stream.float(), *condition.head).to(stream.dtype))

    def vectors(self, stream: Tensor, condition: Condition) -> Tensor:
        """Vectors [B, L, code channels] of the tokens, near those of codes, from their stream [B, L, C]."""
        shift, factor = (condition.first + row for row in self.vector_modulation)
        return self.vector_head(modulated(stream.float(), factor + 1, shift).to(stream.dtype))


class DistilledBlock(NextScaleBlock):
    """A block of VAR that is told, between attention and feed-forward, what is known and what is noise."""

    def __init__(self, size: int, heads: int, hidden_size: int) -> None:
        super().__init__(size, heads, hidden_size, shared_modulation=False, normalised=True)
        self.known_layer = Linear(size, size)

    def forward(  # type: ignore[override]
        self, x: Tensor, modulation: tuple[Tensor, ...], visible: Tensor, known: Tensor
    ) -> Tensor:
        """One block: stream [B, L, C] to stream [B, L, C].

        Args:
            modulation: of this block, from `modulate`.
            visible: bool [L, L], which keys each query sees.
            known: [L, C], what its `known_layer` makes of the embedding of each slot.
        """
        gate1, gate2, factor1, factor2, shift1, shift2 = modulation
        x = torch.addcmul(x, self._attend(modulated(x, factor1, shift1), visible, None, 0), gate1) + known
        hidden = gelu(self.up(modulated(x, factor2, shift2)), approximate="tanh")
        return torch.addcmul(x, self.down(hidden), gate2)
