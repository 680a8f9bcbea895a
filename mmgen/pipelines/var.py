"""VAR: pictures of a class, scale by scale (Tian et al. 2024, arXiv 2404.02905)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.next_scale import NextScaleTransformer
from mmgen.decoding.scales.decoder import ScaleDecoder
from mmgen.errors import PromptError
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.scales import ScalesPipeline
from mmgen.sessions.scales import ScaleSession
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ


class VARPipeline(ScalesPipeline):
    """Draws a class of ImageNet: a number, 0 to `transformer.config.classes` - 1. The authors' `cfg` is `guidance` - 1.

    Args:
        tokenizer: pictures to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.scales`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same codes and scales, to which the decoder may hand over; may be absent.
    """

    component_types = {"tokenizer": MultiScaleVQ, "transformer": NextScaleTransformer, "draft": NextScaleTransformer}
    _optional_components = ["draft"]
    model_cpu_offload_seq = "transformer->draft"
    _exclude_from_cpu_offload = ["tokenizer"]  # needed between any two evaluations

    def __init__(
        self,
        tokenizer: MultiScaleVQ,
        transformer: NextScaleTransformer,
        decoder: ScaleDecoder,
        sampling: Mapping[str, Any] | None = None,
        draft: NextScaleTransformer | None = None,
    ) -> None:
        super().__init__(sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, draft=draft)

    def read(self, prompt: str | int) -> int:
        """A class as a number."""
        words, classes = str(prompt).strip(), self.transformer.config.classes
        if not (words.isascii() and words.isdigit() and len(words) < 10) or int(words) >= classes:
            raise PromptError(str(prompt), "is not a class", f"give a number from 0 to {classes - 1}")
        return int(words)

    def session(self, drawing: Drawing) -> ScaleSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        return ScaleSession(
            self.tokenizer,
            [model for model in (self.transformer, self.draft) if model is not None],
            torch.tensor(drawing.subjects, device=self._execution_device),
            drawing.sampling,
            self._temperatures(drawing.conditions["temperatures"]),
            drawing.known,
            self.cache_bits,
        )
