"""Janus and Janus-Pro: a Llama that reads text and writes codes with embeddings and a head of their own."""

from __future__ import annotations

from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAEAlignerMLP, JanusVQVAEHead
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from mmgen.backbones.language import LanguageTransformer
from mmgen.backbones.linear import speed_up


class JanusTransformer(LanguageTransformer, ModelMixin, ConfigMixin):
    """The part of Janus (Wu et al. 2024) and Janus-Pro (Chen et al. 2025) that draws, without its understanding.

    A prompt is the embedded text, which ends in the word that begins an image. "No prompt" is, in the authors'
    code, a prompt of the same length whose words are all padding but the first and the last.

    Args:
        text_config: what `transformers.LlamaConfig` takes; what is left out has its defaults.
        codes: codes of the tokenizer.
        code_size: channels a code is embedded in, before they are made as many as the stream's.
        aligner_layers: linear layers that do that.
    """

    @register_to_config
    def __init__(
        self, text_config: dict[str, Any], codes: int = 16384, code_size: int = 8, aligner_layers: int = 2
    ) -> None:
        text = LlamaConfig(**text_config)
        super().__init__(text, LlamaDecoderLayer, codes)
        generation = JanusVQVAEConfig(
            num_embeddings=codes,
            embed_dim=code_size,
            num_hidden_layers=aligner_layers,
            projection_dim=text.hidden_size,
            image_token_embed_dim=text.hidden_size,
        )
        self.generation_embeddings = nn.Embedding(codes, code_size)
        self.generation_aligner = JanusVQVAEAlignerMLP(generation)
        self.generation_head = JanusVQVAEHead(generation)
        speed_up(self)

    def head(self, normed: Tensor) -> Tensor:
        """Logits of the codes [..., codes] from normed streams [..., C]."""
        return self.generation_head(normed)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings [..., C] of codes, int64 [...]."""
        return self.generation_aligner(self.generation_embeddings(tokens.clamp(max=self.vocabulary_size - 1)))
