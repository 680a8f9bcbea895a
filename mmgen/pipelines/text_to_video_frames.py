"""Moving scenes from captions, frame by frame, with a transformer of ours that writes a frame in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.masked_frames import MaskedFrameTransformer
from mmgen.decoding import frames
from mmgen.decoding.frames.decoder import FrameDecoder
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.text_to_video import TextToVideoPipeline
from mmgen.pipelines.video import VideoPipeline
from mmgen.scenes.motion_encoder import MovingSceneEncoder
from mmgen.sessions.frames import FrameSession
from mmgen.tokenizers.causal_patches import CausalPatchVQ


class TextToVideoFramesPipeline(TextToVideoPipeline):
    """Draws clips from captions frame by frame, as Lumos-1 does (Yuan et al. 2025, arXiv 2507.08801).

    Args:
        tokenizer: clips to codes and back.
        text_encoder: captions to conditions.
        transformer: writes the codes, those of a frame in any order.
        decoder: how the codes are written, of `mmgen.decoding.frames`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
    """

    family = "frames"
    algorithms: ClassVar[Any] = frames
    decoder_type = FrameDecoder
    component_types = TextToVideoPipeline.component_types | {"transformer": MaskedFrameTransformer}

    def __init__(
        self,
        tokenizer: CausalPatchVQ,
        text_encoder: MovingSceneEncoder,
        transformer: MaskedFrameTransformer,
        decoder: FrameDecoder,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        VideoPipeline.__init__(
            self, sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder
        )

    def session(self, drawing: Drawing) -> FrameSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        layout: Any = drawing.layout
        prompts = self.prompts(self.transformer, drawing.subjects, layout)
        return FrameSession(self.transformer, layout, *prompts, drawing.sampling, drawing.known, self.cache_bits)
