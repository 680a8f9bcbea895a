"""Scenes from captions, scale by scale, with a transformer of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.captioned_scales import CaptionedScaleTransformer
from mmgen.decoding.scales.decoder import ScaleDecoder
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.scales import ScalesPipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.grammar import Scene
from mmgen.sessions.scales import ScaleSession
from mmgen.tokenizers.patch_pyramid import PatchPyramid


class TextToImageScalesPipeline(ScalesPipeline):
    """Draws pictures from captions scale by scale; see `mmgen.scenes.grammar` for what can be said.

    Args:
        tokenizer: pictures to codes and back.
        text_encoder: captions to conditions.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.scales`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same codes and scales, to which the decoder may hand over; may be absent.
    """

    component_types = {
        "tokenizer": PatchPyramid,
        "text_encoder": SceneEncoder,
        "transformer": CaptionedScaleTransformer,
        "draft": CaptionedScaleTransformer,
    }
    _optional_components = ["draft"]
    model_cpu_offload_seq = "text_encoder->transformer->draft"
    _exclude_from_cpu_offload = ["tokenizer"]  # needed between any two evaluations

    def __init__(
        self,
        tokenizer: PatchPyramid,
        text_encoder: SceneEncoder,
        transformer: CaptionedScaleTransformer,
        decoder: ScaleDecoder,
        sampling: Mapping[str, Any] | None = None,
        draft: CaptionedScaleTransformer | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder,
            draft=draft,
        )  # fmt: skip

    def read(self, prompt: str) -> Scene:
        """The scene a caption says."""
        return self.text_encoder.grammar.parse(prompt)

    def session(self, drawing: Drawing) -> ScaleSession:  # type: ignore[override]
        """The session a drawing's decoder writes in; both models read the same embeddings."""
        encoder = self.text_encoder
        return ScaleSession(
            self.tokenizer,
            [model for model in (self.transformer, self.draft) if model is not None],
            encoder(encoder.ids(drawing.subjects)),
            drawing.sampling,
            self._temperatures(drawing.conditions["temperatures"]),
            drawing.known,
            self.cache_bits,
            encoder(encoder.null_ids(len(drawing.subjects))),
        )
