"""Distilled Decoding: pictures of a class in one evaluation or a few (Liu et al. 2024, arXiv 2412.17153)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.distilled import DistilledTransformer
from mmgen.backbones.next_scale import NextScaleTransformer
from mmgen.decoding import students
from mmgen.decoding.scales.decoder import ScaleDecoder
from mmgen.decoding.students.distilled import Distilled
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.raster import RasterPipeline
from mmgen.pipelines.var import VARPipeline
from mmgen.sessions.distilled import DistilledSession
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ


class DistilledPipeline(VARPipeline):
    """Draws a class of ImageNet with a student of VAR: prompts, codes and `known` are those of `VARPipeline`.

    Guidance, temperatures, top-k and top-p are the teacher's, where it draws; a student has none. The picture is made
    of the student's vectors, the codes of `output_type="latent"` are the nearest.

    Args:
        tokenizer: pictures to codes and back.
        transformer: the student.
        decoder: how it is asked, of `mmgen.decoding.students`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        teacher: the transformer it was distilled from, which the decoder may ask, too; may be absent.
    """

    algorithms: ClassVar[Any] = students
    decoder_type = Distilled
    component_types = {"tokenizer": MultiScaleVQ, "transformer": DistilledTransformer, "teacher": NextScaleTransformer}
    _optional_components = ["teacher"]
    backbones = ("transformer", "teacher")
    model_cpu_offload_seq = "transformer->teacher"

    def __init__(
        self,
        tokenizer: MultiScaleVQ,
        transformer: DistilledTransformer,
        decoder: ScaleDecoder,
        sampling: Mapping[str, Any] | None = None,
        teacher: NextScaleTransformer | None = None,
    ) -> None:
        components = {"tokenizer": tokenizer, "transformer": transformer, "decoder": decoder, "teacher": teacher}
        RasterPipeline.__init__(self, sampling, **components)  # VAR's own would register a draft model

    def session(self, drawing: Drawing) -> DistilledSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        return DistilledSession(
            self.tokenizer,
            self.transformer,
            torch.tensor(drawing.subjects, device=self._execution_device),
            drawing.sampling,
            self.teacher,
            self._temperatures(drawing.conditions["temperatures"]),
            drawing.known,
            self.cache_bits,
        )
