"""What the transformers share that read codes of several codebooks a step: MusicGen and those made of its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.models.musicgen.modeling_musicgen import MusicgenSinusoidalPositionalEmbedding

from mmgen.backbones.language import mixed
from mmgen.backbones.linear import speed_up
from mmgen.cache import KVCache, OneForward
from mmgen.codebook_layout import CodebookLayout


@dataclass(frozen=True)
class TextMemory:
    """What cross-attention reads of texts: made once, since it never changes.

    Attributes:
        keys: of each layer, [R, H, P, D].
        values: likewise.
        mask: added to the scores, [R, 1, 1, P].
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor

    def select(self, rows: Tensor) -> TextMemory:
        """That of some rows."""
        keys, values = (tuple(layer[rows] for layer in part) for part in (self.keys, self.values))
        return TextMemory(keys, values, self.mask[rows])


class CodebookTransformer(ModelMixin, ConfigMixin):
    """Embeddings, layers and heads of a model of several codebooks.

    The layers are transformers' modules, with their weights and names; what is computed with them is ours. A step's
    codes are embedded, each with the table of its codebook, and summed; a slot without a code is a word of its own,
    `nothing`. Each codebook has a head. Subclasses say what a step sees.

    Args:
        config: transformers' configuration of the decoder.
        layer: its decoder layer, made from configuration and index.
        text_size: channels of the text encoder's features.
    """

    def __init__(self, config: PreTrainedConfig, layer: Callable[..., nn.Module], text_size: int) -> None:
        super().__init__()
        size, self.vocabulary_size = config.hidden_size, config.vocab_size
        self.codebooks, self.channels = config.num_codebooks, config.audio_channels
        self.nothing = config.vocab_size
        self.enc_to_dec_proj = nn.Linear(text_size, size) if text_size != size else nn.Identity()
        self.embed_tokens = nn.ModuleList(nn.Embedding(config.vocab_size + 1, size) for _ in range(self.codebooks))
        self.layers = nn.ModuleList(layer(config, index) for index in range(config.num_hidden_layers))
        self.layer_norm = nn.LayerNorm(size)
        self.lm_heads = nn.ModuleList(nn.Linear(size, config.vocab_size, bias=False) for _ in range(self.codebooks))
        self._heads, self._size = config.num_attention_heads, size
        self._positions: Tensor | None = None
        speed_up(self)

    def layout(self, frames: int) -> CodebookLayout:
        """The order of the codes of so many frames: each codebook a frame later than the one before, on both sides."""
        return CodebookLayout.delay(frames, [book // self.channels for book in range(self.codebooks)])

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""
        size = self._size // self._heads
        return KVCache(len(self.layers), rows, capacity, self._heads, size, self.dtype, self.device, bits)

    def remember(self, features: Tensor, mask: Tensor) -> Any:
        """What cross-attention reads of texts, a `TextMemory`.

        A row without any word is "no text": all its features are zero, and nothing comes of them.

        Args:
            features: of the text encoder, [R, P, F].
            mask: bool [R, P], which of them are of the text.
        """
        states = self.enc_to_dec_proj(features.to(self.dtype)) * mask[..., None]
        keys, values = (
            tuple(self._by_head(getattr(layer.encoder_attn, name)(states)) for layer in self.layers)
            for name in ("k_proj", "v_proj")
        )
        hidden = ~mask & mask.any(1, keepdim=True)
        return TextMemory(keys, values, _added(hidden, self.dtype)[:, None, None])

    def logits(self, features: Tensor) -> Tensor:
        """Logits [R, L, K, V] of the codes that follow each step, from streams [R, L, C]."""
        return torch.stack([head(features) for head in self.lm_heads], dim=-2)

    def embedded(self, planes: Tensor, positions: Tensor, length: int) -> Tensor:
        """What the first layer reads [R, L, C] of steps int64 [R, L, K] at positions [R or 1, L] below `length`."""
        x = self._positions_up_to(length)[positions]
        for table, codes in zip(self.embed_tokens, planes.unbind(-1), strict=True):
            x = x + table(codes)
        return x

    def run(self, x: Tensor, cache: KVCache | OneForward, memory: TextMemory | None = None) -> Tensor:
        """The streams [R, L, C] behind the last layer and its norm; without a memory, no text is heard in the layers.

        In each layer what was written, the text, and feed-forward are added to the stream.
        """
        for index, layer in enumerate(self.layers):
            own: Any = layer
            x = x + self._recalled(own, x, cache, index)
            if memory is not None:
                x = x + self._heard(own, x, memory, index)
            x = x + own.fc2(own.activation_fn(own.fc1(own.final_layer_norm(x))))
        return self.layer_norm(x)

    def run_once(self, x: Tensor, hidden: Tensor | None, memory: TextMemory | None = None) -> Tensor:
        """The same of whole lines, where nothing is kept; `hidden`, bool [L, L], is what each step does not see."""
        return self.run(x, OneForward(None if hidden is None else _added(hidden, x.dtype)[None, None]), memory)

    def _recalled(self, layer: Any, x: Tensor, cache: KVCache | OneForward, index: int) -> Tensor:
        attention, normed = layer.self_attn, layer.self_attn_layer_norm(x)
        size = self._size // self._heads
        key, value = (part(normed).unflatten(-1, (-1, size)) for part in (attention.k_proj, attention.v_proj))
        keys, values = cache.write(index, key, value)
        query = self._by_head(attention.q_proj(normed))
        return attention.out_proj(mixed(query, keys, values, cache.mask).flatten(2))

    def _heard(self, layer: Any, x: Tensor, memory: TextMemory, index: int) -> Tensor:
        query = self._by_head(layer.encoder_attn.q_proj(layer.encoder_attn_layer_norm(x)))
        told = mixed(query, memory.keys[index], memory.values[index], memory.mask)
        return layer.encoder_attn.out_proj(told.flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """[R, L, C] as [R, H, L, D]."""
        return x.unflatten(-1, (self._heads, -1)).transpose(1, 2)

    def _positions_up_to(self, length: int) -> Tensor:
        """Sinusoids of at least `length` positions, of the model's type and on its device: [S, C]."""
        table = self._positions
        if table is None or len(table) < length or (table.device, table.dtype) != (self.device, self.dtype):
            # They follow from their number: older files hold a table, which says the same.
            with torch.device("cpu"):
                table = MusicgenSinusoidalPositionalEmbedding.get_embedding(length, self._size)
            table = self._positions = table.to(self.device, self.dtype)
        return table


def _added(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores so that nothing comes of what is hidden."""
    return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, -torch.inf)
