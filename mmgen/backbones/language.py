"""Language models that write codes: the protocol of a backbone over the decoder layers of transformers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from mmgen.backbones.backbone import place_begin
from mmgen.backbones.blocks import normalise, rotate
from mmgen.backbones.linear import linear, speed_up
from mmgen.cache import KVCache
from mmgen.errors import OptionError, SizeError
from mmgen.layout import Tree


class LanguageTransformer(ModelMixin, ConfigMixin):
    """A decoder-only language model that reads text and then writes codes, token by token.

    The layers are transformers' modules, with their weights and names; what is computed with them is ours, for any
    layer of Llama's kind. Subclasses say how a token is embedded and what the head is. The begin token has no
    embedding: the last one of the prompt stands for it, as `Prompt.ragged` makes them.

    Args:
        text: transformers' configuration of the language model.
        layer: its decoder layer, made from configuration and index.
        vocabulary_size: tokens V a line may hold.
        norms_first: whether norms stand before attention and feed-forward, or behind them (Liu et al. 2022, Swin v2).
    """

    model: Any

    def __init__(
        self,
        text: PreTrainedConfig,
        layer: Callable[..., nn.Module],
        vocabulary_size: int,
        norms_first: bool = True,
    ) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.begin_token = vocabulary_size
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(text.vocab_size, text.hidden_size),
                "layers": nn.ModuleList(layer(text, index) for index in range(text.num_hidden_layers)),
                "norm": nn.RMSNorm(text.hidden_size, eps=text.rms_norm_eps),
            }
        )
        self._text, self._norms_first = text, norms_first
        self._angles: Tensor | None = None
        self._angles_up_to(1, torch.empty(0, device="cpu"))  # refuses an unknown kind of positions at once

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers; there is one stream behind each."""
        return self.model["layers"]

    def norm(self, stream: Tensor) -> Tensor:
        """What a stream [..., C] passes before the head."""
        return normalise(stream, self.model["norm"].weight, self._text.rms_norm_eps)

    @abstractmethod
    def head(self, normed: Tensor) -> Tensor:
        """Logits of the codes [..., codes] from normed streams [..., C]."""

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings [..., C] of line tokens, int64 [...]; what the begin token gets is of no account."""

    def embed_text(self, ids: Tensor) -> Tensor:
        """Embeddings [..., C] of text, int64 [...] in the language model's own vocabulary: what prompts are made of."""
        return self.model["embed_tokens"](ids)

    def new_cache(self, rows: int, capacity: int, bits: int | None = None) -> KVCache:
        """An empty cache of `capacity` slots a row; `bits` as in `KVCache`."""
        text = self._text
        heads, size = text.num_key_value_heads, self.model["layers"][0].self_attn.head_dim
        return KVCache(len(self.blocks), rows, capacity, heads, size, self.dtype, self.device, bits)

    def prefill(self, embeddings: Tensor, cache: KVCache) -> None:
        """Reads a prompt's embeddings [R, P, C] into an empty cache."""
        self._run(embeddings, cache.open(embeddings.shape[1]), cache)

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
            tokens: int64 [R, L].
            tree: how they branch; None where each follows the one before.
            layers: blocks to run, the first ones; None runs all.
            begin: embeddings [R, C] of the begin token.

        Raises:
            SizeError: there are no embeddings of the begin token.
        """
        return self._run(self._line(tokens, begin), cache.open(tokens.shape[1], tree), cache, layers)

    def streams_at(
        self, tokens: Tensor, cache: KVCache, positions: Tensor, visible: Tensor, begin: Tensor | None = None
    ) -> list[Tensor]:
        """The same for tokens that may stand anywhere on the line.

        Args:
            tokens: int64 [R, L].
            positions: int64 [R, L], where they stand, the prompt counted: their slots of the cache.
            visible: bool [R, L, S], the slots each of them reads, its own among them.
            begin: embeddings [R, C] of the begin token.

        Raises:
            SizeError: there are no embeddings of the begin token.
        """
        cache.open_at(positions, visible)
        return self._run(self._line(tokens, begin), positions, cache)

    def _line(self, tokens: Tensor, begin: Tensor | None) -> Tensor:
        if begin is None:
            needed = "prompts whose last embedding stands before the first code: make them with Prompt.ragged"
            raise SizeError("a prompt that does not end in the begin token", needed)
        return place_begin(self.embed(tokens), tokens, self.begin_token, begin)

    def _run(self, x: Tensor, positions: Tensor, cache: KVCache, layers: int | None = None) -> list[Tensor]:
        """The streams behind every block."""
        cos, sin = self._angles_up_to(cache.capacity, x)[:, positions, None]
        streams = []
        for layer, block in enumerate(islice(self.blocks, layers)):
            x = self._through(block, x, (cos, sin), cache, layer)
            streams.append(x)
        return streams

    def _through(self, block: Any, x: Tensor, angles: tuple[Tensor, Tensor], cache: KVCache, layer: int) -> Tensor:
        """One layer: attention and feed-forward, both added to the stream [R, L, C]."""
        norms = block.input_layernorm.weight, block.post_attention_layernorm.weight
        first, second = (partial(normalise, weight=norm, epsilon=self._text.rms_norm_eps) for norm in norms)
        attend = partial(attended, block.self_attn, angles=angles, cache=cache, layer=layer)
        if self._norms_first:
            x = x + attend(first(x))
            return x + block.mlp(second(x))
        x = x + first(attend(x))
        return x + second(block.mlp(x))

    def _angles_up_to(self, length: int, x: Tensor) -> Tensor:
        """Angles for `rotate` of at least `length` positions, of the type and device of `x`: [2, S, D]."""
        angles = self._angles
        if angles is None or angles.shape[1] < length or (angles.device, angles.dtype) != (x.device, x.dtype):
            # Made here, not kept as a module: its buffers are in no state dict, and would stay empty on "meta".
            # All families have Llama's, from their own configurations.
            with torch.device("cpu"):
                cos, sin = LlamaRotaryEmbedding(self._text)(torch.empty(0), torch.arange(length)[None])
            first, second = sin.chunk(2, dim=-1)
            angles = self._angles = torch.cat((cos, torch.cat((-first, second), dim=-1))).to(x.device, x.dtype)
        return angles


class SharedVocabularyTransformer(LanguageTransformer):
    """A language model whose codes are words of its vocabulary, embedded and scored as all others are.

    A line holds codes 0 to `codes` - 1 and, if rows end in a word of their own, that one as token `codes`.

    Args:
        first_code: the word of the vocabulary at which those of the codes begin.
        codes: how many codes there are.
        row_end: the word that ends every row of the grid; None where there is none.
        order: code k is word `first_code` + order[k]; None where that is k itself.

    Raises:
        OptionError: the words lie outside the vocabulary, or the order has another length than `codes`.
    """

    def __init__(
        self,
        text: PreTrainedConfig,
        layer: Callable[..., nn.Module],
        first_code: int,
        codes: int,
        row_end: int | None,
        order: Sequence[int] | None,
        norms_first: bool = True,
    ) -> None:
        if not 0 <= first_code <= first_code + codes <= text.vocab_size:
            raise _outside(first_code, codes, text.vocab_size)
        super().__init__(text, layer, codes + (row_end is not None), norms_first)
        if order is not None and len(order) != codes:
            raise OptionError("order", f"{len(order)} numbers", f"{codes}, one for every code")
        words = [first_code + place for place in (range(codes) if order is None else order)]
        words += [] if row_end is None else [row_end]
        if not 0 <= min(words) <= max(words) < text.vocab_size:
            raise _outside(first_code, codes, text.vocab_size)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self._words = torch.tensor(words, device="cpu")
        self._scored = slice(min(words[:codes]), max(words[:codes]) + 1)
        self._shuffled = words[:codes] != list(range(self._scored.start, self._scored.stop))
        self._codes = codes
        speed_up(self)

    def head(self, normed: Tensor) -> Tensor:
        """Logits of the codes [..., codes]; those of other words are not computed."""
        logits = linear(normed, self.lm_head.weight[self._scored])
        return logits[..., self._words_on(normed)[: self._codes] - self._scored.start] if self._shuffled else logits

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings [..., C] of codes and row ends, int64 [...]."""
        return self.embed_text(self._words_on(tokens)[tokens.clamp(max=self.vocabulary_size - 1)])

    def _words_on(self, tensor: Tensor) -> Tensor:
        """The word of each line token, int64 [V], where `tensor` is."""
        if self._words.device != tensor.device:
            self._words = self._words.to(tensor.device)
        return self._words


def _outside(first_code: int, codes: int, words: int) -> OptionError:
    needed = f"one that keeps {codes} codes and the word that ends rows within the {words} words there are"
    return OptionError("first_code", first_code, needed)


def attended(attention: Any, x: Tensor, angles: tuple[Tensor, Tensor], cache: KVCache, layer: int) -> Tensor:
    """What a layer's attention makes of its input [R, L, C]: [R, L, C]."""
    size = attention.head_dim
    query, key, value = (
        projection(x).unflatten(-1, (-1, size)) for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm(query), attention.k_norm(key)
    # Together, as in `Block`: with one token, operations cost more than numbers.
    query, key = rotate(torch.cat((query, key), dim=2), angles).split((query.shape[2], key.shape[2]), dim=2)
    keys, values = cache.write(layer, key, value)
    return attention.o_proj(mixed(query.transpose(1, 2), keys, values, cache.mask).flatten(2))


def mixed(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention [R, L, H, D] of queries [R, H, L, D] over keys and values [R, H', S, D] of fewer heads, or as many.

    Heads that share keys are read as further tokens of one head, so that keys are neither repeated nor, on a CPU,
    fetched once for each of them.
    """
    rows, heads, length, size = query.shape
    shared = heads // keys.shape[1]
    if shared > 1:
        query = query.reshape(rows, -1, shared * length, size)
        mask = mask if mask is None or length == 1 else mask.repeat(1, 1, shared, 1)
    values = scaled_dot_product_attention(query, keys, values, mask)
    return values.reshape(rows, heads, length, size).transpose(1, 2)
