"""Chameleon, Anole and Lumina-mGPT: language models whose vocabulary holds the codes of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor
from transformers import ChameleonConfig, PreTrainedTokenizerFast

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.chameleon import ChameleonTransformer
from mmgen.checkpoints.text_tokenizers import read_text
from mmgen.decoding.decoder import Decoder
from mmgen.errors import PromptError, SizeError, WeightsError
from mmgen.layout import RasterLayout
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.raster import RasterPipeline
from mmgen.tokenizers.vqgan import VQGAN

BEGIN_OF_IMAGE = "<racm3:break>"
END_OF_TURN = "<reserved08706>"
SIZE_STEP = 32
"""Pixels that a size is counted in, where a model is told the size."""

Conditions = Mapping[str, Any]

INSTRUCTION = "Generate an image of {width}x{height} according to the following prompt:\n{text}"


class ChameleonPipeline(RasterPipeline):
    """Draws what a text says.

    For Chameleon (Chameleon Team 2024, arXiv 2405.09818), Anole (Chern et al. 2024, arXiv 2407.06135), which gave its
    published weights back the gift of drawing, and Lumina-mGPT (Liu et al. 2024, arXiv 2408.02657). A prompt is the
    text, the word that ends a turn and the word that begins an image; "no prompt" begins at that last one.

    Chameleon and Anole draw one size. Lumina-mGPT, whose rows end in a word of their own
    (`transformer.config.row_end`), draws sides of any multiple of 32 pixels; the size stands in its instruction, and
    as two words before the first code.

    Deviations from the published code. Chameleon's guides by three rows, u + 1.2 (i - u) + 3 (f - i), where f reads
    the whole prompt, i its pictures alone and u nothing: with a prompt of text i is u, and what is left are two rows
    and a guidance of 3. Lumina-mGPT's lets the model write the begin of the image and the size itself, which come out
    as the instruction says or spoil the picture; here they are given.

    Args:
        tokenizer: pictures to codes and back.
        transformer: writes the codes.
        text_tokenizer: texts to words of the transformer's vocabulary.
        decoder: how the codes are written; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same vocabulary, for the drafter `draft-model`; may be absent.
    """

    component_types = {
        "tokenizer": VQGAN,
        "transformer": ChameleonTransformer,
        "text_tokenizer": PreTrainedTokenizerFast,
        "draft": ChameleonTransformer,
    }
    _optional_components = ["draft"]
    model_cpu_offload_seq = "draft->transformer->tokenizer"
    default_codes = 32
    """Codes of a side where nothing is said: 512 pixels."""

    def __init__(
        self,
        tokenizer: VQGAN,
        transformer: ChameleonTransformer,
        text_tokenizer: PreTrainedTokenizerFast,
        decoder: Decoder,
        sampling: Mapping[str, Any] | None = None,
        draft: ChameleonTransformer | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, transformer=transformer, text_tokenizer=text_tokenizer, decoder=decoder,
            draft=draft,
        )  # fmt: skip

    @property
    def told_size(self) -> bool:
        """Whether the model is told the size of the picture, and so draws several."""
        return self.transformer.config.row_end is not None

    @property
    def positions(self) -> int:
        """Tokens of text and picture together that the transformer was made for."""
        return ChameleonConfig(**self.transformer.config.text_config).max_position_embeddings

    def layout(self, height: int | None, width: int | None) -> RasterLayout:
        """The grid of a picture of so many pixels: multiples of 32, or the one size of a model that is not told it.

        Raises:
            SizeError: the model does not draw that size.
        """
        rows, columns = self._codes("height", height), self._codes("width", width)
        layout = RasterLayout(rows, columns)
        if self.told_size:
            layout = RasterLayout(rows, columns + 1, row_end=self.transformer.config.codes)
        if layout.length >= self.positions:
            sides = " x ".join(str(side * self.tokenizer.stride) for side in layout.grid)
            raise SizeError(f"{sides} pixels, or {layout.length} tokens,", f"fewer than {self.positions} tokens")
        return layout

    def _codes(self, name: str, pixels: int | None) -> int:
        """Codes of a side."""
        stride = self.tokenizer.stride
        own = self.default_codes * stride
        if pixels is None or pixels == own:
            return self.default_codes
        if not self.told_size:
            raise SizeError(f"{name} {pixels}", f"{own}, the size this model draws")
        if type(pixels) is not int or pixels <= 0 or pixels % SIZE_STEP:
            raise SizeError(f"{name} {pixels}", f"a multiple of {SIZE_STEP} pixels")
        return pixels // stride

    def read(self, prompt: str) -> str:
        """The text without white space around it."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise PromptError(str(prompt), "is not a text", "say what the picture shows")
        return prompt.strip()

    def plan(self, prompt: Any, **settings: Any) -> Drawing:
        """Checks the arguments of a call, the lengths of the prompts among them; evaluates nothing."""
        drawing = super().plan(prompt, **settings)
        room = self.positions - drawing.layout.length - self.opening_length(drawing.layout, drawing.conditions)
        for subject in dict.fromkeys(drawing.subjects):
            length = len(self.text_words(subject, drawing.layout, drawing.conditions))
            if length > room:
                reason = f"takes {length} tokens, and beside the picture there is room for {room}"
                raise PromptError(subject, reason, "shorten it, or draw a smaller picture")
        return drawing

    def prompts(
        self, backbone: Any, subjects: Sequence[str], layout: RasterLayout, **conditions: Any
    ) -> tuple[Prompt, Prompt]:
        """The texts and what begins their pictures, and the latter alone."""
        openings = self.openings(backbone, len(subjects), layout, conditions)
        nothing = self._embedded(backbone, [] if self.told_size else [self.begin_of_text])
        texts = [self._embedded(backbone, self.text_words(text, layout, conditions)) for text in subjects]
        prompt = Prompt.ragged([torch.cat(pair) for pair in zip(texts, openings, strict=True)])
        return prompt, Prompt.ragged([torch.cat((nothing, opening)) for opening in openings])

    def openings(self, backbone: Any, rows: int, layout: RasterLayout, conditions: Conditions) -> list[Tensor]:
        """Embeddings [P, C] of what stands between the text and the first code to draw, for each row."""
        return [self._embedded(backbone, self.picture_words(layout, conditions))] * rows

    def opening_length(self, layout: RasterLayout, conditions: Conditions) -> int:
        """How many tokens `openings` has for a row."""
        return len(self.picture_words(layout, conditions))

    def text_words(self, text: str, layout: RasterLayout, conditions: Conditions) -> list[int]:
        """What is said of a picture, in words of the vocabulary."""
        words = read_text(self.text_tokenizer, self.instruction(text, layout, conditions))
        return [self.begin_of_text, *words, self.word(END_OF_TURN)]

    def instruction(self, text: str, layout: RasterLayout, conditions: Conditions) -> str:
        """What is said of a picture."""
        if not self.told_size:
            return text
        height, width = self.whole_size(layout, conditions)
        return INSTRUCTION.format(width=width, height=height, text=text)

    def picture_words(self, layout: RasterLayout, conditions: Conditions) -> list[int]:
        """The word that begins an image, and those that say its height and width, where there are such."""
        words = [self.word(BEGIN_OF_IMAGE)]
        if self.told_size:
            sizes = self.whole_size(layout, conditions)
            words += [self.word(f"<reserved{8800 + side // SIZE_STEP:05d}>") for side in sizes]
        return words

    def whole_size(self, layout: RasterLayout, conditions: Conditions) -> tuple[int, int]:
        """Height and width, in pixels, of the picture that the model is told of."""
        rows, columns = layout.grid
        return rows * self.tokenizer.stride, columns * self.tokenizer.stride

    @property
    def begin_of_text(self) -> int:
        """The word every prompt begins with; without one of its own, that which ends texts, as in the published code.

        Raises:
            WeightsError: the text tokenizer has neither.
        """
        tokenizer = self.text_tokenizer
        word = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if word is None:
            raise WeightsError("text_tokenizer", "has no word that begins or ends texts", "give that of the model")
        return word

    def word(self, name: str) -> int:
        """The number of a word that is no text.

        Raises:
            WeightsError: the text tokenizer has no such word.
        """
        number = self.text_tokenizer.convert_tokens_to_ids(name)
        if number is None or number == self.text_tokenizer.unk_token_id:
            raise WeightsError("text_tokenizer", f"has no word {name}", "give that of the model")
        return number

    def _embedded(self, backbone: Any, words: Sequence[int]) -> Tensor:
        return backbone.embed_text(torch.tensor(words, dtype=torch.long, device=self._execution_device))
