"""Moving scenes from captions, with transformers of ours: one in raster order, one plane by plane."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding import planes
from mmgen.decoding.decoder import Decoder
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.video import VideoPipeline
from mmgen.scenes.motion import MovingScene, StagedScene
from mmgen.scenes.motion_encoder import MovingSceneEncoder, StoryboardEncoder
from mmgen.scenes.motion_render import stage, stagings
from mmgen.sessions.planes import NeighbourSession
from mmgen.tokenizers.causal_patches import CausalPatchVQ

_TOGETHER = 25
"""Ways to start that are judged at once."""


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

    def prompts(self, backbone: Any, subjects: Sequence[Any], layout: Any) -> tuple[Prompt, Prompt]:
        """Conditions of the captions, and of no caption."""
        ids, null_ids = self.text_encoder.ids(subjects), self.text_encoder.null_ids(len(subjects))
        return Prompt(self.text_encoder(ids)), Prompt(self.text_encoder(null_ids))


class TextToVideoNeighbourPipeline(TextToVideoPipeline):
    """The same plane by plane (He et al. 2025, "Neighboring Autoregressive Modeling").

    Codes of a plane are drawn independently, so they cannot agree on what a caption leaves open. Where things start is
    drawn before, from the seed, and the model is told by a storyboard. Where codes are known, as in a clip that goes on
    from frames, things start as suits those best: under each way to start, the model judges them once.

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

    def session(self, drawing: Drawing) -> NeighbourSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        prompts = self.prompts(self.transformer, self.staged(drawing), drawing.layout)
        return NeighbourSession(self.transformer, *prompts, drawing.sampling, drawing.known, self.cache_bits)

    @torch.no_grad()
    def staged(self, drawing: Drawing) -> list[StagedScene]:
        """Where things start in each clip: drawn from its seed; where codes are known, as suits those best."""
        rows = zip(drawing.subjects, drawing.seeds, drawing.known.tolist(), strict=True)
        suiting = functools.cache(self._suiting)  # rows of one scene and the same codes are judged once
        return [
            stage(scene, np.random.default_rng(seed)) if max(known) < 0 else suiting(scene, tuple(known))
            for scene, seed, known in rows
        ]

    def _suiting(self, scene: MovingScene, known: tuple[int, ...]) -> StagedScene:
        """Of all starts those under which N known tokens are likeliest, as if what is not known were as before."""
        layout, choices, line = self.transformer.layout, stagings(scene), torch.tensor(known)
        tokens = layout.flatten(_filled(layout.unflatten(line[None]))).to(self._execution_device)
        given = (line >= 0).to(tokens.device)
        losses = []
        for start in range(0, len(choices), _TOGETHER):
            ids = self.text_encoder.ids(choices[start : start + _TOGETHER])
            logits = self.transformer.teacher_forced(self.text_encoder(ids), tokens.expand(len(ids), -1))
            losses.append(cross_entropy(logits.mT, tokens.expand(len(ids), -1), reduction="none")[:, given].sum(1))
        return choices[int(torch.cat(losses).argmin())]


def _filled(codes: Tensor) -> Tensor:
    """Codes [B, 1, t, h, w] where those that are not known, -1, are as in the nearest step before, else behind."""
    steps = list(codes.unbind(2))
    for order in (range(1, len(steps)), range(len(steps) - 2, -1, -1)):
        for step in order:
            other = steps[step - 1 if order.step > 0 else step + 1]
            steps[step] = torch.where(steps[step] < 0, other, steps[step])
    return torch.stack(steps, dim=2).clamp(min=0)
