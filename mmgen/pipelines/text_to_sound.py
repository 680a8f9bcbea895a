"""Music and words from captions, with a transformer of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.sound import SoundTransformer
from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.errors import OptionError
from mmgen.pipelines.raster import Drawing
from mmgen.pipelines.sound import SoundPipeline
from mmgen.scenes.score import SECONDS
from mmgen.scenes.sound import SoundScene
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.sessions.codebooks import CodebookSession
from mmgen.tokenizers.sound_vq import SoundVQ


class TextToSoundPipeline(SoundPipeline):
    """Writes music and words to captions; see `mmgen.scenes.sound` for what can be said.

    It was trained on recordings of three seconds, and writes none that are longer.

    Args:
        tokenizer: sound to codes and back.
        text_encoder: captions to conditions.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.planes`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
    """

    family = "codebooks"
    component_types = {
        "tokenizer": SoundVQ,
        "text_encoder": SoundSceneEncoder,
        "transformer": SoundTransformer,
    }
    condition_defaults: ClassVar[dict[str, Any]] = SoundPipeline.condition_defaults | {"duration": float(SECONDS)}
    model_cpu_offload_seq = "text_encoder->transformer->tokenizer"
    window, stride = float(SECONDS), float(SECONDS)

    def __init__(
        self,
        tokenizer: SoundVQ,
        text_encoder: SoundSceneEncoder,
        transformer: SoundTransformer,
        decoder: PlaneDecoder,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder
        )

    def read(self, prompt: str) -> SoundScene:
        """The scene a caption says."""
        return self.text_encoder.grammar.parse(prompt)

    def order(self, frames: int) -> CodebookLayout:
        """Each codebook a frame later than the one before.

        Raises:
            OptionError: it is longer than what the model was trained on.
        """
        seconds = frames * self.tokenizer.hop / self.sampling_rate
        if seconds > SECONDS:
            raise OptionError("duration", seconds, f"seconds up to {SECONDS}, as in training")
        return self.transformer.layout(frames)

    def session(self, drawing: Drawing) -> CodebookSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        features = self.text_encoder(self.text_encoder.ids(drawing.subjects)).to(self.transformer.dtype)
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        layout: Any = drawing.layout
        return CodebookSession(
            self.transformer, layout, features, mask, drawing.sampling, drawing.known, self.cache_bits,
            self._codebooks(),
        )  # fmt: skip
