"""Transformers of ours that write the codes of sound: a code of every codebook a step, under a caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen.backbones.blocks import Block, RMSNorm, grid_angles
from mmgen.backbones.linear import Linear
from mmgen.cache import KVCache
from mmgen.codebook_layout import CodebookLayout


@dataclass(frozen=True)
class Caption:
    """What is added to the steps of a row, to each its own; the last one's to all that follow.

    Attributes:
        embedding: [R, S, C].
    """

    embedding: Tensor

    def at(self, positions: Tensor) -> Tensor:
        """Those of steps int64 [R or 1, L]: [R, L, C]."""
        rows = torch.arange(len(self.embedding), device=positions.device)[:, None]
        return self.embedding[rows, positions.clamp(max=self.embedding.shape[1] - 1)]

    def select(self, rows: Tensor) -> Caption:
        """That of some rows."""
        return Caption(self.embedding[rows])


class SoundModel(ModelMixin, ConfigMixin):
    """What our transformers of sound share: a step's codes are embedded, each with the table of its codebook, and
    summed; a slot without a code is a word of its own, `nothing`; and each codebook has a head.

    A caption is an embedding for each step, which is added to it. A learned vector says which step it is; behind the
    last of them it stays.

    Attributes:
        vocabulary_size: codes V of each codebook.
        codebooks: K.
        nothing: the id V, which stands for no code.

    Args:
        vocabulary_size: V.
        codebooks: K.
        steps: that have a vector of their own.
        size: channels C of the stream, and of a caption's embeddings.
        layers: number of blocks.
        heads: attention heads H.
        hidden_size: channels inside the feed-forward.
    """

    causal: ClassVar[bool]
    """Whether steps see only those before them."""

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 1024,
        codebooks: int = 4,
        steps: int = 153,
        size: int = 256,
        layers: int = 5,
        heads: int = 4,
        hidden_size: int = 768,
    ) -> None:
        super().__init__()
        self.vocabulary_size, self.codebooks, self.nothing = vocabulary_size, codebooks, vocabulary_size
        self.code_embedding = nn.ModuleList(nn.Embedding(vocabulary_size + 1, size) for _ in range(codebooks))
        self.step_embedding = nn.Embedding(steps, size)
        self.blocks = nn.ModuleList(Block(size, heads, hidden_size) for _ in range(layers))
        self.norm = RMSNorm(size)
        self.code_heads = nn.ModuleList(Linear(size, vocabulary_size, bias=False) for _ in range(codebooks))
        for table in self.code_embedding:
            nn.init.normal_(table.weight, std=0.5 / codebooks**0.5)  # type: ignore[arg-type]
        nn.init.normal_(self.step_embedding.weight, std=0.2)
        for head in self.code_heads:
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]

    def remember(self, features: Tensor, mask: Tensor) -> Caption:
        """What is added to the steps.

        Args:
            features: embeddings of captions, [R, S, C], one a step.
            mask: which of them count, bool [R, S]; a row of which none does has no caption.
        """
        return Caption(features.to(self.dtype) * mask[..., None])

    def features_of_lines(self, planes: Tensor, memory: Caption) -> Tensor:
        """The streams [R, L, C] behind the last block and its norm, of whole lines at once.

        Args:
            planes: int64 [R, L, K], the steps of each row from the first one; `nothing` where there is no code.
            memory: of the captions.
        """
        return self._run(planes, memory, torch.arange(planes.shape[1], device=planes.device)[None], None)

    def _run(self, planes: Tensor, memory: Caption, positions: Tensor, cache: KVCache | None) -> Tensor:
        last = self.step_embedding.num_embeddings - 1
        x = memory.at(positions) + self.step_embedding(positions.clamp(max=last))
        for table, codes in zip(self.code_embedding, planes.unbind(-1), strict=True):
            x = x + table(codes)
        angles = self._angles(positions, x)
        for layer, block in enumerate(self.blocks):
            x = block(x, angles, cache, layer, self.causal)
        return self.norm(x)

    def _angles(self, positions: Tensor, x: Tensor) -> Tensor:
        """Angles of steps int64 [R or 1, L]: [2, R or 1, L, 1, 1, D]. They turn by time, whatever the axis."""
        config: Any = self.config
        flat = positions.flatten()[:, None].expand(-1, 2)
        angles = grid_angles(flat, config.size // config.heads).to(x.device, x.dtype)
        return angles.unflatten(1, positions.shape)[..., None, None, :]


class SoundTransformer(SoundModel):
    """Predicts the codes of each step from a caption and all steps before it.

    Steps are those of MusicGen's order (Copet et al. 2023, arXiv 2306.05284, section 2.2), each codebook a frame later
    than the one before. Deviations: blocks are ours, with rotary positions; and a caption is no text to look at but
    a vector for each step. For arguments see `SoundModel`.
    """

    causal = True

    def layout(self, frames: int) -> CodebookLayout:
        """The order of the codes of so many frames: each codebook a frame later than the one before."""
        return CodebookLayout.delay(frames, range(self.codebooks))

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""
        config: Any = self.config
        heads, size = config.heads, config.size
        return KVCache(len(self.blocks), rows, capacity, heads, size // heads, self.dtype, self.device, bits)

    def features(self, planes: Tensor, memory: Caption, cache: KVCache) -> Tensor:
        """As `features_of_lines`, of steps that are added to the cache, which holds those before: [R, L, C]."""
        return self._run(planes, memory, cache.open(planes.shape[1]), cache)

    def logits(self, features: Tensor) -> Tensor:
        """Logits [R, L, K, V] of the codes of the step behind each, from `features` [R, L, C]."""
        return torch.stack([head(features) for head in self.code_heads], dim=-2)


class MaskedSoundTransformer(SoundModel):
    """Says what hidden codes are, from a caption and all codes that are shown, before and behind them.

    A step is a frame, and a hidden code is `nothing`. As MAGNeT (Ziv et al. 2024, arXiv 2401.04577) it is asked for
    one codebook after the other. Deviations: blocks and captions are those of `SoundTransformer`; frames see each
    other whatever the codebook, where MAGNeT's see five on each side for later ones; and no embedding says which
    codebook is asked for, since it is the first of which a code is hidden. For arguments see `SoundModel`.
    """

    causal = False

    def layout(self, frames: int) -> CodebookLayout:
        """The order of the codes of so many frames: codebook after codebook."""
        return CodebookLayout.grouped(frames, self.codebooks, 1)

    def masked_logits(self, codes: Tensor, book: int, memory: Caption) -> Tensor:
        """Logits of a codebook's codes: [R, T, V].

        Args:
            codes: int64 [R, K, T], -1 where hidden.
            book: the codebook that is asked for, from 0.
            memory: of the captions.
        """
        planes = codes.masked_fill(codes < 0, self.nothing).mT
        return self.code_heads[book](self.features_of_lines(planes, memory))
