"""MusicGen: a transformer that hears a text in cross-attention and writes a code of every codebook a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from transformers import MusicgenDecoderConfig
from transformers.models.musicgen.modeling_musicgen import (
    MusicgenDecoderLayer,
    MusicgenSinusoidalPositionalEmbedding,
)

from mmgen.backbones.language import mixed
from mmgen.backbones.linear import speed_up
from mmgen.cache import KVCache
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


class MusicGenTransformer(ModelMixin, ConfigMixin):
    """MusicGen (Copet et al. 2023, arXiv 2306.05284), mono and stereo.

    The layers are transformers' modules, with their weights and names; what is computed with them is ours. A step's
    codes are embedded, each with the table of its codebook, and summed; a slot without a code, and the step before the
    first, are a word of their own, `nothing`. Each codebook has a head.

    Args:
        decoder: what `transformers.MusicgenDecoderConfig` takes; what is left out has its defaults.
        text_size: channels of the text encoder's features.
    """

    @register_to_config
    def __init__(self, decoder: dict[str, Any], text_size: int = 768) -> None:
        super().__init__()
        config = MusicgenDecoderConfig.from_dict(decoder)
        size, self.vocabulary_size = config.hidden_size, config.vocab_size
        self.codebooks, self.channels = config.num_codebooks, config.audio_channels
        self.nothing = config.vocab_size
        self.enc_to_dec_proj = nn.Linear(text_size, size) if text_size != size else nn.Identity()
        self.embed_tokens = nn.ModuleList(nn.Embedding(config.vocab_size + 1, size) for _ in range(self.codebooks))
        self.layers = nn.ModuleList(MusicgenDecoderLayer(config, index) for index in range(config.num_hidden_layers))
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

    def remember(self, features: Tensor, mask: Tensor) -> TextMemory:
        """What cross-attention reads of texts.

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
        return TextMemory(
            keys, values, torch.zeros_like(hidden, dtype=self.dtype).masked_fill_(hidden, -torch.inf)[:, None, None]
        )

    def features(self, planes: Tensor, memory: TextMemory, cache: KVCache) -> Tensor:
        """The streams [R, L, C] behind the last layer and its norm, of steps that are added to the cache.

        Args:
            planes: int64 [R, L, K], the next steps of each row; `nothing` where there is no code.
            memory: of the texts.
            cache: the steps before.
        """
        positions = cache.open(planes.shape[1])
        x = self._positions_up_to(cache.capacity)[positions]
        for table, codes in zip(self.embed_tokens, planes.unbind(-1), strict=True):
            x = x + table(codes)
        for index, layer in enumerate(self.layers):
            x = self._through(layer, x, memory, cache, index)
        return self.layer_norm(x)

    def logits(self, features: Tensor) -> Tensor:
        """Logits [R, L, K, V] of the codes of the step behind each, from `features` [R, L, C]."""
        return torch.stack([head(features) for head in self.lm_heads], dim=-2)

    def _through(self, layer: Any, x: Tensor, memory: TextMemory, cache: KVCache, index: int) -> Tensor:
        """One layer: what was written, the text, and feed-forward, each added to the stream [R, L, C]."""
        attention, heard = layer.self_attn, layer.encoder_attn
        normed = layer.self_attn_layer_norm(x)
        size = self._size // self._heads
        key, value = (part(normed).unflatten(-1, (-1, size)) for part in (attention.k_proj, attention.v_proj))
        keys, values = cache.write(index, key, value)
        query = self._by_head(attention.q_proj(normed))
        x = x + attention.out_proj(mixed(query, keys, values, cache.mask).flatten(2))
        query = self._by_head(heard.q_proj(layer.encoder_attn_layer_norm(x)))
        told = mixed(query, memory.keys[index], memory.values[index], memory.mask)
        x = x + heard.out_proj(told.flatten(2))
        return x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))

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
