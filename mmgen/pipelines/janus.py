"""Janus and Janus-Pro: pictures of a text (Wu et al. 2024, arXiv 2410.13848; Chen et al. 2025, arXiv 2501.17811)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.janus import JanusTransformer
from mmgen.checkpoints.text_tokenizers import read_line
from mmgen.decoding.decoder import Decoder
from mmgen.errors import PromptError, SizeError
from mmgen.layout import RasterLayout
from mmgen.pipelines.raster import RasterPipeline
from mmgen.tokenizers.vqgan import VQGAN

BEGIN_OF_TEXT, PADDING, BEGIN_OF_IMAGE = "<｜begin▁of▁sentence｜>", "<｜▁pad▁｜>", "<begin_of_image>"
"""The words that structure a prompt."""

TEMPLATES = {"janus-pro": "<|User|>: {text}\n\n<|Assistant|>:", "janus": "User: {text}\n\nAssistant:"}
"""The talk a text is put into, as the authors' scripts have it for Janus-Pro and for Janus-1.3B."""


_SPECIAL = (BEGIN_OF_TEXT, "<|User|>", "<|Assistant|>", BEGIN_OF_IMAGE)


class JanusPipeline(RasterPipeline):
    """Draws a text, 24 x 24 codes: 384 x 384 pixels.

    The text is what a user says, and the picture what the assistant answers; `template` says in which words
    ("janus-pro", or "janus" for Janus-1.3B). "No text" is the same line with padding in place of every word but the
    first and the last, which the model reads as it reads words.

    Args:
        tokenizer: pictures to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written; swap it by assignment.
        text_tokenizer: texts to words of the transformer.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same words and codes, for the drafter `draft-model`; may be absent.
    """

    component_types = {
        "tokenizer": VQGAN,
        "transformer": JanusTransformer,
        "text_tokenizer": PreTrainedTokenizerFast,
        "draft": JanusTransformer,
    }
    _optional_components = ["draft"]
    model_cpu_offload_seq = "draft->transformer->tokenizer"
    condition_defaults = {"template": "janus-pro"}
    condition_choices = {"template": tuple(TEMPLATES)}
    grid = (24, 24)
    """Rows and columns of codes; the model knows no other."""

    def __init__(
        self,
        tokenizer: VQGAN,
        transformer: JanusTransformer,
        decoder: Decoder,
        text_tokenizer: PreTrainedTokenizerFast,
        sampling: Mapping[str, Any] | None = None,
        draft: JanusTransformer | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, text_tokenizer=text_tokenizer,
            draft=draft,
        )  # fmt: skip

    def layout(self, height: int | None, width: int | None) -> RasterLayout:
        """The one grid there is.

        Raises:
            SizeError: another size is asked for.
        """
        layout = RasterLayout(*self.grid)
        for name, value, codes in zip(("height", "width"), (height, width), layout.grid, strict=True):
            if value not in (None, codes * self.tokenizer.stride):
                raise SizeError(f"{name} {value}", f"{codes * self.tokenizer.stride}, the size this model draws")
        return layout

    def read(self, prompt: str) -> str:
        """A text."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise PromptError(str(prompt), "is not a text", "say what to draw")
        positions = LlamaConfig(**self.transformer.config.text_config).max_position_embeddings
        tokens, most = len(self.words(prompt.strip())), positions - RasterLayout(*self.grid).length
        if tokens > most:
            raise PromptError(prompt, f"takes {tokens} tokens with its template", f"use at most {most}")
        return prompt.strip()

    def prompts(
        self, backbone: Any, subjects: Sequence[str], layout: RasterLayout, template: str = "janus-pro"
    ) -> tuple[Prompt, Prompt]:
        """Texts, and as many words of padding."""
        rows = [self.words(text, template) for text in subjects]
        given, nothing = ([backbone.embed_text(row) for row in part] for part in (rows, map(self._without_text, rows)))
        return Prompt.ragged(given), Prompt.ragged(nothing)

    def words(self, text: str, template: str = "janus-pro") -> Tensor:
        """Words of the transformer for a text, with those around it; the last begins the image: int64 [P]."""
        line = f"{BEGIN_OF_TEXT}{TEMPLATES[template]}{BEGIN_OF_IMAGE}"
        return torch.tensor(read_line(self.text_tokenizer, line, _SPECIAL, text), device=self._execution_device)

    def _without_text(self, words: Tensor) -> Tensor:
        padding = torch.full_like(words, self.text_tokenizer.convert_tokens_to_ids(PADDING))
        return torch.cat((words[:1], padding[1:-1], words[-1:]))
