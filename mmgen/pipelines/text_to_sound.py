"""Music and words from captions, with a transformer of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor

from mmgen.backbones.sound import MaskedSoundTransformer, SoundModel, SoundTransformer
from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding import spans
from mmgen.decoding.decoder import Decoder
from mmgen.decoding.spans.decoder import SpanDecoder
from mmgen.errors import OptionError
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.sound import SoundPipeline
from mmgen.scenes.score import SECONDS
from mmgen.scenes.sound import SoundScene
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.sessions.codebooks import CodebookSession
from mmgen.sessions.masked_codebooks import MaskedCodebookSession
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
        transformer: SoundModel,
        decoder: Decoder,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder
        )

    def read(self, prompt: str) -> SoundScene:
        """The scene a caption says."""
        return self.text_encoder.grammar.parse(prompt)

    def order(self, frames: int) -> CodebookLayout:
        """The transformer's own.

        Raises:
            OptionError: it is longer than what the model was trained on.
        """
        seconds = frames * self.tokenizer.hop / self.sampling_rate
        if seconds > SECONDS:
            raise OptionError("duration", seconds, f"seconds up to {SECONDS}, as in training")
        return self.transformer.layout(frames)

    def session(self, drawing: Drawing) -> CodebookSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        layout: Any = drawing.layout
        return CodebookSession(
            self.transformer, layout, *self._captions(drawing), drawing.sampling, drawing.known, self.cache_bits,
            self._codebooks(),
        )  # fmt: skip

    def _captions(self, drawing: Drawing) -> tuple[Tensor, Tensor]:
        """Embeddings of captions [B, P, C], all of which count, bool [B, P]."""
        features = self.text_encoder(self.text_encoder.ids(drawing.subjects)).to(self.transformer.dtype)
        return features, torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)


class TextToSoundMaskedPipeline(TextToSoundPipeline):
    """The same with a transformer that fills codes in: codebook after codebook, all frames of one at once.

    Known codes may stand anywhere: what is around a gap is seen from the beginning. Nothing is heard before the last
    codebook is written.

    Args:
        tokenizer: as above.
        text_encoder: as above.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.spans`; swap it by assignment.
        sampling: the defaults of a call. Guidance and temperature are those of a codebook's first evaluation.
    """

    family = "spans"
    algorithms: ClassVar[Any] = spans
    decoder_type = SpanDecoder
    component_types = TextToSoundPipeline.component_types | {"transformer": MaskedSoundTransformer}

    def session(self, drawing: Drawing) -> MaskedCodebookSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        layout: Any = drawing.layout
        return MaskedCodebookSession(
            self.transformer, layout, *self._captions(drawing), drawing.sampling, drawing.known
        )
