"""Scenes from captions in one evaluation or a few, with a student of ours (after Liu et al. 2024, arXiv 2412.17153)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.captioned_scales import CaptionedScaleTransformer
from mmgen.backbones.captioned_student import CaptionedStudent
from mmgen.decoding import students
from mmgen.decoding.scales.decoder import ScaleDecoder
from mmgen.decoding.students.distilled import Distilled
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.raster import RasterPipeline
from mmgen.pipelines.text_to_image_scales import TextToImageScalesPipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.sessions.distilled import CaptionedStudentSession
from mmgen.tokenizers.patch_pyramid import PatchPyramid


class TextToImageDistilledPipeline(TextToImageScalesPipeline):
    """Draws captions with a student: prompts, codes and `known` are those of `TextToImageScalesPipeline`.

    Guidance, temperatures, top-k and top-p are the teacher's, where it draws; a student has none.

    Args:
        tokenizer: pictures to codes and back.
        text_encoder: captions to conditions; the teacher's.
        transformer: the student.
        decoder: how it is asked, of `mmgen.decoding.students`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        teacher: the transformer it was distilled from, which the decoder may ask, too; may be absent.
    """

    algorithms: ClassVar[Any] = students
    decoder_type = Distilled
    component_types = {
        "tokenizer": PatchPyramid,
        "text_encoder": SceneEncoder,
        "transformer": CaptionedStudent,
        "teacher": CaptionedScaleTransformer,
    }
    _optional_components = ["teacher"]
    backbones = ("transformer", "teacher")
    model_cpu_offload_seq = "text_encoder->transformer->teacher"

    def __init__(
        self,
        tokenizer: PatchPyramid,
        text_encoder: SceneEncoder,
        transformer: CaptionedStudent,
        decoder: ScaleDecoder,
        sampling: Mapping[str, Any] | None = None,
        teacher: CaptionedScaleTransformer | None = None,
    ) -> None:
        RasterPipeline.__init__(  # the base's own would register a draft model
            self, sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder,
            teacher=teacher,
        )  # fmt: skip

    def session(self, drawing: Drawing) -> CaptionedStudentSession:  # type: ignore[override]
        """The session a drawing's decoder writes in; both models read the same embeddings."""
        encoder = self.text_encoder
        return CaptionedStudentSession(
            self.tokenizer,
            self.transformer,
            encoder(encoder.ids(drawing.subjects)),
            drawing.sampling,
            self.teacher,
            self._temperatures(drawing.conditions["temperatures"]),
            drawing.known,
            self.cache_bits,
            encoder(encoder.null_ids(len(drawing.subjects))),
        )
