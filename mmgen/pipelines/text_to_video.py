"""Moving scenes from captions, with transformers of ours: one in raster order, one plane by plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding import planes
from mmgen.decoding.decoder import Decoder
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.video import VideoPipeline
from mmgen.scenes.motion import MovingScene
from mmgen.scenes.motion_encoder import MovingSceneEncoder, StoryboardEncoder
from mmgen.scenes.motion_render import stage
from mmgen.sessions.planes import NeighbourSession
from mmgen.tokenizers.causal_patches import CausalPatchVQ


class TextToVideoPipeline(VideoPipeline):
    """Draws clips from captions, code by code; see `mmgen.scenes.motion` for what can be said.

    Args:
        tokenizer: clips to codes and back.
        text_encoder: captions to conditions.
        transformer: writes the codes, frame by frame, each in raster order.
        decoder: how the codes are written; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
    """

    component_types = {
        "tokenizer": CausalPatchVQ,
        "text_encoder": MovingSceneEncoder,
        "transformer": RasterTransformer,
    }
    backbones = ("transformer",)
    model_cpu_offload_seq = "text_encoder->transformer->tokenizer"

    def __init__(
        self,
        tokenizer: CausalPatchVQ,
        text_encoder: MovingSceneEncoder,
        transformer: RasterTransformer,
        decoder: Decoder,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder
        )

    def read(self, prompt: str) -> MovingScene:
        """The moving scene a caption says."""
        return self.text_encoder.grammar.parse(prompt)

    def prompts(self, backbone: Any, subjects: Sequence[MovingScene], layout: Any) -> tuple[Prompt, Prompt]:
        """Conditions of the captions, and of no caption."""
        ids, null_ids = self.text_encoder.ids(subjects), self.text_encoder.null_ids(len(subjects))
        return Prompt(self.text_encoder(ids)), Prompt(self.text_encoder(null_ids))


class TextToVideoNeighbourPipeline(TextToVideoPipeline):
    """The same plane by plane (He et al. 2025, "Neighboring Autoregressive Modeling").

    Codes of a plane are drawn independently, so they cannot agree on what a caption leaves open. Where things start is
    drawn before, from the seed, and the model is told by a storyboard; but for clips that begin with known codes, which
    show it.

    Args:
        tokenizer: clips to codes and back.
        text_encoder: captions to conditions.
        transformer: writes the codes, all those at once whose frame, row and column have the same sum.
        decoder: how the codes are written, of `mmgen.decoding.planes`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
    """

    family = "neighbour"
    algorithms: ClassVar[Any] = planes
    decoder_type = PlaneDecoder
    component_types = TextToVideoPipeline.component_types | {
        "text_encoder": StoryboardEncoder,
        "transformer": NeighbourTransformer,
    }

    def __init__(
        self,
        tokenizer: CausalPatchVQ,
        text_encoder: StoryboardEncoder,
        transformer: NeighbourTransformer,
        decoder: PlaneDecoder,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        VideoPipeline.__init__(
            self, sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder
        )

    def plan(self, prompt: Any, **settings: Any) -> Drawing:
        """Checks the arguments of a call, and draws where things start."""
        drawing = super().plan(prompt, **settings)
        if bool((drawing.known < 0).all()):
            seeded = zip(drawing.subjects, drawing.seeds, strict=True)
            drawing.subjects = [stage(scene, np.random.default_rng(seed)) for scene, seed in seeded]
        return drawing

    def session(self, drawing: Drawing) -> NeighbourSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        prompts = self.prompts(self.transformer, drawing.subjects, drawing.layout)
        return NeighbourSession(self.transformer, *prompts, drawing.sampling, drawing.known, self.cache_bits)
