"""LlamaGen: pictures of a class or a caption (Sun et al. 2024, arXiv 2406.06525)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.llamagen import LlamaGenTransformer
from mmgen.decoding.decoder import Decoder
from mmgen.errors import MissingDependencyError, PromptError
from mmgen.layout import RasterLayout
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.raster import RasterPipeline
from mmgen.tokenizers.vqgan import VQGAN


class LlamaGenPipeline(RasterPipeline):
    """Draws a class of ImageNet, or a caption: whichever the transformer was trained on.

    A class is a number, 0 to `transformer.config.classes` - 1. Captions are read by a T5 encoder, at most
    `transformer.config.condition_length` of its tokens; as in training they are moved to the end of that line
    (`padding="left"`, the authors' default), and what pads them is hidden. Also as in training they are cleaned first
    (`clean_caption`): case is lowered, links, markup and Chinese, Japanese and Korean characters are stripped.
    Without it, case is lowered alone.

    Args:
        tokenizer: pictures to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        text_encoder: features of captions; absent from class-conditional pipelines.
        text_tokenizer: captions to the text encoder's ids; likewise.
        draft: a smaller transformer of the same codes, for the drafter `draft-model`; may be absent.
    """

    component_types = {
        "tokenizer": VQGAN,
        "transformer": LlamaGenTransformer,
        "text_encoder": T5EncoderModel,
        "text_tokenizer": PreTrainedTokenizerFast,
        "draft": LlamaGenTransformer,
    }
    _optional_components = ["text_encoder", "text_tokenizer", "draft"]
    model_cpu_offload_seq = "text_encoder->draft->transformer->tokenizer"
    condition_defaults = {"padding": "left", "clean_caption": True}
    condition_choices = {"padding": ("left", "right")}

    def __init__(
        self,
        tokenizer: VQGAN,
        transformer: LlamaGenTransformer,
        decoder: Decoder,
        sampling: Mapping[str, Any] | None = None,
        text_encoder: T5EncoderModel | None = None,
        text_tokenizer: PreTrainedTokenizerFast | None = None,
        draft: LlamaGenTransformer | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, text_encoder=text_encoder,
            text_tokenizer=text_tokenizer, draft=draft,
        )  # fmt: skip

    def read(self, prompt: str | int) -> str | int:
        """A class as a number, or a caption."""
        classes = self.transformer.config.classes
        if classes is None:
            if not isinstance(prompt, str) or not prompt.strip():
                raise PromptError(str(prompt), "is not a caption", "give a text")
            return prompt.strip()
        words = str(prompt).strip()
        if not (words.isascii() and words.isdigit() and len(words) < 10) or int(words) >= classes:
            raise PromptError(str(prompt), "is not a class", f"give a number from 0 to {classes - 1}")
        return int(words)

    def plan(self, prompt: Any, **settings: Any) -> Drawing:
        """Checks the arguments of a call; evaluates nothing."""
        drawing = super().plan(prompt, **settings)
        if self.transformer.config.classes is None and drawing.conditions["clean_caption"]:
            for caption in drawing.prompts:
                if not cleaned(caption).strip():
                    cure = "write it in Latin letters, or give clean_caption=false"
                    raise PromptError(caption, "is empty once it is cleaned", cure)
        return drawing

    def prompts(
        self,
        backbone: Any,
        subjects: Sequence[str | int],
        layout: RasterLayout,
        padding: str = "left",
        clean_caption: bool = True,
    ) -> tuple[Prompt, Prompt]:
        """Classes or captions, and neither."""
        if backbone.config.classes is not None:
            labels = torch.tensor(list(subjects), device=self._execution_device)
            return backbone.class_prompt(labels), backbone.class_prompt(labels.fill_(backbone.config.classes))
        clean = cleaned if clean_caption else str.lower
        features, mask = self.caption_features([clean(str(subject)) for subject in subjects], padding)
        return backbone.caption_prompt(features, mask), backbone.null_caption_prompt(len(subjects), mask)

    def caption_features(self, captions: Sequence[str], padding: str = "left") -> tuple[Tensor, Tensor]:
        """What T5 says of captions.

        Returns:
            Features [B, P, F], and which of them are of the captions: bool [B, P].
        """
        length, device = self.transformer.config.condition_length, self._execution_device
        ids = self.text_tokenizer(
            list(captions), max_length=length, padding="max_length", truncation=True, return_tensors="pt"
        ).to(device)
        mask = ids["attention_mask"].bool()
        features = self.text_encoder(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])[0]
        features = features.to(self.transformer.dtype)
        if padding == "left":
            features, mask = move_to_end(features, mask)
            features = features * mask[..., None]
        return features, mask


def cleaned(caption: str) -> str:
    """A caption as LlamaGen's training saw it: cleaned twice, as DeepFloyd IF does; diffusers has the function.

    Raises:
        MissingDependencyError: a library it needs is not installed.
    """
    if not (find_spec("bs4") and find_spec("ftfy")):
        cure = "install them: pip install 'mmgen[captions]', or give clean_caption=False"
        raise MissingDependencyError("cleaning captions needs beautifulsoup4 and ftfy", cure)
    from diffusers import PixArtAlphaPipeline

    for _ in range(2):
        caption = PixArtAlphaPipeline._clean_caption(PixArtAlphaPipeline, caption)  # needs only a constant of the class
    return caption


def move_to_end(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Turns each row of features [B, P, F] round until those of its mask, bool [B, P], its first ones, are its last."""
    length = mask.shape[1]
    places = (torch.arange(length, device=mask.device) + mask.sum(1, keepdim=True)) % length
    return features.gather(1, places[..., None].expand_as(features)), mask.flip(1)
