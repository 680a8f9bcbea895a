"""A transformer that writes a clip frame by frame, and the tokens of a frame in any order."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen.backbones.blocks import Block, RMSNorm
from mmgen.backbones.linear import Linear
from mmgen.cache import KVCache, OneForward
from mmgen.errors import OptionError
from mmgen.layout import VideoLayout

_TURNS = (0, 0, 1, 2, 1, 2, 1, 2)
"""Which axis (frame, row, column) each of eight neighbouring frequencies turns by."""


class MaskedFrameTransformer(ModelMixin, ConfigMixin):
    """Says what the hidden tokens of a frame are, from a caption, all earlier frames, and what is shown of the frame.

    As in Lumos-1 (Yuan et al. 2025, arXiv 2507.08801) attention is causal from frame to frame and full inside one, and
    the axes take turns along the frequencies of rotary positions (MM-RoPE); see `interleaved_angles`. Deviations: the
    caption is a prefix of embeddings that all see each other; no tokens stand for the begin and the end of frames and
    rows; each place has a learned embedding, too, by which hidden tokens differ from one another.

    Args:
        vocabulary_size: codes V; id V stands for a hidden token.
        frames: frames of a clip.
        height: rows of a frame.
        width: columns of a frame.
        condition_length: embeddings P of a caption.
        size: channels C of the stream.
        layers: number of blocks.
        heads: attention heads H, of a multiple of 16 channels.
        hidden_size: channels inside the feed-forward.

    Raises:
        OptionError: heads of another size.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary_size: int = 1024,
        frames: int = 5,
        height: int = 8,
        width: int = 8,
        condition_length: int = 9,
        size: int = 320,
        layers: int = 4,
        heads: int = 5,
        hidden_size: int = 896,
    ) -> None:
        super().__init__()
        self.layout = VideoLayout(frames * height, width, frames=frames)
        self.vocabulary_size = vocabulary_size
        self.condition_length = condition_length
        self.token_embedding = nn.Embedding(vocabulary_size + 1, size)
        self.target_embedding = nn.Embedding(self.layout.length, size)
        self.blocks = nn.ModuleList(Block(size, heads, hidden_size) for _ in range(layers))
        self.norm = RMSNorm(size)
        self.head = Linear(size, vocabulary_size, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.5)
        nn.init.normal_(self.target_embedding.weight, std=0.2)
        nn.init.zeros_(self.head.weight)
        grid = self.layout.coordinates()
        levels = torch.cat((torch.full((condition_length,), -1), grid[:, 0]))
        self.levels = nn.Buffer(levels, persistent=False)
        before = torch.arange(-condition_length, 0)[:, None].expand(-1, 3)
        angles = interleaved_angles(torch.cat((before, grid)), size // heads)
        self.angles = nn.Buffer(angles[:, None, :, None, None], persistent=False)

    @property
    def mask_token(self) -> int:
        """The id that is fed for a hidden token."""
        return self.vocabulary_size

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of a caption and `capacity` slots a row; `bits` as in `KVCache`."""
        config: Any = self.config
        slots, head_size = config.condition_length + capacity, config.size // config.heads
        return KVCache(len(self.blocks), rows, slots, config.heads, head_size, self.dtype, self.device, bits)

    def forward(
        self, tokens: Tensor, first: int = 0, cache: KVCache | None = None, caption: Tensor | None = None
    ) -> Tensor:
        """The stream [R, L, C] behind the last block, for the tokens of consecutive frames.

        Args:
            tokens: int64 [R, L], whole frames; `mask_token` where hidden.
            first: the first of the frames. Later frames do not change what is said of earlier ones.
            cache: holds the caption and all earlier frames, and takes these: what it held of them before is
                overwritten. None where there are no earlier ones, and none will follow.
            caption: embeddings [R, P, C], read in front of the first frame of all; None where the cache holds it.
        """
        begin, count = first * self.layout.frame_length, tokens.shape[1]
        x = self.token_embedding(tokens) + self.target_embedding.weight[begin : begin + count]
        if caption is not None:
            x = torch.cat((caption.to(x.dtype), x), dim=1)
        stop = self.condition_length + begin + count
        start = stop - x.shape[1]
        visible = None
        if x.shape[1] > self.layout.frame_length:
            visible = self.levels[start:stop, None] >= self.levels[:stop]
        held: Any = cache
        if cache is None:
            held = OneForward(visible)
        else:
            cache.open_block(start, stop - start, visible)
        angles = self.angles[:, :, start:stop].to(x.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, angles, held, layer)
        return x[:, -count:]

    def logits(self, stream: Tensor) -> Tensor:
        """Logits [R, L, V] of the tokens themselves, from their stream [R, L, C] behind the last block."""
        return self.head(self.norm(stream))

    def teacher_forced(self, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Logits [B, N, V] of whole clips at once, for training.

        Args:
            embeddings: captions [B, P, C].
            tokens: int64 [B, N], as `layout.flatten` gives them; `mask_token` where hidden.
        """
        return self.logits(self(tokens, caption=embeddings))


def interleaved_angles(coordinates: Tensor, head_size: int, base: float = 100.0) -> Tensor:
    """Angles of rotary positions of a clip, whose axes take turns along one range of frequencies.

    MM-RoPE of Lumos-1 (Yuan et al. 2025, arXiv 2507.08801): a quarter of the frequencies turn by the frame, and three
    eighths each by the row and the column, in groups that repeat, so every axis has fast and slow ones. `grid_angles`
    gives each axis a range of its own instead, coarser the more axes there are: half of the frequencies by the frame,
    a quarter each by the row and the column. Deviations: groups of 8 frequencies, where Lumos has 16 (our heads are
    small); a step of the grid counts as 1, where Lumos counts pixels and single frames; and a base of 100 to go with
    that.

    Args:
        coordinates: frame, row and column [L, 3].
        head_size: channels D of a head, a multiple of 16.

    Returns:
        Cosines and sines, float32 [2, L, D], as `grid_angles` gives them.

    Raises:
        OptionError: a head of another size.
    """
    half = head_size // 2
    if head_size % (2 * len(_TURNS)):
        raise OptionError("heads", f"{head_size} channels in each", f"a multiple of {2 * len(_TURNS)} channels in each")
    frequencies = base ** -(torch.arange(half, dtype=torch.float32) / half)
    angles = coordinates[:, _TURNS * (half // len(_TURNS))].float() * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)))
