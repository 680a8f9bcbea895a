"""Emu3: a language model whose vocabulary holds the codes of pictures."""

from __future__ import annotations

from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from transformers import Emu3TextConfig
from transformers.models.emu3.modeling_emu3 import Emu3DecoderLayer

from mmgen.backbones.language import SharedVocabularyTransformer


class Emu3Transformer(SharedVocabularyTransformer, ModelMixin, ConfigMixin):
    """The language model of Emu3 (Wang et al. 2024); the defaults are those of Emu3-Gen.

    A prompt is the embedded text, the word that begins an image, "height*width" of the grid as text, and the word
    before the first code. Every row of codes ends in a word, which is known: a layout of one column more, whose
    `row_end` is `codes`, says so. "No prompt" is a negative prompt of the same form.

    Args:
        text_config: what `transformers.Emu3TextConfig` takes; what is left out has its defaults.
        first_code: word of the first code, "<|visual token 000000|>".
        codes: codes of the tokenizer.
        row_end: word that ends a row, "<|extra_200|>".
        order: code k is word `first_code` + order[k]; None where that is k itself.
    """

    @register_to_config
    def __init__(
        self,
        text_config: dict[str, Any],
        first_code: int = 151854,
        codes: int = 32768,
        row_end: int | None = 151846,
        order: list[int] | None = None,
    ) -> None:
        text = Emu3TextConfig(**text_config)
        super().__init__(text, Emu3DecoderLayer, first_code, codes, row_end, order)
