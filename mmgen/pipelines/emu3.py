"""Emu3: pictures of a text, in many sizes (Wang et al. 2024, "Next-Token Prediction is All You Need", 2409.18869)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor
from transformers import Emu3TextConfig, PreTrainedTokenizerFast

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.emu3 import Emu3Transformer
from mmgen.checkpoints.text_tokenizers import read_line
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError, PromptError, SizeError
from mmgen.layout import RasterLayout
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.raster import RasterPipeline
from mmgen.tokenizers.emu3_vq import Emu3VQ

BEGIN_OF_TEXT, BEGIN_OF_IMAGE, BEGIN_OF_CODES = "<|extra_203|>", "<|image start|>", "<|image token|>"
"""The words that structure a prompt."""

QUALITY_SUFFIX = " masterpiece, film grained, best quality."
NEGATIVE_PROMPT = (
    "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, worst quality, "
    "low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry."
)
"""What the authors' script says behind every text, and in place of one where there is no text."""

_SIDE = 90
"""Codes of a side where no size is given."""

_MOST_CODES = 8192
"""The model was trained for pictures of 8100 codes (518,400 pixels), of any shape: some more when rounded."""


class Emu3Pipeline(RasterPipeline):
    """Draws a text, in any size of up to 8192 codes; the model was trained for about 8100, such as 720 x 720 pixels.

    Every row of codes ends in a word that is known beforehand. A call may say, beside the text, what stands behind
    it (`quality_suffix`, "" for nothing), and the text the picture is guided away from (`negative_prompt`).

    Args:
        tokenizer: pictures to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written; swap it by assignment.
        text_tokenizer: texts to words of the transformer.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same words and codes, for the drafter `draft-model`; may be absent.
    """

    component_types = {
        "tokenizer": Emu3VQ,
        "transformer": Emu3Transformer,
        "text_tokenizer": PreTrainedTokenizerFast,
        "draft": Emu3Transformer,
    }
    _optional_components = ["draft"]
    model_cpu_offload_seq = "draft->transformer->tokenizer"
    condition_defaults = {"negative_prompt": NEGATIVE_PROMPT, "quality_suffix": QUALITY_SUFFIX}

    def __init__(
        self,
        tokenizer: Emu3VQ,
        transformer: Emu3Transformer,
        decoder: Decoder,
        text_tokenizer: PreTrainedTokenizerFast,
        sampling: Mapping[str, Any] | None = None,
        draft: Emu3Transformer | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, text_tokenizer=text_tokenizer,
            draft=draft,
        )  # fmt: skip

    def layout(self, height: int | None, width: int | None) -> RasterLayout:
        """The grid of a picture of so many pixels; 720 each where nothing is given.

        Raises:
            SizeError: a side is no multiple of the stride, or the picture is too large.
        """
        stride = self.tokenizer.stride
        sides = [_SIDE * stride if side is None else side for side in (height, width)]
        for name, side in zip(("height", "width"), sides, strict=True):
            if type(side) is not int or side <= 0 or side % stride:
                raise SizeError(f"{name} {side}", f"a positive multiple of {stride}")
        rows, columns = (side // stride for side in sides)
        if rows * columns > _MOST_CODES:
            pixels = _MOST_CODES * stride**2
            raise SizeError(f"{sides[0]} x {sides[1]} pixels", f"at most {pixels} in all, near what it was trained for")
        return RasterLayout(rows, columns + 1, row_end=self.transformer.config.codes)

    def read(self, prompt: str) -> str:
        """A text."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise PromptError(str(prompt), "is not a text", "say what to draw")
        return prompt.strip()

    def plan(self, prompt: Any, **settings: Any) -> Drawing:
        """Checks the arguments of a call; evaluates nothing."""
        drawing = super().plan(prompt, **settings)
        for name, value in drawing.conditions.items():
            if not isinstance(value, str):
                raise OptionError(name, value, "a text")
        most = Emu3TextConfig(**self.transformer.config.text_config).max_position_embeddings - drawing.layout.length
        for text in self._texts(drawing.subjects, **drawing.conditions):
            tokens = len(self.words(text, drawing.layout))
            if tokens > most:
                cure = f"use at most {most}, or draw a smaller picture"
                raise PromptError(text, f"takes {tokens} tokens with its template", cure)
        return drawing

    def prompts(
        self,
        backbone: Any,
        subjects: Sequence[str],
        layout: RasterLayout,
        negative_prompt: str = NEGATIVE_PROMPT,
        quality_suffix: str = QUALITY_SUFFIX,
    ) -> tuple[Prompt, Prompt]:
        """Texts, and for each the negative prompt, both with the size of the picture."""
        *given, nothing = (
            backbone.embed_text(self.words(text, layout))
            for text in self._texts(subjects, negative_prompt, quality_suffix)
        )
        return Prompt.ragged(given), Prompt.ragged([nothing] * len(given))

    def words(self, text: str, layout: RasterLayout) -> Tensor:
        """Words of the transformer for a text, and for the size of the picture that begins: int64 [P]."""
        height, width = layout.grid
        special = (BEGIN_OF_TEXT, BEGIN_OF_IMAGE, BEGIN_OF_CODES)
        line = f"{BEGIN_OF_TEXT}{{text}}{BEGIN_OF_IMAGE}{height}*{width}{BEGIN_OF_CODES}"
        return torch.tensor(read_line(self.text_tokenizer, line, special, text), device=self._execution_device)

    def _texts(self, subjects: Sequence[str], negative_prompt: str, quality_suffix: str) -> list[str]:
        return [*(subject + quality_suffix for subject in subjects), negative_prompt]
