"""Chameleon and its descendants Anole, Lumina-mGPT and Lumina-mGPT 2.0: one vocabulary for text and pictures."""

from __future__ import annotations

from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from transformers import ChameleonConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonDecoderLayer

from mmgen.backbones.language import SharedVocabularyTransformer


class ChameleonTransformer(SharedVocabularyTransformer, ModelMixin, ConfigMixin):
    """The transformer of Chameleon (Chameleon Team 2024), with queries and keys normalised head by head.

    The same layers make Anole (Chern et al. 2024), Lumina-mGPT (Liu et al. 2024) and Lumina-mGPT 2.0 (Xin et al.
    2025). A prompt is the embedded text and the word that begins an image; with Lumina-mGPT, also the two words that
    say the grid's height and width, and every row of codes ends in a word, as with Emu3.

    transformers' own `ChameleonForConditionalGeneration` never writes codes: it hides their logits.

    Args:
        text_config: what `transformers.ChameleonConfig` takes; what is left out has its defaults. `swin_norm` puts
            the norms behind attention and feed-forward, as in the 34B model.
        first_code: the smallest word of a code.
        codes: codes of the tokenizer.
        row_end: word that ends a row; None where none does.
        order: code k is word `first_code` + order[k]; None where that is k itself.
    """

    @register_to_config
    def __init__(
        self,
        text_config: dict[str, Any],
        first_code: int = 4,
        codes: int = 8192,
        row_end: int | None = None,
        order: list[int] | None = None,
    ) -> None:
        text = ChameleonConfig(**text_config)
        super().__init__(
            text,
            ChameleonDecoderLayer,
            first_code,
            codes,
            row_end,
            order,
            norms_first=not text.swin_norm,
        )
